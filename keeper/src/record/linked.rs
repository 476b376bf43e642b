//! The chain of evidence as the record holds it: lines are linked when they are written, read back, and followed.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};

use super::db::{Connection, QueryAs, Reads, Row, query, query_as};
use super::evidence::{Bound, Chain, Evidence, EvidenceError, Line, Link, Proof};
use super::{Store, StoreError, int, uint, word};

/// What a line is linked to.
pub(super) struct End {
    /// Whether the mark is there already.
    pub(super) is_marked: bool,
    /// The last link.
    before: B256,
    chain_id: u64,
    guard: Address,
    incident: i64,
    /// Linked lines of the incident.
    lines: u64,
}

impl End {
    /// The end of the chain for an incident that has no lines yet; `last` is its last link.
    pub(super) fn of_new(store: &Store, last: B256, incident: i64) -> Self {
        Self {
            is_marked: false,
            before: last,
            chain_id: store.chain_id(),
            guard: store.guard(),
            incident,
            lines: 0,
        }
    }

    pub(super) fn incident(&self) -> i64 {
        self.incident
    }

    /// The last link.
    pub(super) fn last(&self) -> B256 {
        self.before
    }
}

/// The last link of the chain; no row before the first.
pub(super) fn last() -> QueryAs<(Vec<u8>,)> {
    query_as("SELECT link FROM evidence_head WHERE id = 1")
}

/// The link that [`last`] has answered.
pub(super) fn last_of(rows: Vec<(Vec<u8>,)>) -> Result<B256, StoreError> {
    let link = rows.into_iter().next();
    link.map_or(Ok(B256::ZERO), |(link,)| word("link", &link))
}

/// Where the chain, and the incident's own lines in it, end. With a mark, whether there is a line that has it.
pub(super) async fn end(connection: &mut Connection, incident: i64, mark: Option<&str>) -> Result<End, StoreError> {
    let (before, chain_id, guard, lines, marked): (Option<Vec<u8>>, i64, Vec<u8>, i64, i64) = query_as(
        "SELECT (SELECT link FROM evidence_head WHERE id = 1), chain_id, guard,
            (SELECT COUNT(*) FROM timeline WHERE incident = ?1 AND link IS NOT NULL),
            (SELECT COUNT(*) FROM timeline WHERE mark = ?2)
         FROM identity WHERE id = 1",
    )
    .bind(incident)
    .bind(mark)
    .fetch_one(connection)
    .await?;
    Ok(End {
        is_marked: marked > 0,
        before: before.map_or(Ok(B256::ZERO), |link| word("link", &link))?,
        chain_id: uint("chain id", chain_id)?,
        guard: Address::try_from(guard.as_slice()).map_err(|_| StoreError::Damaged { what: "guard address" })?,
        incident,
        lines: uint("line number", lines)?,
    })
}

/// Writes a line at the end, linked to the one before it; the end is behind it then.
pub(super) fn append(
    connection: &mut Connection,
    end: &mut End,
    line: &Line,
    mark: Option<&str>,
) -> Result<(), StoreError> {
    end.lines = end.lines.saturating_add(1);
    let bound = Bound {
        chain_id: end.chain_id,
        guard: end.guard,
        incident: end.incident,
        nth: Some(end.lines),
        digest: line.digest(),
    };
    end.before = bound.link(end.before);
    query(
        "INSERT INTO timeline (incident, at_ms, block_number, block_hash, block_time, kind, text, tx, mark, link, nth)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(line.incident)
    .bind(line.at_ms)
    .bind(
        line.block_number
            .map(|number| int("block number", number))
            .transpose()?,
    )
    .bind(line.block_hash.map(|hash| hash.to_vec()))
    .bind(line.block_time.map(|time| int("block timestamp", time)).transpose()?)
    .bind(&line.kind)
    .bind(&line.text)
    .bind(line.tx.map(|tx| tx.to_vec()))
    .bind(mark)
    .bind(end.before.to_vec())
    .bind(int("line number", end.lines)?)
    .later(connection);
    query(
        "INSERT INTO evidence_head (id, lines, link) VALUES (1, 1, ?)
         ON CONFLICT (id) DO UPDATE SET lines = evidence_head.lines + 1, link = excluded.link",
    )
    .bind(end.before.to_vec())
    .later(connection);
    Ok(())
}

/// How many lines are linked, and the last link. `None` before the first.
async fn head(reads: impl Reads) -> Result<Option<(u64, B256)>, StoreError> {
    let row: Option<(i64, Vec<u8>)> = query_as("SELECT lines, link FROM evidence_head WHERE id = 1")
        .fetch_optional(reads)
        .await?;
    row.map(|(lines, link)| Ok((uint("number of lines", lines)?, word("link", &link)?)))
        .transpose()
}

fn line_of(row: &Row) -> Result<Line, StoreError> {
    let hash = |what: &'static str| -> Result<Option<B256>, StoreError> {
        let bytes: Option<Vec<u8>> = row.try_get(what)?;
        bytes.map(|bytes| word(what, &bytes)).transpose()
    };
    let number = |what: &'static str| -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = row.try_get(what)?;
        value.map(|value| uint(what, value)).transpose()
    };
    Ok(Line {
        incident: row.try_get("incident")?,
        at_ms: row.try_get("at_ms")?,
        block_number: number("block_number")?,
        block_hash: hash("block_hash")?,
        block_time: number("block_time")?,
        kind: row.try_get("kind")?,
        text: row.try_get("text")?,
        tx: hash("tx")?,
    })
}

fn number_of(row: &Row) -> Result<Option<u64>, StoreError> {
    let nth: Option<i64> = row.try_get("nth")?;
    nth.map(|nth| uint("line number", nth)).transpose()
}

impl Store {
    /// The evidence of an incident. `None` when it has no linked lines. What it says is as the record holds it now: ask
    /// [`Evidence::verify`] whether that is what was written.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn evidence(&self, incident: i64) -> Result<Option<Evidence>, StoreError> {
        let (first, last): (Option<i64>, Option<i64>) =
            query_as("SELECT MIN(id), MAX(id) FROM timeline WHERE incident = ? AND link IS NOT NULL")
                .bind(incident)
                .fetch_one(&self.pool)
                .await?;
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(None);
        };
        let before: Option<(Vec<u8>,)> =
            query_as("SELECT link FROM timeline WHERE id < ? AND link IS NOT NULL ORDER BY id DESC LIMIT 1")
                .bind(first)
                .fetch_optional(&self.pool)
                .await?;
        let rows = query("SELECT * FROM timeline WHERE id BETWEEN ? AND ? AND link IS NOT NULL ORDER BY id")
            .bind(first)
            .bind(last)
            .fetch_all(&self.pool)
            .await?;
        let from = before.map_or(Ok(B256::ZERO), |(link,)| word("link", &link))?;
        let mut links = Vec::with_capacity(rows.len());
        let mut to = from;
        for row in &rows {
            let line = line_of(row)?;
            to = word("link", row.try_get("link")?)?;
            links.push(Link {
                incident: Some(line.incident),
                nth: number_of(row)?,
                digest: line.digest(),
                line: (line.incident == incident).then_some(line),
            });
        }
        Ok(Some(Evidence {
            chain_id: self.chain_id(),
            guard: self.guard(),
            incident,
            from,
            links,
            to,
        }))
    }

    /// Follows the chain through the whole record, while a keeper may write more. With `noted`, a link that was noted elsewhere has
    /// to be among them. The inner error says what was changed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn verify_evidence(&self, noted: Option<B256>) -> Result<Result<Proof, EvidenceError>, StoreError> {
        let mut chain = Chain::new(B256::ZERO, noted);
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        let mut last = 0_i64;
        loop {
            // Read before the lines: those that are written meanwhile are more than it says, never fewer.
            let (written, link) = head(&self.pool).await?.unwrap_or((0, B256::ZERO));
            loop {
                let rows = query("SELECT * FROM timeline WHERE id > ? AND link IS NOT NULL ORDER BY id LIMIT 500")
                    .bind(last)
                    .fetch_all(&self.pool)
                    .await?;
                if rows.is_empty() {
                    break;
                }
                for row in &rows {
                    last = row.try_get("id")?;
                    if !self.follow(&mut chain, &mut counts, row)? {
                        let position = chain.proof.links;
                        return Ok(Err(EvidenceError::Unlinked { position }));
                    }
                }
            }
            let held = chain.proof.links;
            if held == written {
                let is_whole = link == chain.proof.head;
                return Ok(if is_whole {
                    chain.end()
                } else {
                    Err(EvidenceError::Broken)
                });
            }
            let now = head(&self.pool).await?.map_or(0, |(lines, _)| lines);
            if held < written || now < held {
                return Ok(Err(EvidenceError::Length { held, written: now }));
            }
        }
    }

    /// Whether a row is the next link, as it was written.
    fn follow(&self, chain: &mut Chain, counts: &mut BTreeMap<i64, u64>, row: &Row) -> Result<bool, StoreError> {
        let line = line_of(row)?;
        let nth = number_of(row)?;
        let count = counts.entry(line.incident).or_default();
        *count = count.saturating_add(1);
        let bound = Bound {
            chain_id: self.chain_id(),
            guard: self.guard(),
            incident: line.incident,
            nth,
            digest: line.digest(),
        };
        let stored = word("link", row.try_get("link")?)?;
        let is_next = nth.is_none_or(|nth| nth == *count);
        Ok(chain.follow(&bound) == Some(stored) && is_next)
    }
}
