//! 256-bit arithmetic and hashing.

use alloy_primitives::{U256, keccak256};

use super::{Env, Flow, Guest, Hook, Stop};
use crate::pricing::hooks as price;

/// Arithmetic in place: the first operand is replaced by the result. Division by zero gives zero.
pub(super) fn serve(hook: Hook, env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let (target, second, third) = (guest.u32(0), guest.u32(1), guest.u32(2));
    env.meter.charge(match hook {
        Hook::MathDiv | Hook::MathMod => price::MATH_DIV,
        Hook::MathPow => price::MATH_POW,
        Hook::MathAddMod => price::MATH_ADD_MOD,
        _ => price::MATH_MUL_MOD,
    })?;
    let a = guest.word(target)?;
    let b = guest.word(second)?;
    let result = match hook {
        Hook::MathDiv => a.checked_div(b).unwrap_or_default(),
        Hook::MathMod => a.checked_rem(b).unwrap_or_default(),
        Hook::MathPow => {
            env.meter.charge(price::pow_ink(&b.to_be_bytes::<32>()))?;
            a.wrapping_pow(b)
        }
        Hook::MathAddMod => a.add_mod(b, guest.word(third)?),
        _ => a.mul_mod(b, guest.word(third)?),
    };
    guest.write_word(target, result)?;
    Ok(Flow::Done(0))
}

pub(super) fn keccak(env: &mut Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let (data, len, dest) = (guest.u32(0), guest.u32(1), guest.u32(2));
    env.meter.charge(price::keccak_ink(len.into()))?;
    let hash: U256 = keccak256(guest.read(data, len)?).into();
    guest.write_word(dest, hash)?;
    Ok(Flow::Done(0))
}
