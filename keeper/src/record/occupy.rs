//! One keeper per SQLite file, and one process at a time that opens it: locks on files beside it, which the system takes back from a
//! process that is gone.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Keeps other keepers off a file while it lives. The file of the lock stays: who removed it could let a second keeper in.
#[derive(Debug)]
pub(crate) struct Occupied {
    _file: File,
}

impl Occupied {
    /// Locks `record`, by a file of that name with `-lock` behind it: locks of SQLite's own are on the record itself.
    pub(super) fn of(record: &Path) -> Result<Self, StoreError> {
        let (path, file) = beside(record, "-lock")?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
                path: record.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(StoreError::Lock { path, source }),
        }
    }
}

/// Keeps other processes from opening a record while it is opened: two that make the tables of a new file at the same time get in each
/// other's way.
#[derive(Debug)]
pub(super) struct Opening {
    _file: File,
}

impl Opening {
    /// Waits for its turn. Who opens a record is done in a moment, or gone.
    pub(super) async fn of(record: &Path) -> Result<Self, StoreError> {
        let (path, file) = beside(record, "-open")?;
        let failed = |source| StoreError::Lock { path, source };
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        match locked {
            Ok(Ok(file)) => Ok(Self { _file: file }),
            Ok(Err(source)) => Err(failed(source)),
            Err(ended) => Err(failed(std::io::Error::other(ended))),
        }
    }
}

/// A file of the record's name with `ending` behind it, made when it is missing.
fn beside(record: &Path, ending: &str) -> Result<(PathBuf, File), StoreError> {
    let mut name = record.as_os_str().to_owned();
    name.push(ending);
    let path = PathBuf::from(name);
    match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(StoreError::Lock { path, source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_one_keepers_until_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("cordon.db");
        let first = Occupied::of(&record).unwrap();
        let error = Occupied::of(&record).unwrap_err().to_string();
        assert!(
            error.contains("another keeper runs on the record") && error.contains("cordon.db:"),
            "{error}"
        );
        drop(first);
        assert!(Occupied::of(&record).is_ok());
        let nowhere = folder.path().join("missing/cordon.db");
        let error = Occupied::of(&nowhere).unwrap_err().to_string();
        assert!(
            error.contains("cannot lock") && error.contains("cordon.db-lock"),
            "{error}"
        );
    }
}
