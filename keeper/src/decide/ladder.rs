//! The fallback ladder: what is tried when the keeper's own way does not contain an incident in time. A pure function of what
//! was tried and how it ended.

/// A way to contain, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// A transaction of a Safe that its owners have signed ahead.
    Signed,
    /// A transaction that is proposed to a Safe's owners.
    Proposal,
    /// People are called.
    Page,
}

impl Rung {
    /// Name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed transaction",
            Self::Proposal => "proposal",
            Self::Page => "page",
        }
    }

    /// The rung of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Signed, Self::Proposal, Self::Page]
            .into_iter()
            .find(|rung| rung.name() == name)
    }
}

/// How a rung stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RungStatus {
    /// Begun.
    Running,
    /// Done as far as it can be done by the keeper.
    Done,
    /// It did not work, or took too long.
    Failed,
}

impl RungStatus {
    /// Name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// A rung that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RungState {
    /// The rung.
    pub rung: Rung,
    /// How it stands.
    pub status: RungStatus,
    /// When it was begun, Unix milliseconds.
    pub began_ms: i64,
    /// When it was over.
    pub ended_ms: Option<i64>,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Nothing now.
    Wait,
    /// The rung is tried.
    Begin(Rung),
    /// It was begun, by an earlier run too, and is not over: it is carried on.
    CarryOn(Rung),
    /// The rung took too long.
    GiveUp(Rung),
    /// The incident is contained.
    Held,
    /// Nothing is left to try.
    Exhausted,
}

/// What is done next on a ladder. `held`: the incident is contained, or over. Each rung is begun once.
#[must_use]
pub fn climb(rungs: &[Rung], states: &[RungState], held: bool, patience_ms: i64, now_ms: i64) -> Move {
    if held {
        return Move::Held;
    }
    for rung in rungs {
        let Some(state) = states.iter().find(|state| state.rung == *rung) else {
            return Move::Begin(*rung);
        };
        let since = |from: i64| now_ms.saturating_sub(from);
        match state.status {
            RungStatus::Running if since(state.began_ms) >= patience_ms => return Move::GiveUp(*rung),
            RungStatus::Running => return Move::CarryOn(*rung),
            // Its effect shows with the next blocks. A proposal waits for people, who are called at once.
            RungStatus::Done
                if *rung == Rung::Signed && since(state.ended_ms.unwrap_or(state.began_ms)) < patience_ms =>
            {
                return Move::Wait;
            }
            RungStatus::Done | RungStatus::Failed => {}
        }
    }
    Move::Exhausted
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Rung; 3] = [Rung::Signed, Rung::Proposal, Rung::Page];

    fn state(rung: Rung, status: RungStatus) -> RungState {
        RungState {
            rung,
            status,
            began_ms: 0,
            ended_ms: (status != RungStatus::Running).then_some(100),
        }
    }

    #[test]
    fn each_rung_is_tried_once_in_order() {
        let mut states = Vec::new();
        for rung in ALL {
            assert_eq!(climb(&ALL, &states, false, 1_000, 200), Move::Begin(rung));
            states.push(state(rung, RungStatus::Failed));
        }
        assert_eq!(climb(&ALL, &states, false, 1_000, i64::MAX), Move::Exhausted);
    }

    #[test]
    fn what_is_contained_needs_no_more() {
        for states in [vec![], vec![state(Rung::Signed, RungStatus::Running)]] {
            assert_eq!(climb(&ALL, &states, true, 1_000, 0), Move::Held);
        }
    }

    #[test]
    fn a_signed_transaction_may_take_its_time_and_no_more() {
        let running = [state(Rung::Signed, RungStatus::Running)];
        assert_eq!(climb(&ALL, &running, false, 1_000, 999), Move::CarryOn(Rung::Signed));
        assert_eq!(climb(&ALL, &running, false, 1_000, 1_000), Move::GiveUp(Rung::Signed));
        let done = [state(Rung::Signed, RungStatus::Done)];
        assert_eq!(climb(&ALL, &done, false, 1_000, 1_099), Move::Wait);
        assert_eq!(climb(&ALL, &done, false, 1_000, 1_100), Move::Begin(Rung::Proposal));
    }

    #[test]
    fn people_are_called_as_soon_as_something_waits_for_them() {
        let states = [
            state(Rung::Signed, RungStatus::Failed),
            state(Rung::Proposal, RungStatus::Done),
        ];
        assert_eq!(climb(&ALL, &states, false, 1_000, 100), Move::Begin(Rung::Page));
        assert_eq!(climb(&[Rung::Page], &[], false, 1_000, 0), Move::Begin(Rung::Page));
    }
}
