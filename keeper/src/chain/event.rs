//! Blocks as the keeper refers to them, and what happened to the canonical chain.

use alloy::primitives::B256;
use alloy::rpc::types::Header;
use serde_json::Value;

/// The part of a block's header that the keeper works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Height. On Arbitrum this is the number of the L2 block.
    pub number: u64,
    /// Hash of the header; rules are read at this hash, never at a number.
    pub hash: B256,
    /// Hash of the block before.
    pub parent: B256,
    /// Unix seconds. Several blocks may share one second.
    pub timestamp: u64,
    /// Base fee in wei per gas; zero on chains without one.
    pub base_fee: u64,
}

impl BlockRef {
    /// From the answer of a node; `None` when something is missing.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let number = |field: &str| u64::from_str_radix(text(field)?.strip_prefix("0x")?, 16).ok();
        Some(Self {
            number: number("number")?,
            hash: text("hash")?.parse().ok()?,
            parent: text("parentHash")?.parse().ok()?,
            timestamp: number("timestamp")?,
            base_fee: number("baseFeePerGas").unwrap_or_default(),
        })
    }
}

impl From<&Header> for BlockRef {
    fn from(header: &Header) -> Self {
        Self {
            number: header.number,
            hash: header.hash,
            parent: header.parent_hash,
            timestamp: header.timestamp,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
        }
    }
}

/// A change of the canonical chain. Blocks are always in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainEvent {
    /// Blocks were added on top of the tip.
    Committed {
        /// The new blocks.
        new: Vec<BlockRef>,
    },
    /// Blocks at the tip were replaced by others.
    Reorged {
        /// The blocks that are canonical no more.
        old: Vec<BlockRef>,
        /// The blocks that took their place.
        new: Vec<BlockRef>,
    },
    /// Blocks were taken from the tip and none took their place: the inverse of `Committed`. Following a chain never says so, because an
    /// endpoint that has come less far looks the same.
    Reverted {
        /// The blocks that are canonical no more.
        old: Vec<BlockRef>,
    },
}

impl ChainEvent {
    /// The blocks that became canonical.
    #[must_use]
    pub fn committed(&self) -> &[BlockRef] {
        match self {
            Self::Committed { new } | Self::Reorged { new, .. } => new,
            Self::Reverted { .. } => &[],
        }
    }

    /// The blocks that are canonical no more.
    #[must_use]
    pub fn reverted(&self) -> &[BlockRef] {
        match self {
            Self::Committed { .. } => &[],
            Self::Reorged { old, .. } | Self::Reverted { old } => old,
        }
    }

    /// The event that undoes this one.
    #[must_use]
    pub fn into_inverted(self) -> Self {
        match self {
            Self::Committed { new } => Self::Reverted { old: new },
            Self::Reorged { old, new } => Self::Reorged { old: new, new: old },
            Self::Reverted { old } => Self::Committed { new: old },
        }
    }
}
