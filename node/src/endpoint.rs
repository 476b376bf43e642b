//! Endpoints of the forked chain as messages may name them.

use std::sync::Arc;

use parking_lot::RwLock;
use url::Url;

/// The endpoint as messages may name it: paths and credentials of providers' URLs are secrets. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint(Arc<RwLock<Names>>);

#[derive(Clone, Debug)]
struct Names {
    /// Scheme, host and port; of several endpoints, all.
    shown: String,
    /// Whole URLs and what stands for them.
    full: Vec<(String, String)>,
}

impl Endpoint {
    pub(crate) fn new(url: &Url, more: &[Url]) -> Self {
        let shown = |url: &Url| {
            let host = url.host_str().unwrap_or("?");
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{host}{port}", url.scheme())
        };
        let full: Vec<_> = std::iter::once(url)
            .chain(more)
            .map(|url| (url.to_string(), shown(url)))
            .collect();
        let names: Vec<_> = full.iter().map(|(_, name)| name.as_str()).collect();
        let shown = names.join(" and ");
        Self(Arc::new(RwLock::new(Names { shown, full })))
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        self.0.read().shown.clone()
    }

    /// Takes the name of another endpoint. Requests on the way may still fail with the old URL, which stays secret.
    pub(crate) fn rename(&self, other: &Self) {
        let other = other.0.read().clone();
        let mut names = self.0.write();
        names.shown = other.shown;
        for known in other.full {
            if !names.full.contains(&known) {
                names.full.push(known);
            }
        }
    }

    /// An error with its causes, and without the secret parts of the URL.
    pub(crate) fn explain(&self, error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let part = error.to_string();
            if !text.contains(&part) {
                text = format!("{text}: {part}");
            }
            cause = error.source();
        }
        let names = self.0.read();
        names
            .full
            .iter()
            .fold(text, |text, (full, name)| text.replace(full, name))
    }
}
