//! The parts of the command that tell people, and what they take care of: the dead-man's switch, tests of channels, acknowledgements, a reload
//! while there is something to tell, and what is made of another monitor's configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::providers::Provider;
use alloy::providers::ext::AnvilApi;
use alloy::rpc::types::TransactionRequest;
use common::{Chain, GOVERNOR, Process, cordon, failure, run};
use cordon_keeper::record::{AlarmKind, Store};
use cordon_testkit::Inbox;

/// A keeper whose log goes to a file.
fn keeper(config: &Path, log: &Path) -> Process {
    let file = std::fs::File::create(log).unwrap();
    let child = cordon(&["keeper", "run", "--config", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(file)
        .spawn();
    Process(child.unwrap())
}

/// A configuration that watches one event of anybody, with more in its sections.
fn watching(chain: &Chain, keeper: &str, more: &str) -> PathBuf {
    let text = format!(
        "[chain]\nid = {}\nrpc = [\"{}\"]\n\n[keeper]\nstore = \"watch.db\"\n{keeper}\n\n[[watch]]\nid = \"pings\"\non = \"event\"\nevent = \"event Ping()\"\n{more}",
        chain.node.chain_id(),
        chain.node.http_endpoint(),
    );
    chain.write_config(|_| text)
}

async fn until<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < Duration::from_secs(40), "{what}: not within 40 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn record(chain: &Chain) -> Store {
    Store::open(chain.folder().join("watch.db"), chain.node.chain_id(), Address::ZERO)
        .await
        .unwrap()
}

fn webhook(chain: &Chain, id: &str, url: &str) -> String {
    for (name, content) in [(format!("{id}-url"), url), (format!("{id}-secret"), "a shared secret")] {
        std::fs::write(chain.folder().join(name), content).unwrap();
    }
    format!(
        "\n[[notify]]\nid = \"{id}\"\nvia = \"webhook\"\nurl = {{ file = \"{id}-url\" }}\nsecret = {{ file = \"{id}-secret\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_asks_the_dead_mans_switch_and_repeats_nothing_of_its_url() {
    let chain = Chain::start().await;
    let inbox = Inbox::start().await.unwrap();
    let path = watching(&chain, "heartbeat_url = { file = \"switch\" }", "");
    let secret = chain.folder().join("switch");
    std::fs::write(&secret, format!("{}ping/s3cret\n", inbox.url())).unwrap();

    let checked = run(&["keeper", "check", "--config", path.to_str().unwrap()]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("heartbeat_url can be read; it is not asked"), "{said}");
    assert!(inbox.received().is_empty(), "no keeper runs");

    inbox.fail(1);
    let log = chain.folder().join("keeper.log");
    let keeper = keeper(&path, &log);
    until("the switch is asked", || async { !inbox.received().is_empty() }).await;
    keeper.signal("TERM");
    drop(keeper);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("the dead-man's switch could not be reached"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");

    std::fs::write(&secret, "ping/s3cret").unwrap();
    let message = failure(&run(&["keeper", "check", "--config", path.to_str().unwrap()]));
    assert!(
        message.contains("[keeper] heartbeat_url: it is no URL") && !message.contains("s3cret"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_goes_through_every_channel_and_says_which_does_not_work() {
    let chain = Chain::start().await;
    let (good, bad) = (Inbox::start().await.unwrap(), Inbox::start().await.unwrap());
    bad.fail(u32::MAX);
    std::fs::write(chain.folder().join("pager-key"), "0123456789abcdef0123456789abcdef").unwrap();
    let pager = format!(
        "\n[[notify]]\nid = \"pager\"\nvia = \"pagerduty\"\nkey = {{ file = \"pager-key\" }}\nserver = \"{}\"\n",
        good.url()
    );
    let channels = webhook(&chain, "ops", &good.url()) + &pager + &webhook(&chain, "broken", &bad.url());
    let path = watching(&chain, "", &channels);
    let test = |more: &[&str]| run(&[&["keeper", "notify-test", "--config", path.to_str().unwrap()], more].concat());

    let all = test(&[]);
    let message = failure(&all);
    let said = String::from_utf8(all.stdout).unwrap();
    assert!(message.contains("1 of 3 channels do not work"), "{message}");
    assert!(said.contains("ops: taken") && said.contains("pager: taken"), "{said}");
    assert!(said.contains("broken: ") && said.contains("502"), "{said}");
    // The page that it opens is closed again, under the same key.
    let pages = good.received().into_iter().filter(|sent| sent["dedup_key"].is_string());
    let pages: Vec<_> = pages
        .map(|sent| (sent["event_action"].clone(), sent["dedup_key"].clone()))
        .collect();
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert_eq!(
        (pages[0].0.as_str(), pages[1].0.as_str()),
        (Some("trigger"), Some("resolve"))
    );
    assert_eq!(pages[0].1, pages[1].1);

    let before = bad.received().len() + good.received().len();
    assert!(test(&["--channel", "ops"]).status.success());
    assert!(good.received().len() > before);
    let message = failure(&test(&["--channel", "nobody"]));
    assert!(
        message.contains("no channel `nobody`") && message.contains("channels: ops, pager, broken"),
        "{message}"
    );
    let none = watching(&chain, "", "");
    let message = failure(&run(&["keeper", "notify-test", "--config", none.to_str().unwrap()]));
    assert!(message.contains("nobody would be told anything"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_takes_care_of_an_alarm_by_the_command_line() {
    let chain = Chain::start().await;
    let path = watching(&chain, "", "");
    let ack = |topic: &str, by: &str| run(&["keeper", "ack", topic, "--by", by, "--config", path.to_str().unwrap()]);
    let message = failure(&ack("blind", "ada"));
    assert!(
        message.contains("there is no record at") && message.contains("has the keeper run?"),
        "{message}"
    );
    let store = record(&chain).await;
    store
        .raise_alarm(AlarmKind::Blind, "heads", "no head source works", None)
        .await
        .unwrap();
    let open = || async {
        let topics = store.open_topics().await.unwrap();
        topics
            .into_iter()
            .map(|open| (open.topic, open.acknowledged_by))
            .collect::<Vec<_>>()
    };
    assert_eq!(open().await, [("alarm:blind".to_owned(), None)]);
    let message = failure(&ack("behind", "ada"));
    assert!(message.contains("behind"), "{message}");
    failure(&ack("blind", " "));
    assert_eq!(open().await, [("alarm:blind".to_owned(), None)], "nobody has it");
    let taken = ack("blind", "ada");
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(
        String::from_utf8(taken.stdout).unwrap(),
        "alarm:blind is acknowledged by ada\n"
    );
    assert_eq!(open().await, [("alarm:blind".to_owned(), Some("ada".to_owned()))]);
}

/// A contract that logs `Ping()` whenever it is called.
async fn place_bell(chain: &Chain) -> Address {
    let bell = Address::repeat_byte(0xbe);
    // push32 topic, push0, push0, log1, stop
    let topic: B256 = keccak256("Ping()");
    let code = [&[0x7f], topic.as_slice(), &[0x5f, 0x5f, 0xa1, 0x00]].concat();
    chain.provider.anvil_set_code(bell, Bytes::from(code)).await.unwrap();
    bell
}

/// openzeppelin-monitor: runs that overlap tell things twice. Here the old configuration's turn has ended before the new one's begins.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_the_configuration_is_taken_up_anew_is_told_once() {
    const PINGS: usize = 24;
    let chain = Chain::start().await;
    let inbox = Inbox::start().await.unwrap();
    let bell = place_bell(&chain).await;
    let path = watching(&chain, "", &webhook(&chain, "ops", &inbox.url()));
    let log = chain.folder().join("keeper.log");
    let store = record(&chain).await;
    let keeper = keeper(&path, &log);
    until("it watches", || async { !store.window(1).await.unwrap().is_empty() }).await;
    for ping in 0..PINGS {
        if ping % 3 == 0 {
            keeper.signal("HUP");
        }
        let call = TransactionRequest::default().with_from(GOVERNOR).with_to(bell);
        let sent = chain.provider.send_transaction(call).await.unwrap();
        assert!(sent.get_receipt().await.unwrap().status());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    until("all are seen, and everything is told", || async {
        store.sightings(Some("pings"), 1_000).await.unwrap().len() >= PINGS && store.undelivered().await.unwrap() == 0
    })
    .await;
    let seen = store.sightings(Some("pings"), 1_000).await.unwrap();
    assert_eq!(seen.len(), PINGS);
    let notices = store.notices(1_000).await.unwrap();
    let told = notices.iter().filter(|notice| notice.topic == "watch:pings").count();
    assert_eq!(told, PINGS, "each once");
    // What was on its way when the old turn ended comes again as the same message, which a service knows by its id.
    let mut by_id = BTreeMap::new();
    for message in inbox.received() {
        let id = message["id"].to_string();
        let first = by_id.entry(id).or_insert_with(|| message.clone());
        assert_eq!((&first["key"], &first["text"]), (&message["key"], &message["text"]));
    }
    assert!(by_id.len() <= PINGS, "{} messages about {PINGS} events", by_id.len());
    keeper.signal("TERM");
    drop(keeper);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!said.contains("ERROR"), "{said}");
}

#[test]
fn another_monitors_configuration_is_taken_over_and_nothing_is_overwritten() {
    let out = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/data/ozm");
    let import = |from: &Path| {
        let (from, to) = (from.to_str().unwrap(), out.path().to_str().unwrap());
        run(&["import", "openzeppelin-monitor", from, "--out", to])
    };
    let done = import(&source);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let config = out.path().join("arbitrum_one/cordon.toml");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.starts_with(&format!("{}\n  - ", config.display())), "{said}");
    assert!(!said.contains("very-secret"), "{said}");
    let secret = out.path().join("arbitrum_one/secrets/chat-url");
    for kept in [&secret, &out.path().join("arbitrum_one/secrets/rpc-1")] {
        let mode = std::fs::metadata(kept).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner's");
    }
    let held = std::fs::read_to_string(&secret).unwrap();
    assert_eq!(held, "https://hooks.slack.example/T0/B0/very-secret");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(!text.contains("very-secret"), "{text}");
    cordon_client::Config::load(&config).unwrap_or_else(|error| panic!("{error}"));

    // Again, over what somebody has worked on since.
    std::fs::write(&config, "# mine").unwrap();
    let message = failure(&import(&source));
    assert!(
        message.contains("cannot write") && message.contains("cordon.toml"),
        "{message}"
    );
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# mine");
    std::fs::remove_file(&config).unwrap();
    std::fs::write(&secret, "mine").unwrap();
    let message = failure(&import(&source));
    assert!(
        message.contains("cannot write") && message.contains("secrets/"),
        "{message}"
    );
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "mine");
    let message = failure(&import(out.path()));
    assert!(
        message.contains("openzeppelin-monitor") || message.contains("networks"),
        "{message}"
    );
}
