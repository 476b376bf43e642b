//! A playbook that asks a person: killed at every step that it takes, and while it is answered.

use cordon_client::Config;
use cordon_keeper::record::{Outcome, Step};
use serde_json::{Value, json};

use super::Stage;
use crate::playbook::{ADA, PLAYBOOK, people};
use crate::process::Process;
use crate::world::{GAUGE_RULE, KEEPER, World, until};

pub(super) const STEPS: &[Step] = &[Step::Playbook, Step::Approve];

/// Lets the keeper die before and after every commit of its playbooks until `there` says that it has come far enough; answers how
/// many commits that took.
async fn dies_until(stage: &mut Stage, there: impl AsyncFn(&Stage) -> bool) -> usize {
    let mut commits = 0;
    loop {
        stage.dies_around(Step::Playbook).await;
        commits += 1;
        if there(stage).await {
            return commits;
        }
    }
}

async fn run(stage: &Stage) -> Option<(String, Vec<String>)> {
    let run = stage.store.playbook_runs(1).await.unwrap().into_iter().next()?;
    let steps = run
        .steps
        .iter()
        .map(|step| format!("{} {}", step.step, step.status.name()));
    Some((run.state, steps.collect()))
}

/// Somebody approves; the answer does not matter, because the keeper may die over it.
async fn approve(at: &str) {
    let request = reqwest::Client::new()
        .post(format!("http://{at}/api/approvals"))
        .bearer_auth(ADA);
    let _ = request
        .json(&json!({ "incident": 1, "step": "go", "approve": true }))
        .send()
        .await;
}

async fn asked(at: &str) -> bool {
    let Ok(answer) = reqwest::get(format!("http://{at}/api/approvals")).await else {
        return false;
    };
    let Ok(answer) = answer.json::<Value>().await else {
        return false;
    };
    answer["approvals"][0]["step"] == "go"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_over_a_playbook_does_each_step_once() {
    let world = World::new(&GAUGE_RULE).await;
    people(&world);
    // With a step that is over later than it began: never all that comes before the question in one commit.
    let go = "{ id = \"go\"";
    let playbook = PLAYBOOK.replace(go, &format!("{{ do = \"wait\", for = \"1 second\" }}, {go}"));
    let mut stage = Stage::on(world, &playbook).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at = format!("127.0.0.1:{port}");
    let text = std::fs::read_to_string(&stage.config).unwrap();
    let console = format!("reports = \"incidents\"\nconsole = {{ listen = \"{at}\" }}");
    let text = text.replace("reports       = \"incidents\"", &console);
    std::fs::write(&stage.config, text).unwrap();
    Config::load(&stage.config).unwrap_or_else(|error| panic!("{error}"));

    stage.breaks_and_dies("before-playbook").await;
    let commits = dies_until(
        &mut stage,
        async |stage| matches!(run(stage).await, Some((_, steps)) if steps.iter().any(|step| step == "go running")),
    )
    .await;
    assert!(commits >= 2, "{commits}");
    for point in ["before-approve", "after-approve"] {
        let mut process: Process = stage.start(Some(point));
        until("somebody is asked", || asked(&at)).await;
        approve(&at).await;
        stage.death(&mut process, point).await;
    }
    dies_until(
        &mut stage,
        async |stage| matches!(run(stage).await, Some((state, _)) if state == "done"),
    )
    .await;

    let process = stage.start(None);
    stage.contained().await;
    let (state, steps) = run(&stage).await.unwrap();
    assert_eq!(state, "done");
    assert!(
        steps.len() == 5 && steps.iter().all(|step| step.ends_with(" done")),
        "{steps:?}"
    );
    // The market by the trip, the whole protocol by the playbook: each once.
    assert_eq!((stage.raised().await, stage.world.nonce(KEEPER).await), (2, 2));
    let intents = stage.store.intents().await.unwrap();
    assert!(
        intents.len() == 2 && intents.iter().all(|i| i.outcome == Some(Outcome::Done)),
        "{intents:#?}"
    );
    let incident = stage.store.incident(1).await.unwrap().unwrap();
    let mut lines: Vec<&str> = incident.timeline.iter().map(|line| line.text.as_str()).collect();
    lines.retain(|line| line.starts_with("halt: "));
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(all, lines.len(), "each line once: {lines:#?}");
    stage.nothing_told_as_two();
    stage.has_died_around(STEPS);
    drop(process);
}
