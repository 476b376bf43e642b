//! A playbook beside a real guard: approved through the console, carried out by the keeper.

use cordon_client::Config;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::Outcome;
use cordon_keeper::{Approvers, Keeper, Options};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::board::GAUGE;
use crate::world::{GAUGE_RULE, World, outcomes, until};

pub(crate) const PLAYBOOK: &str = r#"
[roles]
commander = ["ada"]
scribe = ["bob"]
[people]
ada = { token = { file = "ada" } }
bob = { token = { file = "bob" } }
[[playbook]]
id = "halt"
severity = "P1"
rules = ["gauge-low"]
step = [
  { do = "wait", until = "level >= ReduceOnly", within = "1 minute" },
  { id = "go", do = "approve", role = "commander", text = "Halt the market?", within = "10 minutes" },
  { id = "hold", do = "contain", scope = "protocol", level = "ReduceOnly", for = "10 minutes" },
  { do = "note", text = "It is halted." },
]
"#;

pub(crate) const ADA: &str = "ada's own token, long enough";

/// Writes the tokens that the playbook's people have.
pub(crate) fn people(world: &World) {
    for (name, token) in [("ada", ADA), ("bob", "bob's own token, long enough")] {
        std::fs::write(world.dir.path().join(name), token).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_and_the_keeper_contains_more() {
    let mut world = World::new(&GAUGE_RULE).await;
    let path = world.dir.path().join("cordon.toml");
    let text = std::fs::read_to_string(&path).unwrap() + PLAYBOOK;
    people(&world);
    std::fs::write(&path, text).unwrap();
    world.config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let approvers = Approvers::new(&world.config.people, world.dir.path()).unwrap();
    let options: Options = world.options();
    let store = world.store().await;
    let keeper = Keeper::new(options, &world.compiled, store.clone(), World::signers())
        .await
        .unwrap();
    let mut keeper = keeper.with_approvers(approvers);
    let at = keeper.open_console("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(keeper.run(stop.clone()));
    world.set(GAUGE, 5_000).await;

    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://{at}{path}");
    let read = |path: &str| {
        let request = client.get(url(path)).send();
        async move { request.await.unwrap().json::<Value>().await.unwrap() }
    };
    until("somebody is asked", || async {
        read("/api/approvals").await["approvals"][0]["step"] == "go"
    })
    .await;
    assert_eq!(world.level(0).await, ICordonGuard::Level::Normal);

    let answer = |token: Option<&'static str>| {
        let request = client.post(url("/api/approvals"));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let request = request
            .json(&json!({ "incident": 1, "step": "go", "approve": true }))
            .send();
        async move { request.await.unwrap().status().as_u16() }
    };
    assert_eq!(answer(None).await, 401);
    assert_eq!(answer(Some("ada's own token, long enougH")).await, 401);
    assert_eq!(answer(Some("bob's own token, long enough")).await, 403, "another role");
    assert_eq!(answer(Some("ada's own token, long enough")).await, 200);
    assert_eq!(answer(Some("ada's own token, long enough")).await, 404, "once");

    until("the whole protocol is contained", || async {
        world.level(0).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    until("the playbook is done", || async {
        read("/api/incidents/1/playbooks").await["playbooks"][0]["state"] == "done"
    })
    .await;
    let runs = read("/api/incidents/1/playbooks").await;
    let steps = runs["playbooks"][0]["steps"].as_array().unwrap();
    let states: Vec<&str> = steps.iter().map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["done"; 4], "{runs}");
    assert_eq!(steps[1]["by"], "ada");
    assert_eq!(outcomes(&store).await, [Some(Outcome::Done), Some(Outcome::Done)]);
    stop.cancel();
    task.await.unwrap().unwrap();
}
