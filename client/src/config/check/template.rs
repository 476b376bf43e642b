//! `[[template]]`: texts of a team's own, given to the channels that they are for.

use super::super::schema::{RawTemplate, Text};
use super::super::source::suggest;
use super::super::template::{EVENTS, TemplateError};
use super::super::{Audience, NotifyChannel, Placeholder, Template, TemplateText};
use super::Checker;

/// Most templates of a file.
const MOST: usize = 64;

impl Checker {
    /// Those that name a channel come before those of its audience; of each, the first that is for an event counts.
    pub(super) fn templates(&mut self, raws: &[RawTemplate], channels: &mut [NotifyChannel]) {
        if let Some(raw) = raws.get(MOST) {
            self.error(raw.at(), format!("{} templates, more than {MOST}", raws.len()), None);
            return;
        }
        for by_name in [true, false] {
            for raw in raws.iter().filter(|raw| raw.channels.is_some() == by_name) {
                self.template(raw, channels);
            }
        }
    }

    fn template(&mut self, raw: &RawTemplate, channels: &mut [NotifyChannel]) {
        if raw.audience.is_some() == raw.channels.is_some() {
            let help = "audience = \"management\", or channels = [\"status-page\"]".to_owned();
            self.error(raw.at(), "a template is for an `audience` or for `channels`", help);
        }
        if raw.title.is_none() && raw.text.is_none() {
            self.error(raw.at(), "a template has a `title`, a `text`, or both", None);
        }
        let events: Vec<&Text> = raw.on.iter().flat_map(|on| &on.0).collect();
        for text in &events {
            self.choice(text, "event", &EVENTS.map(|name| (name, ())));
        }
        let template = Template {
            on: events.iter().map(|text| text.get_ref().clone()).collect(),
            title: raw.title.as_ref().and_then(|text| self.template_text(text)),
            text: raw.text.as_ref().and_then(|text| self.template_text(text)),
        };
        let audience = raw.audience.as_ref().and_then(|text| {
            let table = Audience::ALL.map(|audience| (audience.name(), audience));
            self.choice(text, "audience", &table)
        });
        for channel in channels.iter_mut().filter(|channel| Some(channel.audience) == audience) {
            channel.templates.push(template.clone());
        }
        for text in raw.channels.iter().flat_map(|names| &names.0) {
            let name = text.get_ref();
            let Some(at) = channels.iter().position(|channel| channel.id == *name) else {
                let help = suggest(name, channels.iter().map(|channel| channel.id.as_str()));
                self.error(text.span(), format!("unknown channel `{name}`"), help);
                continue;
            };
            if let Some(channel) = channels.get_mut(at) {
                channel.templates.push(template.clone());
            }
        }
    }

    fn template_text(&mut self, text: &Text) -> Option<TemplateText> {
        match TemplateText::parse(text.get_ref()) {
            Ok(read) => Some(read),
            Err(error) => {
                let help = match &error {
                    TemplateError::Unknown(name) => suggest(name, Placeholder::ALL.map(Placeholder::name)),
                    TemplateError::Brace => Some("a brace itself is written twice: {{ or }}".to_owned()),
                    TemplateError::Empty | TemplateError::Long(_) => None,
                };
                self.error(text.span(), error.to_string(), help);
                None
            }
        }
    }
}
