//! How many have to agree before something is done that nobody proves again: k of n rules, endpoints and keepers before the
//! whole protocol is raised, and more endpoints for than against before the keeper contains by its own authority.

use cordon_core::rule::eval::Verdict;

use super::{Act, BlockFacts, Decision, Past, RulePolicy};

/// Scope of the whole protocol.
pub(crate) const PROTOCOL: u8 = 0;

/// How many have to agree before the whole protocol is raised; at least 1 of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Rules of the protocol's scope that are breached in the same block.
    pub rules: u32,
    /// Endpoints that say so of the same block.
    pub endpoints: u32,
    /// Keepers that found it by themselves.
    pub keepers: u32,
}

impl Default for Quorum {
    fn default() -> Self {
        Self {
            rules: 1,
            endpoints: 1,
            keepers: 1,
        }
    }
}

/// Who says what about a breach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Support {
    /// Rules of the protocol's scope that are breached in the block.
    pub rules: u32,
    /// Endpoints that say that the rule is breached.
    pub endpoints: u32,
    /// Endpoints that say that it holds.
    pub against: u32,
    /// Keepers that found the breach, this one included.
    pub keepers: u32,
}

/// A breach that is not acted on yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What would be done.
    pub decision: Decision,
    /// What is missing, for people.
    pub why: String,
}

impl Quorum {
    /// Whether anything waits for others at all.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.rules > 1 || self.endpoints > 1 || self.keepers > 1
    }

    /// What is missing, for people, before the whole protocol may be raised; `None` when enough agree.
    fn missing(&self, support: &Support) -> Option<String> {
        let wanted = [
            (support.rules, self.rules, "rules are breached"),
            (support.endpoints, self.endpoints, "endpoints say so"),
            (support.keepers, self.keepers, "keepers have found it"),
        ];
        let missing: Vec<String> = wanted
            .iter()
            .filter(|(has, wants, _)| has < wants)
            .map(|(has, wants, what)| format!("{has} of {wants} {what}"))
            .collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// Why a playbook may not contain the whole protocol with this support of its incident's breach, for people; `None` when it may.
    /// It contains by the keeper's own authority, and has no trip to fall back to when as many endpoints speak against it as for it.
    #[must_use]
    pub fn holds_back(&self, support: &Support) -> Option<String> {
        let contradicted = (support.against >= support.endpoints).then(|| {
            format!(
                "{} endpoints say that the rule holds, {} that it is breached",
                support.against, support.endpoints
            )
        });
        self.missing(support).or(contradicted)
    }

    /// Whether endpoints have to be asked about a decision.
    #[must_use]
    pub fn asks_endpoints(&self, decision: &Decision) -> bool {
        decision.act == Act::Contain || (decision.scope == PROTOCOL && self.endpoints > 1)
    }

    /// Whether other keepers have to be asked about a decision.
    #[must_use]
    pub fn asks_keepers(&self, decision: &Decision) -> bool {
        decision.act.is_sent() && decision.scope == PROTOCOL && self.keepers > 1
    }

    /// What becomes of a decision with this support.
    ///
    /// Containment by the keeper's own authority against which as many endpoints speak as for it becomes a trip: the guard then
    /// finds out itself.
    ///
    /// # Errors
    /// [`Waiting`] when too few agree that the whole protocol has to be raised.
    pub fn judge(&self, decision: Decision, support: &Support) -> Result<Decision, Box<Waiting>> {
        if !decision.act.is_sent() {
            return Ok(decision);
        }
        if let Some(why) = self.missing(support).filter(|_| decision.scope == PROTOCOL) {
            return Err(Box::new(Waiting { decision, why }));
        }
        if decision.act == Act::Contain && support.against >= support.endpoints {
            return Ok(Decision {
                act: Act::Trip,
                ..decision
            });
        }
        Ok(decision)
    }
}

/// Rules that ask for the whole protocol to be raised, in this block.
#[must_use]
pub fn protocol_breaches(policies: &[RulePolicy], facts: &BlockFacts<'_>, past: &Past) -> u32 {
    let breached = |policy: &&RulePolicy| {
        facts.verdicts.iter().any(|verdict| {
            verdict.rule == policy.index
                && verdict.reading.verdict == Verdict::Breached
                && !past.is_judged(policy.scope, verdict.rule, &verdict.witness)
        })
    };
    let count = policies
        .iter()
        .filter(|policy| policy.scope == PROTOCOL && !policy.is_silent_at(facts.block.timestamp))
        .filter(breached)
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::chain::BlockRef;
    use crate::decide::{Reading, Response, RuleVerdict};
    use alloy::primitives::B256;
    use cordon_client::config::Severity;
    use cordon_core::level::Level;
    use cordon_core::rule::value::Int;
    use proptest::prelude::*;

    fn decision(act: Act, scope: u8) -> Decision {
        Decision {
            rule: 3,
            witness: vec![],
            act,
            scope,
            level: Level::ReduceOnly,
            duration: 60,
            severity: Severity::P1,
            reading: Reading {
                verdict: Verdict::Breached,
                reason: 0,
                observed: Int::ZERO,
                bound: Int::ZERO,
            },
        }
    }

    const ALONE: Support = Support {
        rules: 1,
        endpoints: 1,
        against: 0,
        keepers: 1,
    };
    const ALL: Quorum = Quorum {
        rules: 2,
        endpoints: 2,
        keepers: 3,
    };

    #[test]
    fn the_whole_protocol_waits_for_all_that_have_to_agree() {
        let waiting = ALL.judge(decision(Act::Trip, 0), &ALONE).unwrap_err();
        assert_eq!(
            waiting.why,
            "1 of 2 rules are breached, 1 of 2 endpoints say so, 1 of 3 keepers have found it"
        );
        let two_keepers = Support {
            rules: 2,
            endpoints: 2,
            keepers: 2,
            against: 0,
        };
        assert_eq!(
            ALL.judge(decision(Act::Trip, 0), &two_keepers).unwrap_err().why,
            "2 of 3 keepers have found it"
        );
        let all = Support {
            keepers: 3,
            ..two_keepers
        };
        assert_eq!(ALL.judge(decision(Act::Trip, 0), &all).unwrap().act, Act::Trip);
        // A market, and what is only recorded, wait for nobody.
        assert!(ALL.judge(decision(Act::Trip, 1), &ALONE).is_ok());
        assert!(ALL.judge(decision(Act::Shadow, 0), &ALONE).is_ok());
    }

    #[test]
    fn authority_that_is_contradicted_is_left_to_the_guard() {
        for (endpoints, against, act) in [
            (1, 0, Act::Contain),
            (1, 1, Act::Trip),
            (2, 1, Act::Contain),
            (1, 2, Act::Trip),
        ] {
            let support = Support {
                endpoints,
                against,
                ..ALONE
            };
            let judged = Quorum::default().judge(decision(Act::Contain, 1), &support).unwrap();
            assert_eq!(judged.act, act, "{endpoints} for, {against} against");
            let tripped = Quorum::default().judge(decision(Act::Trip, 1), &support).unwrap();
            assert_eq!(tripped.act, Act::Trip, "what is proved needs no second opinion");
        }
    }

    #[test]
    fn others_are_asked_only_where_their_word_counts() {
        let one = Quorum::default();
        assert!(one.asks_endpoints(&decision(Act::Contain, 1)), "authority always is");
        assert!(!one.asks_endpoints(&decision(Act::Trip, 0)) && !one.asks_keepers(&decision(Act::Trip, 0)));
        assert!(ALL.asks_endpoints(&decision(Act::Trip, 0)) && !ALL.asks_endpoints(&decision(Act::Trip, 1)));
        assert!(ALL.asks_keepers(&decision(Act::Trip, 0)) && !ALL.asks_keepers(&decision(Act::Trip, 1)));
        assert!(!ALL.asks_keepers(&decision(Act::Shadow, 0)));
    }

    #[test]
    fn only_breaches_of_the_protocol_that_are_new_and_acted_on_are_counted() {
        let policy = |index: u16, scope: u8, shadow: bool| RulePolicy {
            index,
            id: format!("rule-{index}"),
            scope,
            level: Level::ReduceOnly,
            duration: 3_600,
            severity: Severity::P1,
            robust: true,
            shadow,
            response: Response::Trip,
            cooldown: 10,
            maintenance: Vec::new(),
        };
        let policies = [
            policy(0, PROTOCOL, false),
            policy(1, 1, false),
            policy(2, PROTOCOL, true),
            policy(3, PROTOCOL, false),
            policy(4, PROTOCOL, false),
        ];
        let verdicts: Vec<RuleVerdict> = (0..5)
            .map(|rule| {
                let mut reading = decision(Act::Trip, 0).reading;
                if rule == 4 {
                    reading.verdict = Verdict::Holds;
                }
                RuleVerdict {
                    rule,
                    witness: vec![],
                    reading,
                }
            })
            .collect();
        let block = BlockRef {
            number: 60,
            hash: B256::repeat_byte(7),
            parent: B256::repeat_byte(6),
            timestamp: 1_000_000,
            base_fee: 0,
        };
        let facts = BlockFacts {
            block: &block,
            verdicts: &verdicts,
            scopes: &[],
        };
        assert_eq!(protocol_breaches(&policies, &facts, &Past::default()), 2);
        // What people have released stands since before their release: it is theirs.
        let past = Past {
            standing: [((3, vec![]), 40)].into(),
            released: [(PROTOCOL, 50)].into(),
            ..Past::default()
        };
        assert_eq!(protocol_breaches(&policies, &facts, &past), 1);
    }

    proptest! {
        #[test]
        fn more_support_never_holds_anything_back(
            rules in 1u32..4, endpoints in 1u32..4, keepers in 1u32..4,
            (r, e, a, k) in (1u32..5, 1u32..5, 0u32..5, 1u32..5), scope in 0u8..2, contain: bool,
        ) {
            let quorum = Quorum { rules, endpoints, keepers };
            let act = if contain { Act::Contain } else { Act::Trip };
            let support = Support { rules: r, endpoints: e, against: a, keepers: k };
            let more = Support { rules: r + 1, endpoints: e + 1, against: a, keepers: k + 1 };
            let judged = quorum.judge(decision(act, scope), &support);
            if judged.is_ok() {
                prop_assert!(quorum.judge(decision(act, scope), &more).is_ok());
            }
            let enough = r >= rules && e >= endpoints && k >= keepers;
            prop_assert_eq!(judged.is_ok(), scope != 0 || enough);
        }
    }
}
