//! Containment sets of a rulebook: levels of several scopes that were reviewed together, under a name, to be raised in one call.

use crate::bounds::{Actor, GOVERNOR};
use crate::bytes::Cursor;
use crate::level::Level;
use crate::rulebook::error::Problem;
use crate::rulebook::view::{View, body_range};
use alloc::vec::Vec;
use alloy_primitives::B256;

/// Bytes of a set's record: name, place and length of the body.
pub const SET_RECORD: usize = 36;
/// Bytes of an order in a set's body: scope, level, seconds.
const ORDER: usize = 6;
/// Most bytes of a set's name.
pub const MAX_SET_NAME: usize = 32;

/// A level that a set raises a scope to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The scope.
    pub scope: u8,
    /// The level.
    pub level: Level,
    /// For how many seconds.
    pub duration: u32,
}

impl Order {
    /// As it lies in a set's body.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; ORDER] {
        let [a, b, c, d] = self.duration.to_be_bytes();
        [self.scope, self.level as u8, a, b, c, d]
    }

    /// The orders that lie one after the other. Bytes that mean nothing end them early.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(ORDER).map_while(|bytes| {
            let [scope, level, a, b, c, d] = *bytes.first_chunk()?;
            Some(Order {
                scope,
                level: Level::from_u8(level)?,
                duration: u32::from_be_bytes([a, b, c, d]),
            })
        })
    }
}

/// Levels of several scopes that were reviewed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainmentSet {
    /// Its name: ASCII without spaces, zeros behind. See [`set_name`].
    pub name: B256,
    /// Hash of the document that was reviewed.
    pub reviewed: B256,
    /// What it raises, in the order in which the scopes' containment calls run; each scope once.
    pub orders: Vec<Order>,
}

impl ContainmentSet {
    /// As it lies in the code: the hash, then the orders.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = self.reviewed.to_vec();
        for order in &self.orders {
            body.extend(order.to_bytes());
        }
        body
    }
}

/// The word that names a set; `None` for a text that is empty, longer than 32 bytes, or not of visible ASCII characters.
#[must_use]
pub fn set_name(text: &str) -> Option<B256> {
    let mut word = B256::ZERO;
    let fits = !text.is_empty() && text.len() <= MAX_SET_NAME;
    for (to, from) in word.0.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    (fits && is_name(&word)).then_some(word)
}

/// Visible characters, at least one, then zeros.
fn is_name(word: &B256) -> bool {
    let length = word.iter().position(|byte| *byte == 0).unwrap_or(word.len());
    let (name, rest) = word.split_at(length);
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && rest.iter().all(|byte| *byte == 0)
}

/// A set as it lies in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetView<'a> {
    /// Its name.
    pub name: B256,
    /// Hash of the document that was reviewed.
    pub reviewed: B256,
    orders: &'a [u8],
}

impl<'a> SetView<'a> {
    /// What it raises, in order. In a rulebook that was not checked, bytes that mean nothing end it early.
    pub fn orders(&self) -> impl Iterator<Item = Order> {
        Order::all(self.orders)
    }

    /// The same as it lies in the code, for [`Order::all`].
    #[must_use]
    pub const fn encoded(&self) -> &'a [u8] {
        self.orders
    }
}

impl<'a> View<'a> {
    /// A set.
    ///
    /// # Errors
    /// [`Problem::Truncated`] when there is no such set, or its body lies outside of the code.
    pub fn set(&self, index: u8) -> Result<SetView<'a>, Problem> {
        if index >= self.header().sets {
            return Err(Problem::Truncated);
        }
        let start = self.header().sets_range().start + SET_RECORD * usize::from(index);
        let mut cursor = Cursor::new(self.at(Some(start..start + SET_RECORD))?);
        let (Some(name), Some(place)) = (cursor.array(), cursor.array()) else {
            return Err(Problem::Truncated);
        };
        let (reviewed, orders) = self
            .at(Some(body_range(place)))?
            .split_first_chunk()
            .ok_or(Problem::Truncated)?;
        Ok(SetView {
            name: B256::new(name),
            reviewed: B256::new(*reviewed),
            orders,
        })
    }

    /// The set of this name.
    #[must_use]
    pub fn set_named(&self, name: &B256) -> Option<SetView<'a>> {
        (0..self.header().sets)
            .filter_map(|index| self.set(index).ok())
            .find(|set| set.name == *name)
    }
}

/// Checks a set whose body must begin at `start`; returns where that ends.
pub(super) fn check_set(view: &View<'_>, index: u8, start: usize) -> Result<usize, Problem> {
    let set = view.set(index)?;
    let record = view.header().sets_range().start + SET_RECORD * usize::from(index);
    let mut place = Cursor::at(view.code(), record + MAX_SET_NAME);
    let body = body_range(place.array().ok_or(Problem::Truncated)?);
    if body.start != start || set.orders.len() % ORDER != 0 {
        return Err(Problem::BadLayout);
    }
    let twice = (0..index).any(|other| view.set(other).is_ok_and(|other| other.name == set.name));
    let count = set.orders().count();
    if twice || !is_name(&set.name) || set.reviewed == B256::ZERO || count == 0 {
        return Err(Problem::BadSet);
    }
    if count != set.orders.len() / ORDER {
        return Err(Problem::BadLevel);
    }
    for (place, order) in set.orders().enumerate() {
        if order.scope >= view.header().scopes {
            return Err(Problem::BadScope);
        }
        if set.orders().take(place).any(|other| other.scope == order.scope) {
            return Err(Problem::BadSet);
        }
        if !order.level.is_raised() {
            return Err(Problem::BadLevel);
        }
        // What nobody may do can be no set. Who may is decided when it is called.
        if order.duration == 0 || order.duration > GOVERNOR.seconds(order.level) {
            return Err(Problem::BadDuration);
        }
        if !view.level_has_effect(order.scope, order.level) {
            return Err(Problem::LevelHasNoEffect);
        }
    }
    Ok(body.end)
}

/// Whether an actor with a full budget could carry out all of them in one call: each within its bound, together within its budget. When
/// scopes are held already, less is charged.
#[must_use]
pub fn is_within(orders: &[Order], actor: Actor) -> bool {
    let bound = actor.bound();
    let each = orders.iter().all(|order| order.duration <= bound.seconds(order.level));
    let together = orders.iter().map(|order| u64::from(order.duration)).sum::<u64>();
    each && bound.bucket.is_none_or(|bucket| together <= u64::from(bucket.capacity))
}
