//! Reading a block: all rules in one call at the block's hash, the scopes that are not normal, the guard's events, and the
//! accounts that events name.

mod evaluate;
mod events;
mod here;
mod logs;
mod native;
mod patience;
mod read;
mod reading;
mod rulebook;
mod scopes;
mod settled;
mod states;
mod stopped;
mod watch;
mod watches;

pub use events::{GuardEvent, GuardEventKind};
pub(crate) use here::CHECK_EVERY;
pub use here::HereStatus;
pub use native::{Evaluated, NativeState};
pub(crate) use read::Fetched;
pub use read::{Reader, STOPPED_CALLS};
pub use reading::{BlockReading, OTHER_RULEBOOK, READ_FAILED, ReadError, Request, reason_text};
pub use rulebook::Rulebook;
pub use scopes::scope_at;
pub use stopped::{Hooks, StoppedCall};
pub use watch::{Watched, WitnessRule};
pub use watches::{Pending, Sighting, Sightings, Unwatched, Watches, look_pending};
