//! ArbWasm: activating programs, and the parameters and records of Stylus.

use alloy_primitives::{Address, B256, Bytes, U256, b256};
use revm::Database;
use revm::bytecode::Bytecode;
use revm::context::JournalTr;

use super::abi;
use super::call::{Answer, Call, Fault, Method, Purity, method as entry};
use crate::activation::{self, ProgramRecord};
use crate::arbos::{ROOT_NETWORK_FEE_ACCOUNT, Space};
use crate::code::{self, CodeError, CodeKind, Root};
use crate::install::module_hash;
use crate::module;
use crate::pricing::{self, ARBOS_CHARGING_FIXES, ARBOS_FRAGMENTS, ARBOS_STYLUS_V3, Params};

const STYLUS: u64 = 30;
/// Gas per word of a fragment's code, and of access to its account.
const FRAGMENT_WORD_GAS: u64 = 3;
const COLD_ACCOUNT_GAS: u64 = 2_600;
const WARM_ACCOUNT_GAS: u64 = 100;
/// Words of the largest possible fragment.
const FRAGMENT_WORDS: u64 = 768;

const PROGRAM_NOT_WASM: [u8; 4] = [0x27, 0xf3, 0x82, 0x12];
const PROGRAM_UP_TO_DATE: [u8; 4] = [0xcc, 0x94, 0x4b, 0xf2];
const KEEPALIVE_TOO_SOON: [u8; 4] = [0x16, 0xbd, 0x0c, 0xf8];
const INSUFFICIENT_VALUE: [u8; 4] = [0x09, 0x78, 0x1a, 0xb7];
const PROGRAM_ACTIVATED: B256 = b256!("c0e812780707128d9a180db8ee4d1c1f1300b6dd0626d577b5d9ac759b76253c");
const LIFETIME_EXTENDED: B256 = b256!("03802ba32e3bd489d2ab04abb93d10687e0b6883bcb091206ca75172d248f2ec");

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0x58c7_80c2 => entry(Purity::Payable, STYLUS, activate),
        0xc689_bad5 => entry(Purity::Payable, STYLUS, keepalive),
        0xa996_e0c2 => entry(Purity::View, STYLUS, |call| call.param(|params| params.version.into())),
        0xd70c_0ca7 => entry(Purity::View, STYLUS, |call| {
            call.of_hash(|_, record, _| [record.version.into()])
        }),
        0x4089_267f => entry(Purity::View, STYLUS, |call| {
            call.of_hash(|_, record, _| [record.asm_size().into()])
        }),
        0xcc8f_4e88 => entry(Purity::View, STYLUS, |call| {
            call.of_program(|_, record, _| [record.version.into()])
        }),
        0x62b6_88aa => entry(Purity::View, STYLUS, |call| call.of_program(init_gas)),
        0xaef3_6be3 => entry(Purity::View, STYLUS, |call| {
            call.of_program(|_, record, _| [record.footprint.into()])
        }),
        0xc775_a62a => entry(Purity::View, STYLUS, |call| {
            call.of_program(|params, record, now| [record.time_left(params, now)])
        }),
        0xd1c1_7abc => entry(Purity::View, STYLUS, |call| {
            call.param(|params| params.ink_price.into())
        }),
        0x8ccf_aa70 => entry(Purity::View, STYLUS, |call| {
            call.param(|params| params.max_stack_depth.into())
        }),
        0x4490_c19d => entry(Purity::View, STYLUS, |call| {
            call.param(|params| params.free_pages.into())
        }),
        0x7af4_ba49 => entry(Purity::View, STYLUS, |call| call.param(|params| params.page_gas.into())),
        0x11c8_2ae8 => entry(Purity::View, STYLUS, |call| call.param(|_| Params::PAGE_RAMP)),
        0x9786_f96e => entry(Purity::View, STYLUS, |call| {
            call.param(|params| params.page_limit.into())
        }),
        0x99d0_b38d => entry(Purity::View, ARBOS_CHARGING_FIXES, |call| {
            let params = call.params()?;
            Ok(abi::words(
                [pricing::init_gas(&params, 0), pricing::cached_gas(&params, 0)].map(U256::from),
            ))
        }),
        0x5fc9_4c0b => entry(Purity::View, STYLUS, |call| {
            call.param(|params| u64::from(params.init_cost_scalar) * 2)
        }),
        0x309f_6555 => entry(Purity::View, STYLUS, |call| {
            call.param(|params| params.expiry_days.into())
        }),
        0x0a93_6455 => entry(Purity::View, STYLUS, |call| {
            call.param(|params| params.keepalive_days.into())
        }),
        0x7af6_e819 => entry(Purity::View, STYLUS, |call| {
            call.param(|params| params.block_cache_size.into())
        }),
        0x2278_c278 => entry(Purity::View, ARBOS_STYLUS_V3, |call| {
            call.read(Space::ActivationGas.word(0)).map(abi::word)
        }),
        _ => None,
    }
}

fn init_gas(params: &Params, record: &ProgramRecord, _now: u64) -> [u64; 2] {
    let cached = pricing::cached_gas(params, record.cached_cost);
    let init = pricing::init_gas(params, record.init_cost);
    [
        if record.version > 1 {
            init.saturating_add(cached)
        } else {
            init
        },
        cached,
    ]
}

impl<DB: Database> Call<'_, DB> {
    fn param(&mut self, read: impl FnOnce(&Params) -> u64) -> Answer<DB> {
        self.params().map(|params| abi::word(U256::from(read(&params))))
    }

    /// Answers something of the active programs whose code hash is the argument.
    fn of_hash<const N: usize>(&mut self, read: impl FnOnce(&Params, &ProgramRecord, u64) -> [u64; N]) -> Answer<DB> {
        let code_hash = self.word(0)?;
        let (params, record) = self.active_program(code_hash)?;
        Ok(abi::words(read(&params, &record, self.now()).map(U256::from)))
    }

    /// Answers something of the active program at the address in the argument.
    fn of_program<const N: usize>(
        &mut self,
        read: impl FnOnce(&Params, &ProgramRecord, u64) -> [u64; N],
    ) -> Answer<DB> {
        let account = self.address(0)?;
        let code_hash = self.code_hash(account)?;
        let (params, record) = self.active_program(code_hash)?;
        Ok(abi::words(read(&params, &record, self.now()).map(U256::from)))
    }

    /// Charges the data fee for `bytes` of native code out of the call's value and gives the rest back.
    fn pay_data_fee(&mut self, bytes: u32) -> Result<U256, Fault<DB>> {
        // Five fields are read and two of them change.
        for key in 0..5 {
            self.read(Space::DataPricer.word(key))?;
        }
        let pricer = self.state().data_pricer().map_err(Fault::Database)?;
        let (fee, pricer) = pricer.charge(bytes, self.now());
        self.write(Space::DataPricer.word(0), U256::from(pricer.demand))?;
        self.write(Space::DataPricer.word(2), U256::from(pricer.last_update))?;
        let (fee, value) = (U256::from(fee), self.inputs.call_value());
        let Some(rest) = value.checked_sub(fee) else {
            return Err(Fault::Revert(abi::error(INSUFFICIENT_VALUE, [value, fee])));
        };
        let account = self.read(Space::Root.word(ROOT_NETWORK_FEE_ACCOUNT))?;
        self.pay(Address::from_word(account.into()), fee)?;
        self.pay(self.inputs.caller, rest)?;
        Ok(fee)
    }

    /// The module of the program with this code; errors keep the gas, but for a dictionary that is missing only here.
    fn decompress(&mut self, code: &Bytes, params: &Params) -> Result<Vec<u8>, Fault<DB>> {
        let limit = usize::try_from(params.max_wasm_size).unwrap_or(usize::MAX);
        let revert = |error: CodeError| match error {
            // Chains have this dictionary, so that the program is a good one there: who activates it here learns what is missing.
            CodeError::Dictionary(code::PROGRAM_DICTIONARY) => {
                Fault::Halt(format!("program activation failed: {error}"))
            }
            _ => {
                tracing::debug!(target: "stylus", %error, "program cannot be decompressed");
                Fault::Revert(Vec::new())
            }
        };
        match code::kind(code).filter(|kind| kind.is_known(params.arbos_version)) {
            Some(CodeKind::Classic { .. }) => code::decompress(code, limit).map_err(revert),
            Some(CodeKind::Root) => {
                let root = Root::parse(code, params).map_err(revert)?;
                let fragments = root.fragments.iter().map(|address| self.fragment(*address));
                let fragments = fragments.collect::<Result<Vec<_>, _>>()?;
                root.decompress(&fragments).map_err(revert)
            }
            Some(CodeKind::Fragment) => Err(Fault::Revert(Vec::new())),
            None if code.is_empty() || params.arbos_version >= ARBOS_FRAGMENTS => {
                Err(Fault::Revert(PROGRAM_NOT_WASM.to_vec()))
            }
            None => Err(Fault::Revert(Vec::new())),
        }
    }

    /// Code of a fragment, paid for. The caller must be able to afford the largest one before it is loaded.
    fn fragment(&mut self, address: Address) -> Result<Bytes, Fault<DB>> {
        if self.gas_left() < COLD_ACCOUNT_GAS + FRAGMENT_WORDS * FRAGMENT_WORD_GAS {
            return Err(Fault::OutOfGas);
        }
        let account = self
            .context
            .journaled_state
            .load_account_with_code(address)
            .map_err(Fault::Database)?;
        let access = if account.is_cold {
            COLD_ACCOUNT_GAS
        } else {
            WARM_ACCOUNT_GAS
        };
        let code = account
            .info
            .code
            .as_ref()
            .map(Bytecode::original_bytes)
            .unwrap_or_default();
        let words = u64::try_from(code.len().div_ceil(32)).unwrap_or(u64::MAX);
        self.burn(access.saturating_add(words.saturating_mul(FRAGMENT_WORD_GAS)))?;
        Ok(code)
    }
}

fn activate<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let address = call.address(0)?;
    if call.arbos >= ARBOS_STYLUS_V3 {
        let extra = call
            .state()
            .get(Space::ActivationGas.word(0))
            .map_err(Fault::Database)?;
        call.burn(extra.saturating_to())?;
    }
    call.burn(activation::FIXED_GAS)?;
    if call.is_selfdestructed(address)? {
        return Err(Fault::Revert(Vec::new()));
    }
    let (code_hash, code) = call.account(address, |info| {
        (
            info.code_hash(),
            info.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default(),
        )
    })?;
    let params = call.params()?;
    let record = call.program(code_hash)?;
    if record.check(&params, call.now()).is_ok() {
        return Err(Fault::Revert(PROGRAM_UP_TO_DATE.to_vec()));
    }
    let wasm = call.decompress(&code, &params)?;
    // From here on an invalid program takes all gas: checking it has cost the chain something.
    let failed = |error: &dyn std::error::Error| Fault::Halt(format!("program activation failed: {}", chain(error)));
    let prepared = module::prepare(&wasm, &params, call.context.chain.pages.open()).map_err(|error| failed(&error))?;
    call.burn(activation::gas(&params, &prepared.info))?;
    let hash = module_hash(code_hash, params.version);
    call.write(Space::Modules.slot(code_hash), hash.into())?;
    let record = ProgramRecord::new(&params, &prepared.info, call.now(), record.cached);
    call.write(Space::Programs.slot(code_hash), record.pack())?;
    let fee = call.pay_data_fee(prepared.info.asm_estimate)?;
    let cache = call.context.chain.cache.clone();
    cache
        .compile(code_hash, params.version, &prepared.wasm)
        .map_err(|error| failed(&error))?;
    let data = abi::words([hash.into(), abi::address(address), fee, U256::from(params.version)]);
    call.emit(vec![PROGRAM_ACTIVATED, code_hash], data)?;
    Ok(abi::words([U256::from(params.version), fee]))
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn keepalive<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let code_hash = call.word(0)?;
    let (params, mut record) = call.active_program(code_hash)?;
    let now = call.now();
    if let Err(age) = record.keep_alive(&params, now) {
        return Err(Fault::Revert(abi::error(KEEPALIVE_TOO_SOON, [U256::from(age)])));
    }
    let fee = call.pay_data_fee(record.asm_size())?;
    call.write(Space::Programs.slot(code_hash), record.pack())?;
    call.emit(vec![LIFETIME_EXTENDED, code_hash], abi::word(fee))?;
    Ok(Vec::new())
}
