//! A pager that fails, an escalation that is not needed, and people who act on the record beside the keeper.

use cordon_keeper::record::Step;
use cordon_testkit::Inbox;

use super::Stage;
use crate::world::GAUGE_RULE;

pub(super) const STEPS: &[Step] = &[
    Step::NotTold,
    Step::Acknowledge,
    Step::Note,
    Step::DeliveryEnd,
    Step::Alarm,
    Step::AlarmEnd,
];

/// A second line, which is called only when nobody has acknowledged in time.
const BOSS: &str = r#"
[[notify]]
id       = "boss"
via      = "webhook"
url      = { env = "CORDON_TEST_BOSS" }
secret   = { env = "CORDON_TEST_PAGER_SECRET" }
severity = "P1"
after    = "5 seconds"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_while_people_cannot_be_told_tells_them_once() {
    let boss = Inbox::start().await.unwrap();
    let mut stage = Stage::new(&GAUGE_RULE, BOSS).await;
    stage.variables.push(("CORDON_TEST_BOSS".to_owned(), boss.url()));
    stage.inbox.fail(u32::MAX);
    stage.breaks_and_dies("before-not-told").await;
    for (does, step) in [("acknowledge", Step::Acknowledge), ("note", Step::Note)] {
        for when in ["before", "after"] {
            stage.somebody_dies(does, &format!("{when}-{}", step.name())).await;
        }
    }
    stage.dies_around(Step::DeliveryEnd).await;
    stage.dies("after-not-told").await;
    // The third failure is an alarm; the first delivery after it ends it.
    stage.dies_around(Step::Alarm).await;
    stage.inbox.fail(0);
    stage.dies_around(Step::AlarmEnd).await;
    stage.ends(STEPS).await;
    assert_eq!(boss.received().len(), 0, "somebody had acknowledged it");
    let incident = stage.store.incident(1).await.unwrap().unwrap();
    for kind in ["acknowledged", "call"] {
        let lines = incident.timeline.iter().filter(|line| line.kind == kind);
        assert_eq!(lines.count(), 1, "{kind}");
    }
    let alarms = stage.store.newest_alarms(100).await.unwrap();
    let failed: Vec<bool> = alarms
        .iter()
        .filter(|alarm| alarm.kind == "notify-failed")
        .map(|alarm| alarm.cleared_ms.is_some())
        .collect();
    assert_eq!(failed, [true]);
}
