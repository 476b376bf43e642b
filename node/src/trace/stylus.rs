//! The answer of Nitro's `stylusTracer`, which is also what the JavaScript tracer of `cargo stylus` asks for.

use alloy::primitives::{Address, Bytes};
use cordon_stylus::hooks::{HostCall, Stop};
use serde_json::{Value, json};

use super::{Entry, Frame, FrameKind};

/// What happened in a frame, as a list of steps; a contract call has those of the frame that it led to.
pub(crate) fn steps(frame: &Frame) -> Value {
    Value::Array(frame.entries.iter().flat_map(entry).collect())
}

fn entry(entry: &Entry) -> Vec<Value> {
    match entry {
        Entry::Frame(frame) => vec![nested(frame)],
        // As in Nitro, both carry the ink that the program began with.
        Entry::Entered { calldata, ink } => {
            let length = u32::try_from(*calldata).unwrap_or(u32::MAX);
            vec![step("user_entrypoint", &length.to_be_bytes(), &[], (*ink, *ink))]
        }
        Entry::Host(call, frame) if ended_badly(call) => frame.iter().map(|frame| nested(frame)).collect(),
        Entry::Host(call, frame) => vec![host(call, frame.as_deref())],
        Entry::Returned { status, ink } => vec![step("user_returned", &[], &status.to_be_bytes(), (*ink, *ink))],
        Entry::Log(_) => Vec::new(),
        Entry::SelfDestruct(target) => vec![evm("self_destruct", *target, Value::Array(Vec::new()))],
    }
}

/// A host call that fails leaves no step.
fn ended_badly(call: &HostCall) -> bool {
    matches!(call.stop, Some(Stop::OutOfInk | Stop::Failure(_)))
}

fn host(call: &HostCall, frame: Option<&Frame>) -> Value {
    let signature = call.hook.signature();
    let name = if signature.module == "console" {
        "console_log_text"
    } else {
        signature.name
    };
    let mut value = step(name, &call.args, &call.outs, (call.start_ink, call.end_ink));
    let called = matches!(
        name,
        "call_contract" | "delegate_call_contract" | "static_call_contract"
    );
    if let Some(fields) = value.as_object_mut().filter(|_| called) {
        // Without a frame, the call failed before there was one.
        let target = call.args.get(..20).map(Address::from_slice).unwrap_or_default();
        fields.insert("address".to_owned(), json!(frame.map_or(target, |frame| frame.to)));
        fields.insert("steps".to_owned(), frame.map_or(json!([]), steps));
    }
    value
}

/// A frame that no host call of a program led to.
fn nested(frame: &Frame) -> Value {
    let name = match frame.kind {
        FrameKind::Call | FrameKind::CallCode => "call_contract",
        FrameKind::DelegateCall => "delegate_call_contract",
        FrameKind::StaticCall => "static_call_contract",
        FrameKind::Create => "create1",
        FrameKind::Create2 => "create2",
    };
    evm(name, frame.to, steps(frame))
}

fn evm(name: &str, address: Address, steps: Value) -> Value {
    let mut value = step(&format!("evm_{name}"), &[], &[], (0, 0));
    if let Some(fields) = value.as_object_mut() {
        fields.insert("address".to_owned(), json!(address));
        fields.insert("steps".to_owned(), steps);
    }
    value
}

fn step(name: &str, args: &[u8], outs: &[u8], (start, end): (u64, u64)) -> Value {
    json!({
        "name": name,
        "args": Bytes::copy_from_slice(args),
        "outs": Bytes::copy_from_slice(outs),
        "startInk": start,
        "endInk": end,
    })
}
