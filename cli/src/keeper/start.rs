//! What comes before a keeper's work: it waits for its chain and its record, and tells people past the record when it cannot start. Whoever
//! starts it again and again, as systemd does, would be the only one to know.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::keccak256;
use cordon_client::config::StorePlace;
use cordon_keeper::KeeperError;
use cordon_keeper::chain::{Rpc, RpcError};
use cordon_keeper::notify::{Direct, Origin};
use cordon_keeper::record::{AlarmKind, Store, StoreError};

use super::Prepared;

/// Pause before an endpoint, or the record, is asked once more at the start; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(15);
/// How long the chain or the record may be out of reach at the start before people are told.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long channels may take for the last words of a keeper that does not start.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Why a keeper does not start is told again after this.
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// Causes that are told within that time, at most.
const MOST: usize = 16;
/// Subject of that alarm.
const START: &str = "start";
/// A keeper that has run for so long has started.
pub(super) const SETTLED: Duration = Duration::from_secs(30);

/// Who is told what the record cannot be told.
pub(super) fn people(prepared: &Prepared) -> Direct {
    let origin = Origin {
        chain_id: prepared.options.chain_id,
        guard: prepared.options.guard,
        record: String::new(),
    };
    Direct::new(prepared.channels.clone(), origin)
}

/// Makes sure that a keeper can work, and opens its record: nothing is made, claimed or cleared there before all else is known to be right.
pub(super) async fn begin(prepared: &Prepared, people: &Direct) -> eyre::Result<Store> {
    let options = &prepared.options;
    let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?.with_rates(&options.rates);
    let blind = Lack {
        kind: AlarmKind::Blind,
        subject: "heads",
        awaited: "the chain",
        text: "the keeper has started and sees no blocks",
    };
    blind
        .wait(people, PATIENCE, async || rpc.verify().await, RpcError::is_unreachable)
        .await?;
    let lost = Lack {
        kind: AlarmKind::Record,
        subject: "record",
        awaited: "its record",
        text: "the keeper has started and cannot reach its record, without which nothing is decided",
    };
    let look = async || prepared.peek().await;
    lost.wait(people, PATIENCE, look, StoreError::is_unreachable).await?;
    // A record names its chain and guard for good: none is begun for a configuration that cannot work.
    prepared.verify(false).await?;
    let open = async || prepared.open(None).await;
    Ok(lost.wait(people, PATIENCE, open, StoreError::is_unreachable).await?)
}

/// What a keeper cannot do without.
struct Lack {
    kind: AlarmKind,
    subject: &'static str,
    awaited: &'static str,
    text: &'static str,
}

impl Lack {
    /// Waits until it is there, for ever: after a restart of the machine the keeper may be up before what it needs, and one that has given up
    /// protects nothing. People are told when it takes longer than `patience`.
    async fn wait<T, E: Display>(
        &self,
        people: &Direct,
        patience: Duration,
        attempt: impl AsyncFn() -> Result<T, E>,
        is_unreachable: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let (begun, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            match attempt().await {
                Err(error) if is_unreachable(&error) => {
                    eprintln!("the keeper waits for {}: {error}", self.awaited);
                    if begun.elapsed() >= patience {
                        people.alarm(self.kind, self.subject, &format!("{}: {error}", self.text));
                    }
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(LAST_WAIT);
                }
                ended => {
                    if ended.is_ok() {
                        people.over(self.kind, self.subject);
                    }
                    return ended;
                }
            }
        }
    }
}

/// Tells why a keeper does not start, once per cause however often it is started: what was told is noted in a file, beside the record or
/// where it outlives a restart.
#[derive(Clone)]
pub(super) struct Failures {
    people: Direct,
    file: PathBuf,
    /// The text of the configuration.
    config: String,
}

impl Failures {
    pub(super) fn of(prepared: &Prepared, people: Direct) -> Self {
        let file = match &prepared.store {
            StorePlace::File(record) => {
                let mut name = record.as_os_str().to_owned();
                name.push("-start");
                PathBuf::from(name)
            }
            StorePlace::Postgres(_) => {
                let path = prepared.config.source.path();
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                let digest = keccak256(path.as_os_str().as_encoded_bytes()).to_string();
                let name = format!("cordon-keeper-{}-start", digest.get(2..18).unwrap_or_default());
                let state = std::env::var_os("STATE_DIRECTORY");
                kept_folder(state.as_deref(), prepared.options.reports.as_deref()).join(name)
            }
        };
        let config = prepared.config.source.text().to_owned();
        Self { people, file, config }
    }

    /// Tells that the keeper has not started, and why, unless that was told within the hour.
    pub(super) async fn tell(&self, error: &eyre::Report) {
        if let Some(held) = held_by_another(error) {
            // The other one watches, and tells what there is to tell: nobody is called for a second one that was started by mistake.
            tracing::error!("this keeper is not needed, and does not start: {held}");
            return;
        }
        if !self.people.is_wanted(AlarmKind::Blind) {
            return;
        }
        let why = error.to_string();
        let (now, cause) = (now(), cause(&self.config, &why));
        let mut told = lately(noted(&self.file), now);
        if is_enough(&told, &cause) {
            return;
        }
        let text = format!("the keeper does not start, and nothing is watched: {why}");
        if !self.people.last_words(AlarmKind::Blind, START, &text, LAST_WORDS).await {
            // Nobody knows: the next attempt to start is to tell it.
            return;
        }
        told.insert(cause, now);
        let lines: String = told.iter().map(|(cause, at)| format!("{at} {cause}\n")).collect();
        // The folder of the reports is made by whoever writes the first one, which a keeper that does not start has not.
        let written = self.file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = written.and_then(|()| std::fs::write(&self.file, lines)) {
            tracing::error!(%error, "why the keeper does not start will be told again: it cannot be noted that it was");
        }
    }

    /// The keeper has started, and stays: what was told before is over.
    pub(super) async fn over_when_settled(self) {
        tokio::time::sleep(SETTLED).await;
        if !noted(&self.file).is_empty() {
            let _ = std::fs::remove_file(&self.file);
            self.people.was_told(AlarmKind::Blind, START);
            self.people.over(AlarmKind::Blind, START);
        }
    }
}

/// Where a note outlives a restart: what the service has for its state, or the folder of the reports. What is temporary may be emptied with
/// each restart of the service, and is only the last resort.
fn kept_folder(state: Option<&OsStr>, reports: Option<&Path>) -> PathBuf {
    // systemd separates several by colons.
    let first = state.and_then(|state| std::env::split_paths(state).next());
    first
        .filter(|folder| !folder.as_os_str().is_empty())
        .or_else(|| reports.map(Path::to_owned))
        .unwrap_or_else(std::env::temp_dir)
}

/// The error by which another keeper holds the record.
fn held_by_another(error: &eyre::Report) -> Option<&StoreError> {
    let store = match error.downcast_ref::<KeeperError>() {
        Some(KeeperError::Store(error)) => Some(error),
        _ => error.downcast_ref::<StoreError>(),
    };
    store.filter(|error| matches!(error, StoreError::InUse { .. }))
}

/// A digest of a cause, the same whatever balance, port, block or transaction it names this time. Accounts count: a role that another one
/// lacks is another cause. So is whatever keeps a keeper from starting once its configuration was changed.
fn cause(config: &str, why: &str) -> String {
    let words = why.split(|letter: char| !letter.is_ascii_alphanumeric());
    let lasting = words.map(|word| {
        let is_account = word.starts_with("0x") && word.len() == 42;
        match word.starts_with(|first: char| first.is_ascii_digit()) && !is_account {
            true => "#",
            false => word,
        }
    });
    let lasting = lasting.collect::<Vec<_>>().join(" ");
    keccak256(format!("{} {lasting}", keccak256(config))).to_string()
}

/// What was told within the last hour. One that was noted by a clock that went ahead says nothing about it.
fn lately(mut told: BTreeMap<String, u64>, now: u64) -> BTreeMap<String, u64> {
    told.retain(|_, at| now.checked_sub(*at).is_some_and(|age| age < AGAIN.as_secs()));
    told
}

/// Whether nobody needs to hear of a cause now: it was told, or so many others were.
fn is_enough(told: &BTreeMap<String, u64>, cause: &str) -> bool {
    told.contains_key(cause) || told.len() >= MOST
}

/// When what was told, in seconds of Unix, by the digest of each cause.
fn noted(file: &Path) -> BTreeMap<String, u64> {
    parse(&std::fs::read_to_string(file).unwrap_or_default())
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (at, cause) = line.trim().split_once(' ')?;
            Some((cause.to_owned(), at.parse().ok()?))
        })
        .collect()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_kept_where_a_restart_finds_it() {
        let reports = Path::new("/srv/incidents");
        let state = OsStr::new("/var/lib/cordon:/var/lib/other");
        assert_eq!(kept_folder(Some(state), Some(reports)), Path::new("/var/lib/cordon"));
        assert_eq!(kept_folder(Some(OsStr::new("")), Some(reports)), reports);
        assert_eq!(kept_folder(None, Some(reports)), reports);
        assert_eq!(kept_folder(None, None), std::env::temp_dir());
    }

    #[test]
    fn a_number_that_changes_makes_no_other_cause() {
        let of = |why: &str| cause("a configuration", why);
        let held = "account 0x00000000000000000000000000000000000000aa holds 0.25 ETH";
        assert_eq!(of(held), of(&held.replace("0.25", "0.31")));
        assert_ne!(of(held), of(&held.replace("aa", "bb")));
        assert_ne!(of(held), of("the guard has no such role"));
        assert_eq!(of("no block 0xa1"), of("no block 0xb2"));
        assert_ne!(of(held), cause("another", held));
    }

    #[test]
    fn every_cause_of_the_hour_is_remembered() {
        let told = parse("7 one\nbroken\n9 two\n");
        assert_eq!(told, BTreeMap::from([("one".to_owned(), 7), ("two".to_owned(), 9)]));
        assert!(is_enough(&told, "one") && !is_enough(&told, "three"));
    }

    #[test]
    fn what_was_told_is_told_again_after_an_hour_or_by_a_clock_that_was_put_right() {
        let hour = AGAIN.as_secs();
        let kept = |at: u64, now: u64| lately(BTreeMap::from([("one".to_owned(), at)]), now).len();
        assert_eq!((kept(100, 100), kept(100, 99 + hour), kept(100, 100 + hour)), (1, 1, 0));
        assert_eq!(kept(101, 100), 0, "noted ahead of time");
    }

    #[test]
    fn a_start_that_fails_for_ever_new_reasons_is_told_so_often_and_no_more() {
        let told = |count: u64| (0..count).map(|n| (n.to_string(), n)).collect();
        let most = u64::try_from(MOST).unwrap_or(u64::MAX);
        assert!(!is_enough(&told(most - 1), "new"));
        assert!(is_enough(&told(most), "new"));
    }

    #[test]
    fn a_keeper_beside_another_is_told_apart() {
        let held = || StoreError::InUse { path: "x.db".into() };
        assert!(held_by_another(&held().into()).is_some());
        assert!(held_by_another(&KeeperError::from(held()).into()).is_some());
        assert!(held_by_another(&StoreError::Url.into()).is_none());
    }
}
