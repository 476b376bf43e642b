//! What a block contains: its logs, its receipts and its transactions, and endpoints that leave some of them out.

use std::time::Duration;

use alloy::primitives::{Address, U256, hex};
use alloy::sol_types::SolError;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::chain::{BlockRef, Rpc};
use cordon_keeper::rules::{Hooks, Reader, STOPPED_CALLS, Watched, Watches};
use cordon_testkit::{Fault, FaultyRpc};
use serde_json::json;

use crate::common::Anvil;
use crate::{GUARD, TIMEOUT, behind_proxy};

/// The newest block has a transaction that was reverted, and nothing else.
async fn one_failure(anvil: &Anvil, rpc: &Rpc) -> BlockRef {
    let stubborn = Address::repeat_byte(0x77);
    anvil.rpc("anvil_setCode", json!([stubborn, "0x5f5ffd"])).await;
    let tx = json!({ "from": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "to": stubborn, "gas": "0x186a0" });
    anvil.rpc("evm_setAutomine", json!([false])).await;
    anvil.rpc("eth_sendTransaction", json!([tx])).await;
    anvil.rpc("evm_mine", json!([])).await;
    rpc.latest().await.unwrap()
}

/// openzeppelin-monitor: receipts one by one, for every transaction and monitor. Here it is one request per block, none
/// where nobody calls the hooks.
#[tokio::test]
async fn receipts_are_read_at_once_and_only_where_hooks_are_called() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let block = rpc.latest().await.unwrap();
    Reader::new(rpc.clone(), GUARD, Watched::default())
        .read(&block, &[], &[])
        .await
        .unwrap();
    assert_eq!(proxy.count("eth_getBlockReceipts"), 0);
    let block = one_failure(&anvil, &rpc).await;
    let data = SolError::abi_encode(&ICordonGuard::RuleBreached {
        rule: 0,
        observedNegative: false,
        observed: U256::from(90),
        boundNegative: false,
        bound: U256::from(100),
    });
    let output = hex::encode_prefixed(&data);
    let trace = json!({ "to": Address::repeat_byte(0x77), "error": "reverted", "calls": [
        { "to": GUARD, "error": "execution reverted", "output": output }
    ] });
    proxy.fault("debug_traceTransaction", Fault::Answer(trace));
    let hooks = Hooks {
        callers: vec![Address::repeat_byte(0x77)],
        scopes: vec![1],
    };
    let reader = Reader::new(rpc, GUARD, Watched::default()).with_hooks(hooks);
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert_eq!((reading.stopped.len(), proxy.count("eth_getBlockReceipts")), (1, 1));
    assert_eq!((reading.stopped[0].rule, reading.stopped[0].scope), (0, 1));
    // A public endpoint without traces: the call is made again on the block before.
    proxy.fault("debug_traceTransaction", Fault::Error(-32_601, "method not found"));
    proxy.fault(
        "eth_getTransactionByHash",
        Fault::Answer(json!({ "input": "0x01", "value": "0x0", "gas": "0x5208" })),
    );
    proxy.fault("eth_call", Fault::Error(3, "execution reverted"));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert!(
        reading.stopped.is_empty(),
        "a revert without the guard's words proves nothing"
    );
    assert!(reading.sightings.unwatched.is_empty(), "but it was looked at");
    // And one that gives no receipts, or not all of them, keeps no block waiting; that nobody has looked is said.
    for fault in [
        Fault::Shorter,
        Fault::Http(500),
        Fault::Error(-32_601, "method not found"),
    ] {
        proxy.fault("eth_getBlockReceipts", fault);
        let reading = reader.read(&block, &[], &[]).await.unwrap();
        assert!(reading.stopped.is_empty());
        let unwatched: Vec<&str> = reading.sightings.unwatched.iter().map(|u| u.watch.as_str()).collect();
        assert_eq!(unwatched, [STOPPED_CALLS]);
    }
}

/// openzeppelin-monitor: receipts were fetched one by one, for each monitor and transaction.
#[tokio::test]
async fn a_block_is_fetched_once_however_many_watches_look_at_it() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let call = |id: &str, selector: &str| {
        format!(
            "[[watch]]\nid = \"{id}\"\non = \"call\"\nfunction = \"function {selector}(uint256 a)\"\nstatus = \"any\"\n"
        )
    };
    let event = |id: &str, name: &str| {
        format!("[[watch]]\nid = \"{id}\"\non = \"event\"\nevent = \"event {name}(uint256 a)\"\n")
    };
    let text = format!(
        "[chain]\nid = 31337\nrpc = [\"{}\"]\n{}{}{}{}{}",
        anvil.http(),
        call("a", "f"),
        call("b", "g"),
        call("c", "h"),
        event("d", "E"),
        event("e", "F")
    );
    let config = cordon_client::Config::parse(&text, "cordon.toml").unwrap();
    let user = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    anvil.rpc("evm_setAutomine", json!([false])).await;
    for _ in 0..5 {
        let tx = json!({ "from": user, "to": user, "value": "0x1" });
        anvil.rpc("eth_sendTransaction", json!([tx])).await;
    }
    anvil.rpc("evm_mine", json!([])).await;
    let block = rpc.latest().await.unwrap();
    let reader = Reader::new(rpc, Address::ZERO, Watched::default()).with_watches(Watches::new(&config.watches, &[]));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert!(reading.sightings.found.is_empty() && reading.sightings.unwatched.is_empty());
    let asked = [
        "eth_getLogs",
        "eth_getBlockReceipts",
        "eth_getBlockByHash",
        "eth_getTransactionReceipt",
    ];
    assert_eq!(asked.map(|method| proxy.count(method)), [1, 1, 1, 0]);
}

const EMITTER: Address = Address::repeat_byte(0x55);

/// The newest block has one transaction with five logs of the emitter that the configuration watches, which differ in nothing.
pub(crate) async fn five_logs(anvil: &Anvil, rpc: &Rpc) -> (BlockRef, Watches) {
    // log1(0, 32, topic) with topic = keccak256("E(uint256)")
    let topic = alloy::primitives::keccak256("E(uint256)");
    let mut code = Vec::new();
    for _ in 0..5 {
        code.push(0x7f);
        code.extend(topic);
        code.extend([0x60, 0x20, 0x5f, 0xa1]);
    }
    anvil
        .rpc("anvil_setCode", json!([EMITTER, hex::encode_prefixed(&code)]))
        .await;
    let tx = json!({ "from": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "to": EMITTER });
    anvil.send(tx).await;
    let text = format!(
        "[chain]\nid = 31337\nrpc = [\"{}\"]\n[[watch]]\nid = \"e\"\non = \"event\"\nevent = \"event E(uint256 a)\"\nat = \"{EMITTER}\"\n",
        anvil.http()
    );
    let config = cordon_client::Config::parse(&text, "cordon.toml").unwrap();
    (rpc.latest().await.unwrap(), Watches::new(&config.watches, &[]))
}

pub(crate) fn reader(rpc: &Rpc, watches: &Watches) -> Reader {
    Reader::new(rpc.clone(), Address::ZERO, Watched::default()).with_watches(watches.clone())
}

/// What a reader finds in a block by a watch, and what it doubts.
pub(crate) async fn found(rpc: &Rpc, watches: &Watches, block: &BlockRef) -> (usize, Option<String>) {
    let reading = reader(rpc, watches).read(block, &[], &[]).await.unwrap();
    (reading.sightings.found.len(), reading.logs_doubted)
}

/// Who has to know which calls failed asks for all receipts, and these have the logs.
#[tokio::test]
async fn logs_are_taken_from_receipts_that_are_asked_for_anyway() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let (block, watches) = five_logs(&anvil, &rpc).await;
    let hooks = Hooks {
        callers: vec![Address::repeat_byte(1)],
        scopes: vec![0],
    };
    let reader = Reader::new(rpc, Address::ZERO, Watched::default())
        .with_hooks(hooks)
        .with_watches(watches);
    let asked = || ["eth_getLogs", "eth_getBlockReceipts"].map(|method| proxy.count(method));
    let reading = reader.read(&block, &[], &[]).await.unwrap();
    assert_eq!((reading.sightings.found.len(), reading.logs_doubted), (5, None));
    assert_eq!(asked(), [0, 1]);
    // Receipts that are not what the header speaks of are not believed, and neither is an endpoint that has none.
    for fault in [Fault::Shorter, Fault::Error(-32_601, "no such method")] {
        proxy.heal();
        proxy.fault("eth_getBlockReceipts", fault);
        let before = asked()[0];
        let reading = reader.read(&block, &[], &[]).await.unwrap();
        assert_eq!((reading.sightings.found.len(), asked()[0]), (5, before + 1));
        assert_eq!(reading.sightings.unwatched[0].watch, STOPPED_CALLS);
    }
}

/// An answer without some of the logs is no failure, and looks like a block in which less happened. The header knows better.
#[tokio::test]
async fn logs_that_an_endpoint_leaves_out_are_taken_from_receipts() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let (block, watches) = five_logs(&anvil, &rpc).await;
    for fault in [Fault::Shorter, Fault::Answer(json!([]))] {
        proxy.fault("eth_getLogs", fault);
        assert_eq!(found(&rpc, &watches, &block).await, (5, None));
    }
    // Receipts that lack some too are told from those of the block, whatever they lack: the filter is the same without the last logs.
    let receipts = anvil
        .rpc("eth_getBlockReceipts", json!([{ "blockHash": block.hash }]))
        .await;
    let mut fewer = receipts.clone();
    fewer[0]["logs"].as_array_mut().unwrap().truncate(2);
    let mut other = receipts.clone();
    other[0]["logs"][4]["data"] = json!("0x01");
    for lie in [fewer, other, json!([])] {
        proxy.fault("eth_getBlockReceipts", Fault::Answer(lie));
        let (_, doubt) = found(&rpc, &watches, &block).await;
        assert!(doubt.unwrap().contains("nobody can tell whether these are all logs"));
    }
    // Another endpoint has them.
    let both = Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    both.latest().await.unwrap();
    let (count, doubt) = found(&both, &watches, &block).await;
    assert_eq!(count, 5);
    assert!(doubt.unwrap().contains("another one's were taken"));
}

/// Without receipts there is only the word of the endpoints: more than one is asked, and people hear when they differ.
#[tokio::test]
async fn without_receipts_the_endpoint_with_the_most_logs_is_believed() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let other = FaultyRpc::start(&anvil.http()).await.unwrap();
    let (block, watches) = five_logs(&anvil, &rpc).await;
    let both = Rpc::new(&[proxy.url(), other.url()], anvil.chain_id(), TIMEOUT).unwrap();
    both.latest().await.unwrap();
    for endpoint in [&proxy, &other] {
        endpoint.fault("eth_getBlockReceipts", Fault::Error(-32_601, "no such method"));
    }
    assert_eq!(found(&both, &watches, &block).await, (5, None));
    proxy.fault("eth_getLogs", Fault::Shorter);
    let (count, doubt) = found(&both, &watches, &block).await;
    assert_eq!(count, 5);
    assert!(doubt.unwrap().contains("answer [5, 2] logs"));
}

/// One endpoint could page people with a log that nobody has logged.
#[tokio::test]
async fn a_log_that_the_header_excludes_is_not_believed() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let (block, watches) = five_logs(&anvil, &rpc).await;
    let logs = anvil.rpc("eth_getLogs", json!([{ "blockHash": block.hash }])).await;
    anvil.rpc("evm_mine", json!([])).await;
    let empty = rpc.latest().await.unwrap();
    assert_eq!(found(&rpc, &watches, &empty).await, (0, None));
    // A block's logs as those of another one, as they are and with its name.
    let mut renamed = logs.clone();
    for log in renamed.as_array_mut().unwrap() {
        log["blockHash"] = json!(empty.hash);
    }
    for lie in [logs, renamed] {
        proxy.fault("eth_getLogs", Fault::Answer(lie));
        for has_receipts in [true, false] {
            if !has_receipts {
                proxy.fault("eth_getBlockReceipts", Fault::Error(-32_601, "no such method"));
            }
            let (count, doubt) = found(&rpc, &watches, &empty).await;
            assert_eq!(count, 0);
            assert!(doubt.unwrap().contains("answered 5 logs"));
        }
        proxy.heal();
    }
    proxy.fault("eth_getLogs", Fault::Shorter);
    assert_eq!(found(&rpc, &watches, &block).await, (5, None));
}

/// Transactions that one endpoint refuses, does not know yet, or lists in part come from another, or a moment later.
#[tokio::test]
async fn transactions_that_one_endpoint_refuses_come_from_another() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let block = one_failure(&anvil, &rpc).await;
    let watch = "[[watch]]\nid = \"failed\"\non = \"transaction\"\nstatus = \"failure\"\n";
    let text = format!("[chain]\nid = 31337\nrpc = [\"{}\"]\n{watch}", anvil.http());
    let config = cordon_client::Config::parse(&text, "cordon.toml").unwrap();
    let unwatched = async |rpc: &Rpc| {
        // What was not to be had a moment ago is asked for once: each time other watches look.
        let watches = Watches::new(&config.watches, &[]);
        let reader = Reader::new(rpc.clone(), Address::ZERO, Watched::default()).with_watches(watches);
        let sightings = reader.read(&block, &[], &[]).await.unwrap().sightings;
        assert_eq!(sightings.found.len() + sightings.unwatched.len(), 1);
        sightings.unwatched.len()
    };
    assert_eq!(unwatched(&rpc).await, 0);
    let mut short = anvil.rpc("eth_getBlockByHash", json!([block.hash, true])).await;
    short["transactions"] = json!([]);
    let both = Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    for (method, fault) in [
        ("eth_getBlockReceipts", Fault::Error(-32_000, "header not found")),
        ("eth_getBlockReceipts", Fault::Answer(json!(null))),
        ("eth_getBlockReceipts", Fault::Shorter),
        ("eth_getBlockByHash", Fault::Answer(short)),
    ] {
        proxy.fault(method, fault.clone());
        both.latest().await.unwrap();
        assert_eq!(unwatched(&both).await, 0, "{method} {fault:?}");
        assert_eq!(unwatched(&rpc).await, 1, "{method} {fault:?}: nobody else can tell");
        // It is asked more than once.
        let before = proxy.count(method);
        let later = async {
            while proxy.count(method) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.heal();
        };
        assert_eq!(
            tokio::join!(unwatched(&rpc), later).0,
            0,
            "{method} {fault:?}: a moment later"
        );
    }
}

/// A short answer of receipts is no block in which nothing failed.
#[tokio::test]
async fn stopped_calls_are_looked_for_in_all_receipts_or_nobody_has_looked() {
    let (anvil, proxy, rpc) = behind_proxy().await;
    let block = one_failure(&anvil, &rpc).await;
    let hooks = Hooks {
        callers: vec![Address::repeat_byte(0x77)],
        scopes: vec![0],
    };
    let unwatched = async |rpc: &Rpc| {
        let reader = Reader::new(rpc.clone(), GUARD, Watched::default()).with_hooks(hooks.clone());
        let reading = reader.read(&block, &[], &[]).await.unwrap();
        reading.sightings.unwatched.into_iter().next()
    };
    assert_eq!(unwatched(&rpc).await, None);
    let mut success = anvil
        .rpc("eth_getBlockReceipts", json!([{ "blockHash": block.hash }]))
        .await;
    success[0]["status"] = json!("0x1");
    let both = Rpc::new(&[proxy.url(), anvil.http()], anvil.chain_id(), TIMEOUT).unwrap();
    both.latest().await.unwrap();
    for lie in [json!([]), success] {
        proxy.fault("eth_getBlockReceipts", Fault::Answer(lie));
        let told = unwatched(&rpc).await.unwrap();
        assert_eq!(told.watch, STOPPED_CALLS);
        assert!(
            told.reason.contains("are not those that its header speaks of"),
            "{}",
            told.reason
        );
        assert_eq!(unwatched(&both).await, None, "another endpoint tells");
    }
}
