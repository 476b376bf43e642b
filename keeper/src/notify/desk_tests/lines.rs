//! Who is told when, and how often: second lines, repetitions, limits, channels that fail or come later.

use super::*;

#[tokio::test]
async fn the_second_line_is_called_only_when_the_first_does_not_acknowledge() {
    let office = Office::new().await;
    let second = |id: &str, after| NotifyChannel {
        after,
        audience: Audience::Management,
        ..notify(id, office.services.slack(office.path()))
    };
    let _desk = office.open(&[second("later", 3)]);
    office.block(10, Verdict::Breached).await;
    assert_eq!(office.store.acknowledge("1", "ada").await.unwrap(), "incident:1");
    office.quiet().await;
    assert!(office.services.requests().is_empty(), "somebody cares");

    let alarms = office.alarms();
    let begun = Instant::now();
    alarms.raise(AlarmKind::Blind, "heads", "no blocks", None).await;
    office.until("escalation", |requests| requests.len() == 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "somebody has time to care");
    alarms.clear(AlarmKind::Blind, "heads").await;
    office
        .until("the end, for whoever was woken", |requests| requests.len() == 2)
        .await;

    let error = office
        .store
        .acknowledge("alarm:blind", "ada")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(error, "nothing open is called `alarm:blind`; open: incident:1");
}

#[tokio::test]
async fn what_nobody_acknowledges_is_told_again_until_somebody_does() {
    let office = Office::new().await;
    let channel = NotifyChannel {
        repeat: Some(1),
        ..notify("hook", office.services.webhook(office.path()))
    };
    let _desk = office.open(&[channel]);
    office.block(10, Verdict::Breached).await;
    office.until("two repetitions", |requests| requests.len() >= 3).await;
    let titles: Vec<String> = office
        .services
        .requests()
        .iter()
        .map(|r| r.json()["title"].to_string())
        .collect();
    assert!(
        !titles[0].contains("Not acknowledged") && titles[2].contains("Not acknowledged"),
        "{titles:?}"
    );
    office.store.acknowledge("incident:1", "ada\u{1b}[31m").await.unwrap();
    office.quiet().await;
    let incident = office.store.incident(1).await.unwrap().unwrap();
    let line = incident
        .timeline
        .iter()
        .find(|entry| entry.kind == "acknowledged")
        .unwrap();
    assert_eq!(line.text, "ada[31m takes care of it");
}

#[tokio::test]
async fn a_storm_is_told_together_within_the_limit() {
    let office = Office::new().await;
    let alarms = office.alarms();
    for rule in 0..40 {
        alarms
            .raise(AlarmKind::RuleUnknown, &format!("rule-{rule}"), "no answer", None)
            .await;
    }
    let chat = NotifyChannel {
        per_minute: 3,
        ..notify("chat", office.services.slack(office.path()))
    };
    let _desk = office.open(&[chat, notify("pager", office.services.pagerduty(office.path()))]);
    office.quiet().await;
    let requests = office.services.requests();
    let chats: Vec<String> = requests
        .iter()
        .filter(|r| r.target == "/slack")
        .map(|r| r.body.clone())
        .collect();
    assert_eq!(chats.len(), 1, "{chats:?}");
    assert!(
        chats[0].contains("40 things happened") && chats[0].contains("and 25 more"),
        "{}",
        chats[0]
    );
    let keys: BTreeSet<String> = requests
        .iter()
        .filter(|r| r.target == "/v2/enqueue")
        .map(|r| r.json()["dedup_key"].to_string())
        .collect();
    assert_eq!(keys.len(), 1, "one page for a kind of alarm");
}

#[tokio::test]
async fn a_channel_is_told_no_more_often_in_a_minute_than_it_wants() {
    let office = Office::new().await;
    let alarms = office.alarms();
    let chat = NotifyChannel {
        per_minute: 3,
        ..notify("chat", office.services.slack(office.path()))
    };
    let _desk = office.open(&[chat]);
    let told = |requests: &[crate::notify::mock::Request]| requests.iter().filter(|r| r.target == "/slack").count();
    for count in 1..=3 {
        let rule = format!("rule-{count}");
        alarms.raise(AlarmKind::RuleUnknown, &rule, "no answer", None).await;
        if count < 3 {
            office
                .until("it is told at once", |requests| told(requests) == count)
                .await;
        }
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(told(&office.services.requests()), 2, "the third waits for its time");
    assert_eq!(office.store.undelivered().await.unwrap(), 1, "and is not lost");
}

#[tokio::test]
async fn a_channel_that_does_not_work_is_told_through_the_others() {
    let office = Office::new().await;
    let other = Services::start().await;
    let broken = notify("pager", office.services.pagerduty(office.path()));
    let works = notify("hook", other.webhook(office.path()));
    office.services.then([Reply::With(403, None, "forbidden")]);
    let _desk = office.open(&[broken, works]);
    office.block(10, Verdict::Breached).await;
    let begun = Instant::now();
    let told = || {
        let kinds = other.requests().into_iter().map(|r| r.json()["facts"].clone());
        kinds
            .filter(|facts| facts["topic"].to_string().contains("notify-failed"))
            .map(|facts| facts["kind"].clone())
            .collect::<Vec<_>>()
    };
    while told() != ["alarm", "cleared"] {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    office.quiet().await;
    let pages: Vec<String> = office.services.requests().iter().map(|r| r.body.clone()).collect();
    assert!(
        pages.iter().all(|body| !body.contains("notify-failed")),
        "not about itself: {pages:?}"
    );
    let alarms = office.store.alarms().await.unwrap();
    assert!(
        alarms.iter().all(|alarm| alarm.cleared_ms.is_some()),
        "and it works again: {alarms:?}"
    );
}

#[tokio::test]
async fn what_is_new_has_nobodys_care_yet_and_what_only_asks_to_be_seen_ends_with_that() {
    let office = Office::new().await;
    let alarms = office.alarms();
    alarms
        .raise(AlarmKind::ConfigChanged, "cordon.toml", "it is another one", None)
        .await;
    assert_eq!(
        office.store.acknowledge("config-changed", "ada").await.unwrap(),
        "alarm:config-changed"
    );
    assert!(office.store.open_topics().await.unwrap().is_empty(), "it was seen");
    alarms.raise(AlarmKind::RuleUnknown, "price", "no answer", None).await;
    office.store.acknowledge("rule-unknown", "ada").await.unwrap();
    alarms.raise(AlarmKind::RuleUnknown, "solvent", "no answer", None).await;
    let open = office.store.open_topics().await.unwrap();
    assert_eq!(
        (open.len(), &open[0].acknowledged_by),
        (1, &None),
        "another rule is another matter"
    );
}

#[tokio::test]
async fn a_channel_that_is_added_later_is_not_told_of_what_happened_before_it() {
    let office = Office::new().await;
    let desk = office.open(&[]);
    office.block(10, Verdict::Breached).await;
    office.quiet().await;
    drop(desk);
    let _desk = office.open(&[notify("hook", office.services.webhook(office.path()))]);
    office.quiet().await;
    assert!(office.services.requests().is_empty());
    office
        .alarms()
        .raise(AlarmKind::Blind, "heads", "no blocks", None)
        .await;
    office.until("what happens now", |requests| requests.len() == 1).await;
}

#[tokio::test]
async fn severity_decides_who_is_told_and_a_channel_that_is_gone_holds_nothing_back() {
    let office = Office::new().await;
    let only_worst = NotifyChannel {
        severity: Some(Severity::P1),
        ..notify("chief", office.services.slack(office.path()))
    };
    let gone = notify("gone", office.services.webhook(office.path()));
    office.services.always(Reply::Hang);
    let desk = office.open(&[only_worst.clone(), gone]);
    office.alarms().raise(AlarmKind::Polling, "heads", "P4", None).await;
    office.until("it hangs", |requests| requests.len() == 1).await;
    drop(desk);
    office.services.always(Reply::Properly);
    let _desk = office.open(&[only_worst]);
    office.quiet().await;
    office.alarms().raise(AlarmKind::Blind, "heads", "P1", None).await;
    office.until("the worst", |requests| requests.len() == 2).await;
    let requests = office.services.requests();
    assert_eq!(
        (requests[0].target.as_str(), requests[1].target.as_str()),
        ("/hook?key=h00k-secret", "/slack")
    );
}
