//! Points at which a test lets the process die, or stand still until it is killed: around every transaction of the record.

use std::sync::OnceLock;

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $step:ident = $name:literal,)+) => {
        /// A step of the record: what is committed together, and what a restart has to find either done or not begun.
        ///
        /// Nothing is committed without one, so that tests can let the keeper die before and after each of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Step {
            $($(#[doc = $doc])+ $step,)+
        }

        impl Step {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$step,)+];

            /// The name, as in `CORDON_FAIL_POINT` and `CORDON_KILL_POINT` after `before-` or `after-`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)+
                }
            }
        }
    };
}

steps! {
    /// The tables are brought up to date.
    Migrate = "migrate",
    /// One of the changes of the tables is made.
    Migration = "migration",
    /// The record is made that of a guard.
    Claim = "claim",
    /// A block is done, and nothing was decided in it that is not stored already.
    Block = "block",
    /// What was decided in a block is stored, before the block is done or with it.
    Decision = "decision",
    /// A block that was done before becomes the checkpoint.
    Advance = "advance",
    /// Blocks that were reorganised away are taken back.
    Revert = "revert",
    /// Verdicts of old blocks are forgotten.
    PruneBlocks = "prune-blocks",
    /// An action that answers no rule is decided on.
    Plan = "plan",
    /// A transaction is signed and about to be sent.
    Sent = "sent",
    /// A transaction was included and reverted.
    Reverted = "reverted",
    /// An action has ended.
    Finish = "finish",
    /// A person adds a line to a timeline.
    Note = "note",
    /// An alarm is raised.
    Alarm = "alarm",
    /// An alarm is cleared.
    AlarmEnd = "alarm-end",
    /// A person takes care of something.
    Acknowledge = "acknowledge",
    /// Notices are put on their way to the channels.
    FanOut = "fan-out",
    /// What waits for channels that are gone is dropped.
    Orphans = "orphans",
    /// Notices have arrived.
    Told = "told",
    /// Notices could not be delivered.
    NotTold = "not-told",
    /// A notice needs no telling any more.
    DeliveryEnd = "delivery-end",
    /// Old notices, sightings, alarms and playbooks are forgotten.
    PruneNotices = "prune-notices",
    /// The configuration that is run is noted.
    Config = "config",
    /// What watches have found has become safe or final.
    Release = "release",
    /// A watch has found something in the mempool.
    Pending = "pending",
    /// Steps of playbooks are carried out.
    Playbook = "playbook",
    /// A person answers a playbook's question.
    Approve = "approve",
    /// A ladder is begun.
    Ladder = "ladder",
    /// A rung of a ladder is begun.
    Rung = "rung",
    /// A rung of a ladder has ended.
    RungEnd = "rung-end",
    /// People are called as the last rung.
    Page = "page",
    /// A ladder is at its end.
    LadderEnd = "ladder-end",
    /// A keeper of a fleet takes its turn.
    Campaign = "campaign",
    /// A keeper of a fleet keeps its turn.
    Renew = "renew",
    /// A keeper of a fleet gives its turn back.
    Resign = "resign",
    /// A keeper of a fleet says what it finds of a breach.
    Vote = "vote",
}

/// Where a step of the record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// It is written but not committed: it must be as if it had not been.
    Before,
    /// It is committed, and nobody was told.
    After,
}

#[derive(Debug)]
struct Points {
    stand: Option<String>,
    die: Option<String>,
}

fn points() -> &'static Points {
    static POINTS: OnceLock<Points> = OnceLock::new();
    POINTS.get_or_init(|| Points {
        stand: std::env::var("CORDON_FAIL_POINT").ok(),
        die: std::env::var("CORDON_KILL_POINT").ok(),
    })
}

/// Stands still for good at the point that `CORDON_FAIL_POINT` names (`before-sent`, `after-decision`), or kills the process
/// (SIGKILL) at the one that `CORDON_KILL_POINT` names.
pub(crate) fn reach(when: When, step: Step) {
    let points = points();
    if is_named(points.die.as_deref(), when, step) {
        tracing::error!(step = step.name(), "killed at a fail point");
        let _ = std::process::Command::new("kill")
            .args(["-s", "KILL", &std::process::id().to_string()])
            .status();
    } else if !is_named(points.stand.as_deref(), when, step) {
        return;
    }
    tracing::error!(
        step = step.name(),
        "stopped at a fail point, until the process is killed"
    );
    loop {
        std::thread::park();
    }
}

fn is_named(point: Option<&str>, when: When, step: Step) -> bool {
    let prefix = match when {
        When::Before => "before-",
        When::After => "after-",
    };
    point.and_then(|point| point.strip_prefix(prefix)) == Some(step.name())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn points_are_told_apart() {
        assert!(is_named(Some("before-sent"), When::Before, Step::Sent));
        assert!(!is_named(Some("before-sent"), When::After, Step::Sent));
        assert!(!is_named(Some("before-sent"), When::Before, Step::Told));
        assert!(!is_named(None, When::Before, Step::Sent));
        let names: BTreeSet<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(names.len(), Step::ALL.len(), "each has a name of its own");
    }
}
