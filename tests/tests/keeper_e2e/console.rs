//! The console of a running keeper: fresh data, bounded, for reading only.

use std::net::SocketAddr;
use std::time::Duration;

use alloy::primitives::U256;
use cordon_keeper::{Keeper, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::board::GAUGE;
use crate::world::{GAUGE_RULE, HEARTBEAT, KEEPER, World, key, until};

/// One request as a browser or Prometheus makes it: status and body.
pub(crate) async fn get(at: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

/// What an orchestrator hears: the status and the body.
pub(crate) async fn health(at: SocketAddr) -> (u16, String) {
    get(at, "localhost", "/health").await
}

async fn json(at: SocketAddr, path: &str) -> Value {
    let (status, body) = get(at, "localhost", path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_shows_what_it_sees_and_has_recorded() {
    let world = World::new(&GAUGE_RULE).await;
    give(&world).await;
    let store = world.store().await;
    let mut keeper = Keeper::new(world.options(), &world.compiled, store.clone(), World::signers())
        .await
        .unwrap();
    let at = keeper.open_console("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    assert_eq!(keeper.address(), key(KEEPER).address());
    let task = tokio::spawn(keeper.run(stop.clone()));
    until("it is well", || async { json(at, "/health").await["status"] == "well" }).await;

    // The stream tells of an incident while it happens.
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream
        .write_all(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await
        .unwrap();
    world.set(GAUGE, 5_000).await;
    let mut told = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&told).contains("event: contained") {
            assert!(stream.read_buf(&mut told).await.unwrap() > 0, "the stream ended");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("the stream tells");
    assert!(String::from_utf8_lossy(&told).contains("event: decided"));

    until("the incident is contained", || async {
        json(at, "/api/incidents/1").await["state"] == "contained"
    })
    .await;
    let list = json(at, "/api/incidents?limit=5").await;
    assert_eq!(list["incidents"][0]["rule"], "gauge-low");
    let status = json(at, "/api/status").await;
    assert_eq!(
        (&status["open"][0]["topic"], &status["health"]),
        (&"incident:1".into(), &"well".into())
    );
    let verdicts = json(at, "/api/verdicts").await;
    assert_eq!(verdicts["verdicts"][0]["observed"], "5000");
    let hash = verdicts["block"].as_str().unwrap();
    json(at, &format!("/api/blocks/{hash}/verdicts")).await;
    assert_eq!(
        json(at, "/api/notices").await["notices"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()["kind"],
        "opened"
    );
    json(at, "/api/alarms").await;
    let shadow = json(at, "/api/shadow").await;
    assert_eq!(shadow["shadowed"].as_array().map(Vec::len), Some(0), "{shadow}");
    assert_eq!(json(at, "/api/openapi.json").await["openapi"], "3.1.0");

    // They count what happens a moment after the record has it.
    until("the end of the action is counted", || async {
        let (_, metrics) = get(at, "127.0.0.1:1", "/metrics").await;
        metrics.contains("cordon_keeper_actions_finished_total{outcome=\"done\"} 1\n")
    })
    .await;
    let (status, metrics) = get(at, "127.0.0.1:1", "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "cordon_keeper_healthy 1",
        "cordon_keeper_incidents_open 1",
        "cordon_keeper_decisions_total 1",
        "cordon_keeper_verdicts{verdict=\"breached\"} 1",
        "cordon_keeper_actions_finished_total{outcome=\"done\"} 1",
        "cordon_keeper_head_to_decision_seconds_count 1",
    ] {
        assert!(
            metrics.lines().any(|held| held == line),
            "{line} is missing in\n{metrics}"
        );
    }
    each_balance_is_of_its_account(at).await;
    assert!(metrics.ends_with("# EOF\n"));

    for (host, path, wanted) in [
        ("evil.example", "/api/status", 403),
        ("localhost", "/api/incidents/99", 404),
        ("localhost", "/api/incidents/one", 400),
        ("localhost", "/api/incidents?limit=many", 400),
        ("localhost", "/api/incidents?limit=0", 400),
        ("localhost", "/api/alarms?limit=1000", 400),
        ("localhost", "/api/incidents/99/playbooks", 404),
        ("localhost", "/api/blocks/0x12/verdicts", 400),
        ("localhost", "/nowhere", 404),
    ] {
        assert_eq!(get(at, host, path).await.0, wanted, "{host} {path}");
    }

    // The node dies: a process that runs is no health.
    world.node.stop().await.unwrap();
    until("it is ill", || async { get(at, "localhost", "/health").await.0 == 503 }).await;
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// What the keeper's account and the heartbeat's are given, in ether: as different as can be told after what they have paid for gas.
const GIVEN: [(u32, u32); 2] = [(KEEPER, 7), (HEARTBEAT, 1_300)];

async fn give(world: &World) {
    for (index, ether) in GIVEN {
        let wei = U256::from(ether) * U256::from(10).pow(U256::from(18));
        world.rpc("anvil_setBalance", json!([key(index).address(), wei])).await;
    }
}

/// Each account's balance is shown as that account's.
async fn each_balance_is_of_its_account(at: SocketAddr) {
    for (index, ether) in GIVEN {
        let start = format!("cordon_keeper_balance_ether{{account=\"{}\"}} ", key(index).address());
        until("the account's balance is known", || async {
            let (_, metrics) = get(at, "127.0.0.1:1", "/metrics").await;
            let Some(shown) = metrics.lines().find_map(|line| line.strip_prefix(&start)) else {
                return false;
            };
            let (shown, ether) = (shown.parse::<f64>().unwrap(), f64::from(ether));
            assert!(shown <= ether && shown > ether - 1.0, "{shown} of {ether}:\n{metrics}");
            true
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_in_shadow_would_have_done_is_shown_once() {
    let mut world = World::new(&GAUGE_RULE).await;
    world.compiled.rules[0].shadow = true;
    let options = Options {
        cooldown: 0,
        ..world.options()
    };
    let store = world.store().await;
    let mut keeper = Keeper::new(options, &world.compiled, store.clone(), World::signers())
        .await
        .unwrap();
    let at = keeper.open_console("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(keeper.run(stop.clone()));
    until("it is well", || async { json(at, "/health").await["status"] == "well" }).await;
    for times in 1..=2 {
        let bad = world.set(GAUGE, 5_000).await;
        world.reach(bad + 6).await;
        until("it is shown", || async {
            json(at, "/api/shadow").await["rules"]["gauge-low"] == times
        })
        .await;
        let good = world.set(GAUGE, 1).await;
        world.reach(good + 3).await;
    }
    let shown = json(at, "/api/shadow?limit=5").await;
    assert_eq!(
        shown["shadowed"].as_array().map(Vec::len),
        Some(2),
        "once for each breach: {shown}"
    );
    let newest = &shown["shadowed"][0];
    assert_eq!(
        [&newest["rule"], &newest["observed"], &newest["scope"], &newest["level"]],
        ["gauge-low", "5000", "market", "ReduceOnly"]
    );
    assert_eq!(json(at, "/api/status").await["shadowed"], 2);
    let (_, metrics) = get(at, "localhost", "/metrics").await;
    assert!(
        metrics.contains("cordon_keeper_shadowed{rule=\"gauge-low\"} 2\n"),
        "{metrics}"
    );
    assert!(store.incidents().await.unwrap().is_empty(), "nobody was told");
    stop.cancel();
    task.await.unwrap().unwrap();
}
