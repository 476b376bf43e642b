//! What comes before a keeper's work: it waits for its chain and its record, and tells people past the record when it cannot start. Whoever
//! starts it again and again, as systemd does, would be the only one to know.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::keccak256;
use cordon_client::config::StorePlace;
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
    let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?;
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
/// among the temporary files of the machine.
#[derive(Clone)]
pub(super) struct Failures {
    people: Direct,
    file: PathBuf,
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
                std::env::temp_dir().join(format!("cordon-keeper-{}-start", digest.get(2..18).unwrap_or_default()))
            }
        };
        Self { people, file }
    }

    /// Tells that the keeper has not started, and why, unless that was told within the hour.
    pub(super) async fn tell(&self, why: &str) {
        if !self.people.is_wanted(AlarmKind::Blind) {
            return;
        }
        let (now, cause) = (now(), keccak256(why).to_string());
        let is_told =
            noted(&self.file).is_some_and(|(at, told)| told == cause && now.saturating_sub(at) < AGAIN.as_secs());
        if is_told {
            return;
        }
        let text = format!("the keeper does not start, and nothing is watched: {why}");
        self.people.last_words(AlarmKind::Blind, START, &text, LAST_WORDS).await;
        if let Err(error) = std::fs::write(&self.file, format!("{now} {cause}\n")) {
            tracing::error!(%error, "why the keeper does not start will be told again: it cannot be noted that it was");
        }
    }

    /// The keeper has started, and stays: what was told before is over.
    pub(super) async fn over_when_settled(self) {
        tokio::time::sleep(SETTLED).await;
        if noted(&self.file).is_some() {
            let _ = std::fs::remove_file(&self.file);
            self.people.was_told(AlarmKind::Blind, START);
            self.people.over(AlarmKind::Blind, START);
        }
    }
}

/// When what was told last, in seconds of Unix, and a digest of it.
fn noted(file: &Path) -> Option<(u64, String)> {
    let text = std::fs::read_to_string(file).ok()?;
    let (at, cause) = text.trim().split_once(' ')?;
    Some((at.parse().ok()?, cause.to_owned()))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
