//! Stylus programs put into the state without the transactions that deploy and activate them.

use alloy::primitives::{Address, B256};
use cordon_stylus::{
    arbos::{self, STATE_ADDRESS},
    install,
};
use revm::DatabaseRef;

use crate::{node::Node, rpc::RpcError, state::Overlay};

/// First bytes of a WebAssembly module.
pub(crate) const WASM_MAGIC: &[u8] = b"\0asm";

impl Node {
    /// Gives an account the code of a module, compressed, and activates it as of `now` (Unix seconds). Answers the code's hash.
    pub(crate) fn install_program(
        &self,
        overlay: &mut Overlay,
        address: Address,
        wasm: &[u8],
        now: u64,
    ) -> Result<B256, RpcError> {
        let read = |slot| overlay.storage_ref(STATE_ADDRESS, slot);
        let params = arbos::params_at(read, now, self.programs.is_debug_chain())?;
        let installed = install::program(wasm, &params, now, false)
            .map_err(|error| RpcError::Params(format!("the module is no Stylus program: {error}")))?;
        overlay.set_code(address, installed.code)?;
        for (slot, value) in installed.slots {
            overlay.set_slot(STATE_ADDRESS, slot, value);
        }
        Ok(installed.code_hash)
    }
}
