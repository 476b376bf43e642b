//! When a commit has reached the disk.
//!
//! What SQLite has written to its log survives the process, however it ends: the system holds it. Only a power cut takes what the disk was not
//! told to keep, and telling it takes milliseconds, on a busy disk a hundred of them. So SQLite does not wait for the disk at every commit
//! (`synchronous = NORMAL`, which keeps the file whole whatever happens); who needs to waits here, without holding up who writes next, and
//! the disk is told once for all who wait.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::record::StoreError;

/// The disk under a file's log.
#[derive(Debug)]
pub(super) struct Disk {
    log: PathBuf,
    /// How many commits were written to the log.
    written: AtomicU64,
    /// How many of them the disk has been told to keep.
    kept: Mutex<u64>,
}

/// What became of a commit: it is written, and lost with the power until it is [kept](Landing::kept).
#[derive(Debug)]
#[must_use = "who does not wait for it has to say why"]
pub(crate) struct Landing {
    /// The disk, and the commit's number; `None` where the database answers a commit when it is kept.
    awaited: Option<(Arc<Disk>, u64)>,
}

impl Disk {
    /// Of the SQLite file at `path`.
    pub(super) fn under(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self {
            log: log.into(),
            written: AtomicU64::new(0),
            kept: Mutex::new(0),
        }
    }

    /// To be said after each commit. Its number, from 1 on, and how to wait for it.
    pub(super) fn wrote(self: &Arc<Self>) -> (u64, Landing) {
        let number = self.written.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let awaited = Some((Arc::clone(self), number));
        (number, Landing { awaited })
    }

    async fn keep(&self, number: u64) -> io::Result<()> {
        // Those who come while the disk is being told wait for the next telling: theirs may have been written after it began.
        let mut kept = self.kept.lock().await;
        if *kept >= number {
            return Ok(());
        }
        let up_to = self.written.load(Ordering::Acquire);
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || tell(&log)).await??;
        *kept = up_to;
        Ok(())
    }
}

/// Which file is the log is looked up each time: who closes a database last removes it, and who opens it begins another.
fn tell(log: &Path) -> io::Result<()> {
    match File::open(log) {
        Ok(file) => file.sync_data(),
        // SQLite has moved what was in it into the file, and has told the disk, before it removed the log.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Landing {
    /// That of a commit which the database has answered only when it was kept.
    pub(super) fn at_once() -> Self {
        Self { awaited: None }
    }

    /// Waits until the commit outlives a power cut.
    ///
    /// # Errors
    /// When the disk refuses: the commit is done, and may be lost with the power.
    pub(crate) async fn kept(self) -> Result<(), StoreError> {
        match self.awaited {
            Some((disk, number)) => disk.keep(number).await.map_err(StoreError::Disk),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn disk(name: &str) -> (tempfile::TempDir, Arc<Disk>) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::under(&dir.path().join(name)));
        (dir, disk)
    }

    #[tokio::test]
    async fn the_disk_is_told_once_for_all_who_wait() {
        let (dir, disk) = disk("a.db");
        std::fs::write(dir.path().join("a.db-wal"), "commits").unwrap();
        let (_, first) = disk.wrote();
        let (number, second) = disk.wrote();
        assert_eq!(number, 2);
        first.kept().await.unwrap();
        assert_eq!(*disk.kept.lock().await, 2);
        // Nothing is left to be told: a log that cannot be told is not noticed any more.
        std::fs::remove_file(dir.path().join("a.db-wal")).unwrap();
        std::fs::create_dir(dir.path().join("a.db-wal")).unwrap();
        second.kept().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_written_while_the_disk_is_told_is_told_again() {
        let (_dir, disk) = disk("a.db");
        let telling = disk.kept.lock().await;
        let (_, early) = disk.wrote();
        let waits = tokio::spawn(early.kept());
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(telling);
        waits.await.unwrap().unwrap();
        let (_, late) = disk.wrote();
        assert_eq!(*disk.kept.lock().await, 1);
        late.kept().await.unwrap();
        assert_eq!(*disk.kept.lock().await, 2);
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_heard_and_asked_again() {
        let (dir, disk) = disk("a.db");
        // A log that is no file: it can be opened by nobody.
        let log = dir.path().join("a.db-wal");
        std::os::unix::fs::symlink(&log, &log).unwrap();
        let (_, landing) = disk.wrote();
        let error = landing.kept().await.unwrap_err();
        assert!(matches!(error, StoreError::Disk(_)), "{error}");
        assert_eq!(*disk.kept.lock().await, 0);
        std::fs::remove_file(&log).unwrap();
        let (_, landing) = disk.wrote();
        landing.kept().await.unwrap();
        assert_eq!(*disk.kept.lock().await, 2);
    }
}
