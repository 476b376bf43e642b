//! Three keepers on one PostgreSQL, each with a key of its own: killed, paused, cut off, with a wrong clock. No block is left
//! out, nothing is done twice, nobody is called twice.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cordon_client::config::SecretText;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::{Alarm, AlarmKind, Store};
use cordon_testkit::{Inbox, Link, Postgres};

use crate::board::GAUGE;
use crate::console::health;
use crate::process::{Process, config_with_pager, nothing_missing_nothing_twice, pager, pages};
use crate::world::{GAUGE_RULE, KEEPER, OTHER, World, until};

/// Keys of the three. Only the first has the keeper's role: a trip needs none.
const KEYS: [u32; 3] = [KEEPER, OTHER, 6];

struct Fleet {
    world: World,
    database: Postgres,
    inbox: Inbox,
    config: PathBuf,
    store: Store,
    keepers: Vec<Process>,
    /// Each keeper's way to the database.
    links: Vec<Link>,
    /// Each keeper's way to the chain.
    chains: Vec<Link>,
    /// Each keeper's console.
    consoles: Vec<SocketAddr>,
}

impl Fleet {
    /// `skews`: how wrong each keeper's clock is, in milliseconds.
    async fn new(skews: [i64; 3]) -> Self {
        let world = World::new(&GAUGE_RULE).await;
        let database = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
        let inbox = Inbox::start().await.unwrap();
        let config = config_with_pager(&world, "{ postgres = { env = \"CORDON_TEST_DATABASE\" } }");
        // One file for all; each machine has endpoints of its own.
        let text = std::fs::read_to_string(&config).unwrap();
        let (http, ws) = (world.node.http_endpoint(), world.node.ws_endpoint());
        let text = text.replace(&format!("\"{http}\""), "{ env = \"CORDON_TEST_RPC\" }");
        let text = text.replace(&format!("\"{ws}\""), "{ env = \"CORDON_TEST_WS\" }");
        assert!(!text.contains(&http) && !text.contains(&ws) && host(&http) == host(&ws));
        std::fs::write(&config, text).unwrap();
        let store = Store::connect(&SecretText::new(database.url()), world.node.chain_id(), world.guard)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let mut fleet = Self {
            world,
            database,
            inbox,
            config,
            store,
            keepers: Vec::new(),
            links: Vec::new(),
            chains: Vec::new(),
            consoles: Vec::new(),
        };
        for (position, skew) in skews.into_iter().enumerate() {
            let server = format!("127.0.0.1:{}", fleet.database.port());
            fleet.links.push(Link::to(&server).await.unwrap());
            fleet
                .chains
                .push(Link::to(host(&fleet.world.node.http_endpoint())).await.unwrap());
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            fleet.consoles.push(free.local_addr().unwrap());
            drop(free);
            fleet.keepers.push(fleet.process(position, skew));
        }
        until("one of them works", || async { fleet.holder().await.is_some() }).await;
        fleet.follows_from(fleet.world.height().await).await;
        fleet
    }

    fn process(&self, position: usize, skew: i64) -> Process {
        let url = self.database.url_through(self.links[position].address().port());
        let chain = self.chains[position].address();
        let (rpc, ws) = (format!("http://{chain}"), format!("ws://{chain}"));
        let [address, secret] = pager(&self.inbox);
        let variables = [
            ("CORDON_TEST_RPC", rpc.as_str()),
            ("CORDON_TEST_WS", ws.as_str()),
            ("CORDON_TEST_DATABASE", url.as_str()),
            (address.0, &address.1),
            (secret.0, &secret.1),
            ("CORDON_CLOCK_SKEW_MS", &skew.to_string()),
        ];
        // The same file for all of them, but for where each has its console.
        let text = std::fs::read_to_string(&self.config).unwrap();
        let console = format!("[keeper]\nconsole = {{ listen = \"{}\" }}\n", self.consoles[position]);
        let config = self.world.dir.path().join(format!("keeper-{position}.toml"));
        std::fs::write(&config, text.replacen("[keeper]\n", &console, 1)).unwrap();
        Process::with(&config, KEYS[position], &variables)
    }

    /// Which of the three has its turn.
    async fn holder(&self) -> Option<usize> {
        let holder = self.store.lease_holder().await.unwrap()?.holder;
        let of = |process: &Process| holder.contains(&format!("(process {})", process.id()));
        Some(self.keepers.iter().position(of).expect("it is one of the three"))
    }

    /// What an orchestrator hears of each keeper that runs.
    async fn says(&self, position: usize, status: u16, what: &str) {
        until(&format!("keeper {position} is {what}"), || async {
            let (heard, body) = health(self.consoles[position]).await;
            heard == status && body.contains(&format!("\"status\":\"{what}\""))
        })
        .await;
    }

    /// Waits until blocks above `height` are evaluated.
    async fn follows_from(&self, height: u64) {
        until("blocks are evaluated", || async { self.tip().await > height }).await;
    }

    async fn tip(&self) -> u64 {
        let window = self.store.window(1).await.unwrap();
        window.last().map_or(0, |block| block.number)
    }

    /// Waits until another keeper than `before` works; answers it, and how long that took.
    async fn replaced(&self, before: usize) -> (usize, Duration) {
        let begun = Instant::now();
        until("another keeper takes over", || async {
            self.holder().await.is_some_and(|now| now != before)
        })
        .await;
        (self.holder().await.unwrap(), begun.elapsed())
    }

    async fn contained(&self) {
        until("it is contained", || async {
            self.world.level(1).await == ICordonGuard::Level::ReduceOnly
        })
        .await;
        until("everything decided is ended", || async {
            !self.store.intents().await.unwrap().is_empty() && self.store.open_intents().await.unwrap().is_empty()
        })
        .await;
        until("people are told", || async { pages(&self.inbox) == 1 }).await;
    }

    async fn nothing_missing_nothing_twice(&self) {
        nothing_missing_nothing_twice(&self.world, &self.store, &self.inbox).await;
    }
}

/// Host and port of an endpoint.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_whose_endpoint_is_half_open_gives_its_turn_away() {
    let fleet = Fleet::new([0, 0, 0]).await;
    let first = fleet.holder().await.unwrap();
    // Open connections, HTTP and WebSocket, over which nothing comes any more; new ones are taken and never answered.
    fleet.chains[first].cut();
    let (second, took) = fleet.replaced(first).await;
    // Silence is doubted after three times the longest of the latest gaps between heads, which a busy machine makes longer; then it is blind
    // for 3 s, and its turn is over after 4.
    assert!(took < Duration::from_secs(40), "replaced after {took:?}");
    fleet.world.set(GAUGE, 5_000).await;
    fleet.contained().await;
    assert_eq!(fleet.holder().await, Some(second));
    assert_eq!(fleet.world.nonce(KEYS[first]).await, 0, "it sends nothing");
    fleet.nothing_missing_nothing_twice().await;
    // Whose endpoints are others decides by the same configuration.
    let changed = |alarm: &Alarm| alarm.kind == AlarmKind::ConfigChanged.name();
    assert!(!fleet.store.alarms().await.unwrap().iter().any(changed));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_and_sees_no_chain_says_so_and_tells_what_was_not_told() {
    let mut fleet = Fleet::new([0, 0, 0]).await;
    let first = fleet.holder().await.unwrap();
    // Nobody hears of the incident before its keeper dies.
    fleet.inbox.fail(u32::MAX);
    fleet.world.set(GAUGE, 5_000).await;
    until("it is decided", || async {
        !fleet.store.intents().await.unwrap().is_empty()
    })
    .await;
    fleet.keepers[first].kill();
    for chain in &fleet.chains {
        chain.cut();
    }
    fleet.inbox.fail(0);
    until("people are told of the incident", || async { pages(&fleet.inbox) == 1 }).await;
    until("people are told that nobody sees anything", || async {
        let told = fleet.inbox.messages();
        told.iter()
            .any(|message| message["key"].as_str().is_some_and(|key| key.contains("blind")))
    })
    .await;
    for chain in &fleet.chains {
        chain.repair();
    }
    fleet.contained().await;
    fleet.follows_from(fleet.world.height().await).await;
    fleet.nothing_missing_nothing_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_keeper_is_replaced_within_seconds_and_what_it_began_is_ended_once() {
    let mut fleet = Fleet::new([0, 30_000, -30_000]).await;
    let first = fleet.holder().await.unwrap();
    // It dies in the middle of an incident.
    fleet.world.set(GAUGE, 5_000).await;
    until("it is decided", || async {
        !fleet.store.intents().await.unwrap().is_empty()
    })
    .await;
    fleet.keepers[first].kill();
    let (second, took) = fleet.replaced(first).await;
    assert!(took < Duration::from_secs(8), "replaced after {took:?}");
    fleet.contained().await;
    // The next one too: a single keeper is left, with a clock of its own.
    fleet.keepers[second].kill();
    let (_, took) = fleet.replaced(second).await;
    assert!(took < Duration::from_secs(8), "replaced after {took:?}");
    fleet.follows_from(fleet.world.height().await).await;
    fleet.nothing_missing_nothing_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_was_paused_finds_its_turn_gone_and_does_nothing() {
    let fleet = Fleet::new([30_000, 0, 0]).await;
    let first = fleet.holder().await.unwrap();
    fleet.world.set(GAUGE, 5_000).await;
    fleet.keepers[first].signal("STOP");
    fleet.replaced(first).await;
    fleet.contained().await;
    let sent = fleet.world.nonce(KEYS[first]).await;
    fleet.keepers[first].signal("CONT");
    let height = fleet.world.height().await;
    fleet.follows_from(height + 12).await;
    assert_ne!(fleet.holder().await, Some(first), "it does not take its turn back");
    assert_eq!(fleet.world.nonce(KEYS[first]).await, sent, "it sends nothing");
    fleet.nothing_missing_nothing_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_cut_off_from_the_record_stops_before_another_begins() {
    let fleet = Fleet::new([0, 0, 30_000]).await;
    let first = fleet.holder().await.unwrap();
    fleet.links[first].cut();
    // It still sees the chain, but may decide nothing.
    fleet.world.set(GAUGE, 5_000).await;
    let (second, _) = fleet.replaced(first).await;
    fleet.contained().await;
    assert_eq!(fleet.world.nonce(KEYS[first]).await, 0, "it sends nothing");
    // Repaired, it is there to take over again.
    fleet.links[first].repair();
    let third = (0..3)
        .find(|position| *position != first && *position != second)
        .unwrap();
    fleet.keepers[third].signal("STOP");
    fleet.keepers[second].signal("STOP");
    until("the one that was cut off takes over", || async {
        fleet.holder().await == Some(first)
    })
    .await;
    fleet.follows_from(fleet.world.height().await).await;
    fleet.nothing_missing_nothing_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_killed_one_cut_off_and_one_with_a_wrong_clock_at_once_leave_no_gap_and_act_once() {
    let mut fleet = Fleet::new([0, 0, 0]).await;
    let first = fleet.holder().await.unwrap();
    let (late, cut) = ((first + 1) % 3, (first + 2) % 3);
    // The one that will be left has a clock that is 30 s off.
    fleet.keepers[late].kill();
    fleet.keepers[late] = fleet.process(late, 30_000);
    until("its console answers", || async {
        tokio::net::TcpStream::connect(fleet.consoles[late]).await.is_ok()
    })
    .await;
    assert_eq!(fleet.holder().await, Some(first));
    fleet.says(first, 200, "well").await;
    fleet.says(late, 200, "standby").await;
    fleet.says(cut, 200, "standby").await;

    let height = fleet.world.height().await;
    fleet.links[cut].cut();
    fleet.chains[cut].cut();
    fleet.world.set(GAUGE, 5_000).await;
    fleet.keepers[first].kill();
    let (second, took) = fleet.replaced(first).await;
    assert_eq!(second, late);
    assert!(took < Duration::from_secs(8), "replaced after {took:?}");
    fleet.says(late, 200, "well").await;
    fleet.says(cut, 503, "ill").await;
    fleet.contained().await;
    assert_eq!(fleet.world.nonce(KEYS[cut]).await, 0, "it sends nothing");
    fleet.follows_from(height + 12).await;
    // Repaired, it waits for its turn as before, and changes nothing.
    fleet.links[cut].repair();
    fleet.chains[cut].repair();
    fleet.says(cut, 200, "standby").await;
    fleet.follows_from(fleet.world.height().await).await;
    assert_eq!(fleet.holder().await, Some(late));
    assert_eq!(fleet.world.nonce(KEYS[cut]).await, 0);
    fleet.nothing_missing_nothing_twice().await;
}
