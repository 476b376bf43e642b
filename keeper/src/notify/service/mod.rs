//! The services, each in its own words.

mod chat;
mod email;
mod pager;
mod webhook;

use cordon_client::config::SecretText;

use super::http::Http;
use super::{Message, SendError};

pub(super) use email::Email;

/// A service with its credentials.
#[derive(Debug, Clone)]
pub(super) enum Service {
    Stdout,
    Slack {
        http: Http,
        url: SecretText,
    },
    Discord {
        http: Http,
        url: SecretText,
    },
    Telegram {
        http: Http,
        server: String,
        token: SecretText,
        chat: String,
    },
    PagerDuty {
        http: Http,
        server: String,
        key: SecretText,
    },
    Opsgenie {
        http: Http,
        server: String,
        key: SecretText,
    },
    Webhook {
        http: Http,
        url: SecretText,
        secret: SecretText,
    },
    Email(Box<Email>),
}

impl Service {
    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        match self {
            Self::Stdout => stdout(message),
            Self::Slack { http, url } => chat::slack(http, url, message).await,
            Self::Discord { http, url } => chat::discord(http, url, message).await,
            Self::Telegram {
                http,
                server,
                token,
                chat,
            } => chat::telegram(http, server, token, chat, message).await,
            Self::PagerDuty { http, server, key } => pager::pagerduty(http, server, key, message).await,
            Self::Opsgenie { http, server, key } => pager::opsgenie(http, server, key, message).await,
            Self::Webhook { http, url, secret } => webhook::post(http, url, secret, message).await,
            Self::Email(email) => email.send(message).await,
        }
    }
}

/// One paragraph on standard output, for whoever collects it.
fn stdout(message: &Message) -> Result<(), SendError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n{}", message.title, message.body)
        .and_then(|()| out.flush())
        .map_err(|error| SendError::Failed(format!("standard output: {error}")))
}
