//! Several statements as one text, and the file behind a link.

#![allow(clippy::unwrap_used)]

use super::statements::{TOGETHER, parts, unnumbered};
use super::*;
use crate::record::db::Value;

fn statement(sql: &str, values: Vec<Value>) -> Statement {
    Statement {
        sql: sql.to_owned(),
        values,
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

async fn file() -> (tempfile::TempDir, Sqlite) {
    let dir = tempfile::tempdir().unwrap();
    let file = Sqlite::open(&dir.path().join("cordon.db")).await.unwrap();
    (dir, file)
}

#[tokio::test]
async fn the_log_of_a_file_behind_a_link_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (link, place) = (dir.path().join("cordon.db"), dir.path().join("disk"));
    std::fs::create_dir(&place).unwrap();
    std::os::unix::fs::symlink(place.join("real.db"), &link).unwrap();
    let file = Sqlite::open(&link).await.unwrap();
    assert_eq!(
        file.disk.log(),
        std::fs::canonicalize(place).unwrap().join("real.db-wal")
    );
    assert!(file.disk.log().exists());
}

#[tokio::test]
async fn many_statements_run_in_their_order_and_each_answers_for_itself() {
    let (_dir, file) = file().await;
    let mut session = file.begin().await.unwrap();
    let insert = "INSERT INTO settings (name, value) VALUES (?2, ?1 || ?1) ON CONFLICT (name) DO NOTHING";
    let count = 2 * TOGETHER + 3;
    let mut statements: Vec<Statement> = (0..count)
        .map(|n| statement(insert, vec![text(n.to_string()), text(format!("n{n}"))]))
        .collect();
    statements.push(statement("SELECT name FROM settings", vec![]));
    let update = "UPDATE settings SET value = ? || value WHERE name <> ?";
    statements.push(statement(update, vec![text("+"), text("n7")]));
    let read = "SELECT value FROM settings WHERE name = ? OR name = ? ORDER BY value";
    statements.push(statement(read, vec![text("n34"), text("n7")]));
    let mut answers = session.run(statements).await.unwrap();
    let values =
        |answer: &Answer| -> Vec<String> { answer.rows.iter().map(|row| row.try_get("value").unwrap()).collect() };
    assert_eq!(answers.len(), count + 3);
    assert_eq!(
        answers.pop().as_ref().map(values),
        Some(vec!["+3434".to_owned(), "77".to_owned()])
    );
    assert_eq!(
        answers.pop().map(|answer| (answer.rows.len(), answer.changed)),
        Some((0, count as u64 - 1))
    );
    assert_eq!(answers.pop().map(|answer| answer.rows.len()), Some(count));
    assert!(
        answers
            .iter()
            .all(|answer| answer.rows.is_empty() && answer.changed == 1)
    );
}

#[tokio::test]
async fn texts_without_end_do_not_fill_the_memory() {
    let (_dir, file) = file().await;
    let mut connection = file.pool.acquire().await.unwrap();
    for n in 0..1_000_usize {
        // Each of them another one.
        let of = |bit: usize| match n >> bit & 1 {
            0 => statement("SELECT 1", vec![]),
            _ => statement("SELECT value FROM settings WHERE name = ?", vec![text("name")]),
        };
        let answers = run(&mut connection, (0..10).map(of).collect()).await.unwrap();
        assert_eq!(answers.len(), 10);
    }
    let held = sqlx::Connection::cached_statements_size(&*connection);
    assert!((64..=128).contains(&held), "{held} texts of ten statements each");
}

#[tokio::test]
async fn one_of_many_that_fails_fails_all() {
    let (_dir, file) = file().await;
    let mut session = file.begin().await.unwrap();
    let twice = statement(
        "INSERT INTO settings (name, value) VALUES (?, ?)",
        vec![text("name"), text("value")],
    );
    let select = statement("SELECT 1", vec![]);
    assert!(session.run(vec![twice.clone(), twice, select]).await.is_err());
}

/// Names of the settings, as another connection sees them.
async fn names(file: &Sqlite) -> Vec<String> {
    let mut session = file.acquire().await.unwrap();
    let select = statement("SELECT name FROM settings ORDER BY name", vec![]);
    let answers = session.run(vec![select]).await.unwrap();
    let rows = answers.iter().flat_map(|answer| &answer.rows);
    rows.map(|row| row.try_get("name").unwrap()).collect()
}

fn insertion(name: &str) -> Statement {
    let sql = "INSERT INTO settings (name, value) VALUES (?, '')";
    statement(sql, vec![text(name)])
}

#[tokio::test]
async fn who_is_dropped_leaves_nothing_and_who_writes_next_does_not_wait_for_the_lock() {
    let (_dir, file) = file().await;
    // One that failed, one that was only begun, one that nobody waited for, each with and without something done before.
    for done in [vec![], vec![insertion("done")]] {
        for (next, polls) in [
            (vec![insertion("a"), insertion("a")], None),
            (vec![], None),
            (vec![insertion("b"); 40], Some(2)),
        ] {
            let mut session = file.begin().await.unwrap();
            session.run(done.clone()).await.unwrap();
            let mut running = session.run(next);
            match polls {
                None => drop((&mut running).await),
                Some(polls) => {
                    for _ in 0..polls {
                        if futures::poll!(&mut running).is_ready() {
                            break;
                        }
                    }
                }
            }
            drop(running);
            drop(session);
            let begun = std::time::Instant::now();
            let mut session = file.begin().await.unwrap();
            session.run(vec![statement("SELECT 1", vec![])]).await.unwrap();
            session.commit(vec![]).await.unwrap();
            assert!(begun.elapsed() < BUSY / 2, "{:?}", begun.elapsed());
            assert_eq!(names(&file).await, Vec::<String>::new());
        }
    }
    let session = file.begin().await.unwrap();
    session.commit(vec![insertion("kept")]).await.unwrap();
    assert_eq!(names(&file).await, ["kept"]);
}

#[tokio::test]
async fn who_has_failed_does_nothing_more() {
    let (_dir, file) = file().await;
    let mut session = file.begin().await.unwrap();
    assert!(session.run(vec![insertion("a"), insertion("a")]).await.is_err());
    // SQLite undoes some of what fails itself: this would be done by itself then.
    assert!(session.run(vec![insertion("b")]).await.is_err());
    assert!(session.commit(vec![]).await.is_err());
    assert!(names(&file).await.is_empty());
}

#[test]
fn many_are_cut_into_parts_without_being_moved_again_and_again() {
    let count = 2 * TOGETHER + 3;
    let sizes: Vec<usize> = parts((0..count).collect()).map(|part| part.len()).collect();
    assert_eq!(sizes, [TOGETHER, TOGETHER, 3]);
    assert_eq!(
        parts((0..count).collect()).flatten().collect::<Vec<_>>(),
        (0..count).collect::<Vec<_>>()
    );
    assert_eq!(parts(Vec::<u8>::new()).count(), 0);
    // Milliseconds; half a minute if what is left were moved for each part.
    let begun = std::time::Instant::now();
    let many = vec![[0_u64; 16]; 150_000];
    assert_eq!(parts(many).map(|part| part.len()).sum::<usize>(), 150_000);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn numbers_are_places_where_several_go_together() {
    let numbered = |sql, values: &[i64]| {
        let values = values.iter().map(|value| Value::Int(*value)).collect();
        let Statement { sql, values } = unnumbered(statement(sql, values));
        (sql, values)
    };
    let ints = |values: &[i64]| values.iter().map(|value| Value::Int(*value)).collect::<Vec<_>>();
    let twice = numbered("a = ?2 OR ?1 IS NULL OR a = ?2", &[1, 2]);
    assert_eq!(twice, ("a = ? OR ? IS NULL OR a = ?".to_owned(), ints(&[2, 1, 2])));
    let plain = numbered("a = ? AND b = ?", &[1, 2]);
    assert_eq!(plain, ("a = ? AND b = ?".to_owned(), ints(&[1, 2])));
}
