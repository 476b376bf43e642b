//! Which rulebook the guard has at a block. Rules are known to it by their numbers: with another rulebook than the configured one, a verdict
//! would be another rule's, and so would be what is done about it.

use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{Address, B256};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;

use super::read::ATTEMPTS;
use super::{GuardEvent, GuardEventKind, ReadError, Reader, scopes};
use crate::chain::{BlockRef, CallError, Rpc};

/// The newest block at which the guard's rulebook is known, and whether it is the configured one. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Rulebook {
    /// Code hash of the configured one; `None` when nobody cares.
    wanted: Option<B256>,
    /// Hash of a block, and code hash of the guard's rulebook at its end.
    known: Arc<Mutex<Option<(B256, B256)>>>,
}

impl Rulebook {
    pub(crate) fn new(wanted: B256) -> Self {
        Self {
            wanted: Some(wanted),
            known: Arc::default(),
        }
    }

    /// The guard's rulebook at the newest block that was read, when it is another than the configured one.
    pub(crate) fn foreign(&self) -> Option<B256> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, adopted) = known?;
        (Some(adopted) != self.wanted).then_some(adopted)
    }

    /// That of a block, where it follows from the block before it and from what was logged.
    fn follows(&self, block: &BlockRef, events: Option<&[GuardEvent]>) -> Option<B256> {
        let adopted = events?.iter().rev().find_map(|event| match event.kind {
            GuardEventKind::RulebookAdopted { code_hash } => Some(code_hash),
            _ => None,
        });
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.filter(|(hash, _)| *hash == block.parent);
        adopted.or(before.map(|(_, adopted)| adopted))
    }

    fn note(&self, block: &BlockRef, adopted: B256) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((block.hash, adopted));
    }
}

impl Reader {
    /// The same, which answers `Unknown` for the guard's rules while the guard has another rulebook.
    #[must_use]
    pub(crate) fn with_rulebook(mut self, rulebook: Rulebook) -> Self {
        self.rulebook = rulebook;
        self
    }

    /// What is known of the guard's rulebook.
    pub(crate) fn rulebook(&self) -> &Rulebook {
        &self.rulebook
    }

    /// Whether the guard has the configured rulebook at the block. It is asked only where that does not follow from what is known. When it
    /// gives no answer, nobody can say what its verdicts mean.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) async fn has_own_rulebook(
        &self,
        block: &BlockRef,
        events: Option<&[GuardEvent]>,
    ) -> Result<bool, ReadError> {
        let Some(wanted) = self.rulebook.wanted.filter(|_| self.has_guard()) else {
            return Ok(true);
        };
        if let Some(adopted) = self.rulebook.follows(block, events) {
            self.rulebook.note(block, adopted);
            return Ok(adopted == wanted);
        }
        for attempt in 1..=ATTEMPTS {
            match ask(&self.rpc, self.guard, block.hash).await {
                Ok(adopted) => {
                    self.rulebook.note(block, adopted);
                    return Ok(adopted == wanted);
                }
                Err(CallError::Rpc(error)) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
                Err(error) => {
                    tracing::warn!(block = block.number, attempt, %error, "the guard's rulebook could not be read");
                    self.pause_or_gone(block, attempt).await?;
                }
            }
        }
        Ok(false)
    }
}

async fn ask(rpc: &Rpc, guard: Address, block: B256) -> Result<B256, CallError> {
    let data = Guard::rulebookCall {}.abi_encode().into();
    let answer = rpc.call(None, guard, data, None, block.into()).await?;
    let held =
        Guard::rulebookCall::abi_decode_returns(&answer).map_err(|error| scopes::malformed("rulebook", &error))?;
    Ok(held.codeHash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u8) -> BlockRef {
        BlockRef {
            number: number.into(),
            hash: B256::repeat_byte(number),
            parent: B256::repeat_byte(number - 1),
            timestamp: 0,
            base_fee: 0,
        }
    }

    fn adopted(code_hash: B256) -> GuardEvent {
        GuardEvent {
            tx: B256::ZERO,
            log_index: 0,
            kind: GuardEventKind::RulebookAdopted { code_hash },
        }
    }

    #[test]
    fn only_what_follows_from_the_block_before_is_not_asked() {
        let (own, other) = (B256::repeat_byte(0xaa), B256::repeat_byte(0xbb));
        let book = Rulebook::new(own);
        assert_eq!(book.follows(&block(5), Some(&[])), None, "nothing is known");
        assert_eq!(book.foreign(), None);
        book.note(&block(5), own);
        assert_eq!(book.follows(&block(6), Some(&[])), Some(own));
        assert_eq!(book.follows(&block(6), None), None, "its logs were not read");
        assert_eq!(
            book.follows(&block(9), Some(&[])),
            None,
            "what lies between is not known"
        );
        assert_eq!(
            book.follows(&block(9), Some(&[adopted(own), adopted(other)])),
            Some(other),
            "the last one counts"
        );
        book.note(&block(9), other);
        assert_eq!(book.foreign(), Some(other));
        assert_eq!(book.follows(&block(10), Some(&[])), Some(other));
        book.note(&block(10), own);
        assert_eq!(book.foreign(), None);
    }
}
