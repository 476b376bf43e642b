//! Whether a signed transaction would be executed if it were needed now.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::sol_types::SolCall;

use super::safe::{ISafe, SignedSafeTx, state};
use super::{Climber, SAFE_GAS, SafeFallback};
use crate::chain::{CallError, Rpc};
use crate::record::AlarmKind;
use crate::respond::account::Account;
use crate::respond::armory::Readiness;
use crate::respond::deliver::Call;

/// How often each fallback is looked at: a few blocks.
const PERIOD: Duration = Duration::from_secs(4);
/// Looks in a row at which it must not work before people hear of it.
const PATIENCE: u32 = 2;

impl SafeFallback {
    /// What is wrong with it whatever state its Safe is in, for who checks a configuration.
    pub(crate) async fn mistakes(&self, rpc: &Rpc) -> Vec<String> {
        let (id, safe) = (&self.config.id, self.config.safe);
        let mut found = Vec::new();
        match rpc.has_code(safe).await {
            Ok(true) => match state(rpc, safe).await {
                Ok(_) => {}
                Err(CallError::Reverted(_)) => {
                    found.push(format!("{safe} does not answer as a Safe does: correct `safe`"))
                }
                Err(error) => found.push(error.to_string()),
            },
            Ok(false) => found.push(format!("there is no contract at {safe}: correct `safe`")),
            Err(error) => found.push(error.to_string()),
        }
        for file in &self.config.signed {
            if let Err(error) = SignedSafeTx::read(file, rpc.chain_id(), safe) {
                found.push(format!(
                    "{}: {error}; let the owners sign, and put the file there",
                    file.display()
                ));
            }
        }
        found
            .into_iter()
            .map(|what| format!("[[fallback]] `{id}`: {what}"))
            .collect()
    }
}

impl Climber {
    /// Looks again and again whether one of each fallback's signed transactions would work.
    pub(super) async fn stay_ready(self, readiness: Readiness) {
        let mut failures: BTreeMap<String, u32> = BTreeMap::new();
        loop {
            for fallback in &self.fallbacks {
                if fallback.config.signed.is_empty() {
                    continue;
                }
                let id = &fallback.config.id;
                match self.trouble(fallback).await {
                    // Nobody answers, or what is signed is in force: what was known before still is.
                    Err(error) => {
                        tracing::debug!(fallback = id, %error, "its signed transactions could not be rehearsed")
                    }
                    Ok(trouble) => {
                        let count = failures.entry(id.clone()).or_default();
                        self.note(id, count, trouble.as_deref()).await;
                        readiness.set(id, trouble);
                    }
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn note(&self, id: &str, count: &mut u32, trouble: Option<&str>) {
        let alarms = &self.responder.alarms;
        match trouble {
            None => {
                // An earlier run may have raised it.
                alarms.clear(AlarmKind::FallbackNotReady, id).await;
                *count = 0;
            }
            Some(why) => {
                *count = count.saturating_add(1);
                if *count == PATIENCE {
                    let text =
                        format!("if the fallback {id} were needed now, no signed transaction of it would work: {why}");
                    alarms.raise(AlarmKind::FallbackNotReady, id, &text, None).await;
                }
            }
        }
    }

    /// Why none of the signed transactions would work; `None` when one would.
    async fn trouble(&self, fallback: &SafeFallback) -> Result<Option<String>, CallError> {
        let safe = fallback.config.safe;
        let rpc = &self.responder.rpc;
        if !rpc.has_code(safe).await.map_err(CallError::Rpc)? {
            return Ok(Some(format!("there is no contract at {safe}")));
        }
        let state = match state(rpc, safe).await {
            Ok(state) => state,
            Err(CallError::Reverted(_)) => return Ok(Some(format!("{safe} does not answer as a Safe does"))),
            Err(error) => return Err(error),
        };
        let scope = fallback.config.scopes.first().copied().unwrap_or_default();
        let mut troubles = Vec::new();
        for file in &fallback.config.signed {
            let name = file.display();
            let signed = match SignedSafeTx::read(file, rpc.chain_id(), safe) {
                Ok(signed) => signed,
                Err(error) => {
                    troubles.push(format!("{name}: {error}"));
                    continue;
                }
            };
            if let Some(why) = signed.trouble(&state) {
                troubles.push(format!("{name}: {why}"));
                continue;
            }
            let call = Call {
                to: safe,
                data: signed.call(),
                gas: self.responder.gas.limit(scope).saturating_add(SAFE_GAS),
            };
            let mut last = format!("none of {} can pay for it", super::names(&self.payers));
            for account in &self.payers {
                match rehearse(account, &call).await? {
                    None => return Ok(None),
                    Some(why) => last = why,
                }
            }
            if self.is_in_force().await? {
                // While the guard holds a level, raising it again may be refused: that says nothing of later.
                return Ok(None);
            }
            troubles.push(format!("{name}: {last}"));
        }
        Ok(Some(troubles.join("; ")))
    }

    /// Whether the guard holds a level anywhere.
    async fn is_in_force(&self) -> Result<bool, CallError> {
        let open = self.responder.store.watched().await;
        Ok(open.is_ok_and(|incidents| !incidents.is_empty()))
    }
}

/// Why a Safe would not execute a call that this account sends; `None` when it would.
pub(super) async fn rehearse(account: &Account, call: &Call) -> Result<Option<String>, CallError> {
    if let Some(shortfall) = account.shortfall(call).await.map_err(CallError::Rpc)? {
        return Ok(Some(shortfall));
    }
    match account.rehearse(call).await {
        Ok(answer) => Ok(match ISafe::execTransactionCall::abi_decode_returns(&answer) {
            Ok(true) => None,
            Ok(false) => Some("the Safe would execute it, and what it does would fail".to_owned()),
            Err(_) => Some("the answer is not that of a Safe".to_owned()),
        }),
        Err(CallError::Reverted(data)) => Ok(Some(reason(&data))),
        Err(error) => Err(error),
    }
}

/// A Safe's revert in words: it gives codes such as `GS013`, whose list is part of its documentation.
fn reason(data: &[u8]) -> String {
    let code = alloy::sol_types::decode_revert_reason(data).unwrap_or_default();
    let meaning = match code.trim_start_matches("revert: ") {
        "GS013" => "what it does would fail",
        "GS020" | "GS021" | "GS022" | "GS023" | "GS024" | "GS025" | "GS026" => "its signatures are not valid",
        _ => "the Safe refuses it",
    };
    if code.is_empty() {
        meaning.to_owned()
    } else {
        format!("{meaning} ({code})")
    }
}
