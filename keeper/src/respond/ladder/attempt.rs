//! The rungs, tried: a transaction that the owners have signed is sent, or one is proposed to them.

use std::time::Duration;

use alloy::primitives::Bytes;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;

use super::safe::{SafeState, SignedSafeTx, hash, plain, state};
use super::service::{Proposal, ServiceError};
use super::{Climber, SAFE_GAS, SafeFallback, ready};
use crate::decide::ladder::{Rung, RungStatus};
use crate::record::{Ladder, StoreError};
use crate::respond::deliver::Call;
use crate::respond::delivery::Delivery;
use crate::respond::responder::abi_level;

/// Between two tries of a rung that may pass later.
const AGAIN: Duration = Duration::from_secs(2);

/// How an attempt ended.
#[derive(Debug)]
enum Tried {
    Done(String),
    Failed(String),
    Later(String),
}

impl From<ServiceError> for Tried {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Later(why) => Self::Later(why),
            ServiceError::Refused(why) => Self::Failed(why),
        }
    }
}

impl Climber {
    /// Tries a rung for as long as it has; what may pass later is tried again within that time.
    pub(super) async fn attempt(&self, ladder: &Ladder, fallback: &SafeFallback, rung: Rung) -> Result<(), StoreError> {
        let store = &self.responder.store;
        if !store.may_act() {
            return Ok(());
        }
        let tried = match rung {
            Rung::Signed => {
                let sending = self.send_signed(fallback, ladder.intent.scope);
                match tokio::time::timeout(fallback.patience(), sending).await {
                    Ok(tried) => tried,
                    Err(_) => Tried::Later("it was not included in time".to_owned()),
                }
            }
            Rung::Proposal => self.propose(fallback, ladder).await,
            Rung::Page => return Ok(()),
        };
        match tried {
            Tried::Done(text) => store.end_rung(ladder, rung, RungStatus::Done, &text).await,
            Tried::Failed(text) => store.end_rung(ladder, rung, RungStatus::Failed, &text).await,
            Tried::Later(text) => {
                tracing::warn!(fallback = ladder.fallback, rung = rung.name(), "tried again: {text}");
                tokio::time::sleep(AGAIN).await;
                Ok(())
            }
        }
    }

    /// Sends the signed transaction that the Safe would execute now.
    async fn send_signed(&self, fallback: &SafeFallback, scope: u8) -> Tried {
        let safe = fallback.config.safe;
        let state = match state(&self.responder.rpc, safe).await {
            Ok(state) => state,
            Err(error) => return Tried::Later(error.to_string()),
        };
        let mut troubles = Vec::new();
        for file in &fallback.config.signed {
            let name = file.display();
            match SignedSafeTx::read(file, self.responder.rpc.chain_id(), safe) {
                Err(error) => troubles.push(format!("{name}: {error}")),
                Ok(signed) => match signed.trouble(&state) {
                    Some(why) => troubles.push(format!("{name}: {why}")),
                    None => match self.deliver(&signed, scope).await {
                        Ok(text) => return Tried::Done(format!("{name}: {text}")),
                        Err(Tried::Failed(why)) => troubles.push(format!("{name}: {why}")),
                        Err(tried) => return tried,
                    },
                },
            }
        }
        Tried::Failed(troubles.join("; "))
    }

    /// Lets whoever can pay send the Safe's transaction.
    async fn deliver(&self, signed: &SignedSafeTx, scope: u8) -> Result<String, Tried> {
        let call = Call {
            to: signed.safe,
            data: signed.call(),
            gas: self.responder.gas.limit(scope).saturating_add(SAFE_GAS),
        };
        let mut why = "nobody can pay for it".to_owned();
        for account in &self.payers {
            match ready::rehearse(account, &call).await {
                Ok(None) => {}
                Ok(Some(trouble)) => {
                    why = trouble;
                    continue;
                }
                Err(error) => return Err(Tried::Later(error.to_string())),
            }
            let delivery = Delivery::unrecorded(account, &self.responder.settings, &call);
            match delivery.run(|_, _| {}).await {
                Ok(delivered) if delivered.receipt.status() => {
                    let hash = delivered.receipt.transaction_hash;
                    return Ok(format!("executed in {hash}"));
                }
                Ok(delivered) => why = format!("{} was reverted", delivered.receipt.transaction_hash),
                Err(error) => why = error.to_string(),
            }
        }
        Err(Tried::Failed(why))
    }

    /// Proposes to the owners what the keeper could not do.
    async fn propose(&self, fallback: &SafeFallback, ladder: &Ladder) -> Tried {
        let (Some(service), Some(client)) = (&fallback.config.proposal, &fallback.service) else {
            return Tried::Failed("no service is configured".to_owned());
        };
        let safe = fallback.config.safe;
        let SafeState { nonce, .. } = match state(&self.responder.rpc, safe).await {
            Ok(state) => state,
            Err(error) => return Tried::Later(error.to_string()),
        };
        let tx = plain(self.responder.guard, self.containment(ladder, service.duration), nonce);
        let hash = hash(&tx, self.responder.rpc.chain_id(), safe);
        let done = || Tried::Done(format!("{hash} waits for the owners of {safe}"));
        match client.has(hash).await {
            Ok(true) => return done(),
            Ok(false) => {}
            Err(error) => return error.into(),
        }
        let mut why = "no key at hand can sign it".to_owned();
        for account in &self.responder.accounts {
            let signature = match account.sign_hash(hash).await {
                Ok(signature) => signature,
                Err(reason) => {
                    why = reason;
                    continue;
                }
            };
            let proposal = Proposal {
                safe,
                tx: tx.clone(),
                hash,
                sender: account.address(),
                signature,
            };
            match client.propose(&proposal).await {
                Ok(()) => return done(),
                // Another key may be the one that the owners have made a delegate.
                Err(ServiceError::Refused(reason)) => why = reason,
                Err(error) => return error.into(),
            }
        }
        Tried::Failed(why)
    }

    /// What the Safe, as a guardian, is to call.
    fn containment(&self, ladder: &Ladder, seconds: u32) -> Bytes {
        let intent = &ladder.intent;
        Guard::containCall {
            scope: intent.scope,
            level: abi_level(intent.level),
            duration: seconds,
            evidence: intent.block_hash,
        }
        .abi_encode()
        .into()
    }
}
