//! Reading a block: all rules in one call at the block's hash, the scopes that are not normal, the guard's events, and the
//! accounts that events name.

mod events;
mod read;
mod scopes;
mod stopped;
mod watch;

pub use events::{GuardEvent, GuardEventKind};
pub use read::{BlockReading, READ_FAILED, ReadError, Reader, Request, reason_text};
pub use scopes::scope_at;
pub use stopped::{Hooks, StoppedCall};
pub use watch::{Watched, WitnessRule};
