//! The guard: its programs, roles, rulebook, seal.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_core::Matrix;
use cordon_core::rulebook::init_code;

use super::DeployError;
use super::govern::{Announcement, Governor, governance};
use super::program::{deploy_at_fixed_address, fixed_address};
use super::verify::{check_containment, check_contracts, verify_guard};
use crate::build::{Artifacts, PROGRAMS};
use crate::chain::{code, explain_call, send};
use crate::compile::CompiledConfig;
use crate::config::{Config, GuardConfig, format_duration};
use crate::guard::ICordonGuard::{self, Role};
use crate::observe::begin_streams;
use crate::precompiles::CREATE2_FACTORY;

/// Choices for a deployment that the configuration does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardOptions {
    /// Makes guards of the same governor differ in address; not zero.
    pub salt: B256,
    /// Whether the guard is to be sealed at once: its containment calls are then tried before the first transaction, from the
    /// address that it has or will have.
    pub seals: bool,
    /// Whether changes that a sealed guard takes only after an announcement are announced now; else the first of them is an error.
    pub announces: bool,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            salt: keccak256("cordon guard"),
            seals: false,
            announces: false,
        }
    }
}

/// What a deployment has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The guard: the gate's account.
    pub guard: Address,
    /// The accounts of the programs behind the gate, in the order of [`PROGRAMS`].
    pub programs: [Address; PROGRAMS.len()],
    /// The account of its rulebook.
    pub rulebook: Address,
    /// Whether the guard was made now, rather than found.
    pub created: bool,
    /// Whether set-up has ended.
    pub is_sealed: bool,
    /// A governor that has been proposed and must accept; zero when none.
    pub proposed_governor: Address,
    /// Changes that were announced, now or before, and are not due yet: the same deployment again, after the governor's delay, makes them.
    pub announced: Vec<Announcement>,
}

/// Deploys and activates the programs, gives the roles of `[guard]` and adopts the rulebook; checks by reading back. Does
/// not seal: the protocol first gives the guard its roles, then [`seal`] makes sure of them.
///
/// `from` pays and, until it is sealed, governs the set-up; the configured governor, when it is another account, is proposed
/// and has to accept. Checks before the first transaction that every contract has code and that the chain accepts the
/// programs.
pub async fn deploy_guard<P: Provider>(
    provider: &P,
    from: Address,
    config: &Config,
    compiled: &CompiledConfig,
    artifacts: &Artifacts,
    options: GuardOptions,
) -> Result<Deployment, DeployError> {
    let governor = config.guard.governor.ok_or(DeployError::NoGovernor)?;
    check_contracts(provider, config, compiled).await?;
    if options.seals {
        let guard = match config.guard.address {
            Some(guard) => guard,
            None => predicted(provider, from, &config.guard, artifacts, options).await?,
        };
        // A sealed guard may be in the middle of an incident, in which a call that has run cannot run again.
        let is_there = !code(provider, guard).await?.is_empty();
        if !is_there || !governance(provider, guard).await?.is_sealed {
            check_containment(provider, guard, compiled).await?;
        }
    }
    let (guard, created) = match config.guard.address {
        Some(guard) => (guard, false),
        None => deploy_programs(provider, from, &config.guard, artifacts, options).await?,
    };
    if code(provider, guard).await?.is_empty() {
        return Err(DeployError::NoCode(vec![("guard".into(), guard)]));
    }
    let mut changes = Governor::new(provider, from, guard);
    changes.announces = options.announces;
    changes.ensure_roles(&config.guard).await?;
    changes.ensure_matrix(config.guard.matrix).await?;
    let rulebook = changes.ensure_rulebook(compiled).await?;
    let proposed_governor = changes.ensure_governor(governor).await?;
    changes.ensure_delay(config.guard.governor_delay).await?;
    let announced = changes.announced;
    // What waits for its time cannot be read back yet.
    if announced.is_empty() {
        verify_guard(provider, guard, config, compiled, Some(artifacts)).await?;
    }
    let contract = ICordonGuard::new(guard, provider);
    let programs = programs_of(provider, guard).await?;
    let state = contract
        .governor()
        .call()
        .await
        .map_err(|e| explain_call("reading the guard's governor", e))?;
    Ok(Deployment {
        guard,
        programs,
        rulebook,
        created,
        is_sealed: state.isSealed,
        proposed_governor,
        announced,
    })
}

async fn deploy_programs<P: Provider>(
    provider: &P,
    from: Address,
    config: &GuardConfig,
    artifacts: &Artifacts,
    options: GuardOptions,
) -> Result<(Address, bool), DeployError> {
    let mut programs = [Address::ZERO; PROGRAMS.len()];
    for (address, program) in programs.iter_mut().zip(&artifacts.behind_the_gate) {
        (*address, _) = deploy_at_fixed_address(provider, from, program, Default::default(), options.salt).await?;
    }
    let initialize = initialize_call(programs, from, config);
    deploy_at_fixed_address(provider, from, &artifacts.gate, initialize, options.salt).await
}

/// The address that the guard will have, or has.
async fn predicted<P: Provider>(
    provider: &P,
    from: Address,
    config: &GuardConfig,
    artifacts: &Artifacts,
    options: GuardOptions,
) -> Result<Address, DeployError> {
    let mut programs = [Address::ZERO; PROGRAMS.len()];
    for (address, program) in programs.iter_mut().zip(&artifacts.behind_the_gate) {
        *address = fixed_address(provider, program, &Bytes::new(), options.salt).await?;
    }
    let initialize = initialize_call(programs, from, config);
    fixed_address(provider, &artifacts.gate, &initialize, options.salt).await
}

fn initialize_call(programs: [Address; PROGRAMS.len()], governor: Address, config: &GuardConfig) -> Bytes {
    let call = ICordonGuard::initializeCall {
        programs,
        governor,
        governorDelay: config.governor_delay,
    };
    call.abi_encode().into()
}

/// The accounts of the programs behind the gate, in the order of [`PROGRAMS`].
pub(super) async fn programs_of<P: Provider>(
    provider: &P,
    guard: Address,
) -> Result<[Address; PROGRAMS.len()], DeployError> {
    ICordonGuard::new(guard, provider)
        .programs()
        .call()
        .await
        .map_err(|error| explain_call("reading the guard's programs", error).into())
}

impl<P: Provider> Governor<'_, P> {
    /// Gives the configured accounts their roles; those that have them are left alone.
    async fn ensure_roles(&mut self, config: &GuardConfig) -> Result<(), DeployError> {
        let contract = ICordonGuard::new(self.guard, self.provider);
        for (role, account) in roles(config) {
            let granted = contract
                .hasRole(role, account)
                .call()
                .await
                .map_err(|e| explain_call("reading the guard's roles", e))?;
            if !granted {
                let call = ICordonGuard::setRoleCall {
                    role,
                    account,
                    granted: true,
                };
                let change = format!("granting the role {role:?} to {account}");
                match self.govern(&change, call.abi_encode()).await {
                    // A seal that was used waits for its announcement, and nothing else waits for it.
                    Err(DeployError::Sealed { action_hash, .. }) if role == Role::Seal => {
                        tracing::warn!(%account, %action_hash, "its seal was used; to arm it again the governor announces this hash");
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Puts the rulebook on the chain and makes the guard adopt it, unless it has adopted the same. Returns the rulebook's
    /// account.
    async fn ensure_rulebook(&mut self, compiled: &CompiledConfig) -> Result<Address, DeployError> {
        let adopted = ICordonGuard::new(self.guard, self.provider)
            .rulebook()
            .call()
            .await
            .map_err(|e| explain_call("reading the guard's rulebook", e))?;
        if adopted.codeHash == compiled.code_hash() {
            return Ok(adopted.book);
        }
        let book = create_rulebook(self.provider, self.from, compiled).await?;
        let adopt = ICordonGuard::adoptRulebookCall {
            book,
            codeHash: compiled.code_hash(),
        };
        self.govern(&format!("adopting the rulebook {book}"), adopt.abi_encode())
            .await?;
        Ok(book)
    }

    /// Makes the levels close what is configured.
    async fn ensure_matrix(&mut self, matrix: Matrix) -> Result<(), DeployError> {
        let closes = ICordonGuard::new(self.guard, self.provider)
            .closes()
            .call()
            .await
            .map_err(|e| explain_call("reading what the guard's levels close", e))?;
        if closes == matrix.bits() {
            return Ok(());
        }
        let call = ICordonGuard::setMatrixCall { closes: matrix.bits() };
        self.govern("changing what the levels close", call.abi_encode()).await
    }

    /// Makes the governor's delay the configured one. Last, so that what is announced with a longer one waits for the old one.
    async fn ensure_delay(&mut self, delay: u32) -> Result<(), DeployError> {
        let present = self.governance().await?.delay;
        if present == delay {
            return Ok(());
        }
        let [from, to] = [present, delay].map(|seconds| format_duration(seconds.into()));
        let call = ICordonGuard::setDelayCall { governorDelay: delay };
        let change = format!("changing the governor's delay from {from} to {to}");
        self.govern(&change, call.abi_encode()).await
    }

    /// Proposes the configured governor when another account set the guard up. Returns the one that has to accept.
    async fn ensure_governor(&mut self, governor: Address) -> Result<Address, DeployError> {
        let state = self.governance().await?;
        if state.governor == governor || state.proposed == governor {
            return Ok(state.proposed);
        }
        let propose = ICordonGuard::proposeGovernorCall { governor };
        self.govern(&format!("proposing {governor} as governor"), propose.abi_encode())
            .await?;
        Ok(governor)
    }
}

/// Every role with every account that is to have it.
pub(crate) fn roles(config: &GuardConfig) -> Vec<(Role, Address)> {
    let all = [
        (Role::Guardian, &config.guardians),
        (Role::Keeper, &config.keepers),
        (Role::Heartbeat, &config.heartbeats),
        (Role::Seal, &config.seals),
    ];
    all.into_iter()
        .flat_map(|(role, accounts)| accounts.iter().map(move |account| (role, *account)))
        .collect()
}

/// Puts the rulebook on the chain and makes the guard adopt it, unless it has adopted the same. Returns the rulebook's
/// account.
///
/// # Errors
/// [`DeployError::Sealed`] when that must be announced first; whatever else keeps the chain or the guard from doing it.
pub async fn ensure_rulebook<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    compiled: &CompiledConfig,
) -> Result<Address, DeployError> {
    Governor::new(provider, from, guard).ensure_rulebook(compiled).await
}

/// Puts the rulebook's code into an account. Its address follows from the code, so that a second run finds it.
async fn create_rulebook<P: Provider>(
    provider: &P,
    from: Address,
    compiled: &CompiledConfig,
) -> Result<Address, DeployError> {
    let init_code = init_code(&compiled.code);
    let book = CREATE2_FACTORY.create2_from_code(B256::ZERO, &init_code);
    if code(provider, book).await? == compiled.code {
        return Ok(book);
    }
    if code(provider, CREATE2_FACTORY).await?.is_empty() {
        return Err(DeployError::NoFactory(CREATE2_FACTORY));
    }
    // The factory takes a salt and the init code.
    let create = TransactionRequest::default()
        .with_from(from)
        .with_to(CREATE2_FACTORY)
        .with_input([B256::ZERO.as_slice(), &init_code].concat());
    let receipt = send(provider, "creating the rulebook's account", create).await?;
    if code(provider, book).await? != compiled.code {
        let hash = receipt.transaction_hash;
        return Err(DeployError::NotCreated {
            name: "the rulebook's account".into(),
            hash,
        });
    }
    tracing::info!(%book, bytes = compiled.code.len(), "created the rulebook");
    Ok(book)
}

/// Ends set-up, after making sure that the guard is as configured, can make each of its containment calls, and has begun to observe each of
/// its streams ([`begin_streams`]). Does nothing when it is sealed.
pub async fn seal<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    config: &Config,
    compiled: &CompiledConfig,
) -> Result<(), DeployError> {
    verify_guard(provider, guard, config, compiled, None).await?;
    check_containment(provider, guard, compiled).await?;
    if governance(provider, guard).await?.is_sealed {
        return Ok(());
    }
    begin_streams(provider, from, guard, compiled).await?;
    Governor::new(provider, from, guard)
        .govern("sealing the guard", ICordonGuard::sealCall {}.abi_encode())
        .await
}
