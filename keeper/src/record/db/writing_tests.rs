//! Who writes when, and what is left of what was broken off.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use futures::FutureExt;

use super::*;

async fn pool() -> (tempfile::TempDir, Pool) {
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::sqlite(&dir.path().join("cordon.db")).await.unwrap();
    (dir, pool)
}

/// Nothing stands in the way of who writes next.
async fn can_write(pool: &Pool) {
    let mut tx = pool.begin(Urgency::Rest).await.unwrap();
    query("DELETE FROM settings WHERE name = 'nothing'").later(&mut tx);
    tx.commit(Step::Note).await.unwrap();
}

#[tokio::test]
async fn who_writes_waits_for_its_turn_however_long_the_others_take() {
    let (_dir, pool) = pool().await;
    let first = pool.begin(Urgency::Rest).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut others = Vec::new();
    for (number, urgency) in [Urgency::Rest, Urgency::Rest, Urgency::Breach].into_iter().enumerate() {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        others.push(tokio::spawn(async move {
            let turn = pool.begin(urgency).await.unwrap();
            order.lock().unwrap().push(number);
            turn.commit(Step::Note).await.unwrap();
        }));
        // Each is in the line before the next comes.
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(sqlite::BUSY + Duration::from_millis(500)).await;
    assert!(order.lock().unwrap().is_empty(), "one at a time");
    first.commit(Step::Note).await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    let order = order.lock().unwrap();
    assert_eq!(
        *order,
        [2, 0, 1],
        "what is urgent first, the others in the order in which they came"
    );
}

#[tokio::test]
async fn a_writer_that_is_stuck_keeps_nobody_waiting_for_ever_in_a_shared_database() {
    let server = cordon_testkit::Postgres::start().unwrap();
    let pool = Pool::postgres(&SecretText::new(server.url())).await.unwrap();
    let stuck = pool.begin(Urgency::Rest).await.unwrap();
    let next = tokio::time::timeout(TURN + Duration::from_secs(15), pool.begin(Urgency::Breach)).await;
    let mut next = next.unwrap().unwrap();
    query("INSERT INTO settings (name, value) VALUES ('a', '')").later(&mut next);
    next.commit(Step::Note).await.unwrap();
    drop(stuck);
    can_write(&pool).await;
}

#[tokio::test]
async fn the_log_of_a_file_does_not_grow_for_ever() {
    let (dir, pool) = pool().await;
    let log = dir.path().join("cordon.db-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    let text = |n: u32| format!("{n:>6}").repeat(1_000);
    let write = async |count: u32| {
        for n in 0..count {
            let mut tx = pool.begin(Urgency::Sending).await.unwrap();
            query("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
                .bind(format!("n{}", n % 8))
                .bind(text(n))
                .later(&mut tx);
            tx.commit(Step::Note).await.unwrap();
        }
    };
    write(160).await;
    let first = length();
    write(1_440).await;
    // What is emptied is written over. SQLite itself would have let it grow to 64 MiB first, and this is ten times the first.
    assert!(length() < 3 * first, "{first} bytes, then {}", length());
}

#[tokio::test]
async fn a_log_that_was_emptied_is_begun_anew_by_nobody_who_decides() {
    let (dir, pool) = pool().await;
    let log = dir.path().join("cordon.db-wal");
    // Its header counts how often it was begun.
    let begun = || std::fs::read(&log).unwrap().get(12..16).map(<[u8]>::to_vec);
    let write = async |name: &str| {
        let mut tx = pool.begin(Urgency::Breach).await.unwrap();
        query("INSERT INTO settings (name, value) VALUES (?, '')")
            .bind(name)
            .later(&mut tx);
        tx.commit(Step::Note).await.unwrap();
    };
    write("a").await;
    let before = begun();
    pool.empty_log().await.unwrap();
    let after = begun();
    assert_ne!(before, after);
    write("b").await;
    assert_eq!(begun(), after);
}

#[tokio::test]
async fn what_the_disk_has_refused_is_written_once_more_with_the_next_commit() {
    let dir = tempfile::tempdir().unwrap();
    let file = sqlite::Sqlite::open(&dir.path().join("cordon.db")).await.unwrap();
    file.refused_by_the_disk();
    let pool = Pool::of(file);
    assert!(pool.fault().is_some());
    can_write(&pool).await;
    let mended = async {
        while pool.fault().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), mended).await.unwrap();
}

/// One that a statement breaks off, with what was put off before it.
async fn half_done(pool: &Pool) -> Transaction {
    let mut tx = pool.begin(Urgency::Rest).await.unwrap();
    query("INSERT INTO settings (name, value) VALUES ('lost', '')").later(&mut tx);
    let nothing: Result<Vec<(i64,)>, _> = query_as("SELECT a FROM nowhere").fetch_all(&mut *tx).await;
    assert!(matches!(nothing, Err(StoreError::Sql(_))));
    tx
}

async fn is_whole_or_nothing(pool: Pool) {
    let error = half_done(&pool).await.commit(Step::Note).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }), "{error}");
    let mut tx = half_done(&pool).await;
    // What succeeds after it mends nothing.
    let _: Result<Vec<(i64,)>, _> = query_as("SELECT 1").fetch_all(&mut *tx).await;
    assert!(matches!(tx.commit(Step::Note).await, Err(StoreError::Broken { .. })));
    let held: Vec<(String,)> = query_as("SELECT name FROM settings").fetch_all(&pool).await.unwrap();
    assert!(held.is_empty());
    can_write(&pool).await;
}

#[tokio::test]
async fn what_was_broken_off_is_not_committed() {
    let (_dir, pool) = pool().await;
    is_whole_or_nothing(pool).await;
}

#[tokio::test]
async fn what_was_broken_off_is_not_committed_in_a_shared_database() {
    let server = cordon_testkit::Postgres::start().unwrap();
    is_whole_or_nothing(Pool::postgres(&SecretText::new(server.url())).await.unwrap()).await;
}

/// A session that never answers what it is asked, and commits whatever it is told to.
struct Silent;

impl Session for Silent {
    fn run(&mut self, _: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
        Box::pin(std::future::pending())
    }

    fn commit(self: Box<Self>, _: Vec<Statement>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn what_nobody_waited_for_is_not_committed() {
    let (_dir, pool) = pool().await;
    let turn = Turns::default().take(Urgency::Rest).await;
    let mut tx = Transaction {
        connection: Connection::of(Box::new(Silent), true),
        turn,
        pool,
    };
    query("INSERT INTO settings (name, value) VALUES ('lost', '')").later(&mut tx);
    let asked: Option<Result<Vec<(i64,)>, _>> = query_as("SELECT 1").fetch_all(&mut *tx).now_or_never();
    assert!(asked.is_none());
    let committed = tx.commit(Step::Note).now_or_never();
    assert!(
        matches!(committed, Some(Err(StoreError::Broken { .. }))),
        "{committed:?}"
    );
}

#[tokio::test]
async fn what_is_put_off_is_done_by_the_end_and_undone_with_the_rest() {
    let (_dir, pool) = pool().await;
    let note = |name: &str, tx: &mut Connection| {
        query("INSERT INTO settings (name, value) VALUES (?, '')")
            .bind(name)
            .later(tx);
    };
    let held = async || -> Vec<(String,)> {
        let all = query_as("SELECT name FROM settings ORDER BY name");
        all.fetch_all(&pool).await.unwrap()
    };
    let mut tx = pool.begin(Urgency::Rest).await.unwrap();
    note("a", &mut tx);
    let seen: Vec<(String,)> = query_as("SELECT name FROM settings").fetch_all(&mut *tx).await.unwrap();
    assert_eq!(seen, [("a".to_owned(),)], "who asks sees it");
    drop(tx);
    assert!(held().await.is_empty());
    let mut tx = pool.begin(Urgency::Rest).await.unwrap();
    note("b", &mut tx);
    tx.commit(Step::Note).await.unwrap();
    assert_eq!(held().await, [("b".to_owned(),)]);
    let mut tx = pool.begin(Urgency::Rest).await.unwrap();
    note("c", &mut tx);
    note("b", &mut tx);
    assert!(tx.commit(Step::Note).await.is_err(), "what fails last is told too");
    assert_eq!(held().await, [("b".to_owned(),)], "and nothing of it is left");
}
