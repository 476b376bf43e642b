//! The connection that writes.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::statements::run;
use crate::record::db::{Answer, Session, Statement};

/// The one connection that writes of a process: a file has one writer.
#[derive(Debug)]
pub(super) struct Writer {
    options: SqliteConnectOptions,
    place: Arc<Mutex<Place>>,
}

/// Where the connection is.
#[derive(Debug, Default)]
enum Place {
    /// To be opened when it is wanted: it never was, or its state could not be told any more.
    #[default]
    Empty,
    Open(SqliteConnection),
    /// Nobody writes any more.
    Closed,
}

impl Place {
    fn connection(&mut self) -> Option<&mut SqliteConnection> {
        match self {
            Self::Open(connection) => Some(connection),
            Self::Empty | Self::Closed => None,
        }
    }
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options,
            place: Arc::default(),
        }
    }

    /// A transaction, once the one before is done or undone.
    pub(super) async fn begin(&self) -> Result<Writing, sqlx::Error> {
        let mut held = Arc::clone(&self.place).lock_owned().await;
        match *held {
            Place::Open(_) => {}
            Place::Empty => *held = Place::Open(self.options.connect().await?),
            Place::Closed => return Err(sqlx::Error::PoolClosed),
        }
        Ok(Writing {
            held: Some(held),
            state: State::Due,
        })
    }

    /// Ends the connection when its user is done.
    pub(super) async fn close(&self) {
        let place = std::mem::replace(&mut *self.place.lock().await, Place::Closed);
        if let Place::Open(connection) = place
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "the connection that writes did not end well");
        }
    }
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It begins with its first statements: by itself the beginning would be one more way to the connection's thread and back, and the end another.
    Due,
    Begun,
    /// Something of it failed, or nobody waited for it: it can only be undone.
    Unsure,
}

/// A transaction; undone when it is dropped.
pub(super) struct Writing {
    /// `None` when it is over.
    held: Option<OwnedMutexGuard<Place>>,
    state: State,
}

/// The write lock from the start, so that the transaction cannot fail half way for want of it.
const BEGIN: &str = "BEGIN IMMEDIATE";

impl Writing {
    /// Runs the statements; the first of the transaction after its beginning.
    async fn run_within(&mut self, mut statements: Vec<Statement>) -> Result<Vec<Answer>, sqlx::Error> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let begins = match self.state {
            State::Due => true,
            State::Begun => false,
            // SQLite may have undone it already: what came now would be done by itself.
            State::Unsure => return Err(over()),
        };
        if begins {
            statements.insert(0, plain(BEGIN));
        }
        // Also for who gives up waiting.
        self.state = State::Unsure;
        let connection = self.held.as_deref_mut().and_then(Place::connection).ok_or_else(over)?;
        let mut answers = run(connection, statements).await?;
        if begins {
            answers.remove(0);
        }
        self.state = State::Begun;
        Ok(answers)
    }

    async fn finish(mut self, mut last: Vec<Statement>) -> Result<(), sqlx::Error> {
        if self.state == State::Due && last.is_empty() {
            self.held = None;
            return Ok(());
        }
        last.push(plain("COMMIT"));
        self.run_within(last).await?;
        self.held = None;
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take().filter(|_| self.state != State::Due) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Nobody is left to write; closed, it is undone.
            *held = Place::Empty;
            return;
        };
        // Who writes next waits until it is undone.
        runtime.spawn(async move {
            let Some(connection) = held.connection() else { return };
            if let Err(error) = run(connection, vec![plain("ROLLBACK")]).await {
                // SQLite undoes some of what fails itself, and says so here. A new connection has nothing to be undone.
                tracing::debug!(%error, "the connection that writes is opened anew");
                *held = Place::Empty;
            }
        });
    }
}

impl Session for Writing {
    fn run(&mut self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<Answer>, sqlx::Error>> {
        Box::pin(self.run_within(statements))
    }

    fn commit(self: Box<Self>, last: Vec<Statement>) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(self.finish(last))
    }
}

fn plain(sql: &str) -> Statement {
    Statement {
        sql: sql.to_owned(),
        values: Vec::new(),
    }
}

/// What is said to who goes on with a transaction that has failed.
fn over() -> sqlx::Error {
    sqlx::Error::Protocol("the transaction has failed before".to_owned())
}
