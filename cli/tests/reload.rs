//! `cordon keeper run` takes up a changed configuration, and goes on with the one before when it cannot be used.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::Process;

/// Lines of both outputs, as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let out: [Box<dyn std::io::Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    for stream in out {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

fn expect(lines: &Receiver<String>, part: &str) {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(Duration::from_secs(20)) {
            Ok(line) if line.contains(part) => return,
            Ok(line) => seen.push(line),
            Err(_) => panic!("never said {part:?}, but {seen:#?}"),
        }
    }
}

fn write(path: &Path, port: u16, watches: &[&str]) {
    let mut text =
        format!("[chain]\nid = 412346\nrpc = [\"http://127.0.0.1:{port}\"]\n\n[keeper]\nstore = \"watch.db\"\n");
    for watch in watches {
        text += &format!(
            "\n[[watch]]\nid = \"{watch}\"\non = \"code\"\nat = \"0x00000000000000000000000000000000000000a1\"\n"
        );
    }
    std::fs::write(path, text).unwrap();
}

const CORDON: &str = env!("CARGO_BIN_EXE_cordon");

/// A node that answers, and its port.
fn node() -> (Process, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let node = Command::new(CORDON)
        .args(["node", "--port", &port.to_string(), "--chain-id", "412346"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let node = Process(node);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(50));
    }
    (node, port)
}

fn keeper(config: &Path) -> Child {
    Command::new(CORDON)
        .args(["keeper", "run", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A keeper runs for years; who looked at its output does not.
#[test]
fn a_closed_standard_output_does_not_end_the_keeper() {
    let (_node, port) = node();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cordon.toml");
    write(&path, port, &["one"]);
    let mut child = keeper(&path);
    drop(child.stdout.take());
    let errors = child.stderr.take().unwrap();
    let mut keeper = Process(child);
    let record = dir.path().join("watch.db");
    while !record.exists() {
        assert!(keeper.0.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    // A good configuration prints its line too.
    write(&path, port, &["one", "two"]);
    std::thread::sleep(Duration::from_secs(4));
    assert!(keeper.0.try_wait().unwrap().is_none(), "it has ended");
    keeper.signal("TERM");
    assert!(keeper.0.wait().unwrap().success());
    let said = std::io::read_to_string(errors).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_changed_configuration_is_taken_up_and_a_broken_one_is_not() {
    let (_node, port) = node();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cordon.toml");
    write(&path, port, &["one"]);
    let mut keeper = keeper(&path);
    let said = lines(&mut keeper);
    let mut keeper = Process(keeper);
    expect(&said, "1 watches look at chain 412346");
    write(&path, port, &["one", "two"]);
    expect(&said, "2 watches look at chain 412346");
    write(&path, port, &["one", "one"]);
    expect(
        &said,
        "the changed cordon.toml cannot be used, the keeper goes on with the one before",
    );
    write(&path, port, &["one", "two", "three"]);
    expect(&said, "3 watches look at chain 412346");
    // Asked for by a signal, it is read again although the file is the same.
    keeper.signal("HUP");
    expect(&said, "3 watches look at chain 412346");
    // A record that cannot be opened is found before the keeper lets go of the one that it has.
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("watch.db", "missing/watch.db")).unwrap();
    expect(
        &said,
        "the changed cordon.toml cannot be used, the keeper goes on with the one before",
    );
    write(&path, port, &["one"]);
    expect(&said, "1 watches look at chain 412346");
    keeper.signal("TERM");
    assert!(keeper.0.wait().unwrap().success());
}

/// The usual order of new rules: the file is there before the governor has adopted what it compiles to.
#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_goes_over_to_an_adopted_rulebook_by_itself() {
    let chain = common::Chain::start().await;
    let path = chain.write_config(|text| text);
    chain.deploy_guard(&path).await;
    let mut child = common::keeper("run", &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = lines(&mut child);
    let _keeper = Process(child);
    expect(&said, "serves guard");
    // Somebody has the port of the new console, and nobody can know that before it is opened. The configuration before cannot be used any
    // more by then.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let console = format!(
        "[keeper]\nconsole = {{ listen = \"{}\" }}\n",
        taken.local_addr().unwrap()
    );
    let text = std::fs::read_to_string(&path).unwrap().replace("5e18", "6e18");
    assert!(text.contains("[keeper]\n") && !text.contains("console"));
    let text = text.replace("[keeper]\n", &console);
    std::fs::write(&path, &text).unwrap();
    expect(&said, "cannot be used, the keeper goes on with the one before");
    let elsewhere = chain.folder().join("governor.toml");
    std::fs::write(&elsewhere, &text).unwrap();
    let adopted = common::deploy(&elsewhere, &["--no-seal"]);
    assert!(adopted.status.success(), "{}", String::from_utf8_lossy(&adopted.stderr));
    expect(
        &said,
        "nothing is watched: neither the changed configuration can be used nor the one before",
    );
    drop(taken);
    expect(&said, "serves guard");
}
