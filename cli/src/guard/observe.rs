//! `cordon guard observe`.

use alloy::eips::BlockId;
use alloy::providers::Provider;
use clap::Parser;
use cordon_client::config::format_duration;
use cordon_client::operate;
use cordon_client::status::{StreamState, streams};

use super::ConfigArgs;
use super::operate::Plan;
use super::status::number;
use crate::key::KeyArgs;

/// Most streams in a transaction, so that it fits into a block.
const BATCH: usize = 16;

/// Whose streams, and who asks the guard to observe them.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
}

pub(crate) async fn run(args: &Args) -> eyre::Result<()> {
    let session = Plan::load(&args.config)?.connect(&args.key).await?;
    session.same_rulebook()?;
    let head = session.provider.get_block(BlockId::latest()).await?;
    let head = head.ok_or_else(|| eyre::eyre!("the chain has no block yet"))?.header;
    let at = BlockId::hash(head.hash);
    let states = streams(&session.provider, session.guard, at, &session.compiled).await?;
    if states.is_empty() {
        println!("no rule compares with what the guard stores: there is nothing to observe");
    }
    let mut due = Vec::new();
    for state in &states {
        match reason(state, head.timestamp, |scope| session.compiled.scope_name(scope)) {
            Some(reason) => println!("{} {}: {reason}", state.index, state.reads.join(", ")),
            None => due.push(state.index),
        }
    }
    for batch in due.chunks(BATCH) {
        let (transaction, observed) =
            operate::observe(&session.provider, session.from, session.guard, batch.to_vec()).await?;
        println!("transaction {transaction}");
        for index in batch {
            let state = states.get(usize::from(*index));
            let name = state.map(|state| state.reads.join(", ")).unwrap_or_default();
            let is_first = state.is_some_and(|state| state.stored.observed_at() == 0);
            match observed.iter().find(|one| one.stream == *index) {
                Some(one) if is_first => println!(
                    "{index} {name}: observed {}; it counts once another one agrees",
                    number(&one.value)
                ),
                Some(one) if one.value == one.counted => println!("{index} {name}: observed {}", number(&one.value)),
                Some(one) => {
                    let (value, counted) = (number(&one.value), number(&one.counted));
                    println!("{index} {name}: observed {value}, counts as {counted}");
                }
                None => println!("{index} {name}: passed over; it cannot be read, or somebody was faster"),
            }
        }
    }
    Ok(())
}

/// Why a stream is not observed now.
fn reason<'a>(state: &StreamState, now: u64, name: impl Fn(u8) -> Option<&'a str>) -> Option<String> {
    if let Some(scope) = state.frozen_by {
        return Some(format!("frozen while `{}` is raised", name(scope).unwrap_or_default()));
    }
    let left = state.stored.due().saturating_sub(now);
    (left > 0).then(|| format!("due in {}", format_duration(left)))
}
