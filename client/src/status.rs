//! The guard as it stands: what `cordon guard status` shows.

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use cordon_core::anchor::{self, Stage};
use cordon_core::rule::{Class, Int, Unknown, Verdict};
use cordon_core::stream::Stored;
use cordon_core::{Level, Matrix};

use crate::build::PROGRAMS;
use crate::chain::{ChainError, explain, explain_call};
use crate::compile::CompiledConfig;
use crate::config::Config;
use crate::deploy::{self, DeployError};
use crate::guard::ICordonGuard::{self, Role};
use crate::precompiles::{ARB_WASM, ArbWasm};

/// State of a guard at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardStatus {
    /// The guard.
    pub guard: Address,
    /// The block at which all was read.
    pub block: u64,
    /// Its time, Unix seconds.
    pub timestamp: u64,
    /// The governor.
    pub governor: Address,
    /// A governor that was proposed; zero when none.
    pub proposed_governor: Address,
    /// Seconds between announcement and action.
    pub governor_delay: u32,
    /// Whether set-up has ended.
    pub is_sealed: bool,
    /// What its levels close; `None` when that is no matrix of this version.
    pub matrix: Option<Matrix>,
    /// Account of the rulebook; zero when none.
    pub rulebook: Address,
    /// Its code hash.
    pub rulebook_hash: B256,
    /// Time of the last heartbeat, Unix seconds; 0 when none.
    pub last_heartbeat: u64,
    /// Every configured scope.
    pub scopes: Vec<ScopeState>,
    /// Every rule of the rulebook that can be evaluated without a witness, when the rulebook is the configured one.
    pub rules: Vec<RuleState>,
    /// Every stream of the rulebook, when that is the configured one.
    pub streams: Vec<StreamState>,
    /// Every configured account with its role, and whether the guard agrees.
    pub roles: Vec<(Role, Address, bool)>,
    /// The gate, then the programs behind it.
    pub programs: Vec<ProgramState>,
}

/// State of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramState {
    /// Its name: `gate`, or one of [`PROGRAMS`].
    pub name: &'static str,
    /// Its account.
    pub account: Address,
    /// Seconds until it expires unless it is kept alive; `None` when it is not active.
    pub time_left: Option<u64>,
}

/// State of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeState {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Its level now.
    pub level: Level,
    /// When containment began; 0 when Normal.
    pub since: u64,
    /// When the level steps down; 0 when Normal.
    pub expires_at: u64,
    /// Until when it can be contained without the governor; 0 when Normal.
    pub ceiling_at: u64,
    /// Number of its incident; 0 when none.
    pub incident: u64,
    /// When a queued release may be executed; 0 when none is queued.
    pub release_at: u64,
    /// Numbers of the containment calls whose effect is in force.
    pub applied: Vec<u16>,
}

/// What a rule says at the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleState {
    /// Its name.
    pub id: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Why it could not be evaluated.
    pub unknown: Option<Unknown>,
    /// Operands of the comparison that decided; zero when none did.
    pub observed: Int,
    /// As `observed`.
    pub bound: Int,
}

/// What the guard has stored of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Its number in the rulebook.
    pub index: u8,
    /// What it reads, as `contract.function`.
    pub reads: Vec<String>,
    /// The rules that compare with it.
    pub rules: Vec<String>,
    /// What is stored.
    pub stored: Stored,
    /// The scope whose level freezes it, if one does.
    pub frozen_by: Option<u8>,
}

/// Reads the guard at the newest block: everything at the same one.
///
/// # Errors
/// When the address has no code, or something else than a guard answers there.
pub async fn status<P: Provider>(
    provider: &P,
    guard: Address,
    config: &Config,
    compiled: &CompiledConfig,
) -> Result<GuardStatus, DeployError> {
    let head = provider
        .get_block(BlockId::latest())
        .await
        .map_err(|error| explain("reading the newest block", &error))?
        .ok_or_else(|| ChainError::Refused {
            what: "reading the newest block".into(),
            reason: "there is none".into(),
        })?;
    let at = BlockId::hash(head.header.hash);
    let code = provider
        .get_code_at(guard)
        .block_id(at)
        .await
        .map_err(|error| explain(&format!("reading the code of {guard}"), &error))?;
    if code.is_empty() {
        return Err(DeployError::NoCode(vec![("guard".into(), guard)]));
    }
    let contract = ICordonGuard::new(guard, provider);
    let failed = |what: &'static str| move |error| explain_call(what, error);
    let governor = contract
        .governor()
        .block(at)
        .call()
        .await
        .map_err(failed("reading the guard's governor"))?;
    let closes = contract
        .closes()
        .block(at)
        .call()
        .await
        .map_err(failed("reading what the guard's levels close"))?;
    let accounts = contract
        .programs()
        .block(at)
        .call()
        .await
        .map_err(failed("reading the guard's programs"))?;
    let book = contract
        .rulebook()
        .block(at)
        .call()
        .await
        .map_err(failed("reading the guard's rulebook"))?;
    let last_heartbeat = contract
        .lastHeartbeat()
        .block(at)
        .call()
        .await
        .map_err(failed("reading the guard's heartbeat"))?;
    let mut roles = Vec::new();
    for (role, account) in deploy::configured_roles(&config.guard) {
        let granted = contract
            .hasRole(role, account)
            .block(at)
            .call()
            .await
            .map_err(failed("reading the guard's roles"))?;
        roles.push((role, account, granted));
    }
    let mut scopes = Vec::new();
    for (id, name) in (0u8..).zip(&config.guard.scopes) {
        let state = match contract.scopeStatus(id).block(at).call().await {
            Ok(state) => state,
            // The configuration has more scopes than the rulebook that is in force.
            Err(error) if error.as_decoded_error::<ICordonGuard::BadScope>().is_some() => continue,
            Err(error) => return Err(failed("reading a scope of the guard")(error).into()),
        };
        scopes.push(ScopeState {
            id,
            name: name.clone(),
            level: Level::from_u8(state.level.into()).unwrap_or(Level::Halted),
            since: state.since,
            expires_at: state.expiresAt,
            ceiling_at: state.ceilingAt,
            incident: state.incident,
            release_at: state.releaseAt,
            applied: (0u16..256)
                .filter(|call| state.applied.bit(usize::from(*call)))
                .collect(),
        });
    }
    let rules = match book.codeHash == compiled.code_hash() {
        true => rules(provider, guard, at, compiled).await?,
        false => Vec::new(),
    };
    let streams = match book.codeHash == compiled.code_hash() {
        true => streams(provider, guard, at, compiled).await?,
        false => Vec::new(),
    };
    let arb_wasm = ArbWasm::new(ARB_WASM, provider);
    let mut programs = Vec::new();
    for (name, account) in std::iter::once(("gate", guard)).chain(PROGRAMS.into_iter().zip(accounts)) {
        programs.push(ProgramState {
            name,
            account,
            // A revert says that the program is not active; what else fails has failed above already.
            time_left: arb_wasm.programTimeLeft(account).block(at).call().await.ok(),
        });
    }
    Ok(GuardStatus {
        guard,
        block: head.header.number,
        timestamp: head.header.timestamp,
        governor: governor.current,
        proposed_governor: governor.proposed,
        governor_delay: governor.delay,
        is_sealed: governor.isSealed,
        matrix: Matrix::new(closes),
        rulebook: book.book,
        rulebook_hash: book.codeHash,
        last_heartbeat,
        scopes,
        rules,
        streams,
        roles,
        programs,
    })
}

/// Reads the streams of the configuration at one block, as rules read them: from the guard's storage.
///
/// # Errors
/// When the chain does not answer, or no guard does.
pub async fn streams<P: Provider>(
    provider: &P,
    guard: Address,
    at: BlockId,
    compiled: &CompiledConfig,
) -> Result<Vec<StreamState>, ChainError> {
    let mut raised = Vec::new();
    let scopes = compiled.scopes.len() * usize::from(!compiled.streams.is_empty());
    for (scope, _) in (0u8..).zip(0..scopes) {
        let level = ICordonGuard::new(guard, provider).levelOf(scope).block(at).call().await;
        let level = level.map_err(|error| explain_call("reading a level of the guard", error))?;
        if Level::from_u8(level.into()).is_none_or(Level::is_raised) {
            raised.push(scope);
        }
    }
    let mut states = Vec::new();
    for stream in &compiled.streams {
        let mut words = [U256::ZERO; 2];
        for (part, word) in (0u8..).zip(&mut words) {
            let key = anchor::key(&stream.id, part).into();
            *word = provider
                .get_storage_at(guard, key)
                .block_id(at)
                .await
                .map_err(|error| explain("reading a stream of the guard", &error))?;
        }
        let [first, second] = words;
        states.push(StreamState {
            index: stream.index,
            reads: stream.reads.clone(),
            rules: stream.rules.clone(),
            stored: Stored::unpack(&stream.spec, first, second),
            frozen_by: raised
                .iter()
                .copied()
                .find(|scope| stream.scope == 0 || *scope == 0 || *scope == stream.scope),
        });
    }
    Ok(states)
}

impl StreamState {
    /// Seconds until rules can compare with it, if it is observed whenever it is due and what is read agrees; 0 when they can now.
    #[must_use]
    pub fn known_in(&self, now: u64) -> u64 {
        if self.stored.is_known(now) {
            return 0;
        }
        match &self.stored {
            Stored::Anchor(spec, anchor) => {
                let period = u64::from(spec.period);
                let next = anchor.agrees_at(spec).saturating_sub(now);
                match anchor.stage {
                    Stage::Empty => period.saturating_mul(2),
                    Stage::Seeding => next.saturating_add(period),
                    Stage::Fresh | Stage::Anchored => next,
                }
            }
            Stored::Baseline(spec, baseline) => {
                let missing = spec.warm_up().saturating_sub(baseline.count());
                u64::from(missing).saturating_mul(spec.spacing.into())
            }
        }
    }
}

async fn rules<P: Provider>(
    provider: &P,
    guard: Address,
    at: BlockId,
    compiled: &CompiledConfig,
) -> Result<Vec<RuleState>, DeployError> {
    let wanted = compiled
        .rules
        .iter()
        .filter(|rule| rule.class == Class::State && rule.params.is_empty());
    let (ids, numbers): (Vec<_>, Vec<_>) = wanted.map(|rule| (rule.id.clone(), rule.index)).unzip();
    let witnesses = vec![Vec::new(); numbers.len()];
    let evaluations = ICordonGuard::new(guard, provider)
        .evaluateMany(numbers, witnesses)
        .block(at)
        .call()
        .await
        .map_err(|error| explain_call("evaluating the guard's rules", error))?;
    Ok(ids
        .into_iter()
        .zip(evaluations)
        .map(|(id, evaluation)| rule_state(id, &evaluation))
        .collect())
}

fn rule_state(id: String, evaluation: &ICordonGuard::Evaluation) -> RuleState {
    RuleState {
        id,
        verdict: match evaluation.verdict {
            ICordonGuard::Verdict::Holds => Verdict::Holds,
            ICordonGuard::Verdict::Breached => Verdict::Breached,
            _ => Verdict::Unknown,
        },
        unknown: Unknown::from_code(evaluation.reason),
        observed: Int::new(evaluation.observedNegative, evaluation.observed),
        bound: Int::new(evaluation.boundNegative, evaluation.bound),
    }
}
