//! What other endpoints say of a success that one has told: it may have made up receipt, event and level.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::answer::effects;
use super::confirm::concerned;
use super::deliver::Delivered;
use super::responder::{FIRST_RETRY, Responder};
use crate::chain::{BlockRef, Rpc};
use crate::record::{Intent, Outcome};

/// How long others are waited for when one has answered: those that hang must not hold up the end of an action for long.
const PATIENCE: Duration = Duration::from_millis(500);

impl Responder {
    /// Why a success is not believed that one endpoint has told. `None` when another tells the same receipt and reads the same back at that
    /// block, or when there is no other, or none that answers. One that is a moment behind is waited for.
    pub(super) async fn denied(
        &self,
        intent: &Intent,
        delivered: &Delivered,
        found: (Outcome, &BlockRef),
    ) -> Option<String> {
        if self.rpc.endpoint_count() < 2 {
            return None;
        }
        let until = Instant::now() + self.settings.rebroadcast;
        loop {
            let (agreed, denial) = self.poll_others(intent, delivered, found).await;
            match denial {
                _ if agreed > 1 => return None,
                None if agreed > 0 => return None,
                None => return Some("no endpoint tells what has become of the transaction".to_owned()),
                Some(why) if Instant::now() >= until => return Some(why),
                Some(_) => tokio::time::sleep(FIRST_RETRY).await,
            }
        }
    }

    /// How many endpoints say the same, and what one says that does not. Two that agree are enough.
    async fn poll_others(
        &self,
        intent: &Intent,
        delivered: &Delivered,
        found: (Outcome, &BlockRef),
    ) -> (usize, Option<String>) {
        let asked = self.rpc.apart().into_iter();
        let mut asked: FuturesUnordered<_> = asked.map(|rpc| self.word_of(rpc, intent, delivered, found)).collect();
        let (mut agreed, mut denial) = (0_usize, None);
        let mut until: Option<Instant> = None;
        while agreed < 2 {
            let next = match until {
                None => asked.next().await,
                Some(until) => tokio::time::timeout_at(until, asked.next()).await.ok().flatten(),
            };
            match next {
                None => break,
                Some(None) => continue,
                Some(Some(Ok(()))) => agreed = agreed.saturating_add(1),
                Some(Some(Err(why))) => denial = Some(why),
            }
            until.get_or_insert_with(|| Instant::now() + PATIENCE);
        }
        (agreed, denial)
    }

    /// What one endpoint says of it; the error says what is otherwise there. `None` when it does not answer, is far behind, or has no receipt of
    /// what it reads back.
    async fn word_of(
        &self,
        rpc: Rpc,
        intent: &Intent,
        delivered: &Delivered,
        (outcome, block): (Outcome, &BlockRef),
    ) -> Option<Result<(), String>> {
        let (hash, number) = (delivered.sent.hash, block.number);
        let told = rpc.receipt(hash).await.ok()?;
        let is_same = told.filter(|told| told.status() && told.block_hash == Some(block.hash));
        if is_same.is_none() && rpc.is_behind(self.first()?.newest()).await {
            return None;
        }
        let asker = Self { rpc, ..self.clone() };
        let mut scopes = Vec::new();
        for scope in concerned(intent) {
            scopes.extend(asker.readings(scope, block.hash.into()).await.ok()?);
        }
        let Some(receipt) = is_same else {
            let same = self.judge(
                intent,
                effects(&delivered.receipt, self.guard, intent.scope),
                &scopes,
                block,
            );
            if same.is_ok_and(|(same, _)| same == outcome) {
                // It keeps no receipts, or is late with them: what the transaction was for is so where it is said to be included.
                return None;
            }
            return Some(Err(format!(
                "one endpoint says that transaction {hash} succeeded in block {number}, and another does not know of it"
            )));
        };
        let judged = self.judge(intent, effects(&receipt, self.guard, intent.scope), &scopes, block);
        Some(match judged {
            Ok((same, _)) if same == outcome => Ok(()),
            Ok((_, otherwise)) | Err(otherwise) => Err(format!("endpoints differ: as another says, {otherwise}")),
        })
    }
}
