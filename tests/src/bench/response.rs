//! What responses to an incident cost, and where it goes: the host calls of real transactions, as `stylusTracer` tells them.

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::ext::DebugApi;
use alloy::rpc::types::TransactionReceipt;
use alloy::rpc::types::trace::geth::{GethDebugTracerType, GethDebugTracingOptions, GethTrace};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard::{self, Level};
use cordon_core::rulebook::set_name;
use eyre::{OptionExt, ensure};
use serde_json::Value;

use super::targets::{CONTAIN, CONTAIN_CACHED, CONTAIN_CACHED_ROW, CONTAIN_ROW, TRIP, TRIP_CACHED_ROW, TRIP_ROW};
use super::world::{Bench, GUARDIAN, HookProbe, USER};

/// Ink of one unit of gas.
const INK: u64 = 10_000;
/// Gas of a call to an account that the transaction has not touched, of one to another, and of the host call around it.
const COLD: u64 = 2_600;
const WARM: u64 = 100;
const CALLING: u64 = 12;

/// What was tried to make `contain` cheaper, in this order, with what it came to when it was tried.
const TRIED: [(&str, &str); 13] = [
    ("before", "84,368"),
    (
        "containment as a program of its own; evaluation moved to the hooks program; words packed eight bytes at a time; the VM's cache \
         kept over calls out; read-backs not asked for their opposite",
        "81,028",
    ),
    (
        "small functions put where they are called; topics of events as constants in the code instead of data; an incident's first word \
         made in place; `retryContainment` moved to the recover program",
        "80,287",
    ),
    ("anchors and containment sets came in", "80,961"),
    (
        "the operators that only rules use left out of the evaluator; a set's orders read in place; the callers taken from the rulebook \
         that was read; the mark of a quiet day set in its word; only the refusals that raising knows",
        "80,342",
    ),
    (
        "selectors of errors and keys of storage in the code instead of data; an incident's move told where it is moved",
        "80,289",
    ),
    (
        "`wasm-opt`: functions of up to 24 bytes put where they are called, instead of 20; of up to 12; of up to 30",
        "25, 46, 1,253 more",
    ),
    (
        "`wasm-opt`: similar functions merged; common expressions; functions and locals in another order",
        "0 to 10 more",
    ),
    (
        "not taken: containment in the gate itself",
        "about 5,000 more for each guarded call that finds the gate uncached",
    ),
    (
        "not taken: an access list",
        "100 less a word, in the transaction's own price then",
    ),
    (
        "not taken: one word for an incident",
        "the hash of the evidence needs one of its own",
    ),
    ("not taken: the calls' state in the scope's word", "7 bits are free"),
    (
        "not taken: no note of the quiet day in the callers' words",
        "2,100 more for each guarded call",
    ),
];

/// What a line of the table tells of a transaction.
type Line = fn(&Budget) -> u64;

/// Where the gas of one transaction goes.
#[derive(Default)]
struct Budget {
    intrinsic: u64,
    entries: u64,
    loads: u64,
    stores: u64,
    transient: u64,
    logs: u64,
    code: u64,
    access: u64,
    targets: u64,
    other: u64,
    total: u64,
    /// What caching the programs saves.
    saved: u64,
}

/// What has a target: gas without the targets' own code and the transaction's own price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseGas {
    /// `contain` with one containment call, programs cached.
    pub contain_cached: u64,
    /// The same, nothing cached.
    pub contain: u64,
    /// `trip` with four reads and one containment call, programs cached.
    pub trip_cached: u64,
    /// The same, nothing cached.
    pub trip: u64,
}

impl Bench {
    /// `contain` and `trip`. They leave their scopes raised.
    ///
    /// # Errors
    /// When a response fails, or its trace does not come.
    pub async fn responses(&self) -> eyre::Result<ResponseGas> {
        figures(&self.measure_responses().await?)
    }

    /// The same, printed with where the gas goes.
    pub(super) async fn print_responses(&self) -> eyre::Result<ResponseGas> {
        let rows = self.measure_responses().await?;
        let gas = figures(&rows)?;
        Self::print(&rows, &gas);
        Ok(gas)
    }

    /// `contain` and `trip`, each with one containment call.
    async fn measure_responses(&self) -> eyre::Result<Vec<(&'static str, Budget)>> {
        let contain = |scope, level| {
            let (duration, evidence) = (600, B256::repeat_byte(0xe1));
            let call = ICordonGuard::containCall {
                scope,
                level,
                duration,
                evidence,
            };
            call.abi_encode()
        };
        let mut rows = Vec::new();
        let [respond, _, _, _, contain_program, _] = self.programs;
        let mut measure = async |name: &'static str, from, program, input: Vec<u8>| {
            let receipt = self.send(from, self.guard, input.clone()).await?;
            rows.push((name, self.budget(&receipt, program, &input.into()).await?));
            eyre::Ok(())
        };
        measure("`contain`", GUARDIAN, contain_program, contain(2, Level::ReduceOnly)).await?;
        measure(
            "`contain`, Halted",
            GUARDIAN,
            contain_program,
            contain(3, Level::Halted),
        )
        .await?;
        let raised = HookProbe::setGaugeCall {
            value: 101_u64.try_into()?,
        };
        self.send(USER, self.probe, raised.abi_encode()).await?;
        let trip = ICordonGuard::tripCall {
            rule: 0,
            witness: vec![],
        }
        .abi_encode();
        measure("`trip`, 4 reads", USER, respond, trip.clone()).await?;
        measure("`trip` again", USER, respond, trip).await?;
        let set = ICordonGuard::containSetCall {
            set: set_name("both").ok_or_eyre("no name")?,
            evidence: B256::repeat_byte(0xe1),
        };
        measure("`containSet`", GUARDIAN, contain_program, set.abi_encode()).await?;
        Ok(rows)
    }

    fn print(rows: &[(&str, Budget)], gas: &ResponseGas) {
        println!(
            "Responses, whole transactions: one registered caller, one containment call with one undo call (but `trip` again, which changes \
             nothing, and `containSet`, which raises two scopes that hooks alone serve). Nothing is cached; what caching both programs saves is told below.\n"
        );
        let names: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
        println!("| line | {} |", names.join(" | "));
        println!("| --- |{}", " ---: |".repeat(rows.len()));
        let lines: [(&str, Line); 13] = [
            ("transaction and calldata", |of| of.intrinsic),
            ("entry of the gate and of the program behind it", |of| of.entries),
            ("storage read", |of| of.loads),
            ("storage written", |of| of.stores),
            ("transient storage: the lock", |of| of.transient),
            ("events", |of| of.logs),
            ("the rulebook's code", |of| of.code),
            ("access of accounts called", |of| of.access),
            ("other host calls and instructions", |of| of.other),
            ("the targets' own code: reads, the call, its storage", |of| of.targets),
            ("**together**", |of| of.total),
            ("**without the targets' own code**", |of| of.own(false)),
            ("the same, programs cached", |of| of.own(true)),
        ];
        for (name, of) in lines {
            let cells: Vec<_> = rows.iter().map(|(_, budget)| of(budget).to_string()).collect();
            println!("| {name} | {} |", cells.join(" | "));
        }
        println!("\nTargets, besides what the targets' own code costs:\n");
        println!("| target | gas | whole transaction | without the transaction's own price |");
        println!("| --- | ---: | ---: | ---: |");
        for (name, target, alone, whole) in [
            (
                CONTAIN_CACHED_ROW,
                CONTAIN_CACHED,
                gas.contain_cached,
                (CONTAINED, true),
            ),
            (CONTAIN_ROW, CONTAIN, gas.contain, (CONTAINED, false)),
            (TRIP_CACHED_ROW, TRIP, gas.trip_cached, (TRIPPED, true)),
            (TRIP_ROW, TRIP, gas.trip, (TRIPPED, false)),
        ] {
            let (row, cached) = whole;
            let whole = rows.get(row).map_or(0, |(_, budget)| budget.own(cached));
            let [whole, alone] = [whole, alone].map(|gas| match gas > target {
                true => format!("{gas}, missed by {}", gas.saturating_sub(target)),
                false => format!("{gas}, met"),
            });
            println!("| {name} | {target} | {whole} | {alone} |");
        }
        println!(
            "\nWhat stands in the way of the rest: the chain asks 21,000 for a transaction, 8,832 for entering each of two programs that are \
             not cached, 2,600 for the delegation, and 2,100 and 2,900 for each of the words that a response reads and writes: scope, ledger \
             (budgets, counters), incident (two words, written only), doing of the call, and one for each registered caller.\n"
        );
        println!("What was tried for `contain`, not cached, without the transaction's own price:\n");
        println!("| tried | gas |\n| --- | --- |");
        for (what, gas) in TRIED {
            println!("| {what} | {gas} |");
        }
        println!();
    }

    /// The host calls of a transaction to a program, those of programs that it calls within the call.
    pub(super) async fn host_calls(&self, transaction: B256) -> eyre::Result<Vec<Value>> {
        let options = GethDebugTracingOptions {
            tracer: Some(GethDebugTracerType::JsTracer("stylusTracer".to_owned())),
            ..GethDebugTracingOptions::default()
        };
        match self.provider.debug_trace_transaction(transaction, options).await? {
            GethTrace::JS(Value::Array(steps)) => Ok(steps),
            _ => eyre::bail!("the node does not know stylusTracer"),
        }
    }

    /// Adds up the host calls of a transaction to the guard, which runs this program for it.
    async fn budget(&self, receipt: &TransactionReceipt, program: Address, input: &Bytes) -> eyre::Result<Budget> {
        let steps = self.host_calls(receipt.transaction_hash).await?;
        let paid: u64 = input.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum();
        let (gate, respond) = (self.entry(self.guard).await?, self.entry(program).await?);
        let mut budget = Budget {
            intrinsic: paid.saturating_add(21_000),
            entries: gate.gas.saturating_add(respond.gas),
            saved: (gate.gas.saturating_sub(gate.gasWhenCached))
                .saturating_add(respond.gas.saturating_sub(respond.gasWhenCached)),
            total: receipt.gas_used,
            ..Budget::default()
        };
        budget.add(&steps, &mut BTreeSet::new())?;
        let known = [
            budget.intrinsic,
            budget.entries,
            budget.loads,
            budget.stores,
            budget.transient,
            budget.logs,
            budget.code,
            budget.access,
            budget.targets,
        ];
        budget.other = budget.total.saturating_sub(known.iter().sum());
        Ok(budget)
    }
}

/// Which of the measured rows have targets.
const CONTAINED: usize = 0;
const TRIPPED: usize = 2;

fn figures(rows: &[(&str, Budget)]) -> eyre::Result<ResponseGas> {
    let own = |row: usize, cached| {
        let (_, budget) = rows.get(row).ok_or_eyre("a response was not measured")?;
        eyre::Ok(budget.own(cached).saturating_sub(budget.intrinsic))
    };
    Ok(ResponseGas {
        contain_cached: own(CONTAINED, true)?,
        contain: own(CONTAINED, false)?,
        trip_cached: own(TRIPPED, true)?,
        trip: own(TRIPPED, false)?,
    })
}

impl Budget {
    /// Without the targets' own code.
    fn own(&self, cached: bool) -> u64 {
        let saved = if cached { self.saved } else { 0 };
        self.total.saturating_sub(self.targets).saturating_sub(saved)
    }

    /// Adds the host calls of one frame of the guard and of what it delegates to.
    fn add(&mut self, steps: &[Value], seen: &mut BTreeSet<String>) -> eyre::Result<()> {
        for step in steps {
            let ink = |name: &str| step.get(name).and_then(Value::as_u64).ok_or_eyre("a step without ink");
            let gas = ink("startInk")?.saturating_sub(ink("endInk")?) / INK;
            let name = step.get("name").and_then(Value::as_str).unwrap_or_default();
            let line = match name {
                "storage_load_bytes32" => &mut self.loads,
                "storage_flush_cache" => &mut self.stores,
                "transient_load_bytes32" | "transient_store_bytes32" => &mut self.transient,
                "emit_log" => &mut self.logs,
                "account_code" | "account_code_size" => &mut self.code,
                "delegate_call_contract" => {
                    let nested = step.get("steps").and_then(Value::as_array);
                    ensure!(nested.is_some(), "a delegation without steps");
                    self.add(nested.map_or(&[][..], Vec::as_slice), seen)?;
                    self.access = self.access.saturating_add(COLD);
                    continue;
                }
                "call_contract" | "static_call_contract" => {
                    let address = step.get("address").map(Value::to_string).unwrap_or_default();
                    let access = if seen.insert(address) { COLD } else { WARM };
                    self.access = self.access.saturating_add(access);
                    self.targets = self.targets.saturating_add(gas.saturating_sub(access + CALLING));
                    continue;
                }
                _ => continue,
            };
            *line = line.saturating_add(gas);
        }
        Ok(())
    }
}
