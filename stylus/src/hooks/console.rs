//! Printing, for debugging; free of charge, as on debug chains.

use super::{Env, Flow, Guest, Hook, Stop};

/// Longest text that is printed, in bytes.
const MAX_TEXT: u32 = 4096;

pub(super) fn serve(hook: Hook, env: &Env, guest: &mut Guest<'_>) -> Result<Flow, Stop> {
    let bits = guest.u64(0);
    if env.is_shown() {
        return Ok(Flow::Done(bits));
    }
    match hook {
        Hook::LogText => {
            let text = guest.read(guest.u32(0), guest.u32(1).min(MAX_TEXT))?;
            tracing::info!(target: "stylus::console", "{}", String::from_utf8_lossy(text));
        }
        Hook::LogI64 | Hook::TeeI64 => tracing::info!(target: "stylus::console", "{}", bits.cast_signed()),
        Hook::LogF32 | Hook::TeeF32 => tracing::info!(target: "stylus::console", "{}", f32::from_bits(guest.u32(0))),
        Hook::LogF64 | Hook::TeeF64 => tracing::info!(target: "stylus::console", "{}", f64::from_bits(bits)),
        _ => tracing::info!(target: "stylus::console", "{}", guest.u32(0).cast_signed()),
    }
    Ok(Flow::Done(bits))
}
