//! Printing, for debugging; free of charge, as on debug chains.

use super::{Env, Flow, Guest, Hook, Stop, trace};

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
        _ => tracing::info!(target: "stylus::console", "{}", trace::printed(hook, guest)),
    }
    Ok(Flow::Done(bits))
}
