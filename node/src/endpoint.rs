//! Endpoints of the forked chain as messages may name them.

use url::Url;

/// The endpoint as messages may name it: paths and credentials of providers' URLs are secrets.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Scheme, host and port; of several endpoints, all.
    pub(crate) name: String,
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
        Self {
            name: names.join(" and "),
            full,
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
        self.full
            .iter()
            .fold(text, |text, (full, name)| text.replace(full, name))
    }
}
