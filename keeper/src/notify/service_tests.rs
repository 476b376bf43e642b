//! Every service in its own words, and every way in which it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use cordon_client::config::{Audience, Severity};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::mail_mock::{Mood, email, mail_server};
use super::mock::{Reply, Services, notify};
use super::{Channel, Event, Message, Origin, SendError, channels, message};
use crate::clock::now_ms;
use crate::record::{Notice, NoticeKind};

const SECRETS: [&str; 6] = [
    "T0KEN-secret",
    "R0UTING-secret",
    "GENIE-secret",
    "shared-secret",
    "P4SS-secret",
    "h00k-secret",
];

fn origin() -> Origin {
    Origin {
        chain_id: 42_161,
        guard: Address::repeat_byte(0x11),
        record: "00c0ffee".into(),
    }
}

fn notice(kind: NoticeKind, ends: bool) -> Notice {
    Notice {
        id: 5,
        topic: "incident:7".into(),
        kind,
        severity: Severity::P1,
        incident: None,
        subject: "weth".into(),
        text: "rule price <!channel> @everyone *bold*\nbreached".into(),
        block_number: Some(100),
        ends,
        at_ms: 1_700_000_000_000,
        facts: None,
    }
}

fn sample(kind: NoticeKind, ends: bool) -> Message {
    message(&origin(), &notice(kind, ends), None, Audience::Technical, false)
}

async fn one(services: &Services, dir: &std::path::Path, id: &str) -> Channel {
    let configured = services.all(dir);
    let wanted: Vec<_> = configured.into_iter().filter(|channel| channel.id == id).collect();
    channels(&wanted, dir).unwrap().remove(0)
}

#[tokio::test]
async fn every_service_takes_an_opening_an_update_and_an_end() {
    let (services, dir) = (Services::start().await, tempfile::tempdir().unwrap());
    for channel in channels(&services.all(dir.path()), dir.path()).unwrap() {
        for (kind, ends) in [
            (NoticeKind::Opened, false),
            (NoticeKind::Contained, false),
            (NoticeKind::Acknowledged, false),
            (NoticeKind::Closed, true),
        ] {
            let sent = channel.send(&sample(kind, ends)).await;
            assert_eq!(sent, Ok(()), "{} {}", channel.id(), kind.name());
        }
    }
    let requests = services.requests();
    let of = |path: &str| -> Vec<_> {
        requests
            .iter()
            .filter(|r| r.target.starts_with(path))
            .cloned()
            .collect()
    };

    // One page per incident: one key, whatever is told about it.
    let pages = of("/v2/enqueue");
    let actions: Vec<String> = pages
        .iter()
        .map(|r| r.json()["event_action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["trigger", "trigger", "acknowledge", "resolve"]);
    assert!(
        pages
            .iter()
            .all(|r| r.json()["dedup_key"] == "cordon-42161-0x11111111-00c0ffee-incident-7")
    );
    assert_eq!(pages[0].json()["payload"]["severity"], "critical");
    let alerts: Vec<String> = of("/v2/alerts").into_iter().map(|r| r.target).collect();
    let alias = "/v2/alerts/cordon-42161-0x11111111-00c0ffee-incident-7";
    assert_eq!(
        alerts,
        [
            "/v2/alerts".to_owned(),
            "/v2/alerts".to_owned(),
            format!("{alias}/acknowledge?identifierType=alias"),
            format!("{alias}/close?identifierType=alias"),
        ]
    );

    // What comes from the chain addresses nobody and formats nothing.
    assert!(
        of("/slack")[0].json()["text"]
            .as_str()
            .unwrap()
            .contains("&lt;!channel&gt;")
    );
    let discord = of("/discord")[0].json();
    assert_eq!(discord["allowed_mentions"], serde_json::json!({ "parse": [] }));
    assert!(discord["content"].as_str().unwrap().contains("\\*bold\\*"));
    assert!(of("/bot")[0].json().get("parse_mode").is_none());

    // The webhook's signature covers time and body.
    let hook = &of("/hook")[0];
    let (time, signature) = hook.header("cordon-signature").unwrap().split_once(",v1=").unwrap();
    let time = time.strip_prefix("t=").unwrap();
    assert!((now_ms() / 1_000 - time.parse::<i64>().unwrap()).abs() < 60);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"shared-secret").unwrap();
    mac.update(format!("{time}.{}", hook.body).as_bytes());
    mac.verify_slice(&alloy::primitives::hex::decode(signature).unwrap())
        .unwrap();
    assert_eq!(
        hook.header("cordon-delivery"),
        Some("cordon-42161-0x11111111-00c0ffee-notice-5")
    );
    assert_eq!(hook.json()["facts"]["kind"], "opened");
}

#[tokio::test]
async fn every_service_fails_in_every_way_and_no_error_shows_a_secret() {
    let (services, dir) = (Services::start().await, tempfile::tempdir().unwrap());
    // Each with an answer that repeats what the service was told.
    for (id, secrets_echoed) in [
        ("slack", ""),
        ("discord", ""),
        ("telegram", "no bot T0KEN-secret"),
        ("pagerduty", "bad key R0UTING-secret"),
        ("opsgenie", "bad key GENIE-secret"),
        ("webhook", "you sent shared-secret"),
    ] {
        let channel = one(&services, dir.path(), id).await;
        let after = |reply: Reply| {
            services.then([reply]);
            let (channel, message) = (channel.clone(), sample(NoticeKind::Opened, false));
            async move { channel.send(&message).await.unwrap_err() }
        };
        let busy = after(Reply::With(429, Some(("Retry-After", "7")), "slow down")).await;
        assert!(
            matches!(&busy, SendError::Busy { wait, .. } if *wait == Duration::from_secs(7)),
            "{id}: {busy}"
        );
        for reply in [
            Reply::With(500, None, secrets_echoed),
            Reply::With(503, None, ""),
            Reply::Close,
            Reply::Garbage,
        ] {
            let what = format!("{id} {reply:?}");
            let error = after(reply).await;
            assert!(matches!(error, SendError::Failed(_)), "{what}: {error}");
            let text = format!("{error} {error:?} {channel:?}");
            assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{what}: {text}");
        }
        for reply in [
            Reply::With(400, None, secrets_echoed),
            Reply::With(403, None, ""),
            Reply::With(404, None, ""),
            Reply::With(302, Some(("Location", "http://127.0.0.1:1/")), ""),
        ] {
            let what = format!("{id} {reply:?}");
            let error = after(reply).await;
            assert!(matches!(error, SendError::Refused(_)), "{what}: {error}");
            let text = format!("{error}");
            assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{what}: {text}");
        }
        if id != "webhook" {
            // A captive portal, or the wrong server: a success that is none.
            let error = after(Reply::With(200, None, "<html>Welcome to the hotel</html>")).await;
            assert!(
                matches!(&error, SendError::Failed(why) if why.contains("does the URL belong")),
                "{id}: {error}"
            );
        }
    }
    let telegram = one(&services, dir.path(), "telegram").await;
    services.then([Reply::With(
        429,
        None,
        "{\"ok\":false,\"parameters\":{\"retry_after\":35}}",
    )]);
    let error = telegram.send(&sample(NoticeKind::Opened, false)).await.unwrap_err();
    assert!(matches!(error, SendError::Busy { wait, .. } if wait.as_secs() == 35));
    let discord = one(&services, dir.path(), "discord").await;
    services.then([Reply::With(429, None, "{\"retry_after\": 1.5, \"global\": false}")]);
    let error = discord.send(&sample(NoticeKind::Opened, false)).await.unwrap_err();
    assert!(matches!(error, SendError::Busy { wait, .. } if wait.as_millis() == 1_500));
}

#[tokio::test]
async fn a_connection_that_hangs_costs_its_deadline_and_no_more() {
    let (services, dir) = (Services::start().await, tempfile::tempdir().unwrap());
    services.always(Reply::Hang);
    let (port, _) = mail_server(Mood::Silent).await;
    let mut configured = services.all(dir.path());
    configured.push(notify("email", email(dir.path(), port)));
    let begun = Instant::now();
    let message = sample(NoticeKind::Opened, false);
    let channels = channels(&configured, dir.path()).unwrap();
    let results = futures::future::join_all(channels.iter().map(|channel| channel.send(&message))).await;
    for (channel, result) in channels.iter().zip(results) {
        assert!(
            matches!(result, Err(SendError::Failed(_))),
            "{}: {result:?}",
            channel.id()
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn mail_is_one_conversation_per_incident_and_refusals_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (port, mails) = mail_server(Mood::Friendly).await;
    let channel = |port| {
        let configured = [notify("email", email(dir.path(), port))];
        channels(&configured, dir.path()).unwrap().remove(0)
    };
    for kind in [NoticeKind::Opened, NoticeKind::Contained] {
        assert_eq!(channel(port).send(&sample(kind, false)).await, Ok(()));
    }
    let mails = mails.lock().unwrap().clone();
    assert_eq!(mails.len(), 2);
    for part in [
        "To: ops@example.org, chief@example.org",
        "References: <cordon-42161-0x11111111-00c0ffee-incident-7@example.org>",
        "Message-ID: <cordon-42161-0x11111111-00c0ffee-notice-5@example.org>",
        "X-Priority: 1",
        "incident:7 --by NAME",
    ] {
        assert!(mails[0].contains(part), "{part} is missing in\n{}", mails[0]);
    }
    assert!(!mails[1].contains("X-Priority"));
    for (mood, is_final) in [
        (Mood::Overloaded, false),
        (Mood::Greylisting, false),
        (Mood::HangsUp, false),
        (Mood::NoSuchUser, true),
        (Mood::BadPassword, true),
    ] {
        let (port, mails) = mail_server(mood).await;
        let error = channel(port)
            .send(&sample(NoticeKind::Opened, false))
            .await
            .unwrap_err();
        assert_eq!(matches!(error, SendError::Refused(_)), is_final, "{mood:?}: {error}");
        assert!(!error.to_string().contains("P4SS-secret"), "{error}");
        assert!(mails.lock().unwrap().is_empty());
    }
}

#[test]
fn each_audience_is_told_what_it_can_use() {
    let say = |audience| message(&origin(), &notice(NoticeKind::Opened, false), None, audience, false).body;
    let (people, chiefs) = (say(Audience::Technical), say(Audience::Management));
    assert!(
        people.contains("cordon keeper ack incident:7") && people.contains("block: 100"),
        "{people}"
    );
    assert!(
        !chiefs.contains("0x1111") && chiefs.contains("A safety rule of weth was broken"),
        "{chiefs}"
    );
    let again = message(
        &origin(),
        &notice(NoticeKind::Opened, false),
        None,
        Audience::Technical,
        true,
    );
    assert!(
        again.title.starts_with("Not acknowledged: [P1] weth"),
        "{}",
        again.title
    );
    assert_eq!(again.event, Event::Trigger);
}

#[test]
fn a_watch_s_message_names_the_transaction() {
    let hash = format!("{:?}", alloy::primitives::B256::repeat_byte(0xab));
    let mut seen = notice(NoticeKind::Seen, false);
    seen.facts = Some(serde_json::json!({ "tx": hash, "block": 100 }).to_string());
    let told = |notice: &Notice, audience| message(&origin(), notice, None, audience, false).body;
    let line = format!("transaction: {hash}");
    assert!(told(&seen, Audience::Technical).lines().any(|held| held == line));
    assert!(!told(&seen, Audience::Management).contains(&hash));
    // A storage slot or a balance has none.
    seen.facts = Some(serde_json::json!({ "tx": null, "block": 100 }).to_string());
    assert!(!told(&seen, Audience::Technical).contains("transaction:"));
}

/// A channel for management with templates, as a configuration gives it.
fn channel_with(templates: &str) -> Channel {
    let text = format!(
        "[chain]\nid = 1\nrpc = [\"http://127.0.0.1:1\"]\n[[notify]]\nid = \"status\"\nvia = \"stdout\"\naudience = \"management\"\n{templates}"
    );
    let config =
        cordon_client::Config::parse(&text, std::path::Path::new("cordon.toml")).unwrap_or_else(|e| panic!("{e}"));
    channels(&config.notify, std::path::Path::new(".")).unwrap().remove(0)
}

#[test]
fn a_team_s_own_words_are_used_and_bounded() {
    let channel = channel_with(
        "[[template]]\naudience = \"management\"\ntext = \"of the audience: {details}\"\n\
         [[template]]\nchannels = \"status\"\non = \"opened\"\ntitle = \"{severity}: trouble with {subject}\"\ntext = \"{{{what}}} at block {block}, incident {incident}.\\n{text}\"\n",
    );
    let say = |kind, repeated| channel.write(&origin(), &notice(kind, false), None, repeated);
    let opened = say(NoticeKind::Opened, false);
    assert_eq!(opened.title, "P1: trouble with weth");
    assert_eq!(
        opened.body,
        "{weth: raised on the chain} at block 100, incident -.\nrule price <!channel> @everyone *bold* breached"
    );
    assert_eq!(
        say(NoticeKind::Opened, true).title,
        "Not acknowledged: P1: trouble with weth"
    );
    // Pages and machines know it by the same as ever.
    let plain = message(
        &origin(),
        &notice(NoticeKind::Opened, false),
        None,
        Audience::Management,
        false,
    );
    assert_eq!(
        (&opened.key, &opened.id, &opened.facts),
        (&plain.key, &plain.id, &plain.facts)
    );
    let closed = say(NoticeKind::Closed, false);
    assert_eq!(closed.title, "[P1] weth: the incident is closed");
    assert!(
        closed
            .body
            .starts_with("of the audience: The incident on weth is closed."),
        "{}",
        closed.body
    );
    // However long what comes from the chain is.
    let mut long = notice(NoticeKind::Opened, false);
    long.text = "x".repeat(100_000);
    long.subject = "y".repeat(100_000);
    let told = channel.write(&origin(), &long, None, false);
    assert!(told.title.chars().count() <= 120 && told.body.chars().count() <= 8_000);
}

#[test]
fn every_event_that_can_be_told_can_have_a_template() {
    use cordon_client::config::EVENTS;
    let names: Vec<&str> = NoticeKind::ALL.into_iter().map(NoticeKind::name).collect();
    assert_eq!(names, EVENTS);
}
