//! Containment sets: found by their names, and within what a role may do.

use super::*;

fn order(scope: u8, level: Level, duration: u32) -> Order {
    Order { scope, level, duration }
}

/// The book with a set.
fn registered() -> Rulebook {
    Rulebook {
        sets: vec![ContainmentSet {
            name: set_name("stop-all").unwrap(),
            reviewed: B256::repeat_byte(7),
            orders: vec![order(1, Level::ReduceOnly, 3600), order(0, Level::Halted, 900)],
        }],
        ..book()
    }
}

#[test]
fn a_set_is_found_by_its_name_and_each_fault_in_it_is_named() {
    let code = registered().encode().unwrap();
    assert_eq!((code[3], Rulebook::decode(&code).unwrap()), (11, registered()));
    let view = View::open(&code).unwrap();
    let set = view.set_named(&set_name("stop-all").unwrap()).unwrap();
    assert_eq!(
        (set.reviewed, set.orders().collect::<Vec<_>>()),
        (B256::repeat_byte(7), registered().sets[0].orders.clone())
    );
    for other in ["stop", "stop-all-of", "STOP-ALL"] {
        assert_eq!(view.set_named(&set_name(other).unwrap()), None, "{other}");
    }
    assert!(view.set(1).is_err());
    let refused = |change: fn(&mut Rulebook)| {
        let mut book = registered();
        change(&mut book);
        let error = book.encode().expect_err("refused");
        (error.item, error.problem)
    };
    let set0 = |problem| (Item::Set(0), problem);
    let bad = set0(Problem::BadSet);
    assert_eq!(refused(|book| book.sets[0].name = B256::ZERO), bad);
    assert_eq!(refused(|book| book.sets[0].name = B256::with_last_byte(b'x')), bad);
    assert_eq!(refused(|book| book.sets[0].name.0[0] = b' '), bad);
    assert_eq!(refused(|book| book.sets[0].reviewed = B256::ZERO), bad);
    assert_eq!(refused(|book| book.sets[0].orders.clear()), bad);
    assert_eq!(refused(|book| book.sets[0].orders[1].scope = 1), bad);
    assert_eq!(
        refused(|book| book.sets.push(book.sets[0].clone())),
        (Item::Set(1), Problem::BadSet)
    );
    assert_eq!(
        refused(|book| book.sets[0].orders[0].scope = 2),
        set0(Problem::BadScope)
    );
    for level in [Level::Normal, Level::Grace] {
        let mut book = registered();
        book.sets[0].orders[0].level = level;
        assert_eq!(book.encode().unwrap_err().problem, Problem::BadLevel);
    }
    assert_eq!(
        refused(|book| book.sets[0].orders[0].duration = 0),
        set0(Problem::BadDuration)
    );
    assert_eq!(
        refused(|book| book.sets[0].orders[0].duration = 28 * 86_400 + 1),
        set0(Problem::BadDuration)
    );
    assert_eq!(
        refused(|book| {
            book.callers.clear();
            book.sets[0].orders[0].level = Level::Throttled
        }),
        set0(Problem::LevelHasNoEffect)
    );
    assert_eq!(
        refused(|book| book.sets = vec![book.sets[0].clone(); 33]),
        (Item::Book, Problem::TooMany)
    );
    // A level that means nothing, and half an order.
    let mut strange = code.clone();
    let at = strange.len() - 5;
    strange[at] = 9;
    assert_eq!(check(&strange).unwrap_err().problem, Problem::BadLevel);
    assert_eq!(check(&code[..code.len() - 1]).unwrap_err().problem, Problem::Truncated);
    // A rulebook without sets is not of the version with sets.
    let mut none = book().encode().unwrap();
    none[3] = 11;
    none.insert(10, 0);
    assert_eq!(check(&none).unwrap_err().problem, Problem::NotARulebook);
}

#[test]
fn names_of_sets_are_short_visible_words() {
    assert!(set_name(&"x".repeat(32)).is_some());
    for bad in ["", "two words", "tab\t", "ö", &"x".repeat(33)] {
        assert_eq!(set_name(bad), None, "{bad}");
    }
}

#[test]
fn a_set_is_within_a_role_when_each_level_and_all_together_are() {
    let hour = |level| order(1, level, 3600);
    let within =
        |orders: &[Order]| [Actor::Keeper, Actor::Guardian, Actor::Governor].map(|actor| is_within(orders, actor));
    assert_eq!(
        within(&[hour(Level::ReduceOnly), hour(Level::Throttled)]),
        [true, true, true]
    );
    assert_eq!(within(&[hour(Level::ReduceOnly); 3]), [false, true, true]);
    assert_eq!(within(&[hour(Level::Halted)]), [false, true, true]);
    assert_eq!(within(&[order(1, Level::Halted, 86_400); 4]), [false, false, true]);
    assert_eq!(within(&[order(1, Level::Halted, 86_401)]), [false, false, true]);
}
