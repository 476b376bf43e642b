//! Evidence: every line of every timeline is linked to the line before it by a hash, when it is written. A line that is changed,
//! left out or put in later breaks the chain, here and in what was exported.

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::db::{Connection, Row, query, query_as};
use super::{Store, StoreError, uint, word};

/// A line of a timeline as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Number of the incident.
    pub incident: i64,
    /// When the keeper wrote it, Unix milliseconds.
    pub at_ms: i64,
    /// Height of the block that it is about.
    pub block_number: Option<u64>,
    /// Hash of that block.
    pub block_hash: Option<B256>,
    /// Timestamp of that block.
    pub block_time: Option<u64>,
    /// Short kind.
    pub kind: String,
    /// The sentence.
    pub text: String,
    /// Transaction that it is about.
    pub tx: Option<B256>,
}

/// A link of the chain: what the line says where it belongs to the exported incident, else its digest alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// SHA-256 of the line.
    pub digest: B256,
    /// The line, of the exported incident only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<Line>,
}

/// The evidence of an incident: all links from its first line to its last. Lines of other incidents lie between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Chain id.
    pub chain_id: u64,
    /// The guard.
    pub guard: alloy::primitives::Address,
    /// Number of the incident.
    pub incident: i64,
    /// The chain's hash before the first link.
    pub from: B256,
    /// The links, oldest first.
    pub links: Vec<Link>,
    /// The chain's hash after the last link.
    pub to: B256,
}

/// Why evidence proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// A line is not the one that was linked.
    #[error("line {position} is not what was written: its digest differs")]
    Changed {
        /// Position among the links, from 1.
        position: usize,
    },
    /// Links are missing, were put in, or are in another order.
    #[error("the links do not lead from the first hash to the last: some were left out, put in or moved")]
    Broken,
    /// A line belongs to another incident.
    #[error("line {position} belongs to incident {incident}")]
    Foreign {
        /// Position among the links, from 1.
        position: usize,
        /// The incident that it belongs to.
        incident: i64,
    },
}

impl Line {
    /// SHA-256 over its fields, each with its length, so that none can be read as part of another.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let mut hash = Sha256::new();
        let mut field = |bytes: Option<&[u8]>| {
            let length = bytes.map_or(u64::MAX, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX - 1));
            hash.update(length.to_be_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        field(Some(&self.incident.to_be_bytes()));
        field(Some(&self.at_ms.to_be_bytes()));
        field(
            self.block_number
                .map(u64::to_be_bytes)
                .as_ref()
                .map(<[u8; 8]>::as_slice),
        );
        field(self.block_hash.as_ref().map(|hash| hash.as_slice()));
        field(self.block_time.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        field(Some(self.kind.as_bytes()));
        field(Some(self.text.as_bytes()));
        field(self.tx.as_ref().map(|tx| tx.as_slice()));
        B256::from_slice(&hash.finalize())
    }

    fn of(row: &Row) -> Result<Self, StoreError> {
        let hash = |what: &'static str| -> Result<Option<B256>, StoreError> {
            let bytes: Option<Vec<u8>> = row.try_get(what)?;
            bytes.map(|bytes| word(what, &bytes)).transpose()
        };
        let number = |what: &'static str| -> Result<Option<u64>, StoreError> {
            let value: Option<i64> = row.try_get(what)?;
            value.map(|value| uint(what, value)).transpose()
        };
        Ok(Self {
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
}

fn link(before: B256, digest: B256) -> B256 {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(digest);
    B256::from_slice(&hash.finalize())
}

impl Evidence {
    /// Follows the chain from its first hash to its last.
    ///
    /// # Errors
    /// [`EvidenceError`]: what was changed.
    pub fn verify(&self) -> Result<(), EvidenceError> {
        let mut at = self.from;
        for (position, held) in (1..).zip(&self.links) {
            if let Some(line) = &held.line {
                if line.digest() != held.digest {
                    return Err(EvidenceError::Changed { position });
                }
                if line.incident != self.incident {
                    let incident = line.incident;
                    return Err(EvidenceError::Foreign { position, incident });
                }
            }
            at = link(at, held.digest);
        }
        if at == self.to {
            Ok(())
        } else {
            Err(EvidenceError::Broken)
        }
    }
}

/// Links a line that was just written to the one before it.
pub(super) async fn append(connection: &mut Connection, id: i64) -> Result<(), StoreError> {
    let before: Option<(Vec<u8>,)> =
        query_as("SELECT link FROM timeline WHERE id < ? AND link IS NOT NULL ORDER BY id DESC LIMIT 1")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
    let before = before.map_or(Ok(B256::ZERO), |(link,)| word("link", &link))?;
    let rows = query("SELECT * FROM timeline WHERE id = ?")
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
    let line = rows
        .first()
        .map_or(Err(StoreError::Damaged { what: "timeline" }), Line::of)?;
    query("UPDATE timeline SET link = ? WHERE id = ?")
        .bind(link(before, line.digest()).to_vec())
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
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
            let line = Line::of(row)?;
            to = word("link", row.try_get("link")?)?;
            links.push(Link {
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
}
