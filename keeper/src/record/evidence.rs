//! Evidence: every line of every timeline is linked to the line before it by a hash, when it is written. The link binds chain, guard,
//! incident and the line's number in it. A line that is changed, left out or put in later breaks the chain, here and in what was
//! exported.
//!
//! Lines of before that was so have links of a first form, which bind the line and the one before it alone. They stay as they are.

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a link of the second form begins with, so that it cannot be read as one of another form.
const FORM: &[u8] = b"cordon evidence 2";

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
    /// The incident that the line belongs to. Exports of before tell it of no line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<i64>,
    /// Number of the line within its incident, from 1. `None` for a link of the first form.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nth: Option<u64>,
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
    pub guard: Address,
    /// Number of the incident.
    pub incident: i64,
    /// The chain's hash before the first link.
    pub from: B256,
    /// The links, oldest first.
    pub links: Vec<Link>,
    /// The chain's hash after the last link.
    pub to: B256,
}

/// What a chain that was followed to its end shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Links that were followed.
    pub links: u64,
    /// How many of them are of the first form: chain, guard and incident are not bound there, and an own line that is withheld
    /// would not show.
    pub loose: u64,
    /// The last link.
    pub head: B256,
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
    /// Links are missing, were put in, or are in another order, or are of another chain or guard.
    #[error(
        "the links do not lead from the first hash to the last: some were left out, put in, moved, or belong to another chain, guard or incident"
    )]
    Broken,
    /// A line belongs to another incident.
    #[error("line {position} belongs to incident {incident}")]
    Foreign {
        /// Position among the links, from 1.
        position: usize,
        /// The incident that it belongs to.
        incident: i64,
    },
    /// What an own line says is not told.
    #[error("line {position} belongs to the incident, and what it says is withheld")]
    Withheld {
        /// Position among the links, from 1.
        position: usize,
    },
    /// An own line is not the next one of the incident.
    #[error("line {position} is not the next of its incident: lines before it were left out")]
    Gap {
        /// Position among the links, from 1.
        position: usize,
    },
    /// It does not begin and end with lines of the incident.
    #[error("evidence begins and ends with lines of its incident; these links do not")]
    Ends,
    /// A line of the record does not follow from the line before it.
    #[error(
        "line {position} of the record does not follow from the one before: it was changed, or lines before it were left out or put in"
    )]
    Unlinked {
        /// Position among all linked lines, from 1.
        position: u64,
    },
    /// The record has not the number of lines that were written.
    #[error("the record holds {held} linked lines, and {written} were written: its end was cut off, or put on")]
    Length {
        /// Lines that are there.
        held: u64,
        /// Lines that were written.
        written: u64,
    },
    /// A link that was noted elsewhere is not among them.
    #[error("the link {noted} that was noted is not among them: the end was cut off, or the whole chain was made anew")]
    NotReached {
        /// The link.
        noted: B256,
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
}

/// What a link is made of besides the link before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) chain_id: u64,
    pub(super) guard: Address,
    pub(super) incident: i64,
    /// `None` makes a link of the first form.
    pub(super) nth: Option<u64>,
    pub(super) digest: B256,
}

impl Bound {
    pub(super) fn link(&self, before: B256) -> B256 {
        let mut hash = Sha256::new();
        if let Some(nth) = self.nth {
            hash.update(FORM);
            hash.update(before);
            hash.update(self.chain_id.to_be_bytes());
            hash.update(self.guard);
            hash.update(self.incident.to_be_bytes());
            hash.update(nth.to_be_bytes());
        } else {
            hash.update(before);
        }
        hash.update(self.digest);
        B256::from_slice(&hash.finalize())
    }
}

/// Follows links one after another.
pub(super) struct Chain {
    pub(super) proof: Proof,
    noted: Option<B256>,
}

impl Chain {
    pub(super) fn new(from: B256, noted: Option<B256>) -> Self {
        let proof = Proof {
            links: 0,
            loose: 0,
            head: from,
        };
        Self { proof, noted }
    }

    /// Takes the next link. `None` when it is of the first form behind one of the second, which nothing writes.
    pub(super) fn follow(&mut self, bound: &Bound) -> Option<B256> {
        if bound.nth.is_none() {
            if self.proof.loose < self.proof.links {
                return None;
            }
            self.proof.loose = self.proof.loose.saturating_add(1);
        }
        self.proof.links = self.proof.links.saturating_add(1);
        self.proof.head = bound.link(self.proof.head);
        if self.noted == Some(self.proof.head) {
            self.noted = None;
        }
        Some(self.proof.head)
    }

    pub(super) fn end(self) -> Result<Proof, EvidenceError> {
        match self.noted {
            Some(noted) => Err(EvidenceError::NotReached { noted }),
            None => Ok(self.proof),
        }
    }
}

impl Evidence {
    /// Follows the chain from its first hash to its last. With `noted`, a link that was noted elsewhere has to be among them.
    ///
    /// # Errors
    /// [`EvidenceError`]: what was changed.
    pub fn verify(&self, noted: Option<B256>) -> Result<Proof, EvidenceError> {
        let is_own = |link: Option<&Link>| link.is_some_and(|link| link.line.is_some());
        let mut chain = Chain::new(self.from, noted);
        let mut own = 0_u64;
        for (position, held) in (1..).zip(&self.links) {
            let incident = held.incident.or(held.line.as_ref().map(|line| line.incident));
            match &held.line {
                Some(line) if line.digest() != held.digest => return Err(EvidenceError::Changed { position }),
                Some(line) if line.incident != self.incident || incident != Some(self.incident) => {
                    let incident = line.incident;
                    return Err(EvidenceError::Foreign { position, incident });
                }
                Some(_) => {
                    own = own.saturating_add(1);
                    if held.nth.is_some_and(|nth| nth != own) {
                        return Err(EvidenceError::Gap { position });
                    }
                }
                None if incident == Some(self.incident) => return Err(EvidenceError::Withheld { position }),
                None => {}
            }
            let bound = Bound {
                chain_id: self.chain_id,
                guard: self.guard,
                // A link of the first form does not bind it.
                incident: incident.unwrap_or_default(),
                nth: held.nth,
                digest: held.digest,
            };
            chain.follow(&bound).ok_or(EvidenceError::Broken)?;
        }
        if !is_own(self.links.first()) || !is_own(self.links.last()) {
            return Err(EvidenceError::Ends);
        }
        if chain.proof.head != self.to {
            return Err(EvidenceError::Broken);
        }
        chain.end()
    }
}
