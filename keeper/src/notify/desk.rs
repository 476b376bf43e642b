//! The desk: puts new notices on their way and works off every channel by itself, so that one which hangs delays no other.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordon_client::config::Severity;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::doubt::Doubt;
use super::message::{Event, event};
use super::plan::{MINUTE, REFUSALS, kept, room};
use super::{
    Channel, Fate, Message, Origin, SendError, Together, digest, fate, joined, next, retry_after, test_message,
};
use crate::alarm::Alarms;
use crate::clock::now_ms;
use crate::record::{AlarmKind, DeliveryEnd, Due, EXPIRY_MS, Incident, Notice, Store, StoreError, Subscription};

/// Notices from another process (an acknowledgement by the command line) wake nobody: they are looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// A channel with nothing to do looks again after this.
const IDLE: Duration = Duration::from_secs(30);
/// Failures after which people hear, through the other channels, that this one does not work.
const PATIENCE: u32 = 3;
/// How long a message that is on its way is waited for when the work ends. Nobody looks at the chain meanwhile, neither this keeper nor the
/// next of a fleet: less than a lease lasts, so that who hands on at its end is not slower than one that has died.
const LAST_ROUND: Duration = Duration::from_secs(2);

/// Tells people what the record holds for them.
#[derive(Debug, Clone)]
pub struct Desk {
    channels: Vec<Channel>,
    store: Store,
    alarms: Alarms,
    origin: Origin,
    look: Duration,
}

impl Desk {
    /// A desk that serves these channels.
    pub(crate) fn new(channels: Vec<Channel>, store: Store, alarms: Alarms) -> Self {
        let origin = Origin::of(&store);
        Self {
            channels,
            store,
            alarms,
            origin,
            look: LOOK,
        }
    }

    /// One that looks for what wakes nobody so rarely that a test can tell being woken from looking.
    #[cfg(test)]
    pub(super) fn looking_every(self, look: Duration) -> Self {
        Self { look, ..self }
    }

    /// Sends a test through every channel and tells how each took it. What opens a page closes it again.
    pub async fn test(channels: &[Channel], origin: &Origin) -> Vec<(String, Result<(), SendError>)> {
        let messages = test_message(origin, now_ms());
        let tests = channels.iter().map(|channel| {
            let messages = &messages;
            async move {
                let [open, close] = messages;
                let mut result = channel.send(open).await;
                if result.is_ok() && channel.together() != Together::All {
                    result = channel.send(close).await;
                }
                (channel.id().to_owned(), result)
            }
        });
        futures::future::join_all(tests).await
    }

    /// Works until `stop`. What is being told then is told to its end, and noted, if that takes no longer than [`LAST_ROUND`]: whoever goes on
    /// with the record would tell it again.
    pub async fn run(self, stop: CancellationToken) {
        let subscriptions: Vec<Subscription> = self.channels.iter().map(Channel::subscription).collect();
        if subscriptions.is_empty() {
            tracing::warn!(
                "no [[notify]]: nobody is told anything; incidents and alarms are in the record and in this log"
            );
        }
        // A record that does not answer must not keep the work from ending either; what is given up half-way was not committed.
        match stop
            .run_until_cancelled(self.store.drop_orphans(&subscriptions))
            .await
            .unwrap_or(Ok(0))
        {
            Ok(0) => {}
            Ok(dropped) => tracing::warn!(dropped, "notices for channels that are no more configured are dropped"),
            Err(error) => tracing::error!(%error, "the outbox could not be read"),
        }
        let mut tasks = JoinSet::new();
        let mut bells = Vec::new();
        for channel in self.channels.clone() {
            let bell = Arc::new(Notify::new());
            bells.push(Arc::clone(&bell));
            tasks.spawn(Clerk::new(self.clone(), channel).run(bell, stop.clone()));
        }
        while !stop.is_cancelled() {
            match stop
                .run_until_cancelled(self.store.fan_out(&subscriptions))
                .await
                .unwrap_or(Ok(0))
            {
                Ok(0) => {}
                Ok(_) => bells.iter().for_each(|bell| bell.notify_one()),
                Err(error) => tracing::error!(%error, "notices could not be put on their way; it is tried again"),
            }
            // An error must not make this a busy loop either.
            let wait = tokio::time::timeout(self.look, self.store.fresh_notices());
            let _ = stop.run_until_cancelled(wait).await;
        }
        let rest = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ROUND, rest).await.is_err() {
            tracing::warn!("a channel does not answer; what it was sent last may be sent again");
        }
    }

    async fn incident(&self, notice: &Notice) -> Result<Option<Incident>, StoreError> {
        match notice.incident {
            Some(id) => self.store.incident(id).await,
            None => Ok(None),
        }
    }
}

/// Serves one channel.
struct Clerk {
    desk: Desk,
    channel: Channel,
    /// When the messages of the last minute went out, and whether they were as urgent as can be.
    sent: VecDeque<(Instant, bool)>,
    /// What was refused together with others: it is told by itself, so that nothing is lost for what is in another.
    alone: BTreeSet<i64>,
    /// Whether one notice is what fails, or the service.
    doubt: Doubt,
    /// Whether people were told that the channel does not work.
    alarmed: bool,
}

impl Clerk {
    fn new(desk: Desk, channel: Channel) -> Self {
        Self {
            desk,
            channel,
            sent: VecDeque::new(),
            alone: BTreeSet::new(),
            doubt: Doubt::after(0),
            // An earlier run may have raised it.
            alarmed: true,
        }
    }

    async fn run(mut self, bell: Arc<Notify>, stop: CancellationToken) {
        match stop
            .run_until_cancelled(self.desk.store.failures(self.channel.id()))
            .await
        {
            Some(Ok(failures)) => self.doubt = Doubt::after(failures),
            Some(Err(error)) => tracing::error!(channel = self.channel.id(), %error, "the outbox could not be read"),
            None => {}
        }
        while !stop.is_cancelled() {
            let wait = self.round().await.unwrap_or_else(|error| {
                tracing::error!(channel = self.channel.id(), %error, "the outbox could not be read or written; it is tried again");
                LOOK
            });
            if !wait.is_zero() {
                let rest = tokio::time::timeout(wait, bell.notified());
                let _ = stop.run_until_cancelled(rest).await;
            }
        }
    }

    /// One message at most; answers how long to wait before the next look.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        // What could not be told now is not looked for.
        if let Some(wait) = self.limited(true) {
            return Ok(wait);
        }
        let (id, store) = (self.channel.id().to_owned(), self.desk.store.clone());
        let limited = self.limited(false);
        let due = match limited {
            None => store.due(&id).await?,
            Some(_) => store.due_urgent(&id).await?,
        };
        if due.is_empty() {
            // Something may become due before there is room for the rest.
            let next = match limited {
                None => store.next_due(&id).await?,
                Some(_) => store.next_urgent(&id).await?,
            };
            let next = next.map_or(IDLE, |ms| Duration::from_millis(ms.max(1)).min(IDLE));
            return Ok(limited.map_or(next, |room| room.min(next)));
        }
        let due = self.end_needless(due).await?;
        let due = self.doubt.choose(due);
        let alone = self.alone.union(self.doubt.suspects()).copied().collect();
        let mut batch = next(due, self.channel.together(), &alone);
        batch.truncate(self.doubt.width());
        if batch.is_empty() {
            return Ok(Duration::ZERO);
        }
        let message = self.compose(&batch).await?;
        if !self.desk.store.may_act() {
            // Whoever has the turn now tells it.
            return Ok(LOOK);
        }
        match self.channel.send(&message).await {
            Ok(()) => self.delivered(&batch).await?,
            Err(error) => self.failed(&batch, &error).await?,
        }
        Ok(Duration::ZERO)
    }

    /// Ends what needs no telling; answers the rest.
    async fn end_needless(&mut self, due: Vec<Due>) -> Result<Vec<Due>, StoreError> {
        let mut left = Vec::with_capacity(due.len());
        for due in due {
            let end = match fate(&due, !self.channel.after().is_zero()) {
                Fate::Tell => {
                    left.push(due);
                    continue;
                }
                Fate::Needless => DeliveryEnd::Needless,
                Fate::Told => DeliveryEnd::Sent,
            };
            self.end(&due, end).await?;
        }
        Ok(left)
    }

    async fn end(&mut self, due: &Due, end: DeliveryEnd) -> Result<(), StoreError> {
        self.alone.remove(&due.notice.id);
        self.doubt.forget(due.notice.id);
        let id = self.channel.id();
        self.desk.store.end_delivery(id, due.notice.id, end).await
    }

    /// How long the channel has to be left alone because it was told much: never more than its limit in a minute, of which a quarter is kept
    /// for what is most severe.
    fn limited(&mut self, is_urgent: bool) -> Option<Duration> {
        while self.sent.front().is_some_and(|(at, _)| at.elapsed() >= MINUTE) {
            self.sent.pop_front();
        }
        let limit = usize::try_from(self.channel.per_minute()).unwrap_or(usize::MAX);
        let all = self.sent.iter().map(|(at, _)| *at);
        let others = self.sent.iter().filter(|(_, urgent)| !urgent).map(|(at, _)| *at);
        let whole = room(all, limit);
        if is_urgent {
            return whole;
        }
        whole.max(room(others, limit.saturating_sub(kept(limit))))
    }

    async fn compose(&self, batch: &[Due]) -> Result<Message, StoreError> {
        let mut notices = Vec::with_capacity(batch.len());
        for due in batch {
            notices.push((due.notice.clone(), self.desk.incident(&due.notice).await?));
        }
        let origin = &self.desk.origin;
        if self.channel.together() == Together::All && batch.len() > 1 {
            return Ok(digest(origin, &notices));
        }
        // In the words of the worst that opens the page.
        let order = |(_, due): &(usize, &Due)| (event(&due.notice) != Event::Trigger, due.notice.severity);
        let at = batch.iter().enumerate().min_by_key(order).map_or(0, |(at, _)| at);
        let is_repeat = batch.get(at).is_some_and(|due| due.told > 0);
        let (notice, incident) = notices.remove(at);
        let message = self.channel.write(origin, &notice, incident.as_ref(), is_repeat);
        let message = match self.channel.together() {
            Together::All => message,
            Together::Page | Together::Repeats => message.on_pages(&self.desk.store.pages(&notice).await?),
        };
        Ok(match notices.as_slice() {
            [] => message,
            others => joined(message, others),
        })
    }

    async fn delivered(&mut self, batch: &[Due]) -> Result<(), StoreError> {
        self.sent.push_back((Instant::now(), is_urgent(batch)));
        let again = |due: &Due| {
            let asks = due.notice.kind.calls() && !due.acknowledged && !due.over;
            let repeat = self.channel.repeat().filter(|_| asks)?;
            i64::try_from(repeat.as_millis()).ok()
        };
        let told: Vec<(i64, Option<i64>)> = batch.iter().map(|due| (due.notice.id, again(due))).collect();
        self.desk.store.told(self.channel.id(), &told).await?;
        for due in batch {
            self.alone.remove(&due.notice.id);
        }
        self.doubt.passed(&ids(batch));
        if self.alarmed && !self.desk.store.is_refusing(self.channel.id()).await? {
            // Until it is stored.
            self.alarmed = !self
                .desk
                .alarms
                .try_clear(AlarmKind::NotifyFailed, self.channel.id())
                .await;
        }
        Ok(())
    }

    async fn failed(&mut self, batch: &[Due], error: &SendError) -> Result<(), StoreError> {
        match (error, batch) {
            (SendError::Refused(_), [due]) => {
                self.doubt.passed(&ids(batch));
                self.refused(due, error).await
            }
            (SendError::Refused(_), _) => {
                self.doubt.passed(&ids(batch));
                self.sent.push_back((Instant::now(), is_urgent(batch)));
                tracing::error!(channel = self.channel.id(), notices = batch.len(), %error, "refused together: each goes by itself");
                self.alone.extend(batch.iter().map(|due| due.notice.id));
                Ok(())
            }
            (SendError::Failed(_), _) => {
                let is_aside = matches!(batch, [due] if due.aside > 0);
                match (self.doubt.failed(&ids(batch), is_aside), batch) {
                    (true, [due]) => self.set_aside(due, error).await,
                    _ => self.not_reached(batch, error).await,
                }
            }
            (SendError::Busy { .. }, _) => self.not_reached(batch, error).await,
        }
    }

    /// One notice by itself fails over and over while others pass. It waits, and nothing else does but its end.
    async fn set_aside(&mut self, due: &Due, error: &SendError) -> Result<(), StoreError> {
        self.sent.push_back((Instant::now(), due.worst == Severity::P1));
        let (topic, times) = (&due.notice.topic, due.aside.saturating_add(1));
        tracing::error!(channel = self.channel.id(), topic, times, %error, "people could not be told this, and other things could be");
        if now_ms().saturating_sub(due.notice.at_ms) > EXPIRY_MS && !due.is_open() {
            self.end(due, DeliveryEnd::Expired).await?;
        } else {
            let wait = millis(retry_after(&SendError::Refused(String::new()), times));
            let id = self.channel.id();
            self.desk.store.set_aside(id, due.notice.id, wait).await?;
        }
        self.alarm(&format!("of {topic} "), error).await;
        Ok(())
    }

    /// One notice by itself was refused. It waits, and nothing else does but its end.
    async fn refused(&mut self, due: &Due, error: &SendError) -> Result<(), StoreError> {
        // A service that refuses all is not asked more often than one that takes it.
        self.sent.push_back((Instant::now(), due.worst == Severity::P1));
        let (topic, refusals) = (&due.notice.topic, due.refusals.saturating_add(1));
        tracing::error!(channel = self.channel.id(), topic, refusals, %error, "people could not be told");
        if refusals >= REFUSALS && !due.is_open() {
            self.end(due, DeliveryEnd::Refused).await?;
        } else {
            let wait = millis(retry_after(error, refusals));
            let id = self.channel.id();
            self.desk.store.refused(id, due.notice.id, wait).await?;
        }
        self.alarm(&format!("of {topic} "), error).await;
        Ok(())
    }

    /// The service does not answer, or wants to be left alone: all waits.
    async fn not_reached(&mut self, batch: &[Due], error: &SendError) -> Result<(), StoreError> {
        let id = self.channel.id();
        let failures = self.desk.store.failures(id).await?.saturating_add(1);
        tracing::error!(channel = id, failures, %error, "people could not be told");
        let wait = millis(retry_after(error, failures));
        self.desk
            .store
            .not_told(id, &ids(batch), &error.to_string(), wait)
            .await?;
        if failures >= PATIENCE {
            self.alarm("", error).await;
        }
        Ok(())
    }

    /// Has people told, through the other channels, that this one does not work.
    async fn alarm(&mut self, of: &str, error: &SendError) {
        self.alarmed = true;
        let id = self.channel.id();
        let text = format!("people could not be told {of}through `{id}`: {error}");
        self.desk.alarms.raise(AlarmKind::NotifyFailed, id, &text, None).await;
    }
}

fn ids(batch: &[Due]) -> Vec<i64> {
    batch.iter().map(|due| due.notice.id).collect()
}

fn millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}

/// Whether the worst waits in it, or behind it.
fn is_urgent(batch: &[Due]) -> bool {
    batch.iter().any(|due| due.worst == Severity::P1)
}
