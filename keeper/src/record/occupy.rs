//! One keeper per SQLite file: a lock on a file beside it, which the system takes back from a process that is gone.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::StoreError;

/// Keeps other keepers off a file while it lives. The file of the lock stays: who removed it could let a second keeper in.
#[derive(Debug)]
pub(crate) struct Occupied {
    _file: File,
}

impl Occupied {
    /// Locks `record`, by a file of that name with `-lock` behind it: locks of SQLite's own are on the record itself.
    pub(super) fn of(record: &Path) -> Result<Self, StoreError> {
        let mut name = record.as_os_str().to_owned();
        name.push("-lock");
        let path = Path::new(&name);
        let failed = |source| StoreError::Lock {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
                path: record.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
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
