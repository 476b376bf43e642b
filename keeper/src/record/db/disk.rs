//! When a commit has reached the disk.
//!
//! What SQLite has written to its log survives the process, however it ends: the system holds it. Only a power cut takes what the disk was not
//! told to keep, and telling it takes milliseconds, on a busy disk a hundred of them. So SQLite does not wait for the disk at every commit
//! (`synchronous = NORMAL`, which keeps the file whole whatever happens); who needs to waits here, without holding up who writes next, and
//! the disk is told once for all who wait.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tokio::sync::Mutex;

/// The disk under a file's log.
#[derive(Debug)]
pub(super) struct Disk {
    log: PathBuf,
    /// How many commits were written to the log.
    written: AtomicU64,
    /// How many of them the disk has been told to keep.
    kept: Mutex<u64>,
    /// Why it may not have kept some of them. It says so once: told again it keeps silent, whatever became of what it had refused.
    fault: StdMutex<Option<String>>,
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
            fault: StdMutex::default(),
        }
    }

    /// To be said after each commit. Its number, from 1 on, and how to wait for it.
    pub(super) fn wrote(self: &Arc<Self>) -> (u64, Landing) {
        let number = self.written.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let awaited = Some((Arc::clone(self), number));
        (number, Landing { awaited })
    }

    async fn keep(&self, number: u64) {
        // Those who come while the disk is being told wait for the next telling: theirs may have been written after it began.
        let mut kept = self.kept.lock().await;
        if *kept >= number {
            return;
        }
        let up_to = self.written.load(Ordering::Acquire);
        let log = self.log.clone();
        let told = tokio::task::spawn_blocking(move || tell(&log)).await;
        if let Err(error) = told.map_err(io::Error::from).flatten() {
            self.refused(&error);
        }
        *kept = up_to;
    }

    /// Notes that the disk has refused to keep something.
    pub(super) fn refused(&self, error: &dyn std::error::Error) {
        tracing::error!(%error, "the disk does not keep what the record has written");
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// Notes that all of the log was moved into the file, and kept there: what the disk had refused was written once more.
    pub(super) fn moved(&self) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why something of what is written may be lost with the power.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log.
    #[cfg(test)]
    pub(super) fn log(&self) -> &Path {
        &self.log
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

    /// Waits until the commit outlives a power cut, or the disk refuses that: then it is done all the same, and people are told what
    /// the power might take.
    pub(crate) async fn kept(self) {
        if let Some((disk, number)) = self.awaited {
            disk.keep(number).await;
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
        first.kept().await;
        assert_eq!(*disk.kept.lock().await, 2);
        // Nothing is left to be told: a log that cannot be told is not noticed any more.
        std::fs::remove_file(dir.path().join("a.db-wal")).unwrap();
        std::fs::create_dir(dir.path().join("a.db-wal")).unwrap();
        second.kept().await;
        assert_eq!(disk.fault(), None);
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
        waits.await.unwrap();
        let (_, late) = disk.wrote();
        assert_eq!(*disk.kept.lock().await, 1);
        late.kept().await;
        assert_eq!(*disk.kept.lock().await, 2);
    }

    #[tokio::test]
    async fn what_a_disk_has_refused_is_known_until_it_is_written_once_more() {
        let (dir, disk) = disk("a.db");
        // A log that is no file: it can be opened by nobody.
        let log = dir.path().join("a.db-wal");
        std::os::unix::fs::symlink(&log, &log).unwrap();
        disk.wrote().1.kept().await;
        assert!(disk.fault().is_some());
        std::fs::remove_file(&log).unwrap();
        disk.wrote().1.kept().await;
        assert!(disk.fault().is_some(), "that it takes what comes next says nothing");
        disk.moved();
        assert_eq!(disk.fault(), None);
    }
}
