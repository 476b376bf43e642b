//! Who signed a transaction.

use alloy::{
    consensus::{TxEnvelope, crypto::SECP256K1N_HALF},
    primitives::Address,
};
use revm::precompile;

/// The account that signed a transaction; `None` when the signature is none of the curve, or not the lower one (EIP-2).
///
/// The EVM's own recovery is used: its C library takes a quarter of the time of the one that the transaction types bring.
pub(crate) fn signer(envelope: &TxEnvelope) -> Option<Address> {
    let signature = envelope.signature();
    if signature.s() > SECP256K1N_HALF {
        return None;
    }
    let mut numbers = [0; 64];
    let (r, s) = numbers.split_at_mut(32);
    r.copy_from_slice(&signature.r().to_be_bytes::<32>());
    s.copy_from_slice(&signature.s().to_be_bytes::<32>());
    let hash = envelope.signature_hash();
    let word = precompile::crypto().secp256k1_ecrecover(&numbers, u8::from(signature.v()), &hash.0);
    Some(Address::from_word(word.ok()?.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloy::{
        consensus::{SignableTransaction, TxEip1559, transaction::SignerRecoverable},
        primitives::{Signature, U256},
        signers::{SignerSync, local::PrivateKeySigner},
    };

    use super::*;

    fn transaction(nonce: u64) -> TxEip1559 {
        TxEip1559 {
            nonce,
            ..TxEip1559::default()
        }
    }

    #[test]
    fn it_agrees_with_the_recovery_of_the_transaction_types() {
        for nonce in 0..20 {
            let key = PrivateKeySigner::random();
            let unsigned = transaction(nonce);
            let signature = key.sign_hash_sync(&unsigned.signature_hash()).unwrap();
            let envelope = TxEnvelope::from(unsigned.into_signed(signature));
            assert_eq!(signer(&envelope), Some(key.address()));
            assert_eq!(signer(&envelope), envelope.recover_signer().ok());
        }
    }

    #[test]
    fn the_higher_signature_and_numbers_off_the_curve_are_refused() {
        let order = SECP256K1N_HALF * U256::from(2) + U256::ONE;
        let key = PrivateKeySigner::random();
        let good = key.sign_hash_sync(&transaction(0).signature_hash()).unwrap();
        let high = Signature::new(good.r(), order - good.s(), !good.v());
        for bad in [
            high,
            Signature::new(U256::ZERO, good.s(), false),
            Signature::new(good.r(), U256::ZERO, false),
            Signature::new(U256::MAX, good.s(), true),
        ] {
            let envelope = TxEnvelope::from(transaction(0).into_signed(bad));
            assert_eq!(signer(&envelope), None, "{bad:?}");
            assert!(envelope.recover_signer().is_err(), "{bad:?}");
        }
    }
}
