//! A message that a service refuses, for what is in it or for whom it is from: nothing else is lost or late for it.

use super::*;

/// What of the incident and of the watch was told to the chat, as a message taken or refused.
fn about(office: &Office, word: &str) -> usize {
    let requests = office.services.requests();
    requests.iter().filter(|request| request.body.contains(word)).count()
}

async fn wait_for(what: &str, check: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_refused_for_its_content_takes_nothing_with_it() {
    let office = Office::new().await;
    office.services.refuse(Some("cheap pills"));
    office
        .sees(9, Severity::P2, &["a transfer", "cheap pills", "another transfer"])
        .await;
    office.unknown(5).await;
    office.block(10, Verdict::Breached).await;
    let other = Services::start().await;
    let configured = [
        notify("chat", office.services.slack(office.path())),
        notify("hook", other.webhook(office.path())),
    ];
    let _desk = office.open(&configured);
    let begun = Instant::now();
    wait_for("all but one are told", async || {
        let ends = office.ends("chat").await.into_values();
        ends.filter(|end| end.as_deref() == Some("sent")).count() >= 4
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let ends = office.ends("chat").await;
    let open: Vec<&String> = ends
        .iter()
        .filter(|(_, end)| end.is_none())
        .map(|(text, _)| text)
        .collect();
    assert_eq!(open, ["saw cheap pills"]);
    assert!(
        about(&office, "price is breached") >= 2,
        "in the message that was refused, and by itself"
    );
    // What comes now does not wait.
    office.sees(11, Severity::P2, &["a third transfer"]).await;
    office
        .until("the next", |_| about(&office, "a third transfer") == 1)
        .await;
    // People hear once that something is refused, and that it is over when it is.
    let told = || {
        let facts = other
            .requests()
            .into_iter()
            .map(|request| request.json()["facts"].clone());
        facts
            .filter(|facts| facts["topic"] == "alarm:notify-failed")
            .map(|facts| facts["kind"].clone())
            .collect::<Vec<_>>()
    };
    wait_for("the alarm", async || told() == ["alarm"]).await;
    wait_for("it is tried again", async || about(&office, "cheap pills") >= 4).await;
    assert_eq!(told(), ["alarm"]);
    office.services.refuse(None);
    office
        .tamper("UPDATE deliveries SET due_ms = 0 WHERE outcome IS NULL")
        .await;
    office.sees(12, Severity::P2, &["a fourth transfer"]).await;
    wait_for("the end of the alarm", async || told() == ["alarm", "cleared"]).await;
}

#[tokio::test]
async fn what_is_refused_is_given_up_after_a_quarter_of_an_hour_unless_it_is_open() {
    let office = Office::new().await;
    office.services.always(Reply::With(403, None, "forbidden"));
    office.sees(9, Severity::P2, &["a transfer"]).await;
    office.block(10, Verdict::Breached).await;
    let hook = notify("hook", office.services.webhook(office.path()));
    for _ in 0..8 {
        let (seen, opened) = (about(&office, "a transfer"), about(&office, "price is breached"));
        let is_over = office
            .ends("hook")
            .await
            .get("saw a transfer")
            .is_some_and(Option::is_some);
        office
            .tamper("UPDATE deliveries SET due_ms = 0 WHERE outcome IS NULL")
            .await;
        let desk = office.open(std::slice::from_ref(&hook));
        wait_for("each is tried", async || {
            about(&office, "price is breached") > opened && (is_over || about(&office, "a transfer") > seen)
        })
        .await;
        // Until it is noted.
        wait_for("each waits", async || {
            let next = office.store.next_due("hook").await.unwrap();
            next.is_some_and(|wait| wait > 0)
        })
        .await;
        drop(desk);
    }
    let ends = office.ends("hook").await;
    assert_eq!(ends["saw a transfer"].as_deref(), Some("refused"));
    assert_eq!(about(&office, "a transfer"), 7);
    let opened: Vec<_> = ends.iter().filter(|(text, _)| text.contains("price")).collect();
    assert!(matches!(opened.as_slice(), [(_, None)]), "{ends:?}");
    let wait = office.store.next_due("hook").await.unwrap().unwrap();
    assert!((500_000..=600_000).contains(&wait), "with the longest pause: {wait}");
    // Mended, it is told.
    office.services.always(Reply::Properly);
    office
        .tamper("UPDATE deliveries SET due_ms = 0 WHERE outcome IS NULL")
        .await;
    let _desk = office.open(&[hook]);
    wait_for("it is told", async || {
        office.ends("hook").await.values().all(Option::is_some)
    })
    .await;
}

#[tokio::test]
async fn failures_to_reach_a_service_are_no_refusals() {
    let office = Office::new().await;
    office.sees(9, Severity::P2, &["a transfer"]).await;
    let hook = notify("hook", office.services.webhook(office.path()));
    office.services.always(Reply::With(500, None, ""));
    let desk = office.open(std::slice::from_ref(&hook));
    office.until("it fails", |requests| requests.len() >= 2).await;
    drop(desk);
    office
        .tamper("UPDATE deliveries SET due_ms = 0; UPDATE holds SET until_ms = 0, failures = 20")
        .await;
    office.services.always(Reply::With(403, None, "forbidden"));
    let before = office.services.requests().len();
    let _desk = office.open(&[hook]);
    office
        .until("it is refused, and tried again", |requests| {
            requests.len() >= before + 2
        })
        .await;
    assert_eq!(office.ends("hook").await["saw a transfer"], None);
}

#[tokio::test]
async fn what_could_not_be_told_for_a_day_is_history_unless_it_is_open() {
    let office = Office::new().await;
    office.sees(9, Severity::P2, &["a transfer"]).await;
    let alarms = office.alarms();
    alarms.raise(AlarmKind::Polling, "heads", "by polling", None).await;
    alarms.clear(AlarmKind::Polling, "heads").await;
    office.block(10, Verdict::Breached).await;
    office
        .tamper("UPDATE notices SET at_ms = at_ms - 90000000, due_ms = due_ms - 90000000")
        .await;
    office.sees(11, Severity::P2, &["another transfer"]).await;
    office.services.always(Reply::Close);
    let _desk = office.open(&[notify("hook", office.services.webhook(office.path()))]);
    wait_for("what is old ends", async || {
        let ends = office.ends("hook").await.into_values();
        ends.filter(|end| end.as_deref() == Some("expired")).count() == 3
    })
    .await;
    let ends = office.ends("hook").await;
    let left: Vec<&String> = ends
        .iter()
        .filter(|(_, end)| end.is_none())
        .map(|(text, _)| text)
        .collect();
    assert!(
        left.len() == 2
            && left.iter().any(|text| text.contains("price"))
            && left.contains(&&"saw another transfer".to_owned()),
        "{ends:?}"
    );
}

#[tokio::test]
async fn an_end_waits_for_its_opening_that_is_refused() {
    let office = Office::new().await;
    office.services.refuse(Some("no blocks"));
    let _desk = office.open(&[notify("pager", office.services.pagerduty(office.path()))]);
    let alarms = office.alarms();
    alarms.raise(AlarmKind::Blind, "heads", "no blocks", None).await;
    office.until("the opening", |requests| !requests.is_empty()).await;
    alarms.clear(AlarmKind::Blind, "heads").await;
    alarms.raise(AlarmKind::Polling, "heads", "by polling", None).await;
    let keys = || {
        let requests = office.services.requests().into_iter();
        let pages = requests.map(|request| request.json());
        pages
            .map(|page| {
                let key = page["dedup_key"].as_str().unwrap_or_default().to_owned();
                let topic = key.rsplit("alarm-").next().unwrap_or_default().to_owned();
                (topic, page["event_action"].as_str().unwrap_or_default().to_owned())
            })
            .collect::<Vec<_>>()
    };
    let of = |topic: &str, action: &str| (topic.to_owned(), action.to_owned());
    office
        .until("the others", |_| keys().contains(&of("polling", "trigger")))
        .await;
    assert!(!keys().contains(&of("blind", "resolve")), "{:?}", keys());
    office.services.refuse(None);
    office
        .until("the end", |_| keys().contains(&of("blind", "resolve")))
        .await;
    let blind: Vec<String> = keys()
        .into_iter()
        .filter(|(topic, _)| topic == "blind")
        .map(|(_, act)| act)
        .collect();
    assert_eq!(
        blind.iter().position(|act| act == "resolve"),
        Some(blind.len() - 1),
        "{blind:?}"
    );
}

/// An end that waited for an opening that could not be told has the key of the page that was opened since.
#[tokio::test]
async fn a_page_is_not_closed_by_the_end_of_what_was_before_it() {
    let office = Office::new().await;
    office.services.refuse(Some("first words"));
    let _desk = office.open(&[notify("pager", office.services.pagerduty(office.path()))]);
    let alarms = office.alarms();
    alarms.raise(AlarmKind::Blind, "heads", "first words", None).await;
    office.until("the opening", |requests| !requests.is_empty()).await;
    alarms.clear(AlarmKind::Blind, "heads").await;
    alarms.raise(AlarmKind::Blind, "heads", "second words", None).await;
    let told = |words: &str| {
        let mut requests = office.services.requests().into_iter();
        requests.any(|request| request.body.contains(words))
    };
    office.until("the page", |_| told("second words")).await;
    office.services.refuse(None);
    let before = office.services.requests().len();
    office
        .until("what was refused", |requests| requests.len() > before)
        .await;
    // Whatever was due after it has had its turn.
    alarms.raise(AlarmKind::Polling, "heads", "by polling", None).await;
    office.until("the next", |_| told("by polling")).await;
    assert!(!told("resolve"), "{:?}", office.services.requests());
    alarms.clear(AlarmKind::Blind, "heads").await;
    office.until("the end", |_| told("resolve")).await;
}

/// Chats get what is due in one message, but for what was refused in one: its end must not be in the next.
#[tokio::test]
async fn a_chat_hears_of_no_end_before_its_opening() {
    let office = Office::new().await;
    let alarms = office.alarms();
    alarms.raise(AlarmKind::Polling, "heads", "by polling", None).await;
    alarms.raise(AlarmKind::RuleUnknown, "price", "no answer", None).await;
    let desk = office.desk(&[notify("chat", office.services.slack(office.path()))]);
    office.services.then([
        Reply::With(400, None, "too much"),
        Reply::Late(Duration::from_millis(1_000)),
    ]);
    let _desk = AtWork(tokio::spawn(desk.run(CancellationToken::new())));
    // The first by itself is on its way when the other's end comes, and what is worse than both.
    office.until("each by itself", |requests| requests.len() == 2).await;
    alarms.clear(AlarmKind::Polling, "heads").await;
    office.block(10, Verdict::Breached).await;
    office.quiet().await;
    let told: Vec<String> = office
        .services
        .requests()
        .into_iter()
        .skip(1)
        .map(|request| request.body)
        .collect();
    let opening = told.iter().position(|text| text.contains("by polling")).unwrap();
    let end = told.iter().position(|text| text.contains("polling cleared")).unwrap();
    assert!(opening < end, "{told:#?}");
}

/// A service that fails over one message, again and again, while it would take any other.
#[tokio::test]
async fn what_a_service_fails_over_is_passed_by_the_others() {
    let office = Office::new().await;
    office.services.answer_to(Some("price is breached"), 500);
    office.block(10, Verdict::Breached).await;
    office.sees(11, Severity::P2, &["a transfer"]).await;
    office.unknown(5).await;
    let configured = [
        notify("chat", office.services.slack(office.path())),
        notify("hook", office.services.webhook(office.path())),
    ];
    let _desk = office.open(&configured);
    let begun = Instant::now();
    let left = async |channel| {
        let ends = office.ends(channel).await.into_iter();
        ends.filter(|(_, end)| end.is_none())
            .map(|(text, _)| text)
            .collect::<Vec<_>>()
    };
    for channel in ["chat", "hook"] {
        loop {
            let left = left(channel).await;
            if left.len() == 1 && left[0].contains("breached") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{channel}: {left:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // By now it waits alone, and what comes is told at once.
    wait_for("it is set aside", async || {
        office.store.is_refusing("chat").await.unwrap()
    })
    .await;
    office.sees(12, Severity::P2, &["another transfer"]).await;
    office
        .until("the next", |requests| {
            requests
                .iter()
                .filter(|request| request.body.contains("another transfer"))
                .count()
                >= 2
        })
        .await;
    office.services.answer_to(None, 500);
    office
        .tamper("UPDATE deliveries SET due_ms = 0 WHERE outcome IS NULL")
        .await;
    office.sees(13, Severity::P2, &["a third transfer"]).await;
    wait_for("it is told when it can be", async || {
        left("chat").await.is_empty() && left("hook").await.is_empty()
    })
    .await;
}

/// The page is there, and goes on escalating until it is acknowledged, whatever else cannot be told.
#[tokio::test]
async fn a_page_is_acknowledged_though_something_of_its_topic_is_refused() {
    let office = Office::new().await;
    office.services.refuse(Some("worse now"));
    let _desk = office.open(&[notify("pager", office.services.pagerduty(office.path()))]);
    office.block(10, Verdict::Breached).await;
    office.until("the page", |requests| requests.len() == 1).await;
    office
        .tamper(
            "INSERT INTO notices (topic, kind, severity, incident, subject, text, ends, at_ms, due_ms)
             SELECT topic, 'called', severity, incident, subject, 'worse now', 0, at_ms, due_ms FROM notices WHERE kind = 'opened'",
        )
        .await;
    // Refused for a while: it waits for more than a minute then.
    for times in 1..=3 {
        wait_for("it is refused", async || about(&office, "worse now") == times).await;
        wait_for("it waits", async || {
            office.store.next_due("pager").await.unwrap() > Some(0)
        })
        .await;
        office
            .tamper("UPDATE deliveries SET due_ms = 0 WHERE outcome IS NULL AND refusals < 3")
            .await;
        office.unknown(times).await;
    }
    office.store.acknowledge("1", "ada").await.unwrap();
    let begun = Instant::now();
    let acknowledged = |request: &crate::notify::mock::Request| request.json()["event_action"] == "acknowledge";
    office
        .until("the acknowledgement", |requests| requests.iter().any(acknowledged))
        .await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
