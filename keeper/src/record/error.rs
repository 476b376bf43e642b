//! What can be wrong with the record, in words that say what to do.

use std::path::PathBuf;

use alloy::primitives::Address;

/// Why the record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the record {path}: {source}; check that its directory exists and may be written to", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The database of a fleet does not answer.
    #[error(
        "cannot connect to the database at {place}: {source}; check that it runs, its URL, and that the user may create tables"
    )]
    Connect {
        /// Host and port.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// What should be the URL of a database is none.
    #[error("the URL of the database cannot be read: postgres://USER:PASSWORD@HOST:PORT/DATABASE is wanted")]
    Url,
    /// Another keeper runs on the file.
    #[error(
        "another keeper runs on the record {path}: two would decide everything twice; stop it, or give this one a file of its own ([keeper] store), or let both share a PostgreSQL database",
        path = .path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file that keeps other keepers off cannot be locked.
    #[error("cannot lock {path}: {source}; the keeper has to be able to write beside its record", path = .path.display())]
    Lock {
        /// The file beside the record.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The credential of the database could not be had.
    #[error(transparent)]
    Secret(#[from] cordon_client::config::SecretError),
    /// Another keeper of the fleet has its turn: this one may not write.
    #[error(
        "this keeper does not have the turn (its token: {}, that of the record: {recorded}): nothing is written",
        .held.map_or_else(|| "none".to_owned(), |token| token.to_string())
    )]
    Fenced {
        /// The token of this keeper, if it has one.
        held: Option<i64>,
        /// The token of the newest turn.
        recorded: i64,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the record up to date: {0}; it may have been written by a newer version")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the record could not be read or written: {0}")]
    Sql(#[from] sqlx::Error),
    /// A step that was broken off was to be stored.
    #[error(
        "the step {step} of the record is not stored: part of it failed, and it is stored as a whole or not at all; try it again"
    )]
    Broken {
        /// Name of the step.
        step: &'static str,
    },
    /// The record belongs to another guard or chain.
    #[error(
        "the record belongs to guard {held} on chain {held_chain}, not to {wanted} on chain {wanted_chain}: use another file, or database, for each guard ([keeper] store)"
    )]
    Foreign {
        /// Chain of the record.
        held_chain: u64,
        /// Guard of the record.
        held: Address,
        /// Chain that was asked for.
        wanted_chain: u64,
        /// Guard that was asked for.
        wanted: Address,
    },
    /// A stored value is not what was written there.
    #[error("the record holds a damaged {what}: restore it from a backup, or start with a new file")]
    Damaged {
        /// What is damaged.
        what: &'static str,
    },
    /// A number does not fit the record.
    #[error("{what} {value} does not fit the record")]
    Range {
        /// What the number is.
        what: &'static str,
        /// The number.
        value: u64,
    },
}

impl StoreError {
    /// Whether the database does not answer, so that the same may succeed when it does.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let (Self::Connect { source, .. } | Self::Sql(source)) = self else {
            return false;
        };
        match source {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
            // It is starting, or shutting down, or has too many connections.
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                code.starts_with("57P") || code == "53300"
            }
            _ => false,
        }
    }
}
