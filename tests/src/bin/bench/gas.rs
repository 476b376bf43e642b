//! What the guard's programs and calls cost.

use alloy::sol_types::{SolCall, SolEvent};
use cordon_client::guard::ICordonGuard::Action;
use eyre::OptionExt;

use crate::world::{Bench, HookProbe, USER};

impl Bench {
    /// Sizes and entry costs of the programs.
    pub(crate) async fn programs(&self) -> eyre::Result<()> {
        println!("## Programs\n");
        println!(
            "| program | WASM, bytes | code with prefix, bytes (law: 24,576) | entry uncached, gas | entry cached, gas |"
        );
        println!("| --- | ---: | ---: | ---: | ---: |");
        let accounts = std::iter::once(self.guard).chain(self.programs);
        for (account, program) in accounts.zip(self.artifacts.all()) {
            let name = &program.name;
            let cost = self.entry(account).await?;
            println!(
                "| {name} | {} | {} | {} | {} |",
                program.wasm.len(),
                program.code.len(),
                cost.gas,
                cost.gasWhenCached
            );
        }
        println!();
        Ok(())
    }

    /// Gas of the hooks and of containment.
    pub(crate) async fn gas(&self) -> eyre::Result<()> {
        println!("## Gas\n");
        println!(
            "Hooks as a Solidity caller pays them: the guard's account cold, programs not called before in the block. A cached program \
             costs its second entry in a block at once, so that the gate's two entry prices are what caching saves.\n"
        );
        println!("| operation | gas, gate cached | gas, nothing cached |");
        println!("| --- | ---: | ---: |");
        let entry = self.entry(self.guard).await?;
        let mut one_word = (0, 0);
        for (name, action) in [
            ("enter + exit, no rule hooked to the action", Action::Deposit),
            ("enter + exit, one-word rule with one read", Action::Trade),
            ("enter + exit, one rule of another form with one read", Action::Withdraw),
            ("enter + exit, one rule with an entry() value", Action::Increase),
        ] {
            let (enter, exit) = self.hooks(action).await?;
            let cached = enter.saturating_sub(entry.gas.saturating_sub(entry.gasWhenCached));
            println!(
                "| {name} | {} ({cached} + {exit}) | {} ({enter} + {exit}) |",
                cached.saturating_add(exit),
                enter.saturating_add(exit)
            );
            if action as u8 == Action::Trade as u8 {
                one_word = (cached, exit);
            }
        }
        budget(one_word, entry.gasWhenCached);
        Ok(())
    }

    /// What `enter` and `exit` cost with the rule that is hooked to the action.
    pub(crate) async fn hooks(&self, action: Action) -> eyre::Result<(u64, u64)> {
        let call = HookProbe::probeCall {
            guard: self.guard,
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
}

/// Where the gas of a guarded call with the one-word rule goes: prices of the chain, and what is left for the caller's and the
/// gate's own instructions.
fn budget((enter, exit): (u64, u64), entry: u64) {
    println!("\nWhere the gas of the one-word rule goes:\n");
    println!("| line | enter | exit |\n| --- | ---: | ---: |");
    let lines: [(&str, u64, u64); 4] = [
        ("the guard's account, cold, then warm", 2_600, 100),
        ("entry of the gate, cached", entry, entry),
        ("the caller's word, cold, then warm", 2_100, 100),
        ("the rule's own read: a warm account, a cold word", 0, 2_200),
    ];
    let (mut first, mut second) = (enter, exit);
    for (name, of_enter, of_exit) in lines {
        println!("| {name} | {of_enter} | {of_exit} |");
        first = first.saturating_sub(of_enter);
        second = second.saturating_sub(of_exit);
    }
    println!(
        "| encoding in Solidity, host calls and instructions of the gate, the callee's code (the rest) | {first} | {second} |"
    );
    println!("| together | {enter} | {exit} |\n");
    println!(
        "Without the rule's own read: {} gas (target: 9,000).\n",
        enter.saturating_add(exit).saturating_sub(2_200)
    );
}
