//! Slack, Discord and Telegram: a message in a channel. Nothing in a message can address people or carry markup, because
//! parts of it come from the chain.

use cordon_client::config::SecretText;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::http::{Answer, Http};
use super::super::message::shortened;
use super::{Message, SendError};

/// Characters that Discord takes in one message.
const DISCORD: usize = 2_000;
/// Characters that Telegram takes in one message.
const TELEGRAM: usize = 4_096;
/// Characters beyond which Slack cuts a message.
const SLACK: usize = 4_000;

/// An incoming webhook of Slack (api.slack.com/messaging/webhooks): it answers `ok` and nothing else.
pub(super) async fn slack(http: &Http, url: &SecretText, message: &Message) -> Result<(), SendError> {
    // The three characters by which Slack recognises commands.
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = format!("*{}*\n{}", escape(&message.title), escape(&message.body));
    let body = json!({ "text": shortened(&text, SLACK), "unfurl_links": false, "unfurl_media": false });
    let answer = http
        .post(url.expose(), &[], body.to_string().into_bytes(), &[url])
        .await?;
    match answer.trouble() {
        Some(error) => Err(error),
        None if answer.body.trim() == "ok" => Ok(()),
        None => Err(answer.strange("Slack's `ok`")),
    }
}

/// A webhook of Discord (discord.com/developers/docs/resources/webhook), asked to wait until the message is stored.
pub(super) async fn discord(http: &Http, url: &SecretText, message: &Message) -> Result<(), SendError> {
    #[derive(Deserialize)]
    struct Busy {
        retry_after: f64,
    }
    #[derive(Deserialize)]
    struct Stored {
        #[serde(rename = "id")]
        _id: String,
    }
    let separator = if url.expose().contains('?') { '&' } else { '?' };
    let target = format!("{}{separator}wait=true", url.expose());
    let text = format!("**{}**\n{}", plain(&message.title), plain(&message.body));
    let body = json!({ "content": shortened(&text, DISCORD), "allowed_mentions": { "parse": [] } });
    let answer = http.post(&target, &[], body.to_string().into_bytes(), &[url]).await?;
    let busy: Option<Busy> = serde_json::from_str(&answer.body).ok();
    match answer.busy_for(busy.map(|busy| busy.retry_after)) {
        Some(error) => Err(error),
        None if serde_json::from_str::<Stored>(&answer.body).is_ok() => Ok(()),
        None => Err(answer.strange("a message that Discord has stored")),
    }
}

/// Discord's Markdown with its signs taken literally.
fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if "*_~`|>[]\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// `sendMessage` of Telegram's Bot API (core.telegram.org/bots/api), as plain text.
pub(super) async fn telegram(
    http: &Http,
    server: &str,
    token: &SecretText,
    chat: &str,
    message: &Message,
) -> Result<(), SendError> {
    let target = format!("{server}bot{}/sendMessage", token.expose());
    let text = format!("{}\n{}", message.title, message.body);
    let body = json!({
        "chat_id": chat,
        "text": shortened(&text, TELEGRAM),
        "link_preview_options": { "is_disabled": true },
    });
    let answer = http.post(&target, &[], body.to_string().into_bytes(), &[token]).await?;
    telegram_answer(&answer)
}

fn telegram_answer(answer: &Answer) -> Result<(), SendError> {
    let parsed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let wait = parsed.pointer("/parameters/retry_after").and_then(Value::as_f64);
    match answer.busy_for(wait) {
        Some(error) => Err(error),
        None if parsed.get("ok") == Some(&Value::Bool(true)) => Ok(()),
        None => Err(answer.strange("Telegram's `\"ok\": true`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_taken_literally() {
        assert_eq!(plain("a_b `c` [d](e)"), "a\\_b \\`c\\` \\[d\\](e)");
    }
}
