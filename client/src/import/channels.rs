//! Triggers of openzeppelin-monitor as channels.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::templates::template;
use super::{id, quoted};
use crate::config::SecretText;

/// Templates that a file may have.
const MOST_TEMPLATES: usize = 64;

/// A trigger as it is written there. What is not named here has no counterpart.
#[derive(Deserialize)]
pub(super) struct Trigger {
    #[serde(default)]
    pub(super) name: String,
    pub(super) trigger_type: String,
    #[serde(default)]
    pub(super) config: Value,
}

/// Channels in TOML, with what came along.
#[derive(Default)]
pub(super) struct Channels {
    pub(super) toml: String,
    /// Templates of the channels, which stand behind them.
    pub(super) templates: String,
    pub(super) secrets: Vec<(PathBuf, SecretText)>,
    pub(super) notes: Vec<String>,
    ids: Vec<String>,
    /// The channel that each trigger became.
    made: BTreeMap<String, String>,
}

impl Channels {
    pub(super) fn add(&mut self, key: &str, trigger: &Trigger) {
        let id = id(key, &self.ids);
        let config = &trigger.config;
        let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = trigger.trigger_type.to_ascii_lowercase();
        let body = match kind.as_str() {
            "slack" => self.credential(&id, "url", config.get("slack_url")),
            "discord" => self.credential(&id, "url", config.get("discord_url")),
            "telegram" => self
                .credential(&id, "token", config.get("token"))
                .map(|token| format!("{token}chat = {}\n", quoted(&text("chat_id")))),
            "webhook" => self.webhook(&id, config),
            "email" => self.email(&id, config),
            "script" => {
                let note =
                    format!("the trigger `{key}` runs a script: use a webhook, scripts are not run by the keeper");
                self.notes.push(note);
                return;
            }
            other => {
                self.notes
                    .push(format!("the trigger `{key}` of type {other} is not known"));
                return;
            }
        };
        let Some(body) = body else {
            self.notes.push(format!(
                "the trigger `{key}` ({}) lacks what a {kind} channel needs: it was left out",
                trigger.name
            ));
            return;
        };
        let _ = write!(
            self.toml,
            "\n[[notify]]\nid = {}\nvia = {}\n{body}",
            quoted(&id),
            quoted(&kind)
        );
        if config.get("retry_policy").is_some_and(|policy| !policy.is_null()) {
            self.notes.push(format!(
                "the trigger `{key}` had a retry policy of its own: here every message is stored and tried again until it has arrived or is of no use"
            ));
        }
        self.message(&id, key, config);
        self.made.insert(key.to_owned(), id.clone());
        self.ids.push(id);
    }

    /// What a trigger's channel says of what is found.
    fn message(&mut self, id: &str, key: &str, config: &Value) {
        let mode = config.get("payload_mode").and_then(Value::as_str).unwrap_or_default();
        if mode.eq_ignore_ascii_case("raw") {
            self.notes.push(format!(
                "the webhook `{id}` sent what was found as data: here it is in `facts`, beside a text"
            ));
        } else if self.templates.matches("[[template]]").count() < MOST_TEMPLATES {
            let made = template(id, key, config, &mut self.notes);
            self.templates.push_str(&made);
        } else {
            self.notes.push(format!(
                "the message of the trigger `{key}` was left out: {MOST_TEMPLATES} templates are the most"
            ));
        }
    }

    /// The channel that a trigger became; `None` when it became none.
    pub(super) fn of(&self, key: &str) -> Option<&str> {
        self.made.get(key).map(String::as_str)
    }

    fn webhook(&mut self, id: &str, config: &Value) -> Option<String> {
        let url = self.credential(id, "url", config.get("url"))?;
        let secret = match config.get("secret").filter(|secret| !secret.is_null()) {
            Some(secret) => self.credential(id, "secret", Some(secret))?,
            None => {
                let variable = format!("{}_SECRET", id.to_ascii_uppercase().replace('-', "_"));
                self.notes.push(format!(
                    "the webhook `{id}` had no secret; here every webhook is signed: set the variable {variable}"
                ));
                format!("secret = {{ env = {} }}\n", quoted(&variable))
            }
        };
        if config.get("headers").is_some_and(|headers| !headers.is_null()) {
            self.notes.push(format!(
                "the webhook `{id}` sent headers of its own: they are not sent any more"
            ));
        }
        Some(format!("{url}{secret}"))
    }

    fn email(&mut self, id: &str, config: &Value) -> Option<String> {
        let text = |name: &str| config.get(name).and_then(Value::as_str);
        let port = config.get("port").and_then(Value::as_u64).unwrap_or(465);
        let security = match port {
            587 => "starttls",
            _ => "tls",
        };
        let recipients: Vec<String> = config
            .get("recipients")?
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .map(quoted)
            .collect();
        let mut body = format!(
            "host = {}\nport = {port}\nsecurity = {}\n",
            quoted(text("host")?),
            quoted(security)
        );
        match plain(config.get("username")) {
            Some(username) => {
                let password = self.credential(id, "password", config.get("password"))?;
                let _ = write!(body, "username = {}\n{password}", quoted(&username));
            }
            None => self.notes.push(format!(
                "the user name of the mail channel `{id}` came from the environment: write it into `username`, with `password`"
            )),
        }
        let _ = write!(
            body,
            "sender = {}\nrecipients = [{}]\n",
            quoted(text("sender")?),
            recipients.join(", ")
        );
        Some(body)
    }

    /// A line that names where a secret is. One in plain text goes to a file of its own.
    fn credential(&mut self, id: &str, key: &str, value: Option<&Value>) -> Option<String> {
        let value = value?;
        if let Some(secret) = plain(Some(value)) {
            let path = PathBuf::from("secrets").join(format!("{id}-{key}"));
            let line = format!("{key} = {{ file = {} }}\n", quoted(&path.to_string_lossy()));
            self.secrets.push((path, SecretText::new(secret)));
            return Some(line);
        }
        let name = value.get("value")?.as_str()?;
        let kind = value.get("type")?.as_str()?;
        if !kind.eq_ignore_ascii_case("environment") {
            self.notes.push(format!(
                "`{key}` of `{id}` came from {kind}, which is not read here: put the secret into the variable {name}"
            ));
        }
        Some(format!("{key} = {{ env = {} }}\n", quoted(name)))
    }
}

/// A value that stands in plain text: a string alone, or one that says so.
pub(super) fn plain(value: Option<&Value>) -> Option<String> {
    let value = value?;
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let is_plain = value.get("type")?.as_str()?.eq_ignore_ascii_case("plain");
    value.get("value")?.as_str().filter(|_| is_plain).map(str::to_owned)
}
