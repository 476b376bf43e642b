//! The outbox: what is told goes out once through each channel that wants it, and waits when the channel fails.

use cordon_core::rule::eval::Verdict;
use cordon_keeper::decide::Decision;
use cordon_keeper::record::{AcknowledgeError, AlarmKind, DeliveryEnd, NoticeKind, Subscription};

use crate::fixture::{Block, Fixture, block, trip, verdict};

fn channel(name: &str, severities: &[&'static str]) -> Subscription {
    Subscription {
        channel: name.to_owned(),
        severities: severities.to_vec(),
        after_ms: 0,
        deaf_to: name.to_owned(),
    }
}

async fn breach(f: &Fixture) {
    let verdicts = [verdict(0, Verdict::Breached)];
    let content = Block {
        verdicts: &verdicts,
        decisions: &[trip(0)],
        ..Block::default()
    };
    f.commit(&block(10, 0), content).await.unwrap();
}

async fn a_notice_goes_out_once_through_each_channel_that_wants_it(f: Fixture) {
    let channels = [
        channel("pager", &["P1"]),
        channel("chat", &["P1", "P2"]),
        channel("quiet", &["P4"]),
    ];
    breach(&f).await;
    assert_eq!(f.store.undelivered().await.unwrap(), 1, "nobody has put it on its way");
    assert_eq!(f.store.fan_out(&channels).await.unwrap(), 2);
    assert_eq!(f.store.undelivered().await.unwrap(), 2);
    assert_eq!(f.store.fan_out(&channels).await.unwrap(), 0, "once");
    assert!(f.store.due("quiet").await.unwrap().is_empty());
    let due = f.store.due("pager").await.unwrap();
    assert_eq!(
        due.iter().map(|due| due.notice.kind).collect::<Vec<_>>(),
        [NoticeKind::Opened]
    );
    let first = &due[0];
    assert!(!first.acknowledged && !first.over && !first.topic_told);
    f.store.told("pager", &[(first.notice.id, None)]).await.unwrap();
    assert!(f.reopen().await.due("pager").await.unwrap().is_empty());
    assert_eq!(
        f.store.due("chat").await.unwrap().len(),
        1,
        "the other channel has not told it"
    );
    assert_eq!(f.store.undelivered().await.unwrap(), 1);
    assert_eq!(f.store.drop_orphans(&channels[..1]).await.unwrap(), 1);
    assert_eq!(f.store.undelivered().await.unwrap(), 0);
}

async fn what_fails_waits_and_nothing_overtakes_it(f: Fixture) {
    let channels = [channel("chat", &["P1", "P2"])];
    breach(&f).await;
    f.store
        .raise_alarm(AlarmKind::Behind, "blocks", "101 blocks wait", Some(11))
        .await
        .unwrap();
    f.store.fan_out(&channels).await.unwrap();
    let due = f.store.due("chat").await.unwrap();
    assert_eq!(due.len(), 2);
    f.store
        .not_told("chat", &[due[0].notice.id], "no answer", 60_000)
        .await
        .unwrap();
    assert!(f.store.due("chat").await.unwrap().is_empty());
    let wait = f.store.next_due("chat").await.unwrap().unwrap();
    assert!((50_000..=60_000).contains(&wait), "{wait}");
    f.store.not_told("chat", &[], "", 0).await.unwrap();
    let wait = f.store.next_due("chat").await.unwrap().unwrap();
    assert!(wait > 50_000, "it is not brought forward: {wait}");
    f.store
        .end_delivery("chat", due[0].notice.id, DeliveryEnd::Refused)
        .await
        .unwrap();
    f.store
        .end_delivery("chat", due[1].notice.id, DeliveryEnd::Expired)
        .await
        .unwrap();
    assert_eq!(f.store.next_due("chat").await.unwrap(), None);
}

async fn what_comes_while_a_channel_fails_waits_behind_the_rest(f: Fixture) {
    let channels = [channel("chat", &["P1", "P2"]), channel("pager", &["P1", "P2"])];
    breach(&f).await;
    f.store.fan_out(&channels).await.unwrap();
    let first = f.store.due("chat").await.unwrap().remove(0).notice;
    // Told, and to be repeated in an hour: that holds nothing up.
    f.store.told("pager", &[(first.id, Some(3_600_000))]).await.unwrap();
    for (kind, tried) in [(AlarmKind::Behind, vec![first.id]), (AlarmKind::Evaluation, vec![])] {
        f.store.not_told("chat", &tried, "no answer", 60_000).await.unwrap();
        f.store.not_told("pager", &[], "no answer", 0).await.unwrap();
        f.store
            .raise_alarm(kind, "blocks", "it comes later", None)
            .await
            .unwrap();
        assert_eq!(f.store.fan_out(&channels).await.unwrap(), 2);
        assert!(
            f.store.due("chat").await.unwrap().is_empty(),
            "{kind:?} overtakes the incident"
        );
        let wait = f.store.next_due("chat").await.unwrap().unwrap();
        assert!((50_000..=60_000).contains(&wait), "{wait}");
        let due = f.store.due("pager").await.unwrap();
        assert_eq!(due.last().unwrap().notice.topic, format!("alarm:{}", kind.name()));
        // Given up: what came after it still waits.
        f.store
            .end_delivery("chat", first.id, DeliveryEnd::Refused)
            .await
            .unwrap();
    }
}

async fn the_worst_is_due_first_and_of_one_topic_what_came_first(f: Fixture) {
    let channels = [channel("chat", &["P1", "P2", "P3", "P4"])];
    let raise = async |kind, subject: &str| f.store.raise_alarm(kind, subject, "", None).await.unwrap();
    raise(AlarmKind::Polling, "heads").await;
    raise(AlarmKind::Behind, "blocks").await;
    f.store.fan_out(&channels).await.unwrap();
    let due = async || -> Vec<(String, bool)> {
        let due = f.store.due("chat").await.unwrap();
        due.into_iter()
            .map(|due| (format!("{} {}", due.notice.topic, due.notice.subject), due.told > 0))
            .collect()
    };
    let told: Vec<i64> = f
        .store
        .due("chat")
        .await
        .unwrap()
        .iter()
        .map(|due| due.notice.id)
        .collect();
    let told: Vec<(i64, Option<i64>)> = told.into_iter().map(|id| (id, Some(0))).collect();
    f.store.told("chat", &told).await.unwrap();
    for subject in ["light", "grave"] {
        let severity = if subject == "light" { "P4" } else { "P1" };
        f.tamper(&format!(
            "INSERT INTO notices (topic, kind, severity, subject, text, ends, at_ms, due_ms)
             VALUES ('watch:whales', 'seen', '{severity}', '{subject}', '', 0, 0, 0)"
        ))
        .await;
    }
    raise(AlarmKind::Evaluation, "price").await;
    raise(AlarmKind::Blind, "heads").await;
    breach(&f).await;
    f.store.fan_out(&channels).await.unwrap();
    let wanted = [
        ("incident:1 weth", false),
        ("alarm:blind heads", false),
        ("watch:whales light", false),
        ("watch:whales grave", false),
        ("alarm:evaluation price", false),
        ("alarm:behind blocks", true),
        ("alarm:polling heads", true),
    ];
    assert_eq!(due().await, wanted.map(|(what, told)| (what.to_owned(), told)));
}

async fn what_is_told_again_of_a_topic_is_told_together(f: Fixture) {
    let channels = [channel("hook", &["P2"])];
    let mut first = None;
    for (rule, again) in [("price", 600_000), ("solvent", 3_600_000)] {
        f.store
            .raise_alarm(AlarmKind::RuleUnknown, rule, "no answer", None)
            .await
            .unwrap();
        f.store.fan_out(&channels).await.unwrap();
        let due = f.store.due("hook").await.unwrap();
        assert_eq!(due.len(), 1);
        f.store.told("hook", &[(due[0].notice.id, Some(again))]).await.unwrap();
        first = first.or(Some(due[0].notice.id));
    }
    f.store
        .end_delivery("hook", first.unwrap(), DeliveryEnd::Sent)
        .await
        .unwrap();
    let wait = f.store.next_due("hook").await.unwrap().unwrap();
    assert!(wait <= 600_000, "the other is told with the first: {wait}");
}

async fn what_is_new_is_not_told_again_with_what_is_overdue_or_asks_for_nobody(f: Fixture) {
    let channels = [channel("hook", &["P2"])];
    let raise = async |rule: &str| {
        f.store
            .raise_alarm(AlarmKind::RuleUnknown, rule, "no answer", None)
            .await
            .unwrap();
        f.store.fan_out(&channels).await.unwrap();
        f.store.due("hook").await.unwrap()
    };
    let waits = async || f.store.next_due("hook").await.unwrap().unwrap();
    // Told, and due again at once.
    let first = raise("price").await.remove(0).notice.id;
    f.store.told("hook", &[(first, Some(0))]).await.unwrap();
    // Told in one message with what is due again, in either order, and noted so.
    for (rule, is_first) in [("solvent", true), ("other", false)] {
        f.tamper("UPDATE deliveries SET due_ms = 0").await;
        let due = raise(rule).await;
        let mut told: Vec<(i64, Option<i64>)> = due.iter().map(|due| (due.notice.id, Some(600_000))).collect();
        told.sort_unstable();
        if is_first {
            told.reverse();
        }
        assert!(told.len() >= 2);
        f.store.told("hook", &told).await.unwrap();
        assert!(
            f.store.due("hook").await.unwrap().is_empty(),
            "{rule} is told again at once"
        );
        assert!((500_000..=600_000).contains(&waits().await), "{}", waits().await);
    }
    // What is overdue and was not in the message does not take with it what is new.
    f.tamper("UPDATE deliveries SET due_ms = 0").await;
    let new = raise("more").await.iter().map(|due| due.notice.id).max().unwrap();
    f.store.told("hook", &[(new, Some(600_000))]).await.unwrap();
    let due = f.store.due("hook").await.unwrap();
    assert!(due.len() >= 3 && due.iter().all(|due| due.notice.id != new), "{due:?}");
    // Nor does what somebody takes care of, which is due again in ten seconds, and says nothing then.
    let told: Vec<(i64, Option<i64>)> = due.iter().map(|due| (due.notice.id, Some(10_000))).collect();
    f.store.told("hook", &told).await.unwrap();
    f.store.acknowledge("rule-unknown", "ada").await.unwrap();
    let new = raise("new").await.iter().map(|due| due.notice.id).max().unwrap();
    f.store.told("hook", &[(new, Some(600_000))]).await.unwrap();
    f.tamper(&format!("UPDATE deliveries SET outcome = 'sent' WHERE notice <> {new}"))
        .await;
    assert!((500_000..=600_000).contains(&waits().await), "{}", waits().await);
}

async fn of_one_topic_what_came_first_is_due_first_however_much_waits(f: Fixture) {
    let channels = [channel("chat", &["P1", "P2", "P3"])];
    let wait = async |from: usize, to: usize, topic: &str, severity: &str| {
        for number in from..to {
            f.tamper(&format!(
                "INSERT INTO notices (topic, kind, severity, subject, text, ends, at_ms, due_ms)
                 VALUES ('{topic}', 'alarm', '{severity}', '{number}', '', 0, 0, 0)"
            ))
            .await;
        }
    };
    // The worst of a topic comes last, behind more than fits in a message, and behind what is as severe.
    wait(0, 60, "alarm:one", "P3").await;
    wait(60, 120, "alarm:two", "P2").await;
    wait(120, 121, "alarm:one", "P1").await;
    f.store.fan_out(&channels).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let due = f.store.due("chat").await.unwrap();
        let urgent = f.store.due_urgent("chat").await.unwrap();
        assert_eq!(
            urgent.iter().map(|due| due.notice.id).collect::<Vec<_>>(),
            due.iter()
                .filter(|due| due.worst == cordon_client::config::Severity::P1)
                .map(|due| due.notice.id)
                .collect::<Vec<_>>()
        );
        if due.is_empty() {
            break;
        }
        let told: Vec<(i64, Option<i64>)> = due.iter().map(|due| (due.notice.id, None)).collect();
        seen.extend(due.into_iter().map(|due| due.notice.subject));
        f.store.told("chat", &told).await.unwrap();
    }
    let wanted = (0..60).chain([120]).chain(60..120);
    assert_eq!(seen, wanted.map(|number| number.to_string()).collect::<Vec<_>>());
}

async fn what_waited_before_there_were_places_is_due_in_its_order(f: Fixture) {
    let channels = [channel("chat", &["P1", "P2", "P3", "P4"])];
    let raise = async |kind| f.store.raise_alarm(kind, "heads", "", None).await.unwrap();
    raise(AlarmKind::Polling).await;
    f.store.fan_out(&channels).await.unwrap();
    let first = f.store.due("chat").await.unwrap().remove(0).notice.id;
    f.store.told("chat", &[(first, Some(0))]).await.unwrap();
    raise(AlarmKind::Behind).await;
    breach(&f).await;
    f.store.fan_out(&channels).await.unwrap();
    let due = f.store.due("chat").await.unwrap();
    f.tamper(
        "DROP TABLE holds; DROP INDEX deliveries_places; DROP INDEX deliveries_untold; DROP INDEX deliveries_again;
         DROP INDEX deliveries_refused; DROP INDEX deliveries_told; DROP INDEX deliveries_later; DROP INDEX deliveries_ends; ALTER TABLE deliveries DROP COLUMN topic; ALTER TABLE deliveries DROP COLUMN place;
         ALTER TABLE deliveries DROP COLUMN part; ALTER TABLE deliveries DROP COLUMN aside; DELETE FROM _sqlx_migrations WHERE version = 220;",
    )
    .await;
    assert_eq!(due.len(), 3);
    assert_eq!(f.reopen().await.due("chat").await.unwrap(), due);
}

async fn an_acknowledgement_holds_until_it_is_over(f: Fixture) {
    let channels = [channel("chat", &["P1", "P2", "P3"])];
    breach(&f).await;
    f.store.fan_out(&channels).await.unwrap();
    let first = f.store.due("chat").await.unwrap().remove(0).notice;
    f.store.told("chat", &[(first.id, Some(0))]).await.unwrap();
    assert_eq!(f.store.acknowledge("1", "ada").await.unwrap(), "incident:1");
    assert_eq!(
        f.store.open_topics().await.unwrap()[0].acknowledged_by.as_deref(),
        Some("ada")
    );
    f.store.fan_out(&channels).await.unwrap();
    let due = f.store.due("chat").await.unwrap();
    assert_eq!((due[1].told, due[1].acknowledged), (1, true));
    assert_eq!(
        due.iter().map(|due| due.notice.kind).collect::<Vec<_>>(),
        [NoticeKind::Acknowledged, NoticeKind::Opened],
        "what is to be told again comes after what is new"
    );
    let error = f.store.acknowledge("blind", "ada").await.unwrap_err();
    assert!(matches!(error, AcknowledgeError::NotOpen { .. }), "{error}");
    let held = [verdict(0, Verdict::Holds)];
    let intent = f.store.open_intents().await.unwrap().remove(0);
    let end = cordon_keeper::record::Confirmation {
        included: None,
        judged_at: None,
        ..crate::fixture::done(block(10, 0), alloy::primitives::B256::ZERO)
    };
    f.store
        .finish(
            &intent,
            &cordon_keeper::record::Confirmation {
                outcome: cordon_keeper::record::Outcome::HoldsAgain,
                ..end
            },
        )
        .await
        .unwrap();
    f.commit(
        &block(11, 0),
        Block {
            verdicts: &held,
            ..Block::default()
        },
    )
    .await
    .unwrap();
    assert!(f.store.open_topics().await.unwrap().is_empty(), "it is over");
    f.store.fan_out(&channels).await.unwrap();
    let due = f.store.due("chat").await.unwrap();
    assert!(due[0].over && !due[0].acknowledged);
    assert!(
        due.iter()
            .any(|due| due.notice.kind == NoticeKind::Closed && due.notice.ends)
    );
}

async fn an_alarm_stays_open_once_until_its_cause_is_gone(f: Fixture) {
    let raise = |text: &'static str| f.store.raise_alarm(AlarmKind::Blind, "heads", text, Some(5));
    assert!(raise("no source works").await.unwrap());
    assert!(!raise("again").await.unwrap());
    assert!(f.store.clear_alarm(AlarmKind::Blind, "heads").await.unwrap());
    assert!(!f.store.clear_alarm(AlarmKind::Blind, "heads").await.unwrap());
    assert!(raise("once more").await.unwrap());
    let alarms = f.store.newest_alarms(10).await.unwrap();
    assert_eq!(
        alarms
            .iter()
            .map(|a| (a.text.as_str(), a.cleared_ms.is_some()))
            .collect::<Vec<_>>(),
        [("once more", false), ("no source works", true)]
    );
    let kinds: Vec<NoticeKind> = f.store.notices(10).await.unwrap().iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [NoticeKind::Alarm, NoticeKind::Cleared, NoticeKind::Alarm]);
    assert!(!f.store.prune(-1_000).await.unwrap(), "it was all at once");
    let kinds: Vec<NoticeKind> = f.store.notices(10).await.unwrap().iter().map(|n| n.kind).collect();
    assert_eq!(
        kinds,
        [NoticeKind::Alarm],
        "all but the newest, which says how far they went"
    );
    let open = f.store.newest_alarms(10).await.unwrap();
    assert_eq!(open.iter().filter(|alarm| alarm.cleared_ms.is_some()).count(), 0);
    assert_eq!(open.len(), 1, "what is open is kept");
}

async fn another_configuration_is_alarmed_until_somebody_has_seen_it(f: Fixture) {
    let alarms = async || f.store.newest_alarms(10).await.unwrap();
    assert_eq!(f.store.note_config("a").await.unwrap(), None, "the first is no change");
    assert!(f.store.note_config("b").await.unwrap().is_some());
    // A restart is nobody's look.
    assert_eq!(f.store.note_config("b").await.unwrap(), None);
    assert_eq!(
        alarms().await.iter().map(|alarm| alarm.cleared_ms).collect::<Vec<_>>(),
        [None]
    );
    assert!(
        f.store.note_config("a").await.unwrap().is_some(),
        "back again is a change too"
    );
    let open = alarms().await.into_iter().filter(|alarm| alarm.cleared_ms.is_none());
    assert_eq!(open.count(), 1);
    f.store.acknowledge("config-changed", "ada").await.unwrap();
    assert!(alarms().await.iter().all(|alarm| alarm.cleared_ms.is_some()));
}

async fn each_configuration_has_its_number_and_incidents_name_it(f: Fixture) {
    let verdicts = [verdict(0, Verdict::Breached)];
    let other = Decision { scope: 0, ..trip(1) };
    let decisions = [[trip(0)], [other]];
    let opened = |nth: usize| Block {
        verdicts: &verdicts,
        decisions: &decisions[nth],
        ..Block::default()
    };
    let known = async || {
        let held = f.store.configurations(10).await.unwrap();
        held.into_iter()
            .map(|held| (held.number, held.digest))
            .collect::<Vec<_>>()
    };
    assert_eq!(known().await, []);
    f.store.note_config("a").await.unwrap();
    f.store.note_config("a").await.unwrap();
    assert_eq!(
        known().await,
        [(1, "a".to_owned())],
        "a restart is no other configuration"
    );
    f.commit(&block(10, 0), opened(0)).await.unwrap();
    assert_eq!(f.store.incident(1).await.unwrap().unwrap().configuration, Some(1));
    // What follows in an open incident is decided by the new one, and what opens is of the new one.
    let text = f.store.note_config("b").await.unwrap().unwrap();
    assert!(
        text.contains("now configuration 2, digest b; before 1, digest a"),
        "{text}"
    );
    f.store.note_config("b").await.unwrap();
    let lines = async |id| {
        let incident = f.store.incident(id).await.unwrap().unwrap();
        let of = incident
            .timeline
            .into_iter()
            .filter(|entry| entry.kind == "configuration");
        (incident.configuration, of.map(|entry| entry.text).collect::<Vec<_>>())
    };
    let changed = vec!["configuration 2 is in force from now on (digest b)".to_owned()];
    assert_eq!(lines(1).await, (Some(1), changed));
    f.store.note_config("a").await.unwrap();
    f.commit(&block(11, 0), opened(1)).await.unwrap();
    assert_eq!(lines(2).await, (Some(3), vec![]));
    let newest_first = [(3, "a".to_owned()), (2, "b".to_owned()), (1, "a".to_owned())];
    assert_eq!(known().await, newest_first);
    let times: Vec<i64> = f
        .store
        .configurations(10)
        .await
        .unwrap()
        .iter()
        .map(|held| held.at_ms)
        .collect();
    assert!(
        times.is_sorted_by(|newer, older| newer >= older) && times[2] > 0,
        "{times:?}"
    );
    assert_eq!(f.store.configurations(1).await.unwrap().len(), 1);
    // It is part of the evidence.
    f.store.verify_evidence(None).await.unwrap().unwrap();
}

async fn what_ran_before_there_were_numbers_is_the_first(f: Fixture) {
    f.tamper(
        "DROP TABLE configurations; ALTER TABLE incidents DROP COLUMN configuration;
         INSERT INTO settings (name, value) VALUES ('config', 'a'); DELETE FROM _sqlx_migrations WHERE version = 200;",
    )
    .await;
    let store = f.reopen().await;
    let held = store.configurations(10).await.unwrap();
    assert_eq!((held.len(), held[0].number, held[0].at_ms), (1, 1, 0));
    assert_eq!(store.note_config("a").await.unwrap(), None, "it has not changed");
    assert!(store.note_config("b").await.unwrap().is_some());
    assert_eq!(store.configurations(1).await.unwrap()[0].number, 2);
}

on_both! {
    a_notice_goes_out_once_through_each_channel_that_wants_it
    what_fails_waits_and_nothing_overtakes_it
    what_comes_while_a_channel_fails_waits_behind_the_rest
    the_worst_is_due_first_and_of_one_topic_what_came_first
    what_is_told_again_of_a_topic_is_told_together
    what_is_new_is_not_told_again_with_what_is_overdue_or_asks_for_nobody
    of_one_topic_what_came_first_is_due_first_however_much_waits
    what_waited_before_there_were_places_is_due_in_its_order
    an_acknowledgement_holds_until_it_is_over
    an_alarm_stays_open_once_until_its_cause_is_gone
    another_configuration_is_alarmed_until_somebody_has_seen_it
    each_configuration_has_its_number_and_incidents_name_it
    what_ran_before_there_were_numbers_is_the_first
}
