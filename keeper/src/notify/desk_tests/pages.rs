//! Which page of a pager a message is about: what is new after an acknowledgement wakes people again.

use super::*;

/// What was sent to PagerDuty: the end of the key, and the action.
fn pages(office: &Office) -> Vec<(String, String)> {
    let requests = office.services.requests();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    requests
        .iter()
        .filter(|request| request.target == "/v2/enqueue")
        .map(|request| {
            (
                text(&request.json()["dedup_key"]),
                text(&request.json()["event_action"]),
            )
        })
        .collect()
}

async fn counted(office: &Office, most: usize) -> Vec<(String, String)> {
    office.until("the pages", |_| pages(office).len() >= most).await;
    office.quiet().await;
    let pages = pages(office);
    assert_eq!(pages.len(), most, "{pages:#?}");
    pages
}

#[tokio::test]
async fn what_a_watch_sees_after_an_acknowledgement_is_another_page() {
    let office = Office::new().await;
    let pager = [notify("pager", office.services.pagerduty(office.path()))];
    let mut desk = office.open(&pager);
    office.sees(9, Severity::P2, &["a"]).await;
    counted(&office, 1).await;
    office.sees(10, Severity::P2, &["b"]).await;
    counted(&office, 2).await;
    office.store.acknowledge("whales", "ada").await.unwrap();
    counted(&office, 3).await;
    // By another process, long after.
    drop(desk);
    desk = office.open(&pager);
    office.sees(11, Severity::P2, &["c"]).await;
    counted(&office, 4).await;
    office.sees(12, Severity::P2, &["d"]).await;
    counted(&office, 5).await;
    drop(desk);
    let _desk = office.open(&pager);
    office.store.acknowledge("whales", "ada").await.unwrap();
    counted(&office, 6).await;
    office.sees(13, Severity::P2, &["e"]).await;
    let pages = counted(&office, 7).await;
    let actions: Vec<&str> = pages.iter().map(|(_, action)| action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "trigger",
            "trigger",
            "acknowledge",
            "trigger",
            "trigger",
            "acknowledge",
            "trigger"
        ]
    );
    let keys: Vec<&str> = pages.iter().map(|(key, _)| key.as_str()).collect();
    let (first, second, third) = (keys[0], keys[3], keys[6]);
    assert_eq!(keys, [first, first, first, second, second, second, third]);
    assert!(first != second && second != third && first != third, "{keys:?}");
}

#[tokio::test]
async fn what_joins_an_acknowledged_alarm_is_another_page_and_the_end_closes_all() {
    let office = Office::new().await;
    let pager = [notify("pager", office.services.pagerduty(office.path()))];
    let desk = office.open(&pager);
    office
        .alarms()
        .raise(AlarmKind::RuleUnknown, "price", "no answer", None)
        .await;
    counted(&office, 1).await;
    office.store.acknowledge("rule-unknown", "ada").await.unwrap();
    counted(&office, 2).await;
    office
        .alarms()
        .raise(AlarmKind::RuleUnknown, "solvent", "no answer", None)
        .await;
    counted(&office, 3).await;
    drop(desk);
    // What is forgotten of it in between changes nothing.
    while office.store.prune(-1_000).await.unwrap() {}
    let _desk = office.open(&pager);
    for rule in ["price", "solvent"] {
        office.alarms().clear(AlarmKind::RuleUnknown, rule).await;
    }
    // One is an update of the newest page.
    let pages = counted(&office, 6).await;
    let first = pages[0].0.clone();
    let second = pages[2].0.clone();
    assert_ne!(first, second);
    let resolved: BTreeSet<&str> = pages
        .iter()
        .filter(|(_, action)| action == "resolve")
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(resolved, BTreeSet::from([first.as_str(), second.as_str()]));
}

#[tokio::test]
async fn how_an_acknowledged_incident_goes_on_wakes_nobody() {
    let office = Office::new().await;
    let _desk = office.open(&[notify("pager", office.services.pagerduty(office.path()))]);
    let intent = office.block(10, Verdict::Breached).await.unwrap();
    counted(&office, 1).await;
    office.store.acknowledge("1", "ada").await.unwrap();
    counted(&office, 2).await;
    let end = Confirmation {
        outcome: Outcome::Done,
        detail: "weth is ReduceOnly".into(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    };
    office.store.finish(&intent, &end).await.unwrap();
    let pages = counted(&office, 3).await;
    assert!(pages.iter().all(|(key, _)| *key == pages[0].0), "{pages:?}");
}
