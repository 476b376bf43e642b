//! `cordon guard observe`.

use alloy::eips::BlockId;
use alloy::providers::Provider;
use clap::Parser;
use cordon_client::Stored;
use cordon_client::config::format_duration;
use cordon_client::observe::{OBSERVED_AT_ONCE, observe, observe_refused};
use cordon_client::status::{StreamState, streams};

use super::ConfigArgs;
use super::operate::Plan;
use super::status::{begins, number};
use crate::key::KeyArgs;

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
        let mut reason = reason(state, head.timestamp, |scope| session.compiled.scope_name(scope));
        // What contradicts the beginning of an anchor is due at any time, what agrees with it is not: only the guard knows which it is.
        let begins_soon = state.stored.candidate().is_some_and(|(_, at)| at > head.timestamp);
        if reason.is_none() && begins_soon || state.frozen_by.is_some() && state.stored.waits() {
            let refused = observe_refused(&session.provider, session.from, session.guard, state.index).await?;
            reason = refused.map(|_| reason.unwrap_or_else(|| begins(&state.stored, head.timestamp)));
        }
        match reason {
            Some(reason) => println!("{} {}: {reason}", state.index, state.reads.join(", ")),
            None => due.push(state.index),
        }
    }
    for batch in due.chunks(OBSERVED_AT_ONCE) {
        let (transaction, observed) = observe(&session.provider, session.from, session.guard, batch.to_vec()).await?;
        println!("transaction {transaction}");
        for index in batch {
            let state = states.get(usize::from(*index));
            let name = state.map(|state| state.reads.join(", ")).unwrap_or_default();
            let first = state.filter(|state| state.stored.observed_at() == 0);
            match observed.iter().find(|one| one.stream == *index) {
                Some(one) if first.is_some() => {
                    let when = match first.map(|state| &state.stored) {
                        Some(Stored::Anchor(spec, _)) => format!(", {} later", format_duration(spec.period.into())),
                        _ => String::new(),
                    };
                    let value = number(&one.value);
                    println!("{index} {name}: observed {value}; it counts once another one agrees{when}");
                }
                Some(one) if one.value == one.counted => println!("{index} {name}: observed {}", number(&one.value)),
                Some(one) => {
                    let (value, counted) = (number(&one.value), number(&one.counted));
                    println!("{index} {name}: observed {value}, counts as {counted}");
                }
                None if state.is_some_and(|state| state.frozen_by.is_some()) => {
                    println!(
                        "{index} {name}: what it was to begin with is contradicted; it begins anew after the incident"
                    );
                }
                None => println!("{index} {name}: passed over; it cannot be read, or somebody was faster"),
            }
        }
    }
    Ok(())
}

/// Why a stream is not observed now. Of the beginning of an anchor the guard itself has to say.
fn reason<'a>(state: &StreamState, now: u64, name: impl Fn(u8) -> Option<&'a str>) -> Option<String> {
    if let Some(scope) = state.frozen_by {
        return Some(format!("frozen while `{}` is raised", name(scope).unwrap_or_default()));
    }
    if state.stored.candidate().is_some() {
        return None;
    }
    let left = state.stored.due().saturating_sub(now);
    (left > 0).then(|| format!("due in {}", format_duration(left)))
}
