//! Activation: what it costs, what it stores, and how long it lasts.

use alloy_primitives::U256;
use thiserror::Error;

use crate::module::ProgramInfo;
use crate::pricing::{ARBOS_CHARGING_FIXES, Packer, Params, Unpacker};

#[cfg(test)]
mod tests;

/// Gas that every activation burns before anything is looked at.
pub const FIXED_GAS: u64 = 1_659_168;
/// Epoch of Arbitrum's own clock, in Unix seconds: activation times and the data pricer count from here.
pub const EPOCH: u64 = 1_421_388_000;

/// Gas per microsecond of activation work.
const GAS_PER_MICROSECOND: u64 = 28;
const SECONDS_PER_HOUR: u64 = 3_600;
/// Largest value of the record's 24-bit fields.
const MAX_U24: u32 = 0x00ff_ffff;

/// Gas that the size of a module costs to activate, [`FIXED_GAS`] excluded.
pub fn gas(params: &Params, info: &ProgramInfo) -> u64 {
    let wasm = if params.arbos_version >= ARBOS_CHARGING_FIXES {
        scaled(info.wasm_len, 31_733, 100_000)
    } else {
        0
    };
    let microseconds = [
        wasm,
        scaled(info.functions, 17_263, 100_000),
        scaled(info.data_bytes, 17_376, 100_000),
        scaled(info.element_len, 17_376, 100_000),
        u64::from(info.footprint) * 2_217,
        scaled(info.operators, 535, 1_000),
    ];
    microseconds
        .into_iter()
        .fold(0, u64::saturating_add)
        .saturating_mul(GAS_PER_MICROSECOND)
}

/// Predicted costs of a program, as stored in its record. Before their narrowing to the record's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimates {
    /// Gas of an uncached entry, in addition to the minimum.
    pub(crate) init: u64,
    /// Gas of a cached entry, in addition to the minimum.
    pub(crate) cached: u64,
    /// Bytes of native code.
    pub(crate) asm: u64,
}

/// The sizes that the estimates depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) functions: u64,
    pub(crate) type_len: u64,
    pub(crate) wasm_len: u64,
    /// Including the four of the instrumentation.
    pub(crate) globals: u64,
    /// Encoded bytes of data and element segments.
    pub(crate) segments_len: u64,
    pub(crate) footprint: u16,
}

/// Predicts costs from sizes; every item is floored on its own.
pub(crate) fn estimate(stylus_version: u16, sizes: Sizes) -> Estimates {
    let Sizes {
        functions,
        type_len,
        wasm_len,
        globals,
        segments_len,
        footprint,
    } = sizes;
    let sum = |items: &[u64]| items.iter().fold(0_u64, |total, item| total.saturating_add(*item));
    let cached = sum(&[
        scaled(functions, 13_420, 100_000),
        scaled(type_len, 89, 100_000),
        scaled(wasm_len, 122, 100_000),
        scaled(globals, 1_628, 1_000),
        scaled(segments_len, 75_244, 100_000),
        u64::from(footprint) * 5,
    ]);
    // in version 1 the cached cost is part of the init cost
    let base = if stylus_version == 1 { cached } else { 0 };
    let init = sum(&[
        base,
        scaled(functions, 8_252, 1_000),
        scaled(type_len, 1_059, 1_000),
        scaled(wasm_len, 1_286, 10_000),
    ]);
    let asm = sum(&[
        512_000,
        scaled(functions, 996_829, 1_000),
        scaled(type_len, 11_416, 1_000),
        scaled(wasm_len, 62_628, 10_000),
    ]);
    Estimates { init, cached, asm }
}

fn scaled(count: u64, factor: u64, divisor: u64) -> u64 {
    count.saturating_mul(factor) / divisor
}

/// Why a program cannot run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProgramState {
    /// Nobody has activated this code.
    #[error("the program is not activated: call ArbWasm.activateProgram for it first")]
    NotActivated,
    /// It was activated for another Stylus version.
    #[error("the program was activated for Stylus version {version}, the chain runs {required}: activate it again")]
    NeedsUpgrade {
        /// Version it was activated for.
        version: u16,
        /// Version of the chain.
        required: u16,
    },
    /// Its activation is too old.
    #[error("the program's activation expired, it is {age} s old: activate it again")]
    Expired {
        /// Seconds since activation.
        age: u64,
    },
}

/// The 32-byte record of an activated program, stored per code hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramRecord {
    /// Stylus version of the activation; 0 = not activated.
    pub version: u16,
    /// Own gas of an uncached entry.
    pub init_cost: u16,
    /// Own gas of a cached entry.
    pub cached_cost: u16,
    /// Pages of memory that the program starts with.
    pub footprint: u16,
    /// Hours from [`EPOCH`] to the activation; 24 bits.
    pub activated_at: u32,
    /// Size of the native code in KiB, estimated; 24 bits.
    pub asm_estimate_kb: u32,
    /// Whether a cache manager has cached the program.
    pub cached: bool,
}

impl ProgramRecord {
    /// Record of a program that is activated at `now` (Unix seconds).
    pub fn new(params: &Params, info: &ProgramInfo, now: u64, cached: bool) -> Self {
        Self {
            version: params.version,
            init_cost: info.init_cost,
            cached_cost: info.cached_cost,
            footprint: info.footprint,
            activated_at: hours_since_epoch(now),
            asm_estimate_kb: info.asm_estimate.div_ceil(1_024).min(MAX_U24),
            cached,
        }
    }

    /// Reads a stored record; bits that have no meaning are ignored.
    pub fn unpack(word: U256) -> Self {
        let mut word = Unpacker::new(word);
        Self {
            version: word.u16(),
            init_cost: word.u16(),
            cached_cost: word.u16(),
            footprint: word.u16(),
            activated_at: word.u24(),
            asm_estimate_kb: word.u24(),
            cached: word.u8() != 0,
        }
    }

    /// The word to store. Values of the 24-bit fields are capped.
    pub fn pack(&self) -> U256 {
        let mut word = Packer::default();
        word.put(self.version, 16);
        word.put(self.init_cost, 16);
        word.put(self.cached_cost, 16);
        word.put(self.footprint, 16);
        word.put(self.activated_at.min(MAX_U24), 24);
        word.put(self.asm_estimate_kb.min(MAX_U24), 24);
        word.put(self.cached, 8);
        word.finish()
    }

    /// Seconds since the activation, 0 if that is in the future.
    pub fn age(&self, now: u64) -> u64 {
        now.saturating_sub(EPOCH + u64::from(self.activated_at) * SECONDS_PER_HOUR)
    }

    /// Estimated size of the native code in bytes.
    pub fn asm_size(&self) -> u32 {
        self.asm_estimate_kb.saturating_mul(1_024)
    }

    /// Whether the program can run at `now` (Unix seconds).
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check(&self, params: &Params, now: u64) -> Result<(), ProgramState> {
        if self.version == 0 {
            return Err(ProgramState::NotActivated);
        }
        if self.version != params.version {
            return Err(ProgramState::NeedsUpgrade {
                version: self.version,
                required: params.version,
            });
        }
        let age = self.age(now);
        if age > params.expiry_seconds() {
            return Err(ProgramState::Expired { age });
        }
        Ok(())
    }

    /// Seconds until the activation expires, 0 if it has.
    pub fn time_left(&self, params: &Params, now: u64) -> u64 {
        params.expiry_seconds().saturating_sub(self.age(now))
    }

    /// Extends the life of the activation: it counts from `now` on.
    ///
    /// # Errors
    /// Its age in seconds, when that is below the keepalive minimum.
    pub fn keep_alive(&mut self, params: &Params, now: u64) -> Result<(), u64> {
        let age = self.age(now);
        if age < params.keepalive_seconds() {
            return Err(age);
        }
        self.activated_at = hours_since_epoch(now);
        Ok(())
    }
}

/// Full hours from [`EPOCH`] to `now`, capped to 24 bits.
fn hours_since_epoch(now: u64) -> u32 {
    let hours = now.saturating_sub(EPOCH) / SECONDS_PER_HOUR;
    u32::try_from(hours).unwrap_or(MAX_U24).min(MAX_U24)
}

/// State of the price for storing native code; a leaky bucket whose level sets the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataPricer {
    /// Bytes in the bucket.
    pub demand: u32,
    /// Bytes that leak per second.
    pub bytes_per_second: u32,
    /// Unix seconds of the last update.
    pub last_update: u64,
    /// Wei per byte at zero demand.
    pub min_price: u32,
    /// Bytes of demand that multiply the price by e.
    pub inertia: u32,
}

impl Default for DataPricer {
    fn default() -> Self {
        Self {
            demand: 0,
            bytes_per_second: 34_865,
            last_update: EPOCH,
            min_price: 82_928_201,
            inertia: 21_360_419,
        }
    }
}

impl DataPricer {
    /// Fee in wei for `bytes` of native code at `now` (Unix seconds), and the state afterwards.
    pub fn charge(self, bytes: u32, now: u64) -> (u64, Self) {
        let elapsed = u32::try_from(now.saturating_sub(self.last_update)).unwrap_or(u32::MAX);
        let leaked = self.bytes_per_second.saturating_mul(elapsed);
        let demand = self.demand.saturating_sub(leaked).saturating_add(bytes);
        let exponent = (10_000 * u64::from(demand))
            .checked_div(u64::from(self.inertia))
            .unwrap_or(u64::MAX);
        let multiplier = exp_bips(exponent);
        let per_byte = u64::from(self.min_price).saturating_mul(multiplier) / 10_000;
        (
            per_byte.saturating_mul(u64::from(bytes)),
            Self {
                demand,
                last_update: now,
                ..self
            },
        )
    }
}

/// e^x in basis points for x in basis points: twelve terms of the series by Horner's rule, saturating.
fn exp_bips(x: u64) -> u64 {
    let mut result = 10_000_u64.saturating_add(x / 12);
    for i in (1..12_u64).rev() {
        result = 10_000_u64.saturating_add(result.saturating_mul(x) / (i * 10_000));
    }
    result
}
