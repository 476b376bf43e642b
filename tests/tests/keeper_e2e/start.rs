//! What keeps a keeper from starting, and what it says then.

use std::time::Duration;

use alloy::primitives::Address;
use cordon_client::config::{Fallback, Respond};
use cordon_keeper::record::{AlarmKind, Store};
use cordon_keeper::respond::SafeFallback;
use cordon_keeper::{Keeper, KeeperError, Options, Preflight, Signers};
use tokio_util::sync::CancellationToken;

use crate::process::{Process, watching};
use crate::world::{GAUGE_RULE, HEARTBEAT, KEEPER, USER, World, key};

async fn refused(world: &World, options: Options, signers: Signers) -> KeeperError {
    let path = world.dir.path().join("refused.db");
    let _ = std::fs::remove_file(&path);
    let store = Store::open(path, options.chain_id, options.guard).await.unwrap();
    match Keeper::new(options, &world.compiled, store, signers).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_has_its_own_clear_error() {
    let world = World::new(&GAUGE_RULE).await;
    let signers = World::signers;

    let down = Options {
        rpc: vec!["http://127.0.0.1:1".into()],
        rpc_timeout: Duration::from_millis(500),
        ..world.options()
    };
    let error = refused(&world, down, signers()).await.to_string();
    assert!(
        error.contains("127.0.0.1:1") && error.contains("cordon.toml"),
        "{error}"
    );

    let error = refused(
        &world,
        Options {
            chain_id: 1,
            ..world.options()
        },
        signers(),
    )
    .await
    .to_string();
    assert!(
        error.contains("serves chain 31337") && error.contains("chain 1"),
        "{error}"
    );

    let nowhere = Options {
        guard: Address::repeat_byte(9),
        ..world.options()
    };
    let error = refused(&world, nowhere, signers()).await;
    assert!(matches!(error, KeeperError::NoCode { .. }), "{error}");

    let not_a_guard = Options {
        guard: world.board,
        ..world.options()
    };
    let error = refused(&world, not_a_guard, signers()).await;
    assert!(matches!(error, KeeperError::NotAGuard { .. }), "{error}");

    let roleless = Signers::local(key(KEEPER), Some(key(USER)));
    let error = refused(&world, world.options(), roleless).await;
    assert!(
        matches!(&error, KeeperError::MissingRole { role: "Heartbeat", .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&key(USER).address().to_string()), "{error}");

    // By its own authority a keeper acts only with the role, and with a heartbeat.
    let mut by_authority = world.compiled.clone();
    by_authority.rules[0].respond = Respond::Contain;
    let signers_of = |keeper, heartbeat| Signers::local(key(keeper), heartbeat);
    let store = world.store().await;
    let roleless = signers_of(USER, Some(key(HEARTBEAT)));
    let error = Keeper::new(world.options(), &by_authority, store, roleless)
        .await
        .unwrap_err();
    assert!(
        matches!(error, KeeperError::MissingRole { role: "Keeper", .. }),
        "{error}"
    );
    let store = world.store().await;
    let error = Keeper::new(world.options(), &by_authority, store, signers_of(KEEPER, None))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("`gauge-low`") && error.to_string().contains("heartbeat_key"),
        "{error}"
    );

    let poor = Signers::local(alloy::signers::local::PrivateKeySigner::random(), None);
    let error = refused(&world, world.options(), poor).await;
    assert!(matches!(error, KeeperError::NoFunds { .. }), "{error}");

    let mut compiled = world.compiled.clone();
    compiled.code = vec![0, 1, 2].into();
    let store = world.store().await;
    let error = Keeper::new(world.options(), &compiled, store, signers())
        .await
        .unwrap_err();
    assert!(matches!(error, KeeperError::OtherRulebook { .. }), "{error}");

    let foreign = Store::open(world.dir.path().join("foreign.db"), 31_337, world.board)
        .await
        .unwrap();
    let error = Keeper::new(world.options(), &world.compiled, foreign, signers())
        .await
        .unwrap_err();
    assert!(matches!(error, KeeperError::OtherRecord { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_keeper_on_the_same_file_is_refused_and_readers_are_not() {
    let world = World::new(&GAUGE_RULE).await;
    let store = world.store().await;
    let mut process = Process::start(&world, &[]);
    watching(&world, &store).await;
    let keeper = || async {
        let second = Keeper::new(world.options(), &world.compiled, world.store().await, World::signers());
        second.await.unwrap_or_else(|e| panic!("{e}"))
    };
    let error = keeper().await.run(CancellationToken::new()).await.unwrap_err();
    let path = std::fs::canonicalize(world.dir.path().join("cordon.db")).unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "another keeper runs on the record {}: two would decide everything twice; stop it, or give this one a file of its own ([keeper] store), or let both share a PostgreSQL database",
            path.display()
        )
    );
    // Who reads or acknowledges beside it goes on.
    assert!(!store.window(1).await.unwrap().is_empty());
    let alarm = store
        .raise_alarm(AlarmKind::ConfigChanged, "cordon.toml", "a test", None)
        .await;
    assert!(alarm.unwrap());
    let nobody = store.acknowledge("config-changed", " \n").await.unwrap_err();
    assert!(nobody.to_string().contains("--by NAME"), "{nobody}");
    store.acknowledge("config-changed", "ada").await.unwrap();
    // The lock ends with its holder, however that ends.
    process.kill();
    let (third, stop) = (keeper().await, CancellationToken::new());
    let running = tokio::spawn(third.run(stop.clone()));
    watching(&world, &store).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_fail_when_it_is_needed_is_found_beforehand() {
    let world = World::new(&GAUGE_RULE).await;
    let fallback = |id: &str, safe: Address, file: &str| {
        let config = Fallback {
            id: id.to_owned(),
            scopes: vec![],
            safe,
            deadline: 30,
            patience: 60,
            signed: vec![world.dir.path().join(file)],
            proposal: None,
        };
        SafeFallback::new(config, world.dir.path()).unwrap()
    };
    let nobody = Address::repeat_byte(9);
    let options = Options {
        ws: Some("ws://127.0.0.1:1/s3cret".to_owned()),
        reports: Some("/proc/x".into()),
        fallbacks: vec![
            fallback("nobody", nobody, "missing.json"),
            fallback("board", world.board, "hook"),
        ],
        ..world.options()
    };
    std::fs::write(world.dir.path().join("hook"), "{}").unwrap();
    let of = |options: Options| async {
        let keeper = Keeper::new(options, &world.compiled, world.store().await, World::signers());
        keeper.await.unwrap_or_else(|e| panic!("{e}")).preflight().await
    };
    let found = of(options).await;
    let dir = world.dir.path().display();
    let board = world.board;
    assert_eq!(
        found.problems,
        [
            "[keeper] reports: nothing can be written to /proc/x: No such file or directory (os error 2); name another folder, or let the keeper write there".to_owned(),
            format!("[[fallback]] `nobody`: there is no contract at {nobody}: correct `safe`"),
            format!("[[fallback]] `nobody`: {dir}/missing.json: it cannot be read: No such file or directory (os error 2); let the owners sign, and put the file there"),
            format!("[[fallback]] `board`: {board} does not answer as a Safe does: correct `safe`"),
            format!("[[fallback]] `board`: {dir}/hook: `safe` is missing, or is not an address; let the owners sign, and put the file there"),
        ]
    );
    assert_eq!(found.warnings.len(), 1);
    assert!(
        found.warnings[0].starts_with("[chain] ws: it gives no subscription") && !found.warnings[0].contains("s3cret"),
        "{found:?}"
    );
    assert_eq!(of(world.options()).await, Preflight::default());
    assert!(!world.dir.path().join("incidents").exists(), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_of_one_account_are_refused() {
    let world = World::new(&GAUGE_RULE).await;
    let signers = Signers {
        more: vec![key(KEEPER).into()],
        ..World::signers()
    };
    let error = refused(&world, world.options(), signers).await;
    assert!(matches!(error, KeeperError::SameAccount { .. }), "{error}");
    assert!(
        error.to_string().contains(&key(KEEPER).address().to_string()),
        "{error}"
    );
}

/// An alarm that nobody closes would keep the next of its kind from being told.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_left_open_and_has_no_cause_any_more_is_cleared() {
    let world = World::new(&GAUGE_RULE).await;
    let store = world.store().await;
    let options = Options {
        // The same endpoint under another name.
        rpc: vec![
            world.node.http_endpoint(),
            world.node.http_endpoint().replace("127.0.0.1", "localhost"),
        ],
        compare_every: Duration::from_millis(300),
        heartbeat: Duration::from_secs(1),
        ..world.options()
    };
    for kind in AlarmKind::ALL {
        // Of what there is, as the keeper calls it, and of what there was.
        let subjects: &[&str] = match kind {
            AlarmKind::RuleUnknown | AlarmKind::QuorumShort | AlarmKind::SecondOpinion => &["gauge-low", "gone-rule"],
            AlarmKind::NotReady => &["gauge-low", "gone-rule", "[keeper] more_keys", "set:gone"],
            AlarmKind::ActionDelayed | AlarmKind::ActionRefused => &["intent 77", "gauge-low"],
            AlarmKind::ContainmentFailed => &["gone-call"],
            AlarmKind::Endpoint | AlarmKind::WrongAnswer => &["gone:8545"],
            AlarmKind::Disagreement => &["endpoints", "chain"],
            AlarmKind::NotifyFailed => &["gone-channel"],
            AlarmKind::FallbackNotReady => &["gone-fallback"],
            AlarmKind::WatchUnknown => &["gone-watch", "pending transactions"],
            AlarmKind::Blind | AlarmKind::Polling => &["heads"],
            AlarmKind::Stale => &["keeper"],
            AlarmKind::Behind => &["blocks"],
            AlarmKind::Record => &["record"],
            AlarmKind::EventsUnread | AlarmKind::LogsIncomplete => &["logs"],
            AlarmKind::Heartbeat => &["heartbeat"],
            AlarmKind::RulebookChanged => &["rulebook"],
            AlarmKind::Evaluation => &["rules"],
            AlarmKind::Streams => &["streams"],
            AlarmKind::HeartbeatUrl => &["heartbeat_url"],
            AlarmKind::NonceMissing => &["0x00000000000000000000000000000000000000aa"],
            AlarmKind::ConfigChanged => &["cordon.toml"],
            // Its end is that of its ladder.
            AlarmKind::NotContained => &[],
        };
        for subject in subjects {
            store.raise_alarm(kind, subject, "left open", None).await.unwrap();
        }
    }
    for url in &options.rpc {
        let name = url.trim_start_matches("http://").trim_end_matches('/');
        store
            .raise_alarm(AlarmKind::Endpoint, name, "left open", None)
            .await
            .unwrap();
        store
            .raise_alarm(AlarmKind::WrongAnswer, name, "left open", None)
            .await
            .unwrap();
    }
    let keeper = world.keeper_with(options, store, World::signers()).await.unwrap();
    let begun = std::time::Instant::now();
    loop {
        let open = keeper.store.open_alarms().await.unwrap();
        if open == [(AlarmKind::ConfigChanged, "cordon.toml".to_owned())] {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "left open: {open:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    keeper.stop().await;
}
