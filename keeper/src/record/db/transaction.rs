//! A session of the database while it is used: what is put off until something is asked, and how what was written becomes a step.

use std::ops::{Deref, DerefMut};

use super::query::{Coming, Statement};
use super::{Answer, Landing, Pool, Session};
use crate::fail_point::{When, reach};
use crate::record::{Step, StoreError};
use crate::turns::Turn;

/// A session, and what time it is for what it writes.
pub(in crate::record) struct Connection {
    session: Box<dyn Session>,
    now_ms: i64,
    /// What runs before the next statement whose answer is wanted, see [`query::Query::later`].
    later: Vec<Statement>,
    /// Whether it is a transaction's: what another puts off is never run.
    is_writing: bool,
    /// Whether something of it was begun and not done: what was put off went with it.
    is_broken: bool,
    #[cfg(test)]
    statements: usize,
}

impl Connection {
    pub(super) fn of(session: Box<dyn Session>, is_writing: bool) -> Self {
        Self {
            session,
            now_ms: 0,
            later: Vec::new(),
            is_writing,
            is_broken: false,
            #[cfg(test)]
            statements: 0,
        }
    }

    /// The record's time: Unix milliseconds. With a shared database it is the database's, whatever this machine's clock says.
    pub(in crate::record) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// How many statements it has run.
    #[cfg(test)]
    pub(in crate::record) fn statements(&self) -> usize {
        self.statements
    }

    pub(super) fn put_off(&mut self, statement: Statement) {
        debug_assert!(self.is_writing, "nothing would run this: {}", statement.sql);
        self.later.push(statement);
    }

    /// Runs what was put off, and then these.
    pub(super) async fn run_all(&mut self, wanted: Vec<Statement>) -> Result<Coming, StoreError> {
        let mut statements = std::mem::take(&mut self.later);
        let put_off = statements.len();
        statements.extend(wanted);
        #[cfg(test)]
        {
            self.statements = self.statements.saturating_add(statements.len());
        }
        // Also for who gives up waiting: nothing of this comes back then.
        let was_broken = std::mem::replace(&mut self.is_broken, true);
        let answers = self.session.run(statements).await?;
        self.is_broken = was_broken;
        Ok(answers.into_iter().skip(put_off))
    }

    pub(super) async fn run(&mut self, statement: Statement) -> Result<Answer, StoreError> {
        Ok(self.run_all(vec![statement]).await?.next().unwrap_or_default())
    }
}

/// A transaction; undone unless it is committed.
pub(in crate::record) struct Transaction {
    // Before the turn: fields are dropped in this order, and the next one must find it undone.
    pub(super) connection: Connection,
    pub(super) turn: Turn,
    pub(super) pool: Pool,
}

impl Transaction {
    pub(in crate::record) fn set_now(&mut self, now_ms: i64) {
        self.connection.now_ms = now_ms;
    }

    /// Commits a step that a restart has to find either done or not begun, and waits until it outlives a power cut.
    ///
    /// # Errors
    /// See [`Self::write`].
    pub(in crate::record) async fn commit(self, step: Step) -> Result<(), StoreError> {
        self.write(step).await?.kept().await;
        Ok(())
    }

    /// Commits a step that a restart has to find either done or not begun: however the process ends from here on, it is done. That it outlives a
    /// power cut is to be waited for. There is no other way to commit.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when something of it was not done, whatever became of the error: a step is done as a whole. PostgreSQL answers
    /// such a commit as if it had been one.
    pub(in crate::record) async fn write(self, step: Step) -> Result<Landing, StoreError> {
        let Connection {
            session,
            later,
            is_broken,
            ..
        } = self.connection;
        if is_broken {
            return Err(StoreError::Broken { step: step.name() });
        }
        reach(When::Before, step);
        session.commit(later).await?;
        drop(self.turn);
        reach(When::After, step);
        Ok(self.pool.wrote())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
