//! The encoding: strict, one for each rulebook, and arbitrary bytes are refused.

use super::*;

#[test]
fn layout_is_strict() {
    let code = book().encode().unwrap();
    let problem = |bytes: &[u8]| check(bytes).unwrap_err().problem;
    let mut longer = code.clone();
    longer.push(0);
    assert_eq!(problem(&longer), Problem::BadLayout);
    assert_eq!(problem(&code[1..]), Problem::NotARulebook);
    assert_eq!(problem(&[]), Problem::NotARulebook);
    // Versions 1 to 8 had scopes of one byte: read as if they had five, they would say something else. Above 16 is nothing yet.
    for version in (0..=u8::MAX).filter(|version| !(9..=16).contains(version)) {
        let mut other = code.clone();
        other[3] = version;
        assert_eq!(problem(&other), Problem::NotARulebook, "version {version}");
    }
    assert_eq!(problem(&[0; 24_577]), Problem::TooLong);
    // A gap before the last body: everything else still fits.
    let record = View::open(&code).unwrap().header().containment_range(0).unwrap();
    let body = usize::from(u16::from_be_bytes([code[record.end - 4], code[record.end - 3]]));
    let mut gap = code.clone();
    gap.insert(body, 0);
    gap[record.end - 4..record.end - 2].copy_from_slice(&u16::try_from(body + 1).unwrap().to_be_bytes());
    assert_eq!(problem(&gap), Problem::BadLayout);
    for end in 4..code.len() {
        assert!(check(&code[..end]).is_err(), "{end}");
    }
}

fn books() -> impl Strategy<Value = Rulebook> {
    let sources = [
        "vault.totalAssets() >= vault.totalSupply()",
        "oracle.getSourceOfAsset(weth) == weth_feed",
        "usdc.balanceOf(vault) * 3 / 7 < 5 || now > 9 days",
    ];
    let programs = prop::sample::select(sources.map(condition).to_vec());
    let raised = prop::sample::select(vec![Level::Throttled, Level::ReduceOnly, Level::Halted]);
    let rules = (
        any::<prop::sample::Index>(),
        any::<bool>(),
        raised.clone(),
        1u32..=3600,
        0u16..2048,
        programs.clone(),
        any::<bool>(),
    )
        .prop_map(|(scope, shadow, level, duration, check, program, hook)| {
            let base = if hook {
                hook_rule()
            } else {
                Rule {
                    level,
                    duration,
                    program,
                    ..state_rule("vault.paused()")
                }
            };
            let check = if hook { check | 1 } else { check };
            Rule {
                scope: u8::try_from(scope.index(3)).unwrap(),
                shadow,
                check: ActionSet::from_bits(check).unwrap(),
                ..base
            }
        });
    let call = (any::<[u8; 20]>(), prop::collection::vec(any::<u8>(), 4..80));
    let undo = (call.clone(), programs.clone())
        .prop_filter("a target", |((target, _), _)| *target != [0; 20])
        .prop_map(|((target, calldata), undone)| Undo {
            target: target.into(),
            calldata,
            undone,
        });
    let containments = (
        any::<prop::sample::Index>(),
        raised,
        call,
        1u32..1_300_000,
        0u32..604_800,
        programs,
        prop::collection::vec(undo, 0..4),
    )
        .prop_map(
            |(scope, level, (target, calldata), gas, max_duration, done, undo)| Containment {
                scope: u8::try_from(scope.index(3)).unwrap(),
                level,
                target: Address::new(target),
                calldata,
                gas,
                closes: ActionSet::EMPTY.with(Action::Increase),
                max_duration,
                done,
                undo,
            },
        );
    (
        prop::collection::vec(rules, 0..8),
        prop::collection::vec(containments, 0..6),
        prop::collection::btree_map(60_u32..10_000, (1_u16..=10_000, 0_u8..3), 0..4),
        prop::collection::btree_map("[!-~]{1,32}", sets(), 0..4),
    )
        .prop_map(|(rules, containments, streams, sets)| Rulebook {
            scopes: vec![
                scope(ScopeKind::Protocol),
                scope(ScopeKind::Asset),
                scope(ScopeKind::Function),
            ],
            callers: vec![address("vault")],
            rules,
            containments,
            streams: streams
                .into_iter()
                .map(|(period, (step, scope))| Stream {
                    scope,
                    spec: spec(period, step),
                    program: rule("anchor(vault.totalAssets(), 1 h, 0, 9) > 1").streams[0]
                        .program
                        .clone(),
                })
                .collect(),
            sets: sets
                .into_iter()
                .map(|(name, (reviewed, orders))| ContainmentSet {
                    name: set_name(&name).unwrap(),
                    reviewed: B256::repeat_byte(reviewed),
                    orders,
                })
                .collect(),
        })
}

/// Anchors, and statistics now and then.
fn spec(period: u32, step: u16) -> Spec {
    if !step.is_multiple_of(3) {
        let bound = |value: u32| Reading::new(&Int::from(U256::from(value) << (period % 200) as usize));
        return Spec::Anchor(anchor::Spec {
            period,
            step,
            low: bound(period),
            high: bound(period + u32::from(step)),
        });
    }
    Spec::Baseline(baseline::Spec {
        shift: (step % 193) as u8,
        low: 0,
        high: u64::from(step),
        floor: 1,
        roof: u64::from(step),
        rate: 64 + step % 8_000,
        clip: 1_000 + step,
        slack: step % 1_000,
        cap: step,
        spacing: 60 + step,
        window: 20_000 + period,
    })
}

/// The hash's byte and what a set raises.
fn sets() -> impl Strategy<Value = (u8, Vec<Order>)> {
    let raised = prop::sample::select(vec![Level::Throttled, Level::ReduceOnly, Level::Halted]);
    let orders = prop::collection::btree_map(0_u8..3, (raised, 1_u32..=2_419_200), 1..4);
    (1_u8.., orders).prop_map(|(reviewed, orders)| {
        let orders = orders
            .into_iter()
            .map(|(scope, (level, duration))| Order { scope, level, duration });
        (reviewed, orders.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn decode_undoes_encode(book in books()) {
        let code = book.encode().unwrap();
        prop_assert_eq!(Rulebook::decode(&code).unwrap(), book);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), counts: [u8; 4]) {
        let _ = Rulebook::decode(&bytes);
        let mut code = vec![0, b'C', b'R', 1, counts[0], counts[1] % 4, 0, counts[2] % 8, 0, counts[3] % 8];
        code.extend(bytes);
        let _ = Rulebook::decode(&code);
    }

    #[test]
    fn what_is_adopted_has_one_encoding(book in books(), at in any::<prop::sample::Index>(), to: u8) {
        let mut code = book.encode().unwrap();
        let at = at.index(code.len());
        code[at] = to;
        if let Ok(decoded) = Rulebook::decode(&code) {
            prop_assert_eq!(&decoded.encode().unwrap(), &code);
        }
        if let Ok(view) = View::open(&code) {
            for index in 0..view.header().containments.min(8) {
                let record = view.containment(index);
                let _ = record.and_then(|record| view.containment_body(&record).map(|body| body.undo().count()));
            }
        }
    }
}
