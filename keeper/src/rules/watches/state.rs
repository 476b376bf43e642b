//! Balances, words of storage and code that change from one block to the next.

use alloy::primitives::{Address, B256, U256};
use cordon_client::config::Condition;
use serde_json::json;

use super::condition::{Question as Asked, judge};
use super::{Sightings, Subject, settle};
use crate::chain::{Answer, BlockRef, Question, Refusal, Rpc};
use crate::rules::ReadError;

/// What is compared.
#[derive(Debug, Clone)]
enum What {
    Balance,
    Storage(B256),
    /// A slot that has a name, and holds an address.
    Named(B256, &'static str),
    Code,
}

/// State that is looked at in every block.
#[derive(Debug, Clone)]
pub(super) struct StateWatch {
    subject: Subject,
    at: Vec<Address>,
    what: What,
    when: Option<Condition>,
}

impl StateWatch {
    pub(super) fn balance(subject: Subject, at: &[Address], when: Option<Condition>) -> Self {
        Self::new(subject, at, What::Balance, when)
    }

    pub(super) fn storage(subject: Subject, at: &[Address], slot: B256, when: Option<Condition>) -> Self {
        Self::new(subject, at, What::Storage(slot), when)
    }

    pub(super) fn named(subject: Subject, at: &[Address], slot: B256, name: &'static str) -> Self {
        Self::new(subject, at, What::Named(slot, name), None)
    }

    pub(super) fn code(subject: Subject, at: &[Address]) -> Self {
        Self::new(subject, at, What::Code, None)
    }

    fn new(subject: Subject, at: &[Address], what: What, when: Option<Condition>) -> Self {
        Self {
            subject,
            at: at.to_vec(),
            what,
            when,
        }
    }

    fn question(&self, account: Address) -> Question {
        match &self.what {
            What::Balance => Question::Balance(account),
            What::Storage(slot) | What::Named(slot, _) => Question::Storage(account, *slot),
            What::Code => Question::CodeHash(account),
        }
    }

    fn text(&self, account: Address, before: B256, now: B256) -> (String, String) {
        let (old, new): (U256, U256) = (before.into(), now.into());
        match &self.what {
            What::Balance => (
                format!("the balance of {account} went from {old} to {new} wei"),
                "balance".to_owned(),
            ),
            What::Storage(slot) => (
                format!("slot {slot} of {account} went from {before} to {now}"),
                format!("slot:{slot}"),
            ),
            What::Named(slot, name) => {
                let [before, now] = [before, now].map(Address::from_word);
                (
                    format!("the {name} of the proxy {account} was changed from {before} to {now}"),
                    format!("slot:{slot}"),
                )
            }
            What::Code => (
                format!("the code of {account} was replaced: hash {before} before, {now} now"),
                "code".to_owned(),
            ),
        }
    }
}

pub(super) async fn look(watches: &[StateWatch], rpc: &Rpc, block: &BlockRef) -> Result<Sightings, ReadError> {
    let places: Vec<(&StateWatch, Address)> = watches
        .iter()
        .flat_map(|watch| watch.at.iter().map(move |account| (watch, *account)))
        .collect();
    if places.is_empty() {
        return Ok(Sightings::default());
    }
    let questions: Vec<Question> = places.iter().map(|(watch, account)| watch.question(*account)).collect();
    let (before, now) = futures::future::try_join(
        rpc.ask_many(block.parent, &questions),
        rpc.ask_many(block.hash, &questions),
    )
    .await
    .map_err(ReadError::Unreachable)?;
    let mut sightings = Sightings::default();
    let mut changed = Vec::new();
    let mut asked = Vec::new();
    for (((watch, account), before), now) in places.into_iter().zip(before).zip(now) {
        match (word(before), word(now)) {
            (Ok(before), Ok(now)) if before != now => {
                let (text, key) = watch.text(account, before, now);
                let facts = json!({ "on": "state", "address": account, "what": key, "before": before, "now": now });
                asked.push(Asked::new(watch.when.as_ref(), |name| match name {
                    "before" => Some(before),
                    "account" => Some(account.into_word()),
                    _ => Some(now),
                }));
                changed.push(watch.subject.sighting(format!("{key}:{account}"), None, text, facts));
            }
            (Ok(_), Ok(_)) => {}
            (Err(reason), _) | (_, Err(reason)) => sightings.unwatched.push(watch.subject.unwatched(reason)),
        }
    }
    let judged = judge(rpc, block, &asked).await.map_err(ReadError::Unreachable)?;
    sightings.extend(settle(changed.into_iter().zip(judged).collect()));
    Ok(sightings)
}

fn word(answer: Result<Answer, Refusal>) -> Result<B256, String> {
    match answer {
        Ok(Answer::Word(word)) => Ok(word),
        Ok(Answer::Output(_)) => Err("the node gave another answer than was asked for".to_owned()),
        Err(Refusal::Node(reason)) => Err(format!("the node refuses: {reason}")),
        Err(Refusal::Reverted(_) | Refusal::OutOfGas) => Err("the node could not look it up".to_owned()),
    }
}
