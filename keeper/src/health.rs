//! Whether the keeper really sees the chain and keeps up with it. Being a process that runs is no health: fresh data is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::chain::Heads;

/// A block that is being worked on for so long means that the keeper does not keep up.
const STALE: Duration = Duration::from_secs(30);

/// What can be said of the keeper's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The newest head was evaluated, or is about to be.
    Well,
    /// It has only just begun: no block was evaluated yet, and nobody need worry.
    Starting,
    /// Everything is evaluated, but no block has come for longer than the chain may take; every endpoint says so, and the text whether that is
    /// more than one. Whether the chain has nothing to do or stands still nobody can tell from here, nor, with one endpoint, whether that is
    /// stuck. To whoever asks it is as good as ill; only heartbeats go on, because on an idle chain they make the next block.
    Idle(String),
    /// It does not see the chain, or does not keep up; the text says why.
    Ill(String),
}

/// What health is judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Signs {
    /// No head source works.
    blind: bool,
    /// Why nobody can say which chain is the right one, while endpoints differ.
    split: Option<String>,
    /// Whether all endpoints answer and have no newer block.
    confirmed: bool,
    /// Whether there is one endpoint, and nobody to compare it with.
    alone: bool,
    /// Why the record cannot be read or written, while it cannot.
    record: Option<String>,
    /// Time since the start.
    running: Duration,
    /// Time since the newest head arrived, once there is one.
    head_age: Option<Duration>,
    /// Time that the present work has taken without a block being finished.
    busy: Option<Duration>,
    /// Whether a block was evaluated.
    done: bool,
    /// Time after which a chain without new blocks is one that is not seen any more.
    head_patience: Duration,
}

fn judge(signs: &Signs) -> Health {
    if signs.blind {
        return Health::Ill("no head source works".to_owned());
    }
    if let Some(split) = &signs.split {
        return Health::Ill(format!(
            "the endpoints do not agree which chain is the right one: {split}"
        ));
    }
    if let Some(why) = &signs.record {
        return Health::Ill(format!("the record is lost, so that nothing is decided: {why}"));
    }
    match (signs.head_age, signs.busy) {
        (None, _) if signs.running >= STALE => {
            return Health::Ill(format!("no block was seen within {} s", STALE.as_secs()));
        }
        (Some(age), busy) if age >= signs.head_patience => {
            let text = format!("the newest block came {} s ago", age.as_secs());
            let is_idle = signs.confirmed && signs.done && busy.is_none();
            return match (is_idle, signs.alone) {
                (false, _) => Health::Ill(text),
                (true, false) => Health::Idle(format!("{text}, as every endpoint says")),
                (true, true) => Health::Idle(format!(
                    "{text}, and there is one endpoint: whether the chain is idle or the endpoint stuck nobody can tell; add another one to `rpc`"
                )),
            };
        }
        (_, Some(busy)) if busy >= STALE => {
            return Health::Ill(format!("no block was evaluated within {} s", STALE.as_secs()));
        }
        // Whatever keeps it from beginning: nobody is watching yet.
        _ if !signs.done && signs.running >= STALE => {
            return Health::Ill(format!(
                "no block was evaluated in {} s since the start",
                signs.running.as_secs()
            ));
        }
        _ => {}
    }
    if signs.done { Health::Well } else { Health::Starting }
}

#[derive(Debug, Default)]
struct State {
    done: Option<u64>,
    busy_since: Option<Instant>,
    /// Why the last block could not be stored.
    unwritten: Option<String>,
    /// Why the database does not answer.
    unreachable: Option<String>,
}

/// What the pipeline tells of its progress. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    since: Instant,
    head_patience: Duration,
    state: Arc<Mutex<State>>,
}

impl Progress {
    /// Nothing is done yet. `head_patience`: after which time without a new block the chain is not seen any more.
    pub(crate) fn new(head_patience: Duration) -> Self {
        Self {
            since: Instant::now(),
            head_patience,
            state: Arc::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Work has begun.
    pub(crate) fn begin(&self) {
        self.with(|state| state.busy_since = state.busy_since.or_else(|| Some(Instant::now())));
    }

    /// The block of this height was evaluated; more may follow.
    pub(crate) fn done(&self, number: u64) {
        self.with(|state| {
            state.done = Some(number);
            state.busy_since = state.busy_since.map(|_| Instant::now());
            state.unwritten = None;
        });
    }

    /// What is done could not be stored.
    pub(crate) fn not_stored(&self, why: String) {
        self.with(|state| state.unwritten = Some(why));
    }

    /// Whether the database answers; if not, why.
    pub(crate) fn reached(&self, result: Result<(), String>) {
        self.with(|state| state.unreachable = result.err());
    }

    /// There is nothing left to do.
    pub(crate) fn rest(&self) {
        self.with(|state| state.busy_since = None);
    }

    /// Height of the block that was evaluated last.
    pub(crate) fn height(&self) -> Option<u64> {
        self.with(|state| state.done)
    }

    /// Health now.
    pub(crate) fn health(&self, heads: &Heads) -> Health {
        let (done, busy_since, record) = self.with(|state| {
            let record = state.unwritten.clone().or_else(|| state.unreachable.clone());
            (state.done, state.busy_since, record)
        });
        judge(&Signs {
            blind: heads.link().is_blind(),
            split: heads.split(),
            confirmed: heads.is_confirmed(),
            alone: heads.is_alone(),
            record,
            running: self.since.elapsed(),
            head_age: heads.newest().map(|seen| seen.at.elapsed()),
            busy: busy_since.map(|since| since.elapsed()),
            done: done.is_some(),
            head_patience: self.head_patience,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Signs = Signs {
        blind: false,
        split: None,
        confirmed: false,
        alone: false,
        record: None,
        running: Duration::from_secs(3_600),
        head_age: Some(Duration::from_millis(250)),
        busy: Some(Duration::from_millis(5)),
        done: true,
        head_patience: Duration::from_secs(60),
    };

    fn is_ill(signs: &Signs) -> bool {
        matches!(judge(signs), Health::Ill(_))
    }

    #[test]
    fn a_keeper_that_has_just_begun_is_no_cause_for_alarm() {
        let fresh = Signs {
            running: Duration::from_millis(1),
            head_age: None,
            busy: None,
            done: false,
            ..WELL
        };
        assert_eq!(judge(&fresh), Health::Starting);
        assert_eq!(
            judge(&Signs {
                head_age: Some(Duration::ZERO),
                ..fresh.clone()
            }),
            Health::Starting
        );
        assert!(is_ill(&Signs {
            running: STALE,
            ..fresh
        }));
    }

    #[test]
    fn a_process_that_runs_without_seeing_the_chain_is_ill() {
        assert_eq!(judge(&WELL), Health::Well);
        assert!(is_ill(&Signs { blind: true, ..WELL }));
        assert!(is_ill(&Signs {
            record: Some("the disk is full".to_owned()),
            ..WELL
        }));
        // Two endpoints with two chains: one of them is the wrong one, and it may be the one that is followed.
        assert!(is_ill(&Signs {
            split: Some("a has 0x01, b has 0x02".to_owned()),
            ..WELL
        }));
        // An endpoint that answers with the same block for ever.
        assert!(is_ill(&Signs {
            head_age: Some(Duration::from_secs(60)),
            busy: None,
            ..WELL
        }));
    }

    #[test]
    fn new_heads_do_not_hide_that_none_is_evaluated() {
        assert!(is_ill(&Signs {
            busy: Some(STALE),
            ..WELL
        }));
    }

    #[test]
    fn a_chain_that_stands_still_is_idle_only_when_every_endpoint_says_so() {
        let old = Signs {
            head_age: Some(WELL.head_patience),
            busy: None,
            ..WELL
        };
        assert!(is_ill(&old), "one of them may know more");
        let idle = Signs { confirmed: true, ..old };
        assert!(matches!(judge(&idle), Health::Idle(why) if why.contains("as every endpoint says")));
        // One endpoint that stands still looks like a chain that does, and nobody is told that it was looked into.
        let alone = Signs {
            alone: true,
            ..idle.clone()
        };
        assert!(
            matches!(judge(&alone), Health::Idle(why) if why.contains("stuck nobody can tell") && !why.contains("every"))
        );
        for ill in [
            Signs {
                blind: true,
                ..idle.clone()
            },
            Signs {
                done: false,
                ..idle.clone()
            },
            Signs {
                busy: Some(Duration::ZERO),
                ..idle.clone()
            },
            Signs {
                record: Some("disk full".to_owned()),
                ..idle
            },
        ] {
            assert!(is_ill(&ill), "{ill:?}");
        }
    }

    #[test]
    fn whatever_keeps_it_from_beginning_is_told_in_time() {
        // The record answers so slowly that the first block is not even begun, while heads come in.
        let stuck = Signs {
            running: STALE,
            busy: None,
            done: false,
            ..WELL
        };
        assert!(is_ill(&stuck));
    }

    #[test]
    fn an_idle_chain_that_wakes_is_not_held_against_the_keeper() {
        let woken = Signs {
            head_age: Some(Duration::ZERO),
            busy: Some(Duration::ZERO),
            ..WELL
        };
        assert_eq!(judge(&woken), Health::Well);
    }

    #[test]
    fn every_finished_block_of_a_long_catch_up_counts() {
        let progress = Progress::new(Duration::from_secs(60));
        progress.begin();
        progress.begin();
        let first = progress.with(|state| state.busy_since);
        progress.done(7);
        let second = progress.with(|state| state.busy_since);
        assert!(second > first, "the clock begins again");
        progress.not_stored("disk full".to_owned());
        assert!(progress.with(|state| state.unwritten.is_some()));
        progress.rest();
        progress.done(8);
        assert!(
            progress.with(|state| state.unwritten.is_none()),
            "a block was stored again"
        );
        assert_eq!(progress.with(|state| (state.busy_since, state.done)), (None, Some(8)));
    }
}
