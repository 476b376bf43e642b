//! Configurations from the examples in `tests/data`, and what is complained of in them.
#![allow(dead_code, clippy::panic)] // not every test file uses all of it

use std::path::{Path, PathBuf};

use cordon_client::Config;

/// Where the examples are said to be.
pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cordon.toml")
}

/// A message with the file named relative to where the tests are, wherever that is.
pub(crate) fn relative(message: impl ToString) -> String {
    let prefix = format!("{}/tests/data/", env!("CARGO_MANIFEST_DIR"));
    message.to_string().replace(&prefix, "")
}

pub(crate) fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, path()).map_err(relative)
}

/// The complaint about an example with `from` replaced by `to`.
pub(crate) fn complaint(example: &str, from: &str, to: &str) -> String {
    assert!(example.contains(from), "the example has no {from}");
    match parse(&example.replacen(from, to, 1)) {
        Err(message) => message,
        Ok(_) => panic!("nothing wrong with {to}"),
    }
}
