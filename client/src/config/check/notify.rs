//! `[[notify]]`.

use std::ops::Range;

use toml::Spanned;
use url::Url;

use super::super::schema::{RawNotify, Text};
use super::super::{Audience, Credential, Email, MailSecurity, NotifyChannel, Severity, Via};
use super::Checker;

/// Most messages a minute unless given: below the limits of every service.
const PER_MINUTE: u32 = 20;
const MOST_PER_MINUTE: u32 = 600;
/// People are not asked again sooner than this, in seconds.
const LEAST_REPEAT: u32 = 60;
const TELEGRAM: &str = "https://api.telegram.org/";
const PAGERDUTY: &str = "https://events.pagerduty.com/";
const OPSGENIE: &str = "https://api.opsgenie.com/";

const VIAS: [&str; 8] = [
    "slack",
    "discord",
    "telegram",
    "pagerduty",
    "opsgenie",
    "email",
    "webhook",
    "stdout",
];

/// The keys that only some services have, by service.
const KEYS: [(&str, &[&str]); 8] = [
    ("slack", &["url"]),
    ("discord", &["url"]),
    ("telegram", &["token", "chat", "server"]),
    ("pagerduty", &["key", "server"]),
    ("opsgenie", &["key", "server"]),
    (
        "email",
        &[
            "host",
            "port",
            "security",
            "username",
            "password",
            "sender",
            "recipients",
        ],
    ),
    ("webhook", &["url", "secret"]),
    ("stdout", &[]),
];

impl Checker {
    pub(super) fn notify(&mut self, raw: Vec<RawNotify>) -> Vec<NotifyChannel> {
        self.ids("a channel", raw.iter().map(|channel| &channel.id));
        raw.into_iter().filter_map(|channel| self.channel(channel)).collect()
    }

    fn channel(&mut self, raw: RawNotify) -> Option<NotifyChannel> {
        let name = self.choice(&raw.via, "service", &VIAS.map(|name| (name, name)))?;
        self.foreign_keys(name, &raw);
        let before = self.problems.len();
        let audience = raw.audience.as_ref().map_or(Some(Audience::Technical), |text| {
            self.choice(
                text,
                "audience",
                &Audience::ALL.map(|audience| (audience.name(), audience)),
            )
        });
        let severity = raw.severity.as_ref().map_or(Some(Some(Severity::P4)), |text| {
            let named = ("none", None);
            let [p1, p2, p3, p4, p5] = Severity::ALL.map(|severity| (severity.name(), Some(severity)));
            self.choice(text, "severity", &[p1, p2, p3, p4, p5, named])
        });
        let after = self.duration(raw.after.as_ref(), 0);
        let repeat = raw.repeat.as_ref().map(|text| self.repeat(name, text));
        let per_minute = self.per_minute(raw.per_minute.as_ref());
        let id = raw.id.get_ref().clone();
        let via = self.via(name, raw);
        if self.problems.len() > before {
            return None;
        }
        Some(NotifyChannel {
            id,
            via: via?,
            audience: audience?,
            severity: severity?,
            after,
            repeat,
            per_minute,
            templates: Vec::new(),
        })
    }

    fn repeat(&mut self, name: &str, text: &Text) -> u32 {
        let seconds = self.duration(Some(text), LEAST_REPEAT);
        if matches!(name, "pagerduty" | "opsgenie") {
            let help = format!("{name} reminds people by itself: set it up there");
            self.error(text.span(), format!("`repeat` is not for {name}"), help);
        } else if seconds < LEAST_REPEAT {
            self.error(
                text.span(),
                "people are not asked again within less than 1 minute",
                None,
            );
        }
        seconds
    }

    fn per_minute(&mut self, given: Option<&Spanned<u32>>) -> u32 {
        let Some(given) = given else { return PER_MINUTE };
        let value = *given.get_ref();
        if !(1..=MOST_PER_MINUTE).contains(&value) {
            let message = format!("between 1 and {MOST_PER_MINUTE} messages a minute are wanted");
            self.error(given.span(), message, None);
        }
        value
    }

    fn foreign_keys(&mut self, name: &str, raw: &RawNotify) {
        let own = KEYS
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(&[][..], |(_, own)| own);
        for (key, span) in raw.service_keys() {
            if !own.contains(&key) {
                let help = if own.is_empty() {
                    format!("{name} needs none of its own")
                } else {
                    let list: Vec<String> = own.iter().map(|key| format!("`{key}`")).collect();
                    format!("keys of {name}: {}", list.join(", "))
                };
                self.error(span, format!("`{key}` is not for {name}"), help);
            }
        }
    }

    fn via(&mut self, name: &str, raw: RawNotify) -> Option<Via> {
        let at = raw.via.span();
        match name {
            "slack" => Some(Via::Slack {
                url: self.needed(name, &at, "url", raw.url)?,
            }),
            "discord" => Some(Via::Discord {
                url: self.needed(name, &at, "url", raw.url)?,
            }),
            "telegram" => {
                let token = self.needed(name, &at, "token", raw.token);
                let chat = self.needed(name, &at, "chat", raw.chat);
                let server = self.server(raw.server.as_ref(), TELEGRAM)?;
                Some(Via::Telegram {
                    token: token?,
                    chat: chat?,
                    server,
                })
            }
            "pagerduty" => Some(Via::PagerDuty {
                key: self.needed(name, &at, "key", raw.key)?,
                server: self.server(raw.server.as_ref(), PAGERDUTY)?,
            }),
            "opsgenie" => Some(Via::Opsgenie {
                key: self.needed(name, &at, "key", raw.key)?,
                server: self.server(raw.server.as_ref(), OPSGENIE)?,
            }),
            "webhook" => {
                let url = self.needed(name, &at, "url", raw.url);
                let secret = self.needed(name, &at, "secret", raw.secret);
                Some(Via::Webhook {
                    url: url?,
                    secret: secret?,
                })
            }
            "email" => self.email(&at, raw).map(Via::Email),
            _ => Some(Via::Stdout),
        }
    }

    /// A key that the service cannot do without.
    fn needed<T>(&mut self, name: &str, at: &Range<usize>, key: &str, value: Option<Spanned<T>>) -> Option<T> {
        if value.is_none() {
            self.error(at.clone(), format!("{name} needs the key `{key}`"), None);
        }
        value.map(Spanned::into_inner)
    }

    fn server(&mut self, given: Option<&Text>, default: &str) -> Option<Url> {
        let Some(text) = given else {
            return Url::parse(default).ok();
        };
        let url = Url::parse(text.get_ref())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/");
        if url.is_none() {
            let help = format!("such as \"{default}\"");
            self.error(text.span(), "the URL of an API server without a path is wanted", help);
        }
        url
    }

    fn email(&mut self, at: &Range<usize>, raw: RawNotify) -> Option<Email> {
        let name = "email";
        let security = raw.security.as_ref().map_or(Some(MailSecurity::Tls), |text| {
            let table = [
                ("tls", MailSecurity::Tls),
                ("starttls", MailSecurity::StartTls),
                ("none", MailSecurity::None),
            ];
            self.choice(text, "security", &table)
        });
        if let (Some(MailSecurity::None), Some(host), Some(text)) = (security, &raw.host, &raw.security) {
            let local = ["localhost", "127.0.0.1", "::1"].contains(&host.get_ref().as_str());
            if !local {
                let help = "mail tells who is under attack: use \"tls\" or \"starttls\"".to_owned();
                self.error(
                    text.span(),
                    "mail without encryption is for a server on this machine",
                    help,
                );
            }
        }
        let login = self.login(at, raw.username, raw.password);
        let host = self.needed(name, at, "host", raw.host);
        let sender = raw.sender.as_ref().and_then(|text| self.mailbox(text));
        if raw.sender.is_none() {
            self.error(at.clone(), "email needs the key `sender`", None);
        }
        let recipients: Vec<String> = raw
            .recipients
            .iter()
            .flat_map(Spanned::get_ref)
            .filter_map(|text| self.mailbox(text))
            .collect();
        if recipients.is_empty() {
            let span = raw.recipients.as_ref().map_or(at.clone(), Spanned::span);
            self.error(span, "email needs `recipients`: at least one address", None);
        }
        let security = security?;
        Some(Email {
            host: host?,
            port: raw.port.map_or(security.port(), Spanned::into_inner),
            security,
            login: login?,
            sender: sender?,
            recipients,
        })
    }

    #[allow(clippy::option_option)] // Outer: whether it is right; inner: whether there is one.
    fn login(
        &mut self,
        at: &Range<usize>,
        username: Option<Text>,
        password: Option<Spanned<Credential>>,
    ) -> Option<Option<(String, Credential)>> {
        match (username, password) {
            (Some(username), Some(password)) => Some(Some((username.into_inner(), password.into_inner()))),
            (None, None) => Some(None),
            (username, password) => {
                let span = username
                    .map(|text| text.span())
                    .or(password.map(|secret| secret.span()))
                    .unwrap_or(at.clone());
                self.error(span, "`username` and `password` belong together", None);
                None
            }
        }
    }

    fn mailbox(&mut self, text: &Text) -> Option<String> {
        let value = text.get_ref();
        let fine = |c: char| !c.is_control() && !c.is_whitespace() && !"<>,;\"".contains(c);
        let (local, domain) = value.rsplit_once('@').unwrap_or_default();
        if local.is_empty() || domain.is_empty() || !value.chars().all(fine) {
            self.error(text.span(), format!("`{value}` is no mail address"), None);
            return None;
        }
        Some(value.clone())
    }
}
