//! Stylus programs put into the state without the transactions that deploy and activate them.

use alloy::primitives::{Address, B256};
use cordon_stylus::{
    arbos::{STATE_ADDRESS, Space},
    code::{self, CodeKind},
    genesis, install,
    pricing::Params,
};
use revm::DatabaseRef;

use crate::{
    node::Node,
    rpc::RpcError,
    state::{Overlay, StateError},
};

/// First bytes of a WebAssembly module.
pub(crate) const WASM_MAGIC: &[u8] = b"\0asm";

impl Node {
    fn stylus_params(&self, overlay: &Overlay) -> Result<Params, StateError> {
        let version = overlay.storage_ref(STATE_ADDRESS, genesis::version_slot())?;
        let word = overlay.storage_ref(STATE_ADDRESS, Space::Params.word(0))?;
        Ok(Params {
            debug: self.programs.is_debug_chain(),
            ..Params::unpack(word, version.saturating_to())
        })
    }

    /// Gives an account the code of a module, compressed, and activates it as of `now` (Unix seconds). Answers the code's hash.
    pub(crate) fn install_program(
        &self,
        overlay: &mut Overlay,
        address: Address,
        wasm: &[u8],
        now: u64,
    ) -> Result<B256, RpcError> {
        let params = self.stylus_params(overlay)?;
        let installed = install::program(wasm, &params, now, false)
            .map_err(|error| RpcError::Params(format!("the module is no Stylus program: {error}")))?;
        overlay.set_code(address, installed.code)?;
        for (slot, value) in installed.slots {
            overlay.set_slot(STATE_ADDRESS, slot, value);
        }
        Ok(installed.code_hash)
    }

    /// Activates the program at an account, when the settings say so and it has one that was never activated. What cannot be
    /// activated stays as it is: calling it says why.
    pub(crate) fn activate_unasked(&self, overlay: &mut Overlay, address: Address, now: u64) -> Result<(), StateError> {
        if !self.config.activate_on_first_call {
            return Ok(());
        }
        let info = overlay.account(address)?;
        let Some(bytecode) = info.code.as_ref() else {
            return Ok(());
        };
        let bytes = bytecode.original_byte_slice();
        if !matches!(code::kind(bytes), Some(CodeKind::Classic { .. })) {
            return Ok(());
        }
        let record = overlay.storage_ref(STATE_ADDRESS, Space::Programs.slot(info.code_hash))?;
        if !record.is_zero() {
            return Ok(());
        }
        let params = self.stylus_params(overlay)?;
        let limit = usize::try_from(params.max_wasm_size).unwrap_or(usize::MAX);
        let activated = code::decompress(bytes, limit)
            .ok()
            .and_then(|wasm| install::activation(info.code_hash, &wasm, &params, now, false).ok());
        for (slot, value) in activated.map(|(_, slots)| slots).unwrap_or_default() {
            overlay.set_slot(STATE_ADDRESS, slot, value);
        }
        Ok(())
    }
}
