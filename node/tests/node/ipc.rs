//! Requests over a Unix socket.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use cordon_node::{NodeConfig, NodeHandle, spawn};
use serde_json::{Value, json};

use crate::support::*;

async fn listening(folder: &Path) -> (NodeHandle, PathBuf) {
    let path = folder.join("node.ipc");
    let node = spawn(NodeConfig {
        ipc: Some(path.clone()),
        ..NodeConfig::default()
    });
    (node.await.unwrap(), path)
}

struct Client {
    stream: UnixStream,
    lines: Lines<BufReader<UnixStream>>,
}

impl Client {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        Self { stream, lines }
    }

    fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("the connection ended").unwrap()).unwrap()
    }

    /// Whether the other end has closed the connection and nothing more comes.
    fn ended(&mut self) -> bool {
        self.lines.next().is_none()
    }

    fn chain_id(&mut self) -> Value {
        self.write(r#"{"jsonrpc":"2.0","id":99,"method":"eth_chainId","params":[]}"#);
        self.next()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_answers_requests_batches_and_subscriptions() {
    let folder = tempfile::tempdir().unwrap();
    // A socket that a killed node left behind does not stand in the way.
    drop(UnixListener::bind(folder.path().join("node.ipc")).unwrap());
    let (node, path) = listening(folder.path()).await;
    let mut client = Client::connect(&path);
    // Two values in three pieces.
    client.write(r#"{"jsonrpc":"2.0","id":1,"method":"eth_cha"#);
    std::thread::sleep(Duration::from_millis(50));
    client.write(r#"inId","params":[]}[{"jsonrpc":"2.0","id":2,"method":"eth_blockNumber"},"#);
    client.write(r#"{"jsonrpc":"2.0","id":3,"method":"nothing"}]"#);
    let (first, second) = (client.next(), client.next());
    let (single, batch) = if first.is_array() {
        (second, first)
    } else {
        (first, second)
    };
    assert_eq!(single["result"], json!("0x7a69"));
    assert_eq!(batch[0]["result"], json!("0x0"));
    assert_eq!(batch[1]["error"]["code"], json!(-32601));
    client.write(r#"{"jsonrpc":"2.0","id":4,"method":"eth_subscribe","params":["newHeads"]}"#);
    let id = client.next()["result"].clone();
    assert!(id.as_str().is_some_and(|id| id.starts_with("0x")), "{id}");
    raw(&plain(&node.http_endpoint()), "evm_mine", json!([])).await;
    let head = client.next();
    assert_eq!(head["params"]["subscription"], id);
    assert_eq!(head["params"]["result"]["number"], json!("0x1"));
    client.write(&json!({ "jsonrpc": "2.0", "id": 5, "method": "eth_unsubscribe", "params": [id] }).to_string());
    assert_eq!(client.next()["result"], json!(true));
    raw(&plain(&node.http_endpoint()), "evm_mine", json!([])).await;
    assert_eq!(client.chain_id()["id"], json!(99), "no head comes before it");
    node.stop().await.unwrap();
    assert!(!path.exists(), "the socket goes with the node");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_subscribes_is_answered_once_and_before_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let (node, path) = listening(folder.path()).await;
    let provider = plain(&node.http_endpoint());
    let mut client = Client::connect(&path);
    let request = |id: u64, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let batch = [
        request(1, "eth_subscribe", json!(["newHeads"])),
        request(2, "eth_subscribe", json!(["nothing"])),
        // Mined before the batch is answered.
        request(3, "evm_mine", json!([])),
    ];
    client.write(&json!(batch).to_string());
    let answers = client.next();
    let id = answers[0]["result"].clone();
    assert!(id.is_string(), "{answers}");
    assert_eq!((&answers[0]["id"], &answers[1]["id"]), (&json!(1), &json!(2)));
    assert!(answers[1]["error"].is_object(), "{answers}");
    raw(&provider, "evm_mine", json!([])).await;
    for number in ["0x1", "0x2"] {
        let head = client.next();
        assert_eq!(head["params"]["subscription"], id);
        assert_eq!(head["params"]["result"]["number"], json!(number));
    }
    client.write(&json!([request(4, "eth_unsubscribe", json!([id]))]).to_string());
    assert_eq!(client.next()[0]["result"], json!(true));
    raw(&provider, "evm_mine", json!([])).await;
    assert_eq!(client.chain_id()["id"], json!(99), "no head comes before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_ends_the_connection_after_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, path) = listening(folder.path()).await;
    for garbage in [
        "GET / HTTP/1.1\r\n\r\n",
        "\u{0}\u{1}",
        "}",
        "nonsense",
        "1",
        "{\"a\" 1}",
    ] {
        let mut client = Client::connect(&path);
        // With a subscription, whose events could keep the connection open.
        client.write(r#"{"jsonrpc":"2.0","id":4,"method":"eth_subscribe","params":["newHeads"]}"#);
        assert!(client.next()["result"].is_string());
        client.write(r#"{"jsonrpc":"2.0","id":5,"method":"eth_chainId"}"#);
        client.write(garbage);
        let answers = [client.next(), client.next()];
        let answered = |wanted: &Value| answers.iter().any(|answer| &answer["id"] == wanted);
        assert!(answered(&json!(5)), "what came before is answered: {answers:?}");
        let error = answers.iter().find(|answer| answer["id"].is_null()).unwrap();
        assert_eq!(error["error"]["code"], json!(-32700), "{garbage}");
        assert!(client.ended(), "{garbage}");
        assert_eq!(Client::connect(&path).chain_id()["result"], json!("0x7a69"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_json_but_no_request_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, path) = listening(folder.path()).await;
    let mut client = Client::connect(&path);
    let deep = |depth: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"eth_call","params":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    for (message, id, code) in [
        ("[]".to_owned(), Value::Null, -32_600),
        (r#"{"jsonrpc":"2.0","id":7}"#.to_owned(), json!(7), -32_600),
        (
            r#"{"jsonrpc":"1.0","id":7,"method":"eth_chainId"}"#.to_owned(),
            json!(7),
            -32_600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#.to_owned(),
            Value::Null,
            -32_600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"eth_subscribe","params":["x"]}"#.to_owned(),
            json!(7),
            -32_602,
        ),
        (deep(1_000), json!(7), -32_602),
    ] {
        client.write(&format!("{message}\n"));
        let answer = client.next();
        assert_eq!(answer["error"]["code"], json!(code), "{message}: {answer}");
        assert_eq!(answer["id"], id, "{message}");
    }
    // A notification is carried out and not answered, alone or in a batch.
    client.write(r#"{"jsonrpc":"2.0","method":"evm_mine"}"#);
    client.write(r#"[{"jsonrpc":"2.0","method":"evm_mine","params":[]}]"#);
    client.write(r#"{"jsonrpc":"2.0","method":"eth_subscribe","params":["newHeads"]}"#);
    client.write(r#"[{"jsonrpc":"2.0","method":"web3_sha3"},{"jsonrpc":"2.0","id":null,"method":"eth_chainId"}]"#);
    assert_eq!(
        client.next(),
        json!([{ "jsonrpc": "2.0", "id": null, "result": "0x7a69" }])
    );
    eventually("both blocks", async || {
        client.write(r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}"#);
        (client.next()["result"] == json!("0x2")).then_some(())
    })
    .await;
}
