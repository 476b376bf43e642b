//! What the guard's programs and hooks cost.

use alloy::network::TransactionBuilder;
use alloy::primitives::Address;
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, SolEvent};
use cordon_client::build::Artifacts;
use cordon_client::deploy::deploy_program;
use cordon_client::guard::ICordonGuard::Action;
use cordon_client::program::Program;
use eyre::OptionExt;

use super::targets;
use super::world::{Bench, GOVERNOR, HookProbe, SolidityGuard, USER, creation_code, key};

/// What the one-word rule's own read costs: a warm account and a cold word.
const READ: u64 = 2_200;
/// The greatest value of the gauge at which that rule holds, and how many scopes the benchmark's guard has.
const MOST: u32 = 100;
const SCOPES: u8 = 6;

/// Sizes and entry costs of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFigures {
    /// As its file is called.
    pub name: String,
    /// Bytes of WASM.
    pub wasm: u64,
    /// Bytes of the account's code: the compressed program and its prefix.
    pub code: u64,
    /// Gas of entering it, not cached.
    pub entry: u64,
    /// Gas of entering it from Stylus's cache.
    pub cached: u64,
}

/// Gas of a guarded call around nothing, as its Solidity caller pays it, with the one-word rule and the gate cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Of `enter`.
    pub enter: u64,
    /// Of `exit`, the rule's own read included.
    pub exit: u64,
}

impl Hooks {
    /// Both without the rule's own read: what the target is about.
    #[must_use]
    pub const fn own(&self) -> u64 {
        self.enter.saturating_add(self.exit).saturating_sub(READ)
    }
}

impl Bench {
    /// The guard's programs and the limiter.
    ///
    /// # Errors
    /// When the limiter cannot be deployed, or the chain does not tell what entering a program costs.
    pub async fn programs(&self) -> eyre::Result<Vec<ProgramFigures>> {
        let limiter = Program::load(&Artifacts::directory(&self.root).join("limiter.bin"))?;
        let limiter = Program {
            name: "limiter".to_owned(),
            ..limiter
        };
        let account = deploy_program(&self.provider, key(GOVERNOR)?.address(), &limiter).await?;
        let guard = std::iter::once(self.guard).chain(self.programs);
        let all = guard.zip(self.artifacts.all()).chain([(account, &limiter)]);
        let mut figures = Vec::new();
        for (account, program) in all {
            let cost = self.entry(account).await?;
            figures.push(ProgramFigures {
                name: program.name.clone(),
                wasm: program.wasm.len().try_into()?,
                code: program.code.len().try_into()?,
                entry: cost.gas,
                cached: cost.gasWhenCached,
            });
        }
        Ok(figures)
    }

    /// Prints sizes and entry costs of the programs. CI compares with what is printed here.
    pub(super) async fn print_programs(&self) -> eyre::Result<()> {
        println!("## Programs\n");
        println!(
            "| program | WASM, bytes | code with prefix, bytes (law: 24,576) | entry uncached, gas | entry cached, gas |"
        );
        println!("| --- | ---: | ---: | ---: | ---: |");
        for of in self.programs().await? {
            println!(
                "| {} | {} | {} | {} | {} |",
                of.name, of.wasm, of.code, of.entry, of.cached
            );
        }
        println!();
        Ok(())
    }

    /// A guarded call with the one-word rule.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn one_word(&self) -> eyre::Result<Hooks> {
        let entry = self.entry(self.guard).await?;
        let (enter, exit) = self.hooks(Action::Trade).await?;
        let enter = enter.saturating_sub(entry.gas.saturating_sub(entry.gasWhenCached));
        Ok(Hooks { enter, exit })
    }

    /// The same with the least guard that can be written in Solidity.
    ///
    /// # Errors
    /// When it cannot be deployed, or the call fails.
    pub async fn in_solidity(&self) -> eyre::Result<Hooks> {
        let guard = self.solidity_guard().await?;
        let (enter, exit) = self.hooks_of(guard, Action::Trade).await?;
        Ok(Hooks { enter, exit })
    }

    /// Prints the gas of the hooks and where it goes.
    pub(super) async fn print_hooks(&self) -> eyre::Result<Hooks> {
        println!("## Gas\n");
        println!(
            "Hooks as a Solidity caller pays them: the guard's account cold, programs not called before in the block. A cached program \
             costs its second entry in a block at once, so that the gate's two entry prices are what caching saves. In Solidity: \
             `contracts/solidity/drill/SolidityGuard.sol`, the same checks of one rule and nothing else.\n"
        );
        println!("| operation | gas, gate cached | gas, nothing cached | the same in Solidity |");
        println!("| --- | ---: | ---: | ---: |");
        let entry = self.entry(self.guard).await?;
        let peer = self.solidity_guard().await?;
        for (name, action, has_peer) in [
            ("enter + exit, no rule hooked to the action", Action::Deposit, true),
            ("enter + exit, one-word rule with one read", Action::Trade, true),
            (
                "enter + exit, one rule of another form with one read",
                Action::Withdraw,
                false,
            ),
            ("enter + exit, one rule with an entry() value", Action::Increase, false),
        ] {
            let (enter, exit) = self.hooks(action).await?;
            let cached = enter.saturating_sub(entry.gas.saturating_sub(entry.gasWhenCached));
            let theirs = if has_peer {
                let (enter, exit) = self.hooks_of(peer, action).await?;
                format!("{} ({enter} + {exit})", enter.saturating_add(exit))
            } else {
                String::new()
            };
            println!(
                "| {name} | {} ({cached} + {exit}) | {} ({enter} + {exit}) | {theirs} |",
                cached.saturating_add(exit),
                enter.saturating_add(exit)
            );
        }
        let hooks = self.one_word().await?;
        budget(&hooks, entry.gasWhenCached);
        Ok(hooks)
    }

    /// What `enter` and `exit` cost with the rule that is hooked to the action, nothing cached.
    pub(super) async fn hooks(&self, action: Action) -> eyre::Result<(u64, u64)> {
        self.hooks_of(self.guard, action).await
    }

    async fn hooks_of(&self, guard: Address, action: Action) -> eyre::Result<(u64, u64)> {
        let call = HookProbe::probeCall {
            guard,
            scopes: 1u8.try_into()?,
            action: action as u8,
        };
        let receipt = self.send(USER, self.probe, call.abi_encode()).await?;
        let log = receipt
            .inner
            .logs()
            .iter()
            .find_map(|log| HookProbe::Measured::decode_log(&log.inner).ok());
        let measured = log.ok_or_eyre("the probe measured nothing")?;
        Ok((measured.enterGas.try_into()?, measured.exitGas.try_into()?))
    }

    /// A guard in Solidity with the same one-word rule for the same action.
    async fn solidity_guard(&self) -> eyre::Result<Address> {
        let creation = TransactionRequest::default()
            .with_from(key(GOVERNOR)?.address())
            .with_deploy_code(creation_code(&self.root, "SolidityGuard")?);
        let receipt = self.provider.send_transaction(creation).await?.get_receipt().await?;
        let guard = receipt
            .contract_address
            .ok_or_eyre("the guard in Solidity was not created")?;
        let register = SolidityGuard::registerCall {
            caller: self.probe,
            target: self.probe,
            selector: HookProbe::gaugeCall::SELECTOR.into(),
            most: MOST,
            checked: 1 << Action::Trade as u8,
            scopes: SCOPES,
        };
        self.send(GOVERNOR, guard, register.abi_encode()).await?;
        Ok(guard)
    }
}

/// Where the gas of a guarded call with the one-word rule goes: prices of the chain, and what is left for the caller's and the
/// gate's own instructions.
fn budget(hooks: &Hooks, entry: u64) {
    println!("\nWhere the gas of the one-word rule goes:\n");
    println!("| line | enter | exit |\n| --- | ---: | ---: |");
    let lines: [(&str, u64, u64); 4] = [
        ("the guard's account, cold, then warm", 2_600, 100),
        ("entry of the gate, cached", entry, entry),
        ("the caller's word, cold, then warm", 2_100, 100),
        ("the rule's own read: a warm account, a cold word", 0, READ),
    ];
    let (mut first, mut second) = (hooks.enter, hooks.exit);
    for (name, of_enter, of_exit) in lines {
        println!("| {name} | {of_enter} | {of_exit} |");
        first = first.saturating_sub(of_enter);
        second = second.saturating_sub(of_exit);
    }
    println!(
        "| encoding in Solidity, host calls and instructions of the gate, the callee's code (the rest) | {first} | {second} |"
    );
    println!("| together | {} | {} |\n", hooks.enter, hooks.exit);
    let (own, target) = (hooks.own(), targets::HOOKS);
    let met = if own > target { "missed" } else { "met" };
    println!("Without the rule's own read: {own} gas (target: {target}, {met}).\n");
}
