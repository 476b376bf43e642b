//! Programs put into a state directly, without transactions: for tests, benches and genesis.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use thiserror::Error;

use crate::activation::ProgramRecord;
use crate::arbos::Space;
use crate::code::{self, CodeError};
use crate::module::{self, ModuleError};
use crate::pricing::Params;

/// A module cannot be made a program.
#[derive(Debug, Error)]
pub enum InstallError {
    /// It cannot be compressed.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// It could not be activated.
    #[error(transparent)]
    Module(#[from] ModuleError),
}

/// What has to be written so that a program can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledProgram {
    /// Code of the program's account.
    pub code: Bytes,
    /// Its hash.
    pub code_hash: B256,
    /// What activation stored.
    pub record: ProgramRecord,
    /// Slots of [`STATE_ADDRESS`](crate::arbos::STATE_ADDRESS) that say that the code is active.
    pub slots: Vec<(U256, U256)>,
}

/// Compresses a WASM module and activates it on paper, as of `now` (Unix seconds). `cached` marks it as held by the
/// chain's cache, which makes entering it cheap.
///
/// # Errors
/// What activating the module on chain would refuse.
pub fn program(wasm: &[u8], params: &Params, now: u64, cached: bool) -> Result<InstalledProgram, InstallError> {
    let code = Bytes::from(code::compress(wasm)?);
    let code_hash = keccak256(&code);
    let (record, slots) = activation(code_hash, wasm, params, now, cached)?;
    Ok(InstalledProgram {
        code,
        code_hash,
        record,
        slots,
    })
}

/// What activating the program of `code_hash`, whose module is `wasm`, stores: its record, and all slots of
/// [`STATE_ADDRESS`](crate::arbos::STATE_ADDRESS). Otherwise as [`program`].
///
/// # Errors
/// What activating the module on chain would refuse.
pub fn activation(
    code_hash: B256,
    wasm: &[u8],
    params: &Params,
    now: u64,
    cached: bool,
) -> Result<(ProgramRecord, Vec<(U256, U256)>), ModuleError> {
    let prepared = module::prepare(wasm, params, 0)?;
    let record = ProgramRecord::new(params, &prepared.info, now, cached);
    let slots = vec![
        (Space::Programs.slot(code_hash), record.pack()),
        (
            Space::Modules.slot(code_hash),
            module_hash(code_hash, params.version).into(),
        ),
    ];
    Ok((record, slots))
}

/// Stands in for the hash of the module's WAVM form, which only a prover needs: it names code and version.
pub(crate) fn module_hash(code_hash: B256, version: u16) -> B256 {
    let mut preimage = b"devnet".to_vec();
    preimage.extend_from_slice(code_hash.as_slice());
    preimage.extend_from_slice(&version.to_be_bytes());
    keccak256(preimage)
}
