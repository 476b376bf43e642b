//! Lines of an incident's timeline: what a step of the record adds to it, once.

use alloy::primitives::B256;

use super::db::Connection;
use super::evidence::Line;
use super::{StoreError, linked};
use crate::chain::BlockRef;

/// A line for a timeline.
pub(super) struct Entry<'a> {
    pub(super) kind: &'a str,
    pub(super) text: &'a str,
    pub(super) block: Option<&'a BlockRef>,
    pub(super) tx: Option<B256>,
    /// What makes the line appear once.
    pub(super) mark: Option<String>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(kind: &'a str, text: &'a str) -> Self {
        Self {
            kind,
            text,
            block: None,
            tx: None,
            mark: None,
        }
    }
}

/// Adds a line to the timeline of an incident. `false` when its mark is there already.
pub(super) async fn entry(connection: &mut Connection, incident: i64, entry: &Entry<'_>) -> Result<bool, StoreError> {
    let mut end = linked::end(connection, incident, entry.mark.as_deref()).await?;
    if end.is_marked {
        return Ok(false);
    }
    append(connection, &mut end, entry)?;
    Ok(true)
}

/// Adds a line at the end of its incident's timeline, whatever its mark.
pub(super) fn append(connection: &mut Connection, end: &mut linked::End, entry: &Entry<'_>) -> Result<(), StoreError> {
    let line = Line {
        incident: end.incident(),
        at_ms: connection.now_ms(),
        block_number: entry.block.map(|block| block.number),
        block_hash: entry.block.map(|block| block.hash),
        block_time: entry.block.map(|block| block.timestamp),
        kind: entry.kind.to_owned(),
        text: entry.text.to_owned(),
        tx: entry.tx,
    };
    linked::append(connection, end, &line, entry.mark.as_deref())
}
