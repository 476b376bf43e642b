//! What `cordon keeper check` looks at beyond what keeps a keeper from starting: what would be missed when it is needed.

use super::Keeper;
use crate::chain::probe_ws;

/// What a keeper could not do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preflight {
    /// What does not work, and what to do about it.
    pub problems: Vec<String>,
    /// What works worse than it could.
    pub warnings: Vec<String>,
}

impl Keeper {
    /// Looks at the chains of all endpoints, at the WebSocket endpoint, at the folder of the reports, and at the fallbacks. Nothing is sent, and nothing is left behind.
    pub async fn preflight(&self) -> Preflight {
        let mut found = Preflight::default();
        let foreign = self.rpc.check_chains().await;
        found.problems.extend(foreign.iter().map(ToString::to_string));
        if let Some(url) = &self.options.ws
            && let Err(why) = probe_ws(url, self.options.chain_id).await
        {
            found.warnings.push(format!(
                "[chain] ws: {why}; heads would come by polling, up to 200 ms later, and no pending transaction would be seen: correct `ws`"
            ));
        }
        if let Some(why) = self.reports.unwritable() {
            found.problems.push(format!("[keeper] reports: {why}"));
        }
        for fallback in &self.options.fallbacks {
            found.problems.extend(fallback.mistakes(&self.rpc).await);
        }
        found
    }
}
