//! `cordon keeper run` takes up a changed configuration, and goes on with the one before when it cannot be used.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A process that dies with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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

#[test]
fn a_changed_configuration_is_taken_up_and_a_broken_one_is_not() {
    let cordon = env!("CARGO_BIN_EXE_cordon");
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let node = Command::new(cordon)
        .args(["node", "--port", &port.to_string(), "--chain-id", "412346"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _node = Process(node);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let path = dir.path().join("cordon.toml");
    write(&path, port, &["one"]);
    let mut keeper = Command::new(cordon)
        .args(["keeper", "run", "--config"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
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
    Command::new("kill")
        .args(["-HUP", &keeper.0.id().to_string()])
        .status()
        .unwrap();
    expect(&said, "3 watches look at chain 412346");
    Command::new("kill")
        .args(["-TERM", &keeper.0.id().to_string()])
        .status()
        .unwrap();
    assert!(keeper.0.wait().unwrap().success());
}
