//! PostgreSQL: one database, or schema, for each guard, any number of keepers.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cordon_client::config::SecretText;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Either, Executor, PgConnection, PgPool, Row as _, TypeInfo, ValueRef,
};

use super::{APPLIED, Answer, Database, Kind, Row, Session, Statement, Value, migrate, newest};
use crate::record::StoreError;

/// What the server does to a session of ours that stands still. A keeper that was stopped in the middle of a transaction must
/// not keep the others from taking over; one whose machine is gone must not hold a connection for hours.
const SESSION: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "2000"),
    ("lock_timeout", "5000"),
    ("statement_timeout", "10000"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_user_timeout", "10000"),
];

/// How long a connection is waited for.
const CONNECT: Duration = Duration::from_secs(4);
/// How long a statement may take: an answer that never comes must not stop the keeper.
const ANSWER: Duration = Duration::from_secs(12);

/// The database.
#[derive(Debug)]
pub(super) struct Postgres(PgPool);

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

impl Postgres {
    pub(super) async fn open(url: &SecretText) -> Result<Self, StoreError> {
        let database = Self::connect(url, 8).await?;
        let applied = sqlx::query_scalar(APPLIED)
            .fetch_all(&database.0)
            .await
            .unwrap_or_default();
        migrate(&MIGRATIONS, &applied, async |version| {
            MIGRATIONS.run_to(version, &database.0).await
        })
        .await?;
        Ok(database)
    }

    /// Connects, to read what it holds.
    pub(super) async fn look_into(url: &SecretText) -> Result<Self, StoreError> {
        Self::connect(url, 1).await
    }

    async fn connect(url: &SecretText, most: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url.expose())
            // The text of the error may repeat the URL, and with it the password.
            .map_err(|_| StoreError::Url)?;
        let options = encrypted_elsewhere(options, url)
            .application_name("cordon-keeper")
            .options(SESSION)
            .disable_statement_logging();
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let pool = PgPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(CONNECT)
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Connect { place, source })?;
        Ok(Self(pool))
    }
}

/// On another machine the server has to encrypt unless the URL says otherwise: by default the client would go on in the clear with one that does
/// not, or with somebody between who says so.
fn encrypted_elsewhere(options: PgConnectOptions, url: &SecretText) -> PgConnectOptions {
    let is_said = ["sslmode=", "ssl-mode="].iter().any(|key| url.expose().contains(key));
    let host = options.get_host().trim_matches(['[', ']']);
    let is_here = host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || options.get_socket().is_some();
    if is_said || is_here || !matches!(options.get_ssl_mode(), PgSslMode::Prefer | PgSslMode::Allow) {
        return options;
    }
    options.ssl_mode(PgSslMode::Require)
}

impl Database for Postgres {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async {
            let tx = in_time(self.0.begin()).await?;
            Ok(Box::new(Writing(tx)) as Box<dyn Session>)
        })
    }

    fn acquire(&self) -> BoxFuture<'_, Result<Box<dyn Session>, sqlx::Error>> {
        Box::pin(async { Ok(Box::new(Reading(self.0.acquire().await?)) as Box<dyn Session>) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // Connections to a server that cannot be reached are given up.
        Box::pin(async {
            let _ = tokio::time::timeout(CONNECT, self.0.close()).await;
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn newest_migration(&self) -> i64 {
        newest(&MIGRATIONS)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(ANSWER, work).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("the database has not answered within {} s", ANSWER.as_secs()),
        ))),
    }
}

struct Writing(sqlx::Transaction<'static, sqlx::Postgres>);

struct Reading(PoolConnection<sqlx::Postgres>);

impl Session for Writing {
    fn run(&mut self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
        Box::pin(run(&mut self.0, statements))
    }

    fn commit(mut self: Box<Self>, last: Vec<Statement>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async move {
            run(&mut self.0, last).await?;
            in_time(self.0.commit()).await
        })
    }
}

impl Session for Reading {
    fn run(&mut self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
        Box::pin(run(&mut self.0, statements))
    }

    fn commit(self: Box<Self>, _last: Vec<Statement>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async { Ok(()) })
    }
}

/// The statement with `$1` for `?` and `?1`.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len().saturating_add(16));
    let mut next = 1_usize;
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '?' {
            out.push(c);
            continue;
        }
        out.push('$');
        if !rest.peek().is_some_and(char::is_ascii_digit) {
            out.push_str(&next.to_string());
            next = next.saturating_add(1);
        }
    }
    out
}

type Bound<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

fn bound(statement: Statement) -> Bound<'static> {
    let query = sqlx::query(AssertSqlSafe(numbered(&statement.sql)));
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Blob(bytes) => query.bind(bytes),
        Value::Null(Kind::Int) => query.bind(None::<i64>),
        Value::Null(Kind::Text) => query.bind(None::<String>),
        Value::Null(Kind::Blob) => query.bind(None::<Vec<u8>>),
    })
}

/// The server takes one statement at a time.
async fn run(connection: &mut PgConnection, statements: Vec<Statement>) -> Result<Vec<Answer>, sqlx::Error> {
    let mut answers = Vec::with_capacity(statements.len());
    for statement in statements {
        answers.push(in_time(run_one(connection, statement)).await?);
    }
    Ok(answers)
}

async fn run_one(connection: &mut PgConnection, statement: Statement) -> Result<Answer, sqlx::Error> {
    let mut answer = Answer::default();
    let mut columns: Option<Arc<[String]>> = None;
    let mut stream = connection.fetch_many(bound(statement));
    while let Some(part) = stream.try_next().await? {
        match part {
            Either::Left(done) => answer.changed = done.rows_affected(),
            Either::Right(row) => {
                let columns = columns.get_or_insert_with(|| names(&row));
                answer.rows.push(read(&row, columns)?);
            }
        }
    }
    Ok(answer)
}

fn names(row: &PgRow) -> Arc<[String]> {
    row.columns().iter().map(|column| column.name().to_owned()).collect()
}

fn read(row: &PgRow, columns: &Arc<[String]>) -> Result<Row, sqlx::Error> {
    let values = (0..columns.len())
        .map(|at| {
            let raw = row.try_get_raw(at)?;
            if raw.is_null() {
                return Ok(Value::Null(Kind::Int));
            }
            let kind = raw.type_info().name().to_owned();
            match kind.as_str() {
                "BYTEA" => row.try_get(at).map(Value::Blob),
                "BOOL" => row.try_get::<bool, _>(at).map(|yes| Value::Int(i64::from(yes))),
                "INT4" => row.try_get::<i32, _>(at).map(|number| Value::Int(i64::from(number))),
                "INT8" => row.try_get(at).map(Value::Int),
                _ => row.try_get(at).map(Value::Text),
            }
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Row::new(Arc::clone(columns), values))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_server_on_another_machine_has_to_encrypt_unless_the_url_says_otherwise() {
        let mode = |url: &str| {
            let options = PgConnectOptions::from_str(url).unwrap();
            format!(
                "{:?}",
                encrypted_elsewhere(options, &SecretText::new(url)).get_ssl_mode()
            )
        };
        assert_eq!(mode("postgres://u:p@10.0.0.7/cordon"), "Require");
        assert_eq!(
            mode("postgres://u:p@db.example.org/cordon?application_name=x"),
            "Require"
        );
        assert_eq!(
            mode("postgres://u:p@db.example.org/cordon?sslmode=verify-full"),
            "VerifyFull"
        );
        assert_eq!(mode("postgres://u:p@db.example.org/cordon?sslmode=disable"), "Disable");
        for here in ["localhost", "127.0.0.1", "[::1]"] {
            assert_eq!(mode(&format!("postgres://u:p@{here}/cordon")), "Prefer", "{here}");
        }
    }

    #[test]
    fn what_is_bound_is_numbered() {
        assert_eq!(numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(
            numbered("a = ?2 OR ?1 IS NULL OR a = ?10"),
            "a = $2 OR $1 IS NULL OR a = $10"
        );
    }
}
