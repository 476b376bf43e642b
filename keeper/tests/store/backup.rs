//! A record is copied while it is written.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alloy::primitives::Address;
use cordon_client::config::{Credential, StorePlace};
use cordon_keeper::record::{BackupError, Store};

use crate::fixture::{Block, Fixture, GUARD, block};

const CHAIN: u64 = 42_161;

/// More than a hundred pages: what is copied some pages at a time has to begin again for each block that is written meanwhile.
const FILL: &str = "CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, randomblob(1000) AS b FROM n";

async fn backup(record: &Path, file: &Path) -> Result<u64, BackupError> {
    Store::backup(
        &StorePlace::File(record.to_owned()),
        Path::new("."),
        (CHAIN, GUARD),
        file,
    )
    .await
}

async fn newest(path: &Path) -> (i64, i64) {
    let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    let found = sqlx::query_as("SELECT COUNT(*), MAX(number) FROM blocks")
        .fetch_one(&pool)
        .await
        .unwrap();
    pool.close().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_that_is_written_all_the_time_is_copied_whole() {
    let fixture = Arc::new(Fixture::sqlite().await);
    fixture.tamper(FILL).await;
    let record = fixture.file().unwrap();
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn({
        let (fixture, stop, written) = (Arc::clone(&fixture), Arc::clone(&stop), Arc::clone(&written));
        async move {
            while !stop.load(Ordering::Acquire) {
                let number = written.load(Ordering::Acquire) + 1;
                fixture.commit(&block(number, 0), Block::default()).await.unwrap();
                written.store(number, Ordering::Release);
            }
        }
    });
    while written.load(Ordering::Acquire) < 5 {
        tokio::task::yield_now().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let before = written.load(Ordering::Acquire);
    let size = backup(&record, &copy).await.unwrap_or_else(|e| panic!("{e}"));
    let after = written.load(Ordering::Acquire);
    stop.store(true, Ordering::Release);
    writer.await.unwrap();
    assert!(after > before + 1, "nobody wrote meanwhile: {before}, {after}");
    let metadata = std::fs::metadata(&copy).unwrap();
    assert!(size > 20_000_000 && metadata.len() == size, "{size}");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // Nothing else is left beside it: neither a part of it nor a log that would belong to it.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let (count, newest) = newest(&copy).await;
    assert_eq!(count, newest, "blocks are missing in the copy");
    assert!(u64::try_from(newest).unwrap() >= before, "{newest}, {before}");
    // It is a record to go on with.
    let restored = Store::open(&copy, CHAIN, GUARD).await.unwrap_or_else(|e| panic!("{e}"));
    restored.verify_evidence(None).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_backup_overwrites_a_file_or_copies_what_is_not_ours() {
    let fixture = Fixture::sqlite().await;
    let record = fixture.file().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    std::fs::write(&copy, "the backup of yesterday").unwrap();
    let error = backup(&record, &copy).await.unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "the backup of yesterday");
    let missing = folder.path().join("missing.db");
    let error = backup(&missing, &folder.path().join("a.db")).await.unwrap_err();
    assert!(matches!(error, BackupError::Missing { .. }), "{error}");
    assert!(!missing.exists());
    let nowhere = folder.path().join("no/such/folder/a.db");
    let error = backup(&record, &nowhere).await.unwrap_err();
    assert!(matches!(error, BackupError::Write { .. }), "{error}");
    let (place, file) = (StorePlace::File(record), folder.path().join("a.db"));
    let other = (CHAIN, Address::repeat_byte(9));
    let error = Store::backup(&place, Path::new("."), other, &file).await.unwrap_err();
    assert!(matches!(error, BackupError::Store(_)), "{error}");
    // Nothing is asked of a database.
    let place = StorePlace::Postgres(Credential::File(folder.path().join("url")));
    let error = Store::backup(&place, Path::new("."), (CHAIN, GUARD), Path::new("a.dump"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("pg_dump --format=custom --file a.dump"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_record_that_is_damaged_makes_no_backup() {
    let fixture = Fixture::sqlite().await;
    fixture.tamper(FILL).await;
    let record = fixture.file().unwrap();
    fixture.store.close().await;
    // Pages of the middle are lost.
    let mut bytes = std::fs::read(&record).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_960].fill(0xa5);
    std::fs::write(&record, bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = backup(&record, &folder.path().join("a.db")).await.unwrap_err();
    assert!(
        matches!(error, BackupError::Copy { .. } | BackupError::Damaged { .. }),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
