//! Who plays in the drills: indices into the test mnemonic.

use std::ops::Range;

/// Owner of the protocols: pool admin, ACL admin, owner of the vaults.
pub(crate) const ADMIN: u32 = 0;
/// Moves the markets' price feeds.
pub(crate) const FEED_OPERATOR: u32 = 1;
/// Moves the reference feeds, independently.
pub(crate) const REFERENCE_OPERATOR: u32 = 2;
/// Holds ASSET_LISTING_ADMIN and nothing else; turns out to be the thief.
pub(crate) const THIEF: u32 = 3;
/// The thief's fresh account.
pub(crate) const FRESH: u32 = 4;
/// The vault's victim: deposits while the attack is under way.
pub(crate) const VICTIM: u32 = 5;
/// The vaults' borrower.
pub(crate) const VAULT_BORROWER: u32 = 6;
/// Governor of the guard.
pub(crate) const GOVERNOR: u32 = 7;
/// Guardian of the guard.
pub(crate) const GUARDIAN: u32 = 8;
/// The keeper's key.
pub(crate) const KEEPER: u32 = 9;
/// The keeper's heartbeat key.
pub(crate) const HEARTBEAT: u32 = 10;
/// An honest liquidator.
pub(crate) const LIQUIDATOR: u32 = 11;
/// Suppliers of a lending market, depositors of a vault.
pub(crate) const SUPPLIERS: Range<u32> = 12..18;
/// Borrowers of a lending market.
pub(crate) const BORROWERS: Range<u32> = 18..36;
/// How many accounts a live chain must fund.
pub(crate) const COUNT: u32 = 36;
