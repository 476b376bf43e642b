//! Each fault of a rulebook is named, and where it is.

use super::*;

#[test]
fn each_fault_is_named() {
    let rule0 = |problem| (Item::Rule(0), problem);
    let call0 = |problem| (Item::Containment(0), problem);
    assert_eq!(refused(|book| book.scopes.clear()), (Item::Book, Problem::BadScope));
    assert_eq!(
        refused(|book| book.scopes[1].kind = ScopeKind::Protocol),
        (Item::Scope(1), Problem::BadScope)
    );
    assert_eq!(
        refused(|book| book.scopes = vec![scope(ScopeKind::Market); 129]),
        (Item::Book, Problem::TooMany)
    );
    assert_eq!(
        refused(|book| book.callers[1] = address("vault")),
        (Item::Caller(1), Problem::BadCaller)
    );
    assert_eq!(
        refused(|book| book.callers[0] = Address::ZERO),
        (Item::Caller(0), Problem::BadCaller)
    );
    assert_eq!(refused(|book| book.rules[0].scope = 2), rule0(Problem::BadScope));
    assert_eq!(
        refused(|book| book.rules[0].class = Class::Keeper),
        rule0(Problem::BadClass)
    );
    assert_eq!(
        refused(|book| book.rules[0].level = Level::Grace),
        rule0(Problem::BadLevel)
    );
    assert_eq!(
        refused(|book| book.rules[0].duration = 3601),
        rule0(Problem::BadDuration)
    );
    assert_eq!(refused(|book| book.rules[0].duration = 0), rule0(Problem::BadDuration));
    assert_eq!(refused(|book| book.rules[0].params = 1), rule0(Problem::WrongInputs));
    assert_eq!(
        refused(|book| {
            book.rules[0].params = 1;
            book.rules[0].check = ActionSet::ALL
        }),
        rule0(Problem::WitnessInHook)
    );
    assert_eq!(
        refused(|book| {
            book.rules[0].robust = false;
            book.rules[0].level = Level::Halted
        }),
        rule0(Problem::SpotRuleTooStrict)
    );
    assert_eq!(
        refused(|book| book.rules[0].program = hook_rule().entries[0].clone()),
        rule0(Problem::NotBoolean)
    );
    assert!(matches!(
        refused(|book| book.rules[0].program.truncate(12)),
        (Item::Rule(0), Problem::Program(_))
    ));
    assert_eq!(
        refused(|book| book.rules[1].level = Level::ReduceOnly).1,
        Problem::BadLevel
    );
    assert_eq!(
        refused(|book| book.rules[1].check = ActionSet::EMPTY).1,
        Problem::NothingChecks
    );
    assert_eq!(refused(|book| book.rules[1].entries.clear()).1, Problem::WrongInputs);
    assert_eq!(
        refused(|book| book.rules[1].class = Class::State).1,
        Problem::WrongInputs
    );
    assert_eq!(
        refused(|book| book.rules[0].program = condition("!round_trip")).1,
        Problem::WrongInputs,
        "who trips it chooses the transaction"
    );
    assert_eq!(
        refused(|book| book.containments[0].level = Level::Normal),
        call0(Problem::BadLevel)
    );
    assert_eq!(refused(|book| book.containments[0].gas = 0), call0(Problem::BadCall));
    assert_eq!(
        refused(|book| book.containments[0].calldata.truncate(3)),
        call0(Problem::BadCall)
    );
    assert_eq!(
        refused(|book| book.containments[0].undo[0].target = Address::ZERO),
        call0(Problem::BadCall)
    );
    assert_eq!(
        refused(|book| book.containments[0].max_duration = 604_801),
        call0(Problem::BadDuration)
    );
    assert_eq!(
        refused(|book| book.containments[0].done = hook_rule().program),
        call0(Problem::WrongInputs)
    );
    // Nor may it ask for what the guard stored, or what a caller has told.
    for source in ["anchor(vault.totalAssets(), 10 min, 0, 1e30) > 5", "!round_trip"] {
        let wrong = |book: &mut Rulebook| book.containments[0].undo[0].undone = condition(source);
        assert_eq!(refused(wrong), call0(Problem::WrongInputs), "{source}");
    }
    assert_eq!(
        refused(|book| {
            let undo = book.containments[0].undo[0].clone();
            book.containments[0].undo = vec![undo; 9]
        }),
        call0(Problem::TooMany)
    );
    let repay = ActionSet::EMPTY.with(Action::Repay);
    assert_eq!(
        refused(|book| book.containments[0].closes = repay),
        call0(Problem::RepayClosedTooLong)
    );
    assert_eq!(
        refused(|book| {
            book.containments[0].closes = repay.with(Action::Liquidate);
            book.containments[0].max_duration = 3_601
        }),
        call0(Problem::RepayClosedTooLong)
    );
    assert_eq!(
        refused(|book| {
            book.containments[0].closes = repay;
            book.containments[0].max_duration = 900
        }),
        call0(Problem::LiquidationWithoutRepay)
    );
    // Each call is within its bound, and all together are not: the last one counts as well, and undo calls by themselves.
    let together = |calls: usize, undo: usize| {
        refused(|book| {
            book.containments[0].gas = MAX_CALL_GAS;
            let item = book.containments[0].undo[0].clone();
            book.containments[0].undo = vec![item; undo];
            book.containments = vec![book.containments[0].clone(); calls];
        })
    };
    assert_eq!(together(5, 1), (Item::Book, Problem::TooMuchGas));
    assert_eq!(together(3, 2), (Item::Book, Problem::TooMuchGas));
    // What a call costs is more than its own gas: it is read back before and after, and so are its undo calls.
    assert_eq!(together(1, 3), call0(Problem::CallTooDear));
    assert_eq!(
        refused(|book| {
            book.containments[0].done = condition(&reads(25));
        }),
        call0(Problem::CallTooDear)
    );
    assert_eq!(
        refused(|book| book.rules = vec![state_rule("vault.totalAssets() >= 5"); 400]).1,
        Problem::TooLong
    );
    let error = {
        let mut book = book();
        book.rules[1].check = ActionSet::EMPTY;
        book.encode().unwrap_err()
    };
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (13, "rule 1: no hook checks this hook rule: name the actions in `check`")
    );
}
