//! What holds for any input.

use super::*;
use proptest::prelude::*;

fn any_level() -> impl Strategy<Value = Level> {
    (0usize..5).prop_map(|i| Level::ALL[i])
}

prop_compose! {
    fn any_policy(index: u16)(scope in 0u8..3, level in any_level(), duration in 60u32..7_200, robust: bool, shadow: bool,
        contain: bool, cooldown in 0u32..100, p1: bool) -> RulePolicy {
        RulePolicy { index, id: String::new(), scope, level, duration, robust, shadow, cooldown, maintenance: Vec::new(),
            severity: if p1 { Severity::P1 } else { Severity::P3 },
            response: if contain { Response::Contain } else { Response::Trip } }
    }
}

prop_compose! {
    fn any_verdict()(rule in 0u16..5, kind in 0u8..3, observed in 0u64..9, bound in 0u64..9, witness in 0u8..3) -> RuleVerdict {
        let kind = [Verdict::Holds, Verdict::Breached, Verdict::Unknown][usize::from(kind)];
        verdict(rule, kind, observed, bound, &[witness])
    }
}

prop_compose! {
    fn any_scope()(scope in 0u8..3, level in any_level(), left in 0u64..7_200, applied: bool) -> ScopeReading {
        ScopeReading { scope, level, expires_at: NOW + left, applied, ..ScopeReading::default() }
    }
}

prop_compose! {
    fn any_past()(past in prop::collection::btree_map(0u16..5, (prop::option::of(NOW - 200..NOW + 5),
        prop::option::of(NOW - 5..NOW + 1), any::<bool>()), 0..5)) -> Past {
        Past { rules: past.into_iter().map(|(rule, (decided_at, observed_at, open))|
            (rule, RulePast { decided_at, observed_at, open, ..RulePast::default() })).collect(), ..Past::default() }
    }
}

proptest! {
    #[test]
    fn decisions_keep_their_promises(
        policies in (any_policy(0), any_policy(1), any_policy(2), any_policy(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d]),
        verdicts in prop::collection::vec(any_verdict(), 0..20),
        scopes in prop::collection::vec(any_scope(), 0..3),
        past in any_past(),
    ) {
        let decisions = run(&policies, &verdicts, &scopes, &past);
        let mut seen = std::collections::BTreeSet::new();
        for decision in &decisions {
            let policy = &policies[usize::from(decision.rule)];
            prop_assert!(seen.insert(decision.rule), "one decision per rule and block");
            prop_assert!(verdicts.iter().any(|v| v.rule == decision.rule && v.witness == decision.witness
                && v.reading == decision.reading && v.reading.verdict == Verdict::Breached));
            prop_assert_eq!(decision.act == Act::Shadow, policy.shadow);
            prop_assert_eq!(decision.act == Act::Tell, !policy.shadow && !policy.level.is_raised());
            prop_assert!(policy.robust || decision.level.rank() <= Level::ReduceOnly.rank());
            prop_assert!(!past.rules.get(&decision.rule).is_some_and(|p| p.open));
            prop_assert!(policy.is_silent() || !held(&scopes, policy.scope, decision.level, NOW, policy.duration));
        }
        // Neither the order of what was read nor that of the policies matters.
        let mut turned = verdicts.clone();
        turned.reverse();
        let mut backwards = policies.clone();
        backwards.reverse();
        prop_assert_eq!(&run(&backwards, &turned, &scopes, &past), &decisions);
        // Every breach without an excuse is answered.
        for policy in policies.iter().filter(|p| !past.rules.contains_key(&p.index)) {
            let breached = verdicts.iter().any(|v| v.rule == policy.index && v.reading.verdict == Verdict::Breached);
            let excused = !policy.is_silent() && held(&scopes, policy.scope, policy.reachable(), NOW, policy.duration);
            prop_assert_eq!(decisions.iter().any(|d| d.rule == policy.index), breached && !excused);
        }
    }
}
