//! Who is told: a rule, a watch or a playbook may name channels; all else goes to those that want the severity.

use alloy::primitives::B256;
use cordon_client::config::{Finality, Severity};
use cordon_keeper::record::{AlarmKind, Names, NoticeKind, Subscription};
use cordon_keeper::rules::{Sighting, Sightings};

use crate::fixture::{Block, Fixture, block, names, trip};

fn channel(name: &str, severities: &[&'static str]) -> Subscription {
    Subscription {
        channel: name.into(),
        severities: severities.to_vec(),
        after_ms: 0,
        deaf_to: name.into(),
    }
}

fn sighting(watch: &str, channels: &[&str]) -> Sighting {
    Sighting {
        watch: watch.into(),
        key: "0".into(),
        severity: Severity::P4,
        finality: Finality::Latest,
        cooldown: 0,
        standing: false,
        silent: false,
        tx: Some(B256::ZERO),
        text: "seen".into(),
        facts: serde_json::Value::Null,
        channels: channels.iter().map(|channel| (*channel).to_owned()).collect(),
    }
}

async fn what_names_channels_goes_to_them_and_to_no_other(store: Fixture) {
    let names = Names {
        channels: vec![vec!["ops_1".into(), "ops-2".into()], vec![]],
        ..names()
    };
    let sightings = Sightings {
        found: vec![sighting("named", &["Ops_1"]), sighting("open", &[])],
        unwatched: vec![],
    };
    let none = Sightings::default();
    let decisions = [trip(0)];
    let at = block(10, 0);
    let content = Block {
        decisions: &decisions,
        ..Block::default()
    };
    let record = crate::fixture::record(&at, content, &none);
    store.store.commit_block(&record, &names).await.unwrap();
    let at = block(11, 0);
    let content = Block {
        sightings: Some(&sightings),
        ..Block::default()
    };
    let record = crate::fixture::record(&at, content, &none);
    store.store.commit_block(&record, &names).await.unwrap();
    store
        .store
        .raise_alarm(AlarmKind::Polling, "ws", "down", None)
        .await
        .unwrap();
    let all = ["P1", "P2", "P3", "P4"];
    // Names that differ by case, or that a pattern would take for each other, are other channels.
    let channels = [
        channel("ops_1", &[]),
        channel("ops-2", &all),
        channel("opsX1", &all),
        channel("Ops_1", &[]),
        channel("ops", &["P1"]),
    ];
    store.store.fan_out(&channels).await.unwrap();
    let heard = |channel: &'static str| {
        let store = store.store.clone();
        async move {
            let due = store.due(channel).await.unwrap();
            due.iter()
                .map(|due| match due.notice.kind {
                    NoticeKind::Seen => due.notice.subject.clone(),
                    kind => kind.name().to_owned(),
                })
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(
        heard("ops_1").await,
        ["opened"],
        "whatever severity it wants, it was named"
    );
    assert_eq!(heard("ops-2").await, ["opened", "alarm", "open"]);
    assert_eq!(heard("opsX1").await, ["alarm", "open"]);
    assert_eq!(heard("Ops_1").await, ["named"]);
    assert_eq!(heard("ops").await, Vec::<String>::new());
    // What follows goes the same way.
    store.store.acknowledge("incident:1", "ada").await.unwrap();
    store.store.fan_out(&channels).await.unwrap();
    assert_eq!(heard("ops_1").await, ["opened", "acknowledged"]);
    assert_eq!(heard("opsX1").await, ["alarm", "open"]);
}

on_both! {
    what_names_channels_goes_to_them_and_to_no_other
}
