//! A copy of a record that a keeper may be writing at the same time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::Address;
use cordon_client::config::StorePlace;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::NamedTempFile;

use super::{Store, StoreError};

/// How long a keeper that opens its record at this moment is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// Why there is no copy of a record.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The record is a database's.
    #[error(
        "the record is in a PostgreSQL database, which is copied by its own tools: pg_dump --format=custom --file {file} URL, with the URL of [keeper] store, beside keepers that run; back with pg_restore --clean --if-exists --single-transaction --dbname URL {file}, while none runs",
        file = .file.display()
    )]
    Shared {
        /// What was to be written.
        file: PathBuf,
    },
    /// There is nothing to copy.
    #[error("there is no record at {path}: has the keeper run?", path = .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is a file of this name.
    #[error("{file} is there already, and no backup overwrites another file: name a new one", file = .file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The record cannot be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy cannot be written.
    #[error("cannot write {file}: {source}", file = .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The record cannot be copied.
    #[error("cannot copy the record {path}: {source}; nothing is left of the copy", path = .path.display())]
    Copy {
        /// The record.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The copy is not whole.
    #[error(
        "the copy is not whole, and is not kept ({reason}): look after the disks of record and copy, and try again"
    )]
    Damaged {
        /// What the database finds.
        reason: String,
    },
}

impl Store {
    /// Copies the record in a SQLite file to `file`, which only its owner can read and which is there when all of it is, was found whole,
    /// and is kept by the disk. It is the record of one instant, also while a keeper writes, which is not kept waiting: one transaction
    /// reads it. Answers the size of the copy in bytes.
    ///
    /// # Errors
    /// [`BackupError`]; there is no copy then.
    pub async fn backup(
        place: &StorePlace,
        directory: &Path,
        (chain_id, guard): (u64, Address),
        file: &Path,
    ) -> Result<u64, BackupError> {
        let StorePlace::File(path) = place else {
            return Err(BackupError::Shared { file: file.to_owned() });
        };
        if !path.exists() {
            return Err(BackupError::Missing { path: path.clone() });
        }
        if file.symlink_metadata().is_ok() {
            return Err(BackupError::Exists { file: file.to_owned() });
        }
        Self::peek(place, directory, chain_id, guard).await?;
        let write = |source| BackupError::Write {
            file: file.to_owned(),
            source,
        };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let copy = tempfile::Builder::new()
            .prefix("cordon-backup-")
            .suffix(".part")
            .tempfile_in(folder)
            .map_err(write)?;
        fill(path, copy.path()).await?;
        inspect(copy.path()).await?;
        let size = copy.as_file().metadata().map_err(write)?.len();
        keep(copy, file, folder)?;
        Ok(size)
    }
}

async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY);
    options.connect().await
}

/// Copies the record at `path` to the empty file `copy`. (SQLite's online backup, of its shell too, copies some pages at a time and begins
/// again whenever another process has written in between: beside a keeper it never ends.)
async fn fill(path: &Path, copy: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Copy {
        path: path.to_owned(),
        source,
    };
    let mut record = connect(path).await.map_err(failed)?;
    let name = copy.to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO ?")
        .bind(name)
        .execute(&mut record)
        .await
        .map_err(failed)?;
    record.close().await.map_err(failed)
}

/// Makes sure that a copy is whole.
async fn inspect(copy: &Path) -> Result<(), BackupError> {
    let damaged = |error: sqlx::Error| BackupError::Damaged {
        reason: error.to_string(),
    };
    let mut database = connect(copy).await.map_err(damaged)?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut database)
        .await
        .map_err(damaged)?;
    database.close().await.map_err(damaged)?;
    match found.as_slice() {
        [word] if word == "ok" => Ok(()),
        found => Err(BackupError::Damaged {
            reason: found.iter().take(3).map(String::as_str).collect::<Vec<_>>().join("; "),
        }),
    }
}

/// Gives the copy its name when the disk has it.
fn keep(copy: NamedTempFile, file: &Path, folder: &Path) -> Result<(), BackupError> {
    let write = |source| BackupError::Write {
        file: file.to_owned(),
        source,
    };
    copy.as_file().sync_all().map_err(write)?;
    copy.persist_noclobber(file).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists { file: file.to_owned() },
        _ => write(error.error),
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(write)
}
