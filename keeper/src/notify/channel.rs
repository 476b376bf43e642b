//! A channel: one service with its credentials, and whom it serves.

use std::path::Path;
use std::time::Duration;

use cordon_client::config::{Audience, Credential, NotifyChannel, SecretError, SecretText, Severity, Template, Via};

use super::http::Http;
use super::message::{Message, Origin, message};
use super::plan::Together;
use super::service::{Email, Service};
use super::template::templated;
use crate::record::{Incident, Notice, Subscription};

/// Why channels cannot be set up. No message contains a credential.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// A credential could not be had.
    #[error("channel `{id}`: {source}")]
    Credential {
        /// Name of the channel.
        id: String,
        /// Why.
        source: SecretError,
    },
    /// A credential or an address is not what the service needs.
    #[error("channel `{id}`: {reason}")]
    Unusable {
        /// Name of the channel.
        id: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why a message was not taken. No text contains a credential, nor the URL that may hold one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The service wants to be left alone for a while.
    #[error("the service is busy: {why}")]
    Busy {
        /// How long.
        wait: Duration,
        /// Its words.
        why: String,
    },
    /// It may pass later: no connection, no answer in time, a fault of the service, an answer that is none of its own.
    #[error("{0}")]
    Failed(String),
    /// It will not pass unless somebody changes something.
    #[error("the service refuses the message: {0}")]
    Refused(String),
}

/// A channel that messages can be sent through.
#[derive(Debug, Clone)]
pub struct Channel {
    id: String,
    audience: Audience,
    severity: Option<Severity>,
    after: Duration,
    repeat: Option<Duration>,
    per_minute: u32,
    templates: Vec<Template>,
    service: Service,
}

/// The channels of a configuration; their credentials are read. `directory` is where relative paths of credentials start.
///
/// # Errors
/// See [`ChannelError`].
pub fn channels(configured: &[NotifyChannel], directory: &Path) -> Result<Vec<Channel>, ChannelError> {
    let http = Http::new();
    configured
        .iter()
        .map(|channel| Channel::new(channel, directory, &http))
        .collect()
}

impl Channel {
    fn new(config: &NotifyChannel, directory: &Path, http: &Http) -> Result<Self, ChannelError> {
        let read = |credential: &Credential| {
            credential.read(directory).map_err(|source| ChannelError::Credential {
                id: config.id.clone(),
                source,
            })
        };
        let url = |credential: &Credential| -> Result<SecretText, ChannelError> {
            let text = read(credential)?;
            let is_url = url_of(text.expose());
            is_url.then_some(text).ok_or_else(|| ChannelError::Unusable {
                id: config.id.clone(),
                reason: format!("{credential} holds no URL that starts with https:// or http://"),
            })
        };
        let http = http.clone();
        let service = match &config.via {
            Via::Stdout => Service::Stdout,
            Via::Slack { url: at } => Service::Slack { http, url: url(at)? },
            Via::Discord { url: at } => Service::Discord { http, url: url(at)? },
            Via::Telegram { token, chat, server } => Service::Telegram {
                http,
                server: server.to_string(),
                token: read(token)?,
                chat: chat.clone(),
            },
            Via::PagerDuty { key, server } => Service::PagerDuty {
                http,
                server: server.to_string(),
                key: read(key)?,
            },
            Via::Opsgenie { key, server } => Service::Opsgenie {
                http,
                server: server.to_string(),
                key: read(key)?,
            },
            Via::Webhook { url: at, secret } => Service::Webhook {
                http,
                url: url(at)?,
                secret: read(secret)?,
            },
            Via::Email(email) => {
                let password = email.login.as_ref().map(|(_, password)| read(password)).transpose()?;
                let email = Email::new(email, password).map_err(|reason| ChannelError::Unusable {
                    id: config.id.clone(),
                    reason,
                })?;
                Service::Email(Box::new(email))
            }
        };
        Ok(Self {
            id: config.id.clone(),
            audience: config.audience,
            severity: config.severity,
            after: Duration::from_secs(config.after.into()),
            repeat: config.repeat.map(|seconds| Duration::from_secs(seconds.into())),
            per_minute: config.per_minute,
            templates: config.templates.clone(),
            service,
        })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For whom its messages are written.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// How long somebody has to acknowledge before it is told.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }

    /// After which time it is told again what nobody has acknowledged.
    #[must_use]
    pub fn repeat(&self) -> Option<Duration> {
        self.repeat
    }

    /// Most messages a minute.
    #[must_use]
    pub fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Writes the message of one notice for its readers, in the team's own words where a template has some. `repeated`: it was told
    /// before and nobody has acknowledged it.
    #[must_use]
    pub fn write(&self, origin: &Origin, notice: &Notice, incident: Option<&Incident>, repeated: bool) -> Message {
        let written = message(origin, notice, incident, self.audience, repeated);
        let template = self.templates.iter().find(|held| held.is_for(notice.kind.name()));
        match template {
            Some(template) => templated(written, template, (origin, notice, incident), repeated),
            None => written,
        }
    }

    /// What goes out in one message.
    #[must_use]
    pub fn together(&self) -> Together {
        match self.service {
            Service::PagerDuty { .. } | Service::Opsgenie { .. } => Together::Page,
            Service::Webhook { .. } => Together::Repeats,
            _ => Together::All,
        }
    }

    /// Whether it is told what is so bad and names no channel.
    #[must_use]
    pub fn wants(&self, severity: Severity) -> bool {
        self.severity.is_some_and(|least| severity <= least)
    }

    /// What the outbox needs to know of it.
    #[must_use]
    pub fn subscription(&self) -> Subscription {
        Subscription {
            channel: self.id.clone(),
            severities: Severity::ALL
                .into_iter()
                .filter(|severity| self.wants(*severity))
                .map(Severity::name)
                .collect(),
            after_ms: i64::try_from(self.after.as_millis()).unwrap_or(i64::MAX),
            deaf_to: self.id.clone(),
        }
    }

    /// Sends one message and waits for the service's word that it has taken it.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, message: &Message) -> Result<(), SendError> {
        self.service.send(message).await
    }
}

fn url_of(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
