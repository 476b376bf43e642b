//! What a contract pays that asks how a guard stands: a counterparty at the point of use.

use alloy::primitives::Address;
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent};
use cordon_client::guard::ICordonGuard::{self, Action};
use eyre::OptionExt;

use super::world::{Bench, HookProbe, USER};

sol! {
    #[allow(missing_docs)]
    interface Feed {
        function levelOf(address guard, uint8 scope) external view returns (uint8);
        function requireCalm(address guard, uint8 scope, uint64 maxHeartbeatAge) external view;
        function statusOf(address guard, uint8 scope, uint64 maxHeartbeatAge) external view;
    }
}

/// A scope that nothing raises here, and one that `responses` has raised.
const CALM: u8 = 0;
const RAISED: u8 = 2;

impl Bench {
    /// Questions while all is Normal. To be called before anything is raised.
    pub(super) async fn questions(&self) -> eyre::Result<()> {
        println!(
            "Questions, as a contract pays them that asks (the call alone, the guard's account cold): programs not called before in the \
             block, and all of them cached.\n"
        );
        println!("| question | answered by | gas, nothing cached | gas, programs cached |");
        println!("| --- | --- | ---: | ---: |");
        let feed = self.feed().await?;
        let [respond, .., inspect] = self.programs;
        let guard = self.guard;
        let level = ICordonGuard::levelOfCall { scope: CALM }.abi_encode();
        self.question("`levelOf(scope)`, all Normal", "gate", guard, level, &[])
            .await?;
        let allowed = ICordonGuard::isAllowedCall {
            scopes: u32::from(CALM).try_into()?,
            action: Action::Deposit as u8,
        };
        self.question(
            "`isAllowed(scopes, action)`, all Normal",
            "gate",
            guard,
            allowed.abi_encode(),
            &[],
        )
        .await?;
        let beat = ICordonGuard::lastHeartbeatCall {}.abi_encode();
        self.question("`lastHeartbeat()`", "gate", guard, beat, &[]).await?;
        let status = ICordonGuard::scopeStatusCall { scope: CALM }.abi_encode();
        self.question(
            "`scopeStatus(scope)`",
            "gate, respond, inspect",
            guard,
            status,
            &[respond, inspect],
        )
        .await?;
        let level = Feed::levelOfCall { guard, scope: CALM }.abi_encode();
        self.question("feed: `levelOf(guard, scope)`", "gate", feed, level, &[])
            .await?;
        let calm = Feed::requireCalmCall {
            guard,
            scope: CALM,
            maxHeartbeatAge: 0,
        };
        self.question(
            "feed: `requireCalm(guard, scope, 0)`",
            "gate",
            feed,
            calm.abi_encode(),
            &[],
        )
        .await?;
        println!();
        Ok(())
    }

    /// The same of a scope that is contained. To be called after [`Bench::responses`].
    pub(super) async fn questions_contained(&self) -> eyre::Result<()> {
        println!("Questions about a scope that is contained, in the same way:\n");
        println!("| question | answered by | gas, nothing cached | gas, programs cached |");
        println!("| --- | --- | ---: | ---: |");
        let [respond, hooks, .., inspect] = self.programs;
        let level = ICordonGuard::levelOfCall { scope: RAISED }.abi_encode();
        self.question("`levelOf(scope)`", "gate, hooks", self.guard, level, &[hooks])
            .await?;
        let status = ICordonGuard::scopeStatusCall { scope: RAISED }.abi_encode();
        self.question(
            "`scopeStatus(scope)`",
            "gate, respond, inspect",
            self.guard,
            status,
            &[respond, inspect],
        )
        .await?;
        println!();
        Ok(())
    }

    /// Prints what a question costs its asker, and what it would when the gate and these programs were cached.
    async fn question(
        &self,
        name: &str,
        by: &str,
        to: Address,
        input: Vec<u8>,
        behind: &[Address],
    ) -> eyre::Result<()> {
        let call = HookProbe::askCall {
            whom: to,
            question: input.into(),
        };
        let receipt = self.send(USER, self.probe, call.abi_encode()).await?;
        let logs = receipt.inner.logs().iter();
        let asked = logs
            .filter_map(|log| HookProbe::Asked::decode_log(&log.inner).ok())
            .next();
        let gas: u64 = asked.ok_or_eyre("the probe asked nothing")?.gas.try_into()?;
        let mut cached = gas;
        for program in std::iter::once(&self.guard).chain(behind) {
            let entry = self.entry(*program).await?;
            cached = cached.saturating_sub(entry.gas.saturating_sub(entry.gasWhenCached));
        }
        println!("| {name} | {by} | {gas} | {cached} |");
        Ok(())
    }
}
