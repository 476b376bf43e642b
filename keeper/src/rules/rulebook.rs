//! Which rulebook the guard has at a block. Rules are known to it by their numbers: with another rulebook than the configured one, a verdict
//! would be another rule's, and so would be what is done about it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;

use super::read::ATTEMPTS;
use super::{GuardEvent, GuardEventKind, ReadError, Reader, scopes};
use crate::chain::{BlockRef, CallError, Rpc};

/// What is known of the guard's rulebook, and whether it is the configured one. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Rulebook {
    /// Code hash of the configured one; `None` when nobody cares.
    wanted: Option<B256>,
    known: Arc<Mutex<Known>>,
}

/// Code hashes of the guard's rulebook.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Hash of the block that was read last, and what the guard has at its end. While the keeper catches up, that is long ago.
    last: Option<(B256, B256)>,
    /// Number of the highest block that was looked at, and what the guard has at its end.
    newest: Option<(u64, B256)>,
}

impl Rulebook {
    pub(crate) fn new(wanted: B256) -> Self {
        Self {
            wanted: Some(wanted),
            known: Arc::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The guard's rulebook at the highest block that was looked at, when it is another than the configured one.
    pub(crate) fn foreign(&self) -> Option<B256> {
        let (_, adopted) = self.with(|known| known.newest)?;
        (Some(adopted) != self.wanted).then_some(adopted)
    }

    /// Whether the guard has the configured rulebook at the highest block that was looked at; `None` when nothing is known.
    pub(crate) fn is_own(&self) -> Option<bool> {
        let (_, adopted) = self.with(|known| known.newest)?;
        Some(Some(adopted) == self.wanted)
    }

    /// That of a block, where it follows from the block before it and from what was logged.
    fn follows(&self, block: &BlockRef, events: Option<&[GuardEvent]>) -> Option<B256> {
        let adopted = events?.iter().rev().find_map(|event| match event.kind {
            GuardEventKind::RulebookAdopted { code_hash } => Some(code_hash),
            _ => None,
        });
        let before = self.with(|known| known.last).filter(|(hash, _)| *hash == block.parent);
        adopted.or(before.map(|(_, adopted)| adopted))
    }

    fn note(&self, block: &BlockRef, adopted: B256) {
        self.with(|known| known.last = Some((block.hash, adopted)));
        self.note_newest(block.number, adopted);
    }

    /// Blocks that passed long ago say nothing about what the guard has now.
    fn note_newest(&self, number: u64, adopted: B256) {
        self.with(|known| {
            if known.newest.is_none_or(|(newest, _)| newest <= number) {
                known.newest = Some((number, adopted));
            }
        });
    }

    /// The guard itself has said at a block that was read what it has. When that is not what followed from the logs, the next block asks.
    fn confirm(&self, adopted: B256) {
        self.with(|known| known.last = known.last.filter(|(_, followed)| *followed == adopted));
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

    /// Asks what the guard has now, before blocks that passed are caught up with. When it gives no answer, nothing is known.
    pub(crate) async fn look_at_rulebook(&self) {
        /// The chain is not to wait for an endpoint that does not answer.
        const PATIENCE: Duration = Duration::from_millis(1_500);
        if self.rulebook.wanted.is_none() || !self.has_guard() {
            return;
        }
        self.rulebook.with(|known| *known = Known::default());
        let asked = tokio::time::timeout(PATIENCE, async {
            let head = self.rpc.latest().await?;
            self.states.note(head.number);
            Ok::<_, CallError>((head.number, ask(&self.rpc, self.guard, head.hash).await?))
        });
        match asked.await {
            Ok(Ok((number, adopted))) => self.rulebook.note_newest(number, adopted),
            Ok(Err(error)) => tracing::warn!(%error, "the guard's rulebook could not be read at the head"),
            Err(_) => tracing::warn!("the guard's rulebook could not be read at the head in time"),
        }
    }

    /// Asks the guard at a block that was read: an endpoint may have left the log of an adoption out. What gives no answer, such as a block
    /// whose state is gone, is asked at a later one.
    pub(crate) async fn check_rulebook(&self, block: &BlockRef) {
        if self.rulebook.wanted.is_none() || !self.has_guard() {
            return;
        }
        match ask(&self.rpc, self.guard, block.hash).await {
            Ok(adopted) => self.rulebook.confirm(adopted),
            Err(error) => {
                tracing::debug!(block = block.number, %error, "the guard's rulebook could not be checked");
            }
        }
    }

    /// Whether the guard itself says that it has the configured rulebook at a block, whatever was known before.
    pub(crate) async fn is_own_at(&self, block: &BlockRef) -> bool {
        match self.rulebook.wanted.filter(|_| self.has_guard()) {
            Some(wanted) => ask(&self.rpc, self.guard, block.hash).await == Ok(wanted),
            None => true,
        }
    }

    /// Whether the guard has the configured rulebook at the block. It is asked only where that does not follow from what is known. `None` when
    /// it gives no answer: nobody can say what its verdicts mean.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(super) async fn has_own_rulebook(
        &self,
        block: &BlockRef,
        events: Option<&[GuardEvent]>,
    ) -> Result<Option<bool>, ReadError> {
        let Some(wanted) = self.rulebook.wanted.filter(|_| self.has_guard()) else {
            return Ok(Some(true));
        };
        if let Some(adopted) = self.rulebook.follows(block, events) {
            self.rulebook.note(block, adopted);
            return Ok(Some(adopted == wanted));
        }
        for attempt in 1..=ATTEMPTS {
            if self.states.is_gone(block) {
                break;
            }
            match ask(&self.rpc, self.guard, block.hash).await {
                Ok(adopted) => {
                    self.rulebook.note(block, adopted);
                    return Ok(Some(adopted == wanted));
                }
                Err(CallError::Rpc(error)) if error.is_unreachable() => return Err(ReadError::Unreachable(error)),
                Err(error) => {
                    tracing::warn!(block = block.number, attempt, %error, "the guard's rulebook could not be read");
                    self.has_state(block).await?;
                }
            }
        }
        Ok(None)
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

    #[test]
    fn blocks_that_passed_say_nothing_about_what_the_guard_has_now() {
        let (own, other) = (B256::repeat_byte(0xaa), B256::repeat_byte(0xbb));
        let book = Rulebook::new(own);
        assert_eq!(book.is_own(), None);
        book.note_newest(9, own);
        book.note(&block(5), other);
        assert_eq!((book.foreign(), book.is_own()), (None, Some(true)));
        assert_eq!(
            book.follows(&block(6), Some(&[])),
            Some(other),
            "at that block it is so"
        );
        book.note(&block(9), other);
        assert_eq!((book.foreign(), book.is_own()), (Some(other), Some(false)));
    }

    #[test]
    fn an_adoption_without_a_log_is_asked_about_at_the_next_block() {
        let (own, other) = (B256::repeat_byte(0xaa), B256::repeat_byte(0xbb));
        let book = Rulebook::new(own);
        book.note(&block(5), own);
        book.confirm(own);
        assert_eq!(book.follows(&block(6), Some(&[])), Some(own));
        book.confirm(other);
        assert_eq!(book.follows(&block(6), Some(&[])), None);
    }
}
