//! Much at once: what is worst is told first, whatever waits, and however often the channel may be told.

use super::*;
use crate::notify::mock::Request;

/// Titles of the messages to a path, as far as they were sent; of chats the first lines.
fn titles(requests: &[Request], path: &str) -> Vec<String> {
    let to = requests.iter().filter(|request| request.target.starts_with(path));
    let title = |request: &Request| {
        let json = request.json();
        let found = ["/title", "/payload/summary", "/text"];
        let found = found.iter().find_map(|pointer| json.pointer(pointer)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    to.map(title).collect()
}

fn limited(id: &str, per_minute: u32, via: cordon_client::config::Via) -> NotifyChannel {
    NotifyChannel {
        per_minute,
        ..notify(id, via)
    }
}

#[tokio::test]
async fn an_incident_does_not_wait_behind_what_is_less_severe() {
    let office = Office::new().await;
    office.unknown(60).await;
    office.block(10, Verdict::Breached).await;
    let configured = [
        limited("chat", 2, office.services.slack(office.path())),
        limited("pager", 2, office.services.pagerduty(office.path())),
        limited("hook", 2, office.services.webhook(office.path())),
    ];
    let _desk = office.open(&configured);
    for path in ["/slack", "/v2/enqueue", "/hook"] {
        office
            .until("something", |requests| !titles(requests, path).is_empty())
            .await;
        let first = titles(&office.services.requests(), path).remove(0);
        let line = "[P1] weth: price is breached";
        assert!(
            first.starts_with(line) || first.lines().nth(1).is_some_and(|named| named.ends_with(line)),
            "{first}"
        );
    }
}

#[tokio::test]
async fn the_limit_holds_no_incident_back_that_comes_when_it_is_used_up() {
    let office = Office::new().await;
    office.unknown(60).await;
    let configured = [
        limited("chat", 2, office.services.slack(office.path())),
        limited("pager", 2, office.services.pagerduty(office.path())),
        limited("hook", 4, office.services.webhook(office.path())),
    ];
    let _desk = office.open(&configured);
    let all = ["/slack", "/v2/enqueue", "/hook"];
    office
        .until("the limits are used up", |requests| {
            all.iter().all(|path| !titles(requests, path).is_empty()) && titles(requests, "/hook").len() >= 3
        })
        .await;
    office.block(10, Verdict::Breached).await;
    office
        .until("the incident all the same", |requests| {
            let told = |path: &&str| titles(requests, path).iter().any(|title| title.contains("breached"));
            all.iter().all(told)
        })
        .await;
    // A quarter of what it may be told is kept for that.
    let hooked = titles(&office.services.requests(), "/hook");
    assert_eq!(hooked.len(), 4, "{hooked:?}");
}

#[tokio::test]
async fn no_more_than_the_limit_is_told_whatever_it_is() {
    let office = Office::new().await;
    office.unknown(10).await;
    let _desk = office.open(&[limited("hook", 4, office.services.webhook(office.path()))]);
    office
        .until("what others may use", |requests| requests.len() == 3)
        .await;
    let alarms = office.alarms();
    for kind in [AlarmKind::Blind, AlarmKind::Stale, AlarmKind::Record] {
        alarms.raise(kind, "heads", "no blocks", None).await;
    }
    office.until("what is kept", |requests| requests.len() == 4).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let told = titles(&office.services.requests(), "/hook");
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(
        told.iter().filter(|title| title.starts_with("[P1]")).count(),
        1,
        "{told:?}"
    );
}

#[tokio::test]
async fn what_is_worst_may_use_all_of_the_limit() {
    let office = Office::new().await;
    let alarms = office.alarms();
    for kind in [AlarmKind::Blind, AlarmKind::Stale, AlarmKind::Record] {
        alarms.raise(kind, "heads", "no blocks", None).await;
    }
    let _desk = office.open(&[limited("hook", 2, office.services.webhook(office.path()))]);
    office
        .until("as many as it wants", |requests| requests.len() == 2)
        .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(office.services.requests().len(), 2);
    assert_eq!(office.store.undelivered().await.unwrap(), 1);
}

/// Nothing rings when the time has come that somebody had to acknowledge it.
#[tokio::test]
async fn the_limit_holds_no_incident_back_that_becomes_due_meanwhile() {
    let office = Office::new().await;
    let second = NotifyChannel {
        after: 2,
        ..limited("hook", 4, office.services.webhook(office.path()))
    };
    office.unknown(10).await;
    let _desk = office.open(&[second]);
    office
        .until("what others may use", |requests| requests.len() == 3)
        .await;
    office.block(10, Verdict::Breached).await;
    office
        .until("the incident all the same", |requests| {
            titles(requests, "/hook").iter().any(|title| title.contains("breached"))
        })
        .await;
}

#[tokio::test]
async fn what_waits_of_a_topic_makes_one_page() {
    let office = Office::new().await;
    office.unknown(40).await;
    let pager = notify("pager", office.services.pagerduty(office.path()));
    let hook = notify("hook", office.services.webhook(office.path()));
    let desk = office.open(&[pager.clone(), hook.clone()]);
    office.quiet().await;
    let requests = office.services.requests();
    let paged = titles(&requests, "/v2/enqueue");
    assert_eq!(
        paged,
        ["[P2] keeper alarm rule-unknown: rule-0 (and 39 more)"],
        "and nothing twice"
    );
    assert_eq!(titles(&requests, "/hook").len(), 40, "machines want each by itself");
    let page = requests.iter().find(|request| request.target == "/v2/enqueue").unwrap();
    let text = page.json()["payload"]["custom_details"]["text"].to_string();
    assert!(text.contains("rule-15") && text.contains("and 24 more"), "{text}");
    drop(desk);

    // What opens a page is not mixed with what ends it.
    let alarms = office.alarms();
    for rule in 0..40 {
        alarms.clear(AlarmKind::RuleUnknown, &format!("rule-{rule}")).await;
    }
    office.unknown(2).await;
    let _desk = office.open(&[pager, hook]);
    office.quiet().await;
    let actions: Vec<Value> = office
        .services
        .requests()
        .iter()
        .filter(|request| request.target == "/v2/enqueue")
        .map(|request| request.json()["event_action"].clone())
        .collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve", "trigger"]);
}

#[tokio::test]
async fn what_nobody_acknowledges_of_a_topic_is_told_again_together_and_after_what_is_new() {
    let office = Office::new().await;
    office.unknown(3).await;
    let hook = NotifyChannel {
        repeat: Some(1),
        ..limited("hook", 10, office.services.webhook(office.path()))
    };
    let _desk = office.open(&[hook]);
    let again = |requests: &[Request]| {
        let titles = titles(requests, "/hook").into_iter();
        titles
            .filter(|title| title.starts_with("Not acknowledged"))
            .collect::<Vec<_>>()
    };
    // Eight is what it is told in a minute; each by itself again they would be used up by repetitions.
    office
        .until("a repetition", |requests| !again(requests).is_empty())
        .await;
    assert_eq!(
        again(&office.services.requests())[0],
        "Not acknowledged: [P2] keeper alarm rule-unknown: rule-0 (and 2 more)"
    );
    office
        .until("the limit is used up", |requests| requests.len() == 8)
        .await;
    office
        .alarms()
        .raise(AlarmKind::Blind, "heads", "no blocks", None)
        .await;
    office
        .until("what is new and worse", |requests| {
            titles(requests, "/hook").iter().any(|title| title.contains("blind"))
        })
        .await;
}

#[tokio::test]
async fn what_anybody_can_cause_comes_after_what_is_as_severe() {
    let office = Office::new().await;
    let keys: Vec<String> = (0..70).map(|log| format!("log:{log}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    office.sees(9, Severity::P1, &keys).await;
    office
        .alarms()
        .raise(AlarmKind::Blind, "heads", "no blocks", None)
        .await;
    office.block(10, Verdict::Breached).await;
    let _desk = office.open(&[limited("hook", 3, office.services.webhook(office.path()))]);
    office.until("the first", |requests| requests.len() == 3).await;
    let told = titles(&office.services.requests(), "/hook");
    let order = ["weth: price is breached", "keeper alarm blind", "whales: saw log:0"];
    assert!(
        told.iter().zip(order).all(|(title, wanted)| title.contains(wanted)),
        "{told:?}"
    );
}
