//! Upgrades of ArbOS: scheduled by an owner, made when the first block begins whose time has come.

use alloy_primitives::U256;
use revm::Database;
use revm::context_interface::JournalTr;

use super::{Error, ROOT_UPGRADE_TIME, ROOT_UPGRADE_VERSION, ROOT_VERSION, STATE_ADDRESS, Space, State};
use crate::pricing::Params;

/// Newest ArbOS version whose rules are known here. A chain's upgrade to a later one is never made.
pub const NEWEST: u64 = 60;

/// The version of the scheduled upgrade that a block at `now` (Unix seconds) begins with, if there is one. `read` reads slots
/// of [`STATE_ADDRESS`].
fn due<E>(mut read: impl FnMut(U256) -> Result<U256, E>, now: u64) -> Result<Option<u64>, E> {
    let scheduled: u64 = read(Space::Root.word(ROOT_UPGRADE_VERSION))?.saturating_to();
    if scheduled == 0 || scheduled > NEWEST {
        return Ok(None);
    }
    let current: u64 = read(Space::Root.word(ROOT_VERSION))?.saturating_to();
    if current == 0 || scheduled <= current {
        return Ok(None);
    }
    let time = read(Space::Root.word(ROOT_UPGRADE_TIME))?;
    Ok((time <= U256::from(now)).then_some(scheduled))
}

/// The parameters in a block that begins at `now` (Unix seconds), a due upgrade included. `read` reads slots of
/// [`STATE_ADDRESS`]; on a `debug` chain programs may import `console`.
///
/// # Errors
/// What `read` fails with.
pub fn params_at<E>(mut read: impl FnMut(U256) -> Result<U256, E>, now: u64, debug: bool) -> Result<Params, E> {
    let version = read(Space::Root.word(ROOT_VERSION))?.saturating_to();
    let params = Params {
        debug,
        ..Params::unpack(read(Space::Params.word(0))?, version)
    };
    Ok(match due(read, now)? {
        Some(next) => params.upgraded(next),
        None => params,
    })
}

impl<J: JournalTr> State<'_, J> {
    /// Makes the scheduled upgrade if its time has come. To be called before anything of a block's first transaction runs.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn begin_block(&mut self, now: u64) -> Result<(), Error<J>> {
        // Past the journal: looking warms nothing, and nothing has been written yet.
        let db = self.0.db_mut();
        let Some(version) = due(|slot| db.storage(STATE_ADDRESS, slot), now)? else {
            return Ok(());
        };
        let params = self.params(false)?.upgraded(version);
        self.set(Space::Root.word(ROOT_VERSION), U256::from(version))?;
        self.set(Space::Params.word(0), params.pack())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;
    use crate::arbos::initial_slots;

    /// The parameters at `now` of a chain of ArbOS `from` whose upgrade to `to` is scheduled for time 100.
    fn at(from: u64, to: u64, now: u64) -> Params {
        let mut slots: HashMap<_, _> = initial_slots(&Params::for_arbos(from)).into_iter().collect();
        slots.insert(Space::Root.word(ROOT_UPGRADE_VERSION), U256::from(to));
        slots.insert(Space::Root.word(ROOT_UPGRADE_TIME), U256::from(100));
        let read = |slot| Ok::<_, Infallible>(slots.get(&slot).copied().unwrap_or_default());
        params_at(read, now, false).unwrap()
    }

    #[test]
    fn upgrades_are_made_when_they_are_due_and_known() {
        assert_eq!(at(51, 60, 99), Params::for_arbos(51));
        assert_eq!(at(51, 60, 100), Params::for_arbos(60));
        assert_eq!(at(51, 51, 100), Params::for_arbos(51), "nothing is new");
        assert_eq!(at(60, 51, 100), Params::for_arbos(60), "no way back");
        assert_eq!(at(51, 61, 100), Params::for_arbos(51), "rules that nobody knows here");
        assert_eq!(at(51, 0, 100), Params::for_arbos(51), "nothing is scheduled");
    }

    #[test]
    fn where_there_is_no_arbos_nothing_is_upgraded() {
        let read = |slot| {
            let scheduled = slot == Space::Root.word(ROOT_UPGRADE_VERSION);
            Ok::<_, Infallible>(U256::from(if scheduled { 60 } else { 0 }))
        };
        assert_eq!(params_at(read, 100, false).unwrap().version, 0);
    }
}
