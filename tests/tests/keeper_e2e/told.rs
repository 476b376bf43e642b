//! People are told whatever is killed: each thing at least once, recognisable as the same when it comes twice, and all of an
//! incident under one key, which is what a pager makes one page of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::board::GAUGE;
use crate::process::{Process, watching};
use crate::world::{Rules, World, at_most, stop_board, until};

const TOLD: Rules = Rules(concat!(
    at_most!("gauge-low", "market", "get(0)"),
    stop_board!(),
    r#"
[[notify]]
id     = "own"
via    = "webhook"
url    = { file = "hook-url" }
secret = { file = "hook-secret" }
"#
));

/// A receiver of webhooks: what it was told, in order.
async fn receiver() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let told: Arc<Mutex<Vec<Value>>> = Arc::default();
    let heard = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut socket = BufReader::new(socket);
                while let Some(message) = hear(&mut socket).await {
                    heard.lock().unwrap().push(message);
                    if socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, told)
}

async fn hear(socket: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_told_over_any_number_of_kills_and_is_one_page() {
    let world = World::new(&TOLD).await;
    let (url, told) = receiver().await;
    std::fs::write(world.dir.path().join("hook-url"), url).unwrap();
    std::fs::write(world.dir.path().join("hook-secret"), "shared").unwrap();
    let store = world.store().await;
    let mut process = Process::start(&world, &[]);
    watching(&world, &store).await;
    world.set(GAUGE, 5_000).await;
    for pause in [10, 60, 120, 190, 270, 360, 460] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        process.kill();
        process = Process::start(&world, &[]);
    }
    let kinds = || -> BTreeMap<String, Vec<(Value, Value)>> {
        let mut kinds: BTreeMap<String, Vec<(Value, Value)>> = BTreeMap::new();
        for message in told.lock().unwrap().iter() {
            // Alarms come and go with the kills; they are topics of their own.
            if message["facts"]["topic"] == "incident:1" {
                let kind = message["facts"]["kind"].as_str().unwrap().to_owned();
                kinds
                    .entry(kind)
                    .or_default()
                    .push((message["id"].clone(), message["key"].clone()));
            }
        }
        kinds
    };
    until("opening and containment are told", || async {
        kinds().contains_key("opened") && kinds().contains_key("contained")
    })
    .await;
    until("nothing is on its way", || async {
        store.undelivered().await.unwrap() == 0
    })
    .await;
    let kinds = kinds();
    assert_eq!(kinds.keys().collect::<Vec<_>>(), ["contained", "opened"], "{kinds:#?}");
    for (kind, messages) in &kinds {
        assert!(
            messages.iter().all(|message| *message == messages[0]),
            "{kind} was told twice as two things: {messages:?}"
        );
    }
    assert_eq!(kinds["opened"][0].1, kinds["contained"][0].1, "one page");
    process.kill();
}
