//! Getting a transaction into a block: the same bytes again and again, then the same nonce with higher fees, until one of
//! them has a receipt.
//!
//! Arbitrum's sequencer has no mempool: a transaction whose nonce is ahead is dropped after a second, one that was lost is
//! lost. So nonces are the chain's and those that follow what is on its way, transactions are sent in their order, and bytes are
//! sent until they are in. A call keeps its nonce until something else has used it, over failures and restarts: so it has one
//! effect at most. What is missing before it is filled with transactions that do nothing.
//!
//! Endpoints may be behind, silent, or lie. To send the same bytes once more harms nothing, whoever is wrong; to take another nonce may do a thing
//! twice, and to give up may leave it undone. So a nonce is let go only for an endpoint that has used it and knows of none of ours.

use std::collections::BTreeSet;
use std::time::Instant;

use alloy::primitives::B256;
use tokio::sync::MutexGuard;

use super::account::{Account, Draft};
use super::deliver::{Call, DeliverError, DeliverSettings, Delivered};
use super::heed::Heed;
use super::inclusion::Whose;
use super::nonces::{Again, Slot};
use super::responder::Responder;
use crate::chain::NotSent;
use crate::record::{Intent, SentTransaction, Store, StoreError};

/// Nonces that something else may use before it must be somebody else who uses our key.
const RENEWALS: u32 = 2;

/// The delivery of one call.
pub(super) struct Delivery<'a> {
    pub(super) account: &'a Account,
    pub(super) settings: &'a DeliverSettings,
    pub(super) call: &'a Call,
    /// Where sent bytes are kept, if they are.
    pub(super) ledger: Option<(&'a Store, &'a Intent)>,
    /// What was sent so far, by an earlier run too.
    pub(super) sent: Vec<SentTransaction>,
    /// What of that is in the record.
    written: BTreeSet<B256>,
    /// Whether any of it may have reached a node.
    pub(super) may_be_in: bool,
    /// Whether it was tried before, by this run or another.
    pub(super) is_again: bool,
    /// Whether the bytes that are sent first are written down meanwhile, and not before.
    hurries: bool,
    pub(super) accepted_at: Option<Instant>,
    pub(super) begun: Instant,
    /// When it was asked last what has become of the nonce, or begun.
    looked_at: Instant,
    /// How often in a row all that answered have refused it.
    pub(super) refused: u32,
    renewals: u32,
    /// When a receipt was told first that only one endpoint tells, and when that was looked into last.
    pub(super) doubted: Option<(Instant, Instant)>,
    /// What was sent to fill a gap.
    pub(super) fillers: Vec<Slot>,
    /// Whether a receipt was waited for already before a nonce was let go.
    pub(super) has_waited: bool,
    /// Who looks into the reason once the record has none.
    pub(super) judge: Option<&'a Responder>,
    /// Height of the record's newest block when it was found last that the reason stands although the record has none.
    pub(super) stood_at: Option<u64>,
}

/// What a call is sent with.
struct Hold<'a> {
    /// Keeps others from the nonce.
    _slot: Slot,
    draft: Draft,
    /// Keeps others from sending with a later nonce before this one is sent.
    turn: Option<MutexGuard<'a, ()>>,
}

/// What a delivery goes on with.
enum Next<'a> {
    /// It is in a block.
    In(Box<Delivered>),
    With(Box<Hold<'a>>),
    /// What has become of this nonce is not known yet, or another delivery has it.
    Wait(u64),
}

/// What has come of sending once.
enum Round {
    /// It is in a block.
    In(Box<Delivered>),
    /// It is sent again.
    Again,
    /// Something else has used the nonce; the chain wants this one next.
    Lost(u64),
    /// The nonce is far ahead of the chain.
    Far,
}

impl<'a> Delivery<'a> {
    /// The delivery of a call that the record has no intent for.
    pub(super) fn unrecorded(account: &'a Account, settings: &'a DeliverSettings, call: &'a Call) -> Self {
        let now = Instant::now();
        Self {
            account,
            settings,
            call,
            ledger: None,
            sent: Vec::new(),
            written: BTreeSet::new(),
            doubted: None,
            may_be_in: false,
            is_again: false,
            hurries: false,
            accepted_at: None,
            begun: now,
            looked_at: now,
            refused: 0,
            renewals: 0,
            fillers: Vec::new(),
            has_waited: false,
            judge: None,
            stood_at: None,
        }
    }

    /// The same, going on for as long as this one finds a reason that the record does not have any more.
    pub(super) fn judged_by(mut self, judge: &'a Responder) -> Self {
        self.judge = Some(judge);
        self
    }

    /// The same for an intent, for which these were sent so far.
    pub(super) fn recorded(mut self, store: &'a Store, intent: &'a Intent, sent: Vec<SentTransaction>) -> Self {
        self.ledger = Some((store, intent));
        self.may_be_in = !sent.is_empty();
        self.written = sent.iter().map(|sent| sent.hash).collect();
        self.sent = sent;
        self
    }

    /// The same, when something may have been sent that was not written down: another run, or another try, was broken off.
    pub(super) fn again(mut self) -> Self {
        self.may_be_in = true;
        self.is_again = true;
        self
    }

    /// The same, its first bytes sent while they are written down. Not for one that may be given up by then: what nobody has written down
    /// nobody looks for.
    pub(super) fn in_a_hurry(mut self) -> Self {
        self.hurries = true;
        self
    }

    /// Sends the call and waits until it is in a block. `on_accepted` hears of the first acceptance.
    pub(super) async fn run(
        mut self,
        on_accepted: impl Fn(&SentTransaction, Instant),
    ) -> Result<Delivered, DeliverError> {
        self.begun = Instant::now();
        self.looked_at = self.begun;
        let mut next = self.next(0).await?;
        loop {
            let mut hold = match next {
                Next::In(delivered) => return Ok(*delivered),
                Next::Wait(nonce) => return Err(self.contended(nonce)),
                Next::With(hold) => hold,
            };
            let round = loop {
                match self.round(&mut hold, &on_accepted).await? {
                    Round::Again => {}
                    round => break round,
                }
            };
            let nonce = hold.draft.nonce;
            drop(hold);
            next = match round {
                Round::In(delivered) => return Ok(*delivered),
                Round::Lost(_) | Round::Far if self.renewals >= RENEWALS => return Err(self.taken(nonce)),
                Round::Lost(_) if self.is_overtaken(nonce) => {
                    // It was sent with what was not the chain's nonce any more.
                    self.account.disarm().await;
                    match self.known(nonce.saturating_add(1), Some(nonce)).await? {
                        Some(Next::In(delivered)) => return Ok(*delivered),
                        _ => return Err(self.overtaken(nonce)),
                    }
                }
                Round::Lost(wanted) => {
                    self.renewals = self.renewals.saturating_add(1);
                    self.next(wanted).await?
                }
                Round::Far | Round::Again => {
                    self.renewals = self.renewals.saturating_add(1);
                    self.fresh(0).await?
                }
            };
        }
    }

    /// Sends once, looks for a receipt, and considers what to send next.
    async fn round(
        &mut self,
        hold: &mut Hold<'a>,
        on_accepted: &impl Fn(&SentTransaction, Instant),
    ) -> Result<Round, DeliverError> {
        let current = self.signed(&mut hold.draft).await?;
        let (answer, at) = self.send(&current, hold.turn.take()).await?;
        if answer.is_ok() && self.accepted_at.is_none() {
            self.accepted_at = Some(at);
            on_accepted(&current, at);
        }
        let heed = self.heed(answer, &hold.draft).await?;
        if matches!(heed, Heed::Fill) && !self.close_gap(&hold.draft).await {
            return Ok(Round::Far);
        }
        let period = match heed {
            Heed::Wait => self.settings.rebroadcast,
            // What has used it may be served in a moment.
            Heed::Used if self.refused > 1 => self.settings.rebroadcast,
            Heed::Fill => self.settings.rebroadcast / 4,
            Heed::Used | Heed::Draft(_) => self.settings.poll,
        };
        if let Some(delivered) = self.wait(period).await? {
            return Ok(Round::In(Box::new(delivered)));
        }
        if self.is_over() {
            return Err(self.late(&hold.draft).await);
        }
        let is_due = self.looked_at.elapsed() >= self.settings.bump_after;
        if is_due || matches!(heed, Heed::Used) {
            self.looked_at = Instant::now();
            match self.whose(hold.draft.nonce).await? {
                Whose::Ours(delivered) => return Ok(Round::In(delivered)),
                Whose::Another(wanted) => return Ok(Round::Lost(wanted)),
                Whose::Nobody => {}
            }
        }
        self.stands().await?;
        match heed {
            Heed::Draft(draft) => {
                hold.draft = *draft;
                return Ok(Round::Again);
            }
            Heed::Wait | Heed::Fill if is_due => hold.draft = self.raised(hold.draft.clone()).await,
            Heed::Wait | Heed::Fill | Heed::Used => {}
        }
        if !self.close_gap(&hold.draft).await {
            return Ok(Round::Far);
        }
        Ok(Round::Again)
    }

    /// The first nonce from `floor` on that the call was sent with and that nothing else has used; a new one when there is none. While another
    /// delivery sends with it, one of the two will be included, and it is not known which: so it waits.
    async fn next(&mut self, floor: u64) -> Result<Next<'a>, DeliverError> {
        loop {
            if let Some(delivered) = self.included().await? {
                return Ok(Next::In(Box::new(delivered)));
            }
            match self.held(floor).await? {
                Next::Wait(_) if !self.is_over() => tokio::time::sleep(self.settings.poll).await,
                next => return Ok(next),
            }
        }
    }

    async fn held(&mut self, floor: u64) -> Result<Next<'a>, DeliverError> {
        match self.known(floor, None).await? {
            Some(next) => Ok(next),
            None => self.fresh(floor).await,
        }
    }

    /// The same among the nonces that it was sent with. When something else has used one of them that is to be looked at first, or has used the
    /// `overtaken` one, it goes on with none, and notes all of them: looking once does for all.
    async fn known(&mut self, floor: u64, mut overtaken: Option<u64>) -> Result<Option<Next<'a>>, DeliverError> {
        let nonces: BTreeSet<u64> = self.sent.iter().map(|sent| sent.nonce).collect();
        for nonce in nonces.range(floor..).copied() {
            match self.account.take_again(nonce).await? {
                (Again::Used, _) => {
                    // It was waited for then.
                    self.has_waited |= self.account.nonces.is_lost(nonce);
                    match self.whose(nonce).await? {
                        Whose::Ours(delivered) => return Ok(Some(Next::In(delivered))),
                        Whose::Nobody if overtaken.is_none() => return Ok(Some(Next::Wait(nonce))),
                        Whose::Another(_) if self.is_overtaken(nonce) => {
                            overtaken.get_or_insert(nonce);
                        }
                        Whose::Nobody | Whose::Another(_) => {}
                    }
                }
                _ if overtaken.is_some() => break,
                (Again::Ours(slot), armed) => {
                    return Ok(Some(Next::With(Box::new(Hold {
                        draft: self.draft(slot.nonce, &armed),
                        _slot: slot,
                        turn: None,
                    }))));
                }
                (Again::Taken, _) => return Ok(Some(Next::Wait(nonce))),
            }
        }
        match overtaken {
            Some(nonce) => Err(self.overtaken(nonce)),
            None => Ok(None),
        }
    }

    /// A nonce that nothing was sent with.
    async fn fresh(&self, floor: u64) -> Result<Next<'a>, DeliverError> {
        let turn = Some(self.account.turn().await);
        let (slot, armed) = self.account.take_nonce(floor).await?;
        Ok(Next::With(Box::new(Hold {
            draft: self.draft(slot.nonce, &armed),
            _slot: slot,
            turn,
        })))
    }

    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.settings.deadline
    }

    /// Whether what has used a nonce may be an earlier run's, which has sent it for the same action and has ended before it was written down.
    /// Then it is to be seen what has come of that before anything is sent with another nonce. Once: whoever is asked next has seen it.
    fn is_overtaken(&self, nonce: u64) -> bool {
        self.is_again && self.ledger.is_some() && self.account.nonces.note_lost(nonce)
    }

    fn overtaken(&self, nonce: u64) -> DeliverError {
        DeliverError::Overtaken {
            account: self.account.address(),
            nonce,
        }
    }

    fn taken(&self, nonce: u64) -> DeliverError {
        DeliverError::NonceTaken {
            account: self.account.address(),
            nonce,
        }
    }

    fn contended(&self, nonce: u64) -> DeliverError {
        DeliverError::Contended {
            account: self.account.address(),
            nonce,
            seconds: self.begun.elapsed().as_secs(),
        }
    }

    async fn late(&self, draft: &Draft) -> DeliverError {
        self.account.disarm().await;
        DeliverError::Late {
            account: self.account.address(),
            nonce: draft.nonce,
            seconds: self.begun.elapsed().as_secs(),
            max_fee: draft.max_fee,
        }
    }

    /// Sends the bytes and records them. `turn` ends when a node has answered: who comes after it may send then. Where others may take over at
    /// any time, the record's transaction says that it is still our turn before anything is sent.
    async fn send(
        &mut self,
        sent: &SentTransaction,
        turn: Option<MutexGuard<'_, ()>>,
    ) -> Result<(Result<(), NotSent>, Instant), DeliverError> {
        let send = async {
            let answer = (self.account.rpc().send_raw(&sent.raw).await, Instant::now());
            drop(turn);
            answer
        };
        if self.hurries && self.sent.len() < 2 && self.ledger.is_none_or(|(store, _)| !store.is_shared()) {
            if !self.account.may_send() {
                return Err(DeliverError::NotOurTurn);
            }
            let (answer, recorded) = futures::future::join(send, self.record_whatever_comes(sent)).await;
            recorded?;
            self.written.insert(sent.hash);
            return Ok(answer);
        }
        // Once: the same bytes have one effect, whoever sends them again.
        if !self.written.contains(&sent.hash) {
            self.record(sent).await?;
            self.written.insert(sent.hash);
        }
        if !self.account.may_send() {
            return Err(DeliverError::NotOurTurn);
        }
        Ok(send.await)
    }

    /// Records bytes that are being sent, also when the delivery is given up meanwhile: another key may get through, and these may still be
    /// included.
    async fn record_whatever_comes(&self, sent: &SentTransaction) -> Result<(), StoreError> {
        let Some((store, intent)) = self.ledger else {
            return Ok(());
        };
        let (held, of, bytes) = (store.clone(), intent.clone(), sent.clone());
        let writing = tokio::spawn(async move { held.record_sent(&of, &bytes).await });
        match writing.await {
            Ok(written) => written,
            // The task has died.
            Err(_) => self.record(sent).await,
        }
    }

    async fn record(&self, sent: &SentTransaction) -> Result<(), StoreError> {
        match self.ledger {
            Some((store, intent)) => store.record_sent(intent, sent).await,
            None => Ok(()),
        }
    }
}
