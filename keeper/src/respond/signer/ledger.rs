//! A key in a Ledger: a person confirms each signature at the device.

use std::sync::Arc;

use alloy::consensus::TxEip1559;
use alloy::network::TxSigner;
use alloy::primitives::{Address, B256, Signature};
use alloy::signers::Signer;
use alloy_signer_ledger::{HDPath, LedgerSigner};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::held::{Finder, Holder, with_causes};

/// The device, with its Ethereum app open.
#[derive(Debug)]
struct LedgerKey(LedgerSigner);

/// What finds the device.
pub(super) fn finder(path: &str) -> Finder {
    let path = path.to_owned();
    Arc::new(move || {
        let path = path.clone();
        async move {
            // Looking for the device waits for the USB without giving the thread back.
            let runtime = tokio::runtime::Handle::current();
            let looking = move || runtime.block_on(LedgerSigner::new(HDPath::Other(path), None));
            let signer = tokio::task::spawn_blocking(looking)
                .await
                .map_err(|_| "the USB of this machine cannot be looked at".to_owned())?
                .map_err(|error| with_causes(&error))?;
            Ok(Arc::new(LedgerKey(signer)) as Arc<dyn Holder>)
        }
        .boxed()
    })
}

impl Holder for LedgerKey {
    fn address(&self) -> Address {
        Signer::address(&self.0)
    }

    fn sign_hash<'a>(&'a self, _: &'a B256) -> BoxFuture<'a, Result<Signature, String>> {
        Box::pin(async { Err("a Ledger signs transactions only".to_owned()) })
    }

    fn sign_transaction<'a>(&'a self, tx: &'a TxEip1559) -> BoxFuture<'a, Result<Signature, String>> {
        Box::pin(async move {
            let mut tx = tx.clone();
            self.0
                .sign_transaction(&mut tx)
                .await
                .map_err(|error| with_causes(&error))
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let held = self.0.get_address().await.map_err(|error| with_causes(&error))?;
            if held == Signer::address(&self.0) {
                Ok(())
            } else {
                Err(format!("the device has the key of {held} there now"))
            }
        })
    }

    fn is_lost_after_error(&self) -> bool {
        true
    }
}
