//! What becomes of a notice that is due on a channel. Pure, so that it can be tried in every case.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::SendError;
use super::message::{Event, event};
use crate::record::{Due, NoticeKind};

/// What is done with a notice now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is told.
    Tell,
    /// There is nothing to tell any more.
    Needless,
    /// It was told, and what follows asks for no more.
    Told,
}

/// Decides on a notice that is due. `is_escalation`: the channel is told only what nobody has acknowledged in time.
#[must_use]
pub fn fate(due: &Due, is_escalation: bool) -> Fate {
    let settled = due.acknowledged || due.over;
    if due.notice.ends && due.overtaken {
        // What it ends was not told, or what was told since is not over: it would close that.
        return Fate::Needless;
    }
    if due.told > 0 {
        // A repetition: for as long as nobody cares.
        return if settled { Fate::Told } else { Fate::Tell };
    }
    if !is_escalation {
        return Fate::Tell;
    }
    if due.notice.kind.calls() {
        if settled { Fate::Needless } else { Fate::Tell }
    } else if due.topic_told {
        // Whoever was woken hears how it goes on.
        Fate::Tell
    } else {
        Fate::Needless
    }
}

/// What a channel takes in one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Whatever is due: people read a list.
    All,
    /// What opens or keeps up the page of one topic: a second message would wake nobody.
    Page,
    /// Each by itself; of a topic only what is told again.
    Repeats,
}

/// Of what is to be told, what goes into the next message: the first, with what may go with it. What is in `alone`, or was refused before,
/// goes by itself.
#[must_use]
pub fn next(mut due: Vec<Due>, together: Together, alone: &BTreeSet<i64>) -> Vec<Due> {
    let is_alone = |due: &Due| due.refusals > 0 || due.aside > 0 || alone.contains(&due.notice.id);
    let Some(first) = due.first() else {
        return due;
    };
    if is_alone(first) {
        due.truncate(1);
        return due;
    }
    let opens = |due: &Due| matches!(event(&due.notice), Event::Trigger | Event::Update);
    let topic = first.notice.topic.clone();
    let of_topic = |due: &Due| due.notice.topic == topic;
    match together {
        Together::All => {
            let behind = behind(&due, is_alone);
            let goes = |due: &Due| !is_alone(due) && !behind.contains(&due.notice.id);
            due.into_iter().filter(goes).collect()
        }
        // Never beyond what closes the page or says that somebody cares.
        Together::Page if opens(first) => {
            let of_topic = due.into_iter().filter(of_topic);
            of_topic.take_while(|due| opens(due) && !is_alone(due)).collect()
        }
        Together::Repeats if first.told > 0 => due
            .into_iter()
            .filter(|due| of_topic(due) && due.told > 0 && !is_alone(due))
            .collect(),
        Together::Page | Together::Repeats => due.into_iter().take(1).collect(),
    }
}

/// What must not be told before what is left out of its topic: an end waits for what it ends, an acknowledgement for what it is of, and whatever
/// follows an end for that. `due` may be in any order.
pub(super) fn behind(due: &[Due], is_out: impl Fn(&Due) -> bool) -> BTreeSet<i64> {
    let mut oldest: BTreeMap<&str, i64> = BTreeMap::new();
    for out in due.iter().filter(|due| due.told == 0 && is_out(due)) {
        let held = oldest.entry(&out.notice.topic).or_insert(out.notice.id);
        *held = out.notice.id.min(*held);
    }
    let later = |due: &&Due| {
        oldest
            .get(due.notice.topic.as_str())
            .is_some_and(|out| *out < due.notice.id)
    };
    let mut in_order: Vec<&Due> = due.iter().filter(later).collect();
    in_order.sort_unstable_by_key(|due| due.notice.id);
    let (mut ended, mut behind) = (BTreeSet::new(), BTreeSet::new());
    for due in in_order {
        let topic = due.notice.topic.as_str();
        if due.notice.ends || due.notice.kind == NoticeKind::Acknowledged || ended.contains(topic) {
            behind.insert(due.notice.id);
        }
        if due.notice.ends {
            ended.insert(topic);
        }
    }
    behind
}

/// Refusals after which a notice is given up unless it is open: a quarter of an hour in which a key can be put right.
pub(super) const REFUSALS: u32 = 7;
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);
const LAST_REFUSED: Duration = Duration::from_secs(600);

/// How long to wait before the next attempt, after `failures` (from 1) in a row.
#[must_use]
pub fn retry_after(error: &SendError, failures: u32) -> Duration {
    let step = failures.saturating_sub(1);
    match error {
        SendError::Busy { wait, .. } => (*wait).max(FIRST),
        SendError::Failed(_) => FIRST.saturating_mul(2_u32.saturating_pow(step.min(8))).min(LAST),
        SendError::Refused(_) => FIRST
            .saturating_mul(4_u32.saturating_pow(step.min(8)))
            .min(LAST_REFUSED),
    }
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// How many messages of a limit are kept for what is most severe: a quarter, and at least one of several.
pub(super) fn kept(limit: usize) -> usize {
    (limit / 4).max(1).min(limit.saturating_sub(1))
}

/// How long it takes until there are less than `most` in a minute.
pub(super) fn room(sent: impl Iterator<Item = Instant>, most: usize) -> Option<Duration> {
    let sent: Vec<Instant> = sent.collect();
    // The one that has to be a minute ago before there is room.
    let last = sent.get(sent.len().checked_sub(most)?)?;
    Some(MINUTE.saturating_sub(last.elapsed()).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Notice;
    use cordon_client::config::Severity;

    fn due(kind: NoticeKind, told: u32, acknowledged: bool, over: bool, topic_told: bool) -> Due {
        Due {
            notice: Notice {
                id: 1,
                topic: "incident:1".into(),
                kind,
                severity: Severity::P1,
                incident: Some(1),
                subject: "weth".into(),
                text: String::new(),
                block_number: None,
                ends: false,
                at_ms: 0,
                facts: None,
            },
            refusals: 0,
            aside: 0,
            told,
            acknowledged,
            over,
            topic_told,
            overtaken: false,
            worst: Severity::P1,
        }
    }

    #[test]
    fn the_first_line_is_told_everything_once() {
        for kind in [NoticeKind::Opened, NoticeKind::Contained, NoticeKind::Closed] {
            assert_eq!(fate(&due(kind, 0, true, true, false), false), Fate::Tell);
        }
    }

    #[test]
    fn an_end_that_comes_after_what_it_does_not_end_is_not_told() {
        let mut end = due(NoticeKind::Closed, 0, false, false, true);
        (end.notice.ends, end.overtaken) = (true, true);
        assert_eq!((fate(&end, false), fate(&end, true)), (Fate::Needless, Fate::Needless));
    }

    #[test]
    fn the_second_line_is_told_what_nobody_took_care_of_and_how_it_ended() {
        let fates = |kind, acknowledged, over, topic_told| fate(&due(kind, 0, acknowledged, over, topic_told), true);
        assert_eq!(fates(NoticeKind::Opened, false, false, false), Fate::Tell);
        assert_eq!(fates(NoticeKind::Opened, true, false, false), Fate::Needless);
        assert_eq!(fates(NoticeKind::Opened, false, true, false), Fate::Needless);
        assert_eq!(fates(NoticeKind::Closed, false, false, false), Fate::Needless);
        assert_eq!(fates(NoticeKind::Closed, true, false, true), Fate::Tell);
    }

    #[test]
    fn repetition_ends_with_care_or_with_the_incident() {
        let fates = |acknowledged, over| fate(&due(NoticeKind::Opened, 3, acknowledged, over, true), false);
        assert_eq!(fates(false, false), Fate::Tell);
        assert_eq!((fates(true, false), fates(false, true)), (Fate::Told, Fate::Told));
    }

    #[test]
    fn a_chat_hears_of_no_end_before_the_opening_that_goes_by_itself() {
        let of = |id: i64, topic: &str, kind, severity| {
            let mut due = due(kind, 0, false, false, false);
            (due.notice.id, due.notice.topic) = (id, topic.to_owned());
            due.notice.ends = kind == NoticeKind::Closed;
            due.worst = severity;
            due
        };
        // Something worse is told first; of the other the opening was refused together with others, or by itself before.
        let all = |refusals| {
            let mut opened = of(1, "t", NoticeKind::Opened, Severity::P2);
            opened.refusals = refusals;
            vec![
                of(9, "x", NoticeKind::Opened, Severity::P1),
                opened,
                of(2, "t", NoticeKind::Contained, Severity::P2),
                of(3, "t", NoticeKind::Acknowledged, Severity::P2),
                of(4, "t", NoticeKind::Closed, Severity::P2),
                of(5, "t", NoticeKind::Opened, Severity::P2),
                of(6, "u", NoticeKind::Closed, Severity::P2),
            ]
        };
        for (refusals, alone) in [(0, BTreeSet::from([1])), (1, BTreeSet::new())] {
            let told = next(all(refusals), Together::All, &alone);
            let told: Vec<i64> = told.iter().map(|due| due.notice.id).collect();
            assert_eq!(told, [9, 2, 6]);
        }
    }

    #[test]
    fn what_somebody_takes_care_of_or_what_is_over_is_not_open() {
        let is_open = |acknowledged, over| due(NoticeKind::Called, 0, acknowledged, over, true).is_open();
        assert!(is_open(false, false));
        assert!(!is_open(true, false) && !is_open(false, true));
    }

    #[test]
    fn waits_grow_within_bounds_and_a_busy_service_is_obeyed() {
        let failed = SendError::Failed(String::new());
        let waits: Vec<u64> = (1..9).map(|n| retry_after(&failed, n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        let refused = SendError::Refused(String::new());
        let waits: Vec<u64> = (1..=REFUSALS).map(|n| retry_after(&refused, n).as_secs()).collect();
        assert_eq!(waits, [1, 4, 16, 64, 256, 600, 600]);
        let given_up: u64 = waits.iter().take(waits.len() - 1).sum();
        assert!((900..1_000).contains(&given_up), "a quarter of an hour: {given_up} s");
        let busy = SendError::Busy {
            wait: Duration::from_secs(17),
            why: String::new(),
        };
        assert_eq!(retry_after(&busy, 1).as_secs(), 17);
    }
}
