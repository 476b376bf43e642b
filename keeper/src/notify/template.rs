//! What people read in the words of their own team.

use alloy::primitives::B256;
use cordon_client::config::{Placeholder, Template};

use super::body::actions;
use super::message::{Message, Origin, TITLE, line, shortened, sighting, what};
use crate::clock::utc_ms;
use crate::record::{Incident, Notice};

/// Longest text that a template makes, in characters: what every service takes.
const TEXT: usize = 8_000;
/// What stands where there is nothing to say.
const NONE: &str = "-";

/// The message with the title and the text of a template. What machines read of it stays the same.
pub(super) fn templated(
    written: Message,
    template: &Template,
    about: (&Origin, &Notice, Option<&Incident>),
    repeated: bool,
) -> Message {
    let value = |placeholder| value(placeholder, about, &written.body);
    let title = template.title.as_ref().map(|title| {
        let title = line(&title.render(value));
        let title = if repeated {
            format!("Not acknowledged: {title}")
        } else {
            title
        };
        shortened(&title, TITLE)
    });
    let body = template.text.as_ref().map(|text| shortened(&text.render(value), TEXT));
    Message {
        title: title.unwrap_or(written.title),
        body: body.unwrap_or(written.body),
        ..written
    }
}

/// What stands for a placeholder: one line of bounded length, but for the details.
fn value(
    placeholder: Placeholder,
    (origin, notice, incident): (&Origin, &Notice, Option<&Incident>),
    details: &str,
) -> String {
    let hash = |tx: &B256| tx.to_string();
    let said = match placeholder {
        Placeholder::Details => return details.trim_end().to_owned(),
        Placeholder::Severity => Some(notice.severity.name().to_owned()),
        Placeholder::Subject => Some(notice.subject.clone()),
        Placeholder::What => Some(what(notice, incident)),
        Placeholder::Text => Some(notice.text.clone()),
        Placeholder::Time => Some(utc_ms(notice.at_ms)),
        Placeholder::Chain => Some(origin.chain_id.to_string()),
        Placeholder::Guard => Some(origin.guard.to_string()),
        Placeholder::Block => notice.block_number.map(|number| number.to_string()),
        Placeholder::Transaction => {
            let seen = sighting(notice).and_then(|facts| Some(facts.get("tx")?.as_str()?.to_owned()));
            seen.or_else(|| incident?.transactions.last().map(|tx| hash(&tx.hash)))
        }
        Placeholder::Incident => incident.map(|incident| incident.id.to_string()),
        Placeholder::State => incident.map(|incident| incident.state.name().to_owned()),
        Placeholder::Rule => incident.and_then(|incident| incident.rule_name.clone()),
        Placeholder::Level => incident.map(|incident| incident.level.name().to_owned()),
        Placeholder::Closed => incident.map(|incident| {
            let open = incident.closures.iter().filter(|closure| closure.to_time.is_none());
            let closed: Vec<String> = open.map(|closure| actions(closure.actions)).collect();
            if closed.is_empty() {
                "nothing".to_owned()
            } else {
                closed.join(", ")
            }
        }),
    };
    let said = line(&said.unwrap_or_default());
    if said.is_empty() { NONE.to_owned() } else { said }
}
