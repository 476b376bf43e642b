//! Who is told what happened, and through which service.

use url::Url;

use super::{Credential, Severity, Template};

/// For whom a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// People who respond: blocks, transactions, values, what to do.
    Technical,
    /// People who answer for it: what happened, how bad it is, what is closed for users.
    Management,
}

impl Audience {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Technical, Self::Management];

    /// The name as written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Technical => "technical",
            Self::Management => "management",
        }
    }
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailSecurity {
    /// TLS from the first byte (port 465).
    Tls,
    /// A plain greeting, then TLS or nothing (port 587).
    StartTls,
    /// No encryption: only for a server on the same machine.
    None,
}

impl MailSecurity {
    /// The port that mail servers listen on for it.
    pub fn port(self) -> u16 {
        match self {
            Self::Tls => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

/// The service that carries messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Standard output of the keeper.
    Stdout,
    /// An incoming webhook of Slack.
    Slack {
        /// The webhook's URL, which is its secret.
        url: Credential,
    },
    /// A webhook of Discord.
    Discord {
        /// The webhook's URL, which is its secret.
        url: Credential,
    },
    /// A bot of Telegram.
    Telegram {
        /// The bot's token.
        token: Credential,
        /// Chat id or `@channel`.
        chat: String,
        /// Bot API server.
        server: Url,
    },
    /// PagerDuty's Events API v2.
    PagerDuty {
        /// The integration's routing key.
        key: Credential,
        /// API server of the account's region.
        server: Url,
    },
    /// Opsgenie's Alert API.
    Opsgenie {
        /// The integration's API key.
        key: Credential,
        /// API server of the account's region.
        server: Url,
    },
    /// An HTTP endpoint that gets signed JSON.
    Webhook {
        /// Where it is posted.
        url: Credential,
        /// Key of the signature.
        secret: Credential,
    },
    /// Mail by SMTP.
    Email(Email),
}

impl Via {
    /// The name as written in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Slack { .. } => "slack",
            Self::Discord { .. } => "discord",
            Self::Telegram { .. } => "telegram",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Opsgenie { .. } => "opsgenie",
            Self::Webhook { .. } => "webhook",
            Self::Email(_) => "email",
        }
    }

    /// Whether the service keeps one page per incident by itself, and escalates it by itself.
    pub fn is_pager(&self) -> bool {
        matches!(self, Self::PagerDuty { .. } | Self::Opsgenie { .. })
    }
}

/// A mail server and who writes to whom through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// Host name of the server; its certificate must be for it.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Encryption.
    pub security: MailSecurity,
    /// Account at the server, with its password.
    pub login: Option<(String, Credential)>,
    /// Address of the sender.
    pub sender: String,
    /// Addresses of the receivers, at least one.
    pub recipients: Vec<String>,
}

/// `[[notify]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyChannel {
    /// Unique name.
    pub id: String,
    /// The service.
    pub via: Via,
    /// For whom the messages are written.
    pub audience: Audience,
    /// What is less severe than this is not told here; `None` to tell only what names the channel.
    pub severity: Option<Severity>,
    /// Seconds that somebody has to acknowledge before this channel is told; 0 to tell it at once.
    pub after: u32,
    /// Seconds after which what nobody has acknowledged is told again; `None` to tell it once.
    pub repeat: Option<u32>,
    /// Most messages a minute; what comes faster is told together.
    pub per_minute: u32,
    /// Texts of the team's own: the first that is for an event counts.
    pub templates: Vec<Template>,
}
