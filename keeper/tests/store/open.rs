//! How a record is opened: by several processes at once, by one keeper only, and looked into without a trace.

use std::path::{Path, PathBuf};
use std::process::Command;

use alloy::primitives::Address;
use cordon_client::config::{Credential, SecretText, StorePlace};
use cordon_keeper::record::{Store, StoreError};
use cordon_testkit::Postgres;

use crate::fixture::GUARD;

const OPENS: &str = "CORDON_TEST_OPENS";
const CHAIN: u64 = 42_161;

/// Not a test of its own: a process that opens a record.
#[tokio::test]
#[ignore = "started by another test as a process of its own"]
async fn somebody_opens_a_record() {
    if let Ok(path) = std::env::var(OPENS) {
        Store::open(path, CHAIN, GUARD).await.unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn processes_that_open_a_new_file_at_once_wait_for_each_other() {
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let start = |_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "open::somebody_opens_a_record", "--ignored", "--nocapture"])
                .env(OPENS, dir.path().join("cordon.db"))
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        };
        let processes: Vec<_> = (0..8).map(start).collect();
        let ended: Vec<bool> = processes
            .into_iter()
            .map(|mut process| process.wait().unwrap().success())
            .collect();
        assert_eq!(ended, [true; 8]);
    }
}

fn file(path: &Path) -> StorePlace {
    StorePlace::File(path.to_owned())
}

async fn peek(place: &StorePlace, guard: Address) -> Result<(), StoreError> {
    Store::peek(place, Path::new("."), CHAIN, guard).await
}

async fn foreign(place: &StorePlace) {
    peek(place, GUARD).await.unwrap_or_else(|e| panic!("{e}"));
    let error = peek(place, Address::repeat_byte(9)).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { held: GUARD, .. }), "{error}");
    // The same address on another chain is another guard.
    let elsewhere = Store::peek(place, Path::new("."), CHAIN + 1, GUARD).await.unwrap_err();
    assert!(
        matches!(
            elsewhere,
            StoreError::Foreign {
                held_chain: CHAIN,
                held: GUARD,
                ..
            }
        ),
        "{elsewhere}"
    );
}

#[tokio::test]
async fn who_looks_into_a_file_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cordon.db");
    peek(&file(&path), GUARD).await.unwrap();
    assert!(!path.exists());
    // What is there and is no record yet stays none.
    std::fs::write(&path, "").unwrap();
    peek(&file(&path), GUARD).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    Store::open(&path, CHAIN, GUARD).await.unwrap().close().await;
    foreign(&file(&path)).await;
    let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999999, 'later', 1, x'00', 0)";
    sqlx::raw_sql(newer).execute(&pool).await.unwrap();
    pool.close().await;
    let error = peek(&file(&path), GUARD).await.unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn who_looks_into_a_database_leaves_no_trace() {
    let server = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
    let dir = tempfile::tempdir().unwrap();
    let url = dir.path().join("url");
    std::fs::write(&url, server.url()).unwrap();
    let place = StorePlace::Postgres(Credential::File(url));
    peek(&place, GUARD).await.unwrap_or_else(|e| panic!("{e}"));
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(tables, 0);
    Store::at(&place, Path::new("."), CHAIN, GUARD).await.unwrap();
    foreign(&place).await;
    let down = dir.path().join("down");
    std::fs::write(&down, server.url_through(1)).unwrap();
    let error = peek(&StorePlace::Postgres(Credential::File(down)), GUARD)
        .await
        .unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
}

#[tokio::test]
async fn a_second_keeper_is_refused_before_it_touches_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cordon.db");
    let alone = async |path: &PathBuf, before: Option<&Store>| {
        Store::alone(&file(path), Path::new("."), CHAIN, GUARD, before).await
    };
    let first = alone(&path, None).await.unwrap_or_else(|e| panic!("{e}"));
    let bytes = std::fs::read(&path).unwrap();
    let error = alone(&path, None).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    // By another name too.
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = alone(&link, None).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // Who reads is not kept off, nor is the same process with another configuration.
    Store::open(&path, CHAIN, GUARD).await.unwrap_or_else(|e| panic!("{e}"));
    let second = alone(&path, Some(&first)).await.unwrap_or_else(|e| panic!("{e}"));
    // Of another file it has no lock, and takes one.
    let other = dir.path().join("other.db");
    let moved = alone(&other, Some(&second)).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(
        alone(&other, None).await.unwrap_err(),
        StoreError::InUse { .. }
    ));
    drop(moved);
    drop(first);
    assert!(matches!(
        alone(&path, None).await.unwrap_err(),
        StoreError::InUse { .. }
    ));
    drop(second);
    alone(&path, None).await.unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_database_is_reached_over_tls_and_only_the_one_that_is_trusted() {
    let server = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
    let url = server.url_over_tls();
    let store = Store::connect(&SecretText::new(&*url), CHAIN, GUARD)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    // No other test of this server connects over TLS.
    let ours = "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'cordon-keeper' AND ssl";
    let (encrypted,): (i64,) = sqlx::query_as(ours).fetch_one(&pool).await.unwrap();
    assert!(encrypted > 0, "the server sees TLS");
    pool.close().await;
    store.close().await;
    // Another authority's word is none.
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.crt");
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&other, identity.cert.pem()).unwrap();
    let trusting = url.split_once("sslrootcert=").map(|(before, after)| {
        let rest = after.split_once('&').map_or("", |(_, rest)| rest);
        format!("{before}sslrootcert={}&{rest}", other.display())
    });
    let error = Store::connect(&SecretText::new(trusting.unwrap()), CHAIN, GUARD)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Connect { .. }), "{error}");
}
