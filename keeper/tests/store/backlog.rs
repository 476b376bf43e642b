//! What a look at a channel costs with much waiting. Measured, not judged: `cargo nextest run --run-ignored only backlog`.

use std::time::Instant;

use cordon_keeper::record::Subscription;

use crate::fixture::Fixture;

/// Half of it of one watch, the other half of as many alarms and incidents as there are forties of it.
async fn fill(f: &Fixture, notices: u32) {
    f.tamper(&format!(
        "INSERT INTO notices (topic, kind, severity, subject, text, ends, at_ms, due_ms)
         WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {notices})
         SELECT CASE WHEN i % 2 = 0 THEN 'watch:whales' WHEN i % 3 = 0 THEN 'alarm:a' || (i / 40) ELSE 'incident:' || (i / 40) END,
            'alarm', CASE WHEN i % 97 = 0 THEN 'P1' WHEN i % 5 = 0 THEN 'P3' ELSE 'P2' END, 's' || i, 'text ' || i, 0, 0, 0
         FROM numbers"
    ))
    .await;
}

async fn measure(f: Fixture, notices: u32) {
    fill(&f, notices).await;
    let chat = Subscription {
        channel: "chat".to_owned(),
        severities: vec!["P1", "P2", "P3"],
        after_ms: 0,
        deaf_to: "chat".to_owned(),
    };
    f.store.fan_out(&[chat]).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..6 {
        let begun = Instant::now();
        let due = f.store.due("chat").await.unwrap();
        let looked = begun.elapsed();
        let told: Vec<(i64, Option<i64>)> = due.iter().map(|due| (due.notice.id, Some(3_600_000))).collect();
        let begun = Instant::now();
        f.store.told("chat", &told).await.unwrap();
        let noted = begun.elapsed();
        let begun = Instant::now();
        f.store.not_told("chat", &[due[0].notice.id], "no", 0).await.unwrap();
        took.push((looked, noted, begun.elapsed()));
    }
    for (due, told, not_told) in took {
        println!("{notices} wait: due {due:?}, told {told:?}, not_told {not_told:?}");
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn sqlite() {
    for notices in [10_000, 100_000] {
        measure(Fixture::sqlite().await, notices).await;
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn postgres() {
    for notices in [10_000, 100_000] {
        measure(Fixture::postgres().await, notices).await;
    }
}
