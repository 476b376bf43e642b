//! `eth_createAccessList`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alloy::{
    eips::{
        BlockId,
        eip2930::{AccessList, AccessListItem},
    },
    primitives::{Address, B256},
    rpc::types::TransactionRequest,
};
use cordon_stylus::{
    arbos::STATE_ADDRESS,
    hooks::{HostCall, HostEvent, HostTrace},
};
use jsonrpsee::core::RegisterMethodError;
use revm::{context_interface::result::ExecutionResult, state::EvmState};
use revm_inspectors::access_list::AccessListInspector;
use serde_json::json;

use super::{
    Answer, Args, Module, RpcError,
    args::quantity,
    calls::{Simulation, output},
    method,
};
use crate::{
    evm::Session,
    node::{Node, Place},
};

/// The most runs in which the list may still change: what is warm may change what a call does, by the gas that it sees.
const MAX_RUNS: usize = 8;

/// Host functions of programs that open the account in their first operand.
const ACCOUNT_HOOKS: [&str; 7] = [
    "account_balance",
    "account_code",
    "account_code_size",
    "account_codehash",
    "call_contract",
    "delegate_call_contract",
    "static_call_contract",
];

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_createAccessList"], create_access_list)
}

async fn create_access_list(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "call")?;
    let block: Option<BlockId> = args.optional_block(1)?;
    match node.place(block).await? {
        Place::Upstream(past) => past.request_at("eth_createAccessList", args.into_values(), 1).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let given = request.access_list.clone().unwrap_or_default();
                let mut simulation = Simulation::new(node, (tip, state), request, None, None)?;
                let (list, result) = settle(&mut simulation, given)?;
                let gas_used = result.tx_gas_used();
                let error = output(result).err().map(|error| error.into_object(&node.names));
                let mut answer = json!({ "accessList": list, "gasUsed": quantity(gas_used) });
                if let (Some(error), Some(fields)) = (error, answer.as_object_mut()) {
                    fields.insert("error".to_owned(), json!(error.message()));
                }
                Ok(answer)
            })
            .await
        }
    }
}

/// Runs the call with the list that its last run led to until that does not change any more; answers the list, and how the call ends
/// with it.
fn settle(simulation: &mut Simulation, given: AccessList) -> Result<(AccessList, ExecutionResult), RpcError> {
    let mut list = given;
    let mut runs = 0usize;
    loop {
        let (touched, result) = run(simulation, list.clone())?;
        runs = runs.saturating_add(1);
        // The first run has the list of the request, which may name too little or nothing.
        if runs > 1 && (touched == list || runs >= MAX_RUNS) {
            return Ok((list, result));
        }
        list = touched;
    }
}

/// Runs the call with `list`; answers the list of what it touches besides.
fn run(simulation: &mut Simulation, list: AccessList) -> Result<(AccessList, ExecutionResult), RpcError> {
    let mut tx = simulation.tx.clone();
    tx.access_list = list.clone();
    tx.derive_tx_type()
        .map_err(|error| RpcError::Params(format!("the call is no valid transaction: {error:?}")))?;
    let mut inspector = AccessListInspector::new(list);
    let hooks = HostTrace::default();
    let mut session = Session::new(&simulation.env);
    session.trace_programs(Some(hooks.clone()));
    let outcome = session.inspect(&mut simulation.overlay, tx, &mut inspector)?;
    let mut touched: BTreeMap<Address, BTreeSet<B256>> = inspector
        .touched_slots()
        .iter()
        .map(|(address, slots)| (*address, slots.clone()))
        .collect();
    for address in hooks.take().iter().filter_map(opened) {
        if !inspector.excluded().contains(&address) {
            touched.entry(address).or_default();
        }
    }
    // The inspector sees the opcodes of the EVM; what programs load and store the state tells.
    for (address, slots) in loaded(&outcome.state) {
        touched.entry(address).or_default().extend(slots);
    }
    let items = touched.into_iter().map(|(address, slots)| AccessListItem {
        address,
        storage_keys: slots.into_iter().collect(),
    });
    Ok((AccessList(items.collect()), outcome.result))
}

/// The account that a program opens.
fn opened(event: &HostEvent) -> Option<Address> {
    let HostEvent::Called(HostCall { hook, args, .. }) = event else {
        return None;
    };
    let opens = ACCOUNT_HOOKS.contains(&hook.signature().name);
    args.get(..20).filter(|_| opens).map(Address::from_slice)
}

/// The slots that a transaction has loaded, whether it reverted or not. Those of ArbOS' state the chain itself loads, for free.
fn loaded(state: &EvmState) -> impl Iterator<Item = (Address, impl Iterator<Item = B256>)> {
    state
        .iter()
        .filter(|(address, account)| **address != STATE_ADDRESS && !account.storage.is_empty())
        .map(|(address, account)| (*address, account.storage.keys().map(|slot| B256::from(*slot))))
}
