//! What the chain does not need to know of a configuration: names, texts, places.

use alloy::primitives::{Address, B256, Bytes, keccak256};
use cordon_core::anchor::StreamId;
use cordon_core::bounds::Actor;
use cordon_core::rule::Class;
use cordon_core::rulebook::{Containment as BookContainment, FULL_GAS, Order, Rulebook, View, is_within};
use cordon_core::stream::Spec;
use cordon_core::{ActionSet, Level};

use crate::config::{Containment, Finality, Parameter, Problem, Respond, Severity, Witness};

/// A configuration that was compiled: what goes on chain, and what explains it.
#[derive(Clone, Debug)]
pub struct CompiledConfig {
    /// What the guard is to be configured with.
    pub rulebook: Rulebook,
    /// The code of the rulebook's account: one STOP byte, then the encoding.
    pub code: Bytes,
    /// Names of the scopes by id.
    pub scopes: Vec<String>,
    /// The rules by number: those of the guard, then those that only the keeper has.
    pub rules: Vec<RuleMeta>,
    /// The programs of the rules that only the keeper has, in their order.
    pub outside: Vec<Vec<u8>>,
    /// The containment calls by number.
    pub containments: Vec<ContainmentMeta>,
    /// The containment sets, in the order of the file.
    pub sets: Vec<SetMeta>,
    /// The streams by number: what the guard observes and stores for `anchor(…)`, `mean(…)` and so on.
    pub streams: Vec<StreamMeta>,
    /// Doubtful things, such as known traps that a rule walks into.
    pub warnings: Vec<Problem>,
}

/// What is known of a rule besides its program.
#[derive(Clone, Debug)]
pub struct RuleMeta {
    /// Its name.
    pub id: String,
    /// Its number in the rulebook; for one that only the keeper has, counted on from there.
    pub index: u16,
    /// The scope that a trip raises.
    pub scope: u8,
    /// What it needs: state rules are checked by hooks, trips and keeper alike, hook rules by hooks only, keeper rules by the
    /// keeper only.
    pub class: Class,
    /// The word that made it a hook rule.
    pub class_reason: Option<String>,
    /// Whether its author asserts that one transaction cannot move its inputs.
    pub robust: bool,
    /// Whether hooks only count its breaches.
    pub shadow: bool,
    /// The level that a trip raises; `Normal` for a rule that cannot be tripped.
    pub level: Level,
    /// Seconds for which a trip raises the level.
    pub duration: u32,
    /// The hooks that check it.
    pub check: ActionSet,
    /// How bad a breach is.
    pub severity: Severity,
    /// How the keeper answers a breach.
    pub respond: Respond,
    /// The newest block that the keeper evaluates it on.
    pub finality: Finality,
    /// Channels that are told of its incidents; those that want the severity when empty.
    pub channels: Vec<String>,
    /// Its parameters, one witness word each.
    pub params: Vec<Parameter>,
    /// Event that supplies the parameters.
    pub witness: Option<Witness>,
    /// Its text.
    pub source: String,
    /// How many reads it contains.
    pub reads: u8,
    /// Most gas that evaluating it needs.
    pub gas_bound: u32,
}

/// What is known of a containment call besides its bytes.
#[derive(Clone, Debug)]
pub struct ContainmentMeta {
    /// Its name.
    pub id: String,
    /// Its number in the rulebook.
    pub index: u16,
    /// The scope whose level runs it.
    pub scope: u8,
    /// The least level that runs it.
    pub level: Level,
    /// What it closes for users.
    pub closes: ActionSet,
    /// Longest time in seconds that its effect may last; 0 for as long as the level holds.
    pub max_duration: u32,
    /// The contract that is called.
    pub target: Address,
    /// The call's text.
    pub call: String,
    /// Text of the condition that shows its effect.
    pub done: String,
    /// Texts of the calls that undo it.
    pub undo: Vec<String>,
}

/// What is known of a containment set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMeta {
    /// Its name.
    pub id: String,
    /// The word that names it on chain.
    pub name: B256,
    /// Hash of the document that was reviewed.
    pub reviewed: B256,
    /// What it raises, in order.
    pub orders: Vec<Order>,
}

impl SetMeta {
    /// The roles, with their full budget, that can contain it in one call: keeper, guardian, governor.
    pub fn within(&self) -> Vec<&'static str> {
        [
            ("keeper", Actor::Keeper),
            ("guardian", Actor::Guardian),
            ("governor", Actor::Governor),
        ]
        .into_iter()
        .filter(|(_, actor)| is_within(&self.orders, *actor))
        .map(|(name, _)| name)
        .collect()
    }
}

/// What is known of a stream besides its program.
#[derive(Clone, Debug)]
pub struct StreamMeta {
    /// Its number in the rulebook.
    pub index: u8,
    /// Its name in programs and in the guard's storage.
    pub id: StreamId,
    /// Nothing is observed while this scope is raised; for scope 0, while any is.
    pub scope: u8,
    /// How it is observed, and what is kept of it.
    pub spec: Spec,
    /// What it reads, as `contract.function`.
    pub reads: Vec<String>,
    /// The rules that compare with it.
    pub rules: Vec<String>,
}

impl CompiledConfig {
    /// Code hash of the rulebook's account: the configuration's version.
    pub fn code_hash(&self) -> B256 {
        keccak256(&self.code)
    }

    /// What tells these rules from those of another file where a rule is known by its number: the rulebook's code hash, and beyond it the
    /// names and programs of the rules that no guard has.
    pub fn version(&self) -> B256 {
        if self.outside.is_empty() {
            return self.code_hash();
        }
        let held = self.rulebook.rules.len();
        let mut bytes = self.code_hash().to_vec();
        for (rule, program) in self.rules.iter().skip(held).zip(&self.outside) {
            for part in [rule.id.as_bytes(), program.as_slice()] {
                bytes.extend(keccak256(part));
            }
            bytes.push(rule.scope);
        }
        keccak256(bytes)
    }

    /// The rule of that name.
    pub fn rule(&self, id: &str) -> Option<&RuleMeta> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The containment set of that name.
    pub fn set(&self, id: &str) -> Option<&SetMeta> {
        self.sets.iter().find(|set| set.id == id)
    }

    /// Of each containment call its scope, and the most gas that making it and undoing it take, read-backs included.
    pub fn call_costs(&self) -> Vec<(u8, u64, u64)> {
        let Ok(view) = View::open(&self.code) else {
            return Vec::new();
        };
        let cost = |index| {
            let record = view.containment(index).ok()?;
            let body = view.containment_body(&record).ok()?;
            Some((record.scope, body.run_gas(record.gas), body.undo_gas(record.gas)))
        };
        (0..view.header().containments).filter_map(cost).collect()
    }

    /// How many transactions it takes to contain the whole protocol, and to settle it, when every target uses all the gas that it may, in
    /// being read too. 0 without containment calls.
    pub fn containment_transactions(&self) -> usize {
        let costs = self.call_costs();
        let run = transactions(costs.iter().map(|(_, run, _)| *run));
        run.max(transactions(costs.iter().map(|(_, _, undo)| *undo)))
    }

    /// Name of a scope.
    pub fn scope_name(&self, scope: u8) -> Option<&str> {
        self.scopes.get(usize::from(scope)).map(String::as_str)
    }
}

/// How many full transactions calls of so much gas each take, in order.
fn transactions(costs: impl Iterator<Item = u64>) -> usize {
    let (mut count, mut left) = (0usize, 0u64);
    for cost in costs {
        if count == 0 || cost > left {
            count = count.saturating_add(1);
            left = FULL_GAS.into();
        }
        left = left.saturating_sub(cost);
    }
    count
}

/// Puts together what the file and the compiler know of a containment call.
pub(super) fn containment_meta(index: u16, written: &Containment, compiled: &BookContainment) -> ContainmentMeta {
    ContainmentMeta {
        id: written.id.clone(),
        index,
        scope: written.scope,
        level: written.level,
        closes: written.closes,
        max_duration: written.max_duration,
        target: compiled.target,
        call: written.call.get_ref().clone(),
        done: written.done.get_ref().clone(),
        undo: written.undo.iter().map(|undo| undo.call.get_ref().clone()).collect(),
    }
}
