//! Steps that people see: what they are told and asked, how severe an incident is, and that it is over.

use cordon_client::config::{Severity, format_duration};

use super::carry::{Begun, Desk, newest};
use crate::record::db::{Connection, query, query_as};
use crate::record::notices::{NewNotice, incident_topic, tell};
use crate::record::{IncidentState, NoticeKind, StoreError, dossier, incidents, route_text};

impl Desk<'_> {
    pub(super) async fn tell(
        &self,
        connection: &mut Connection,
        key: &str,
        kind: NoticeKind,
        (text, channels): (&str, Vec<String>),
    ) -> Result<(), StoreError> {
        let (severity, scope, own): (String, String, Option<String>) =
            query_as("SELECT severity, scope_name, channels FROM incidents WHERE id = ?")
                .bind(self.run.incident)
                .fetch_one(&mut *connection)
                .await?;
        let notice = NewNotice {
            mark: Some(format!("playbook:{}:{key}", self.run.id)),
            topic: incident_topic(self.run.incident),
            kind,
            severity: dossier::severity_from(&severity)?,
            incident: Some(self.run.incident),
            subject: &scope,
            text,
            block_number: None,
            ends: false,
            delay_ms: 0,
            channels: route_text(&channels).or(own),
        };
        tell(connection, &notice)
    }

    /// Asks a role.
    pub(super) async fn ask(
        &self,
        connection: &mut Connection,
        key: &str,
        (role, text, within): (&str, &str, u32),
    ) -> Result<Begun, StoreError> {
        let time = format_duration(u64::from(within));
        let question = format!(
            "{role} is asked, within {time}: {text} (cordon keeper approve {} {key} --by NAME)",
            self.run.incident
        );
        self.tell(connection, key, NoticeKind::Called, (&question, Vec::new()))
            .await?;
        Ok(Begun::Running {
            intent: None,
            detail: format!("{role} is asked: {text}"),
        })
    }

    pub(super) async fn escalate(
        &self,
        connection: &mut Connection,
        key: &str,
        severity: Severity,
    ) -> Result<Begun, StoreError> {
        let (held,): (String,) = query_as("SELECT severity FROM incidents WHERE id = ?")
            .bind(self.run.incident)
            .fetch_one(&mut *connection)
            .await?;
        if dossier::severity_from(&held)? <= severity {
            return Ok(Begun::done(format!("it is {held} already")));
        }
        query("UPDATE incidents SET severity = ? WHERE id = ?")
            .bind(severity.name())
            .bind(self.run.incident)
            .later(connection);
        let text = format!("the incident is {severity} now, it was {held}");
        self.tell(connection, key, NoticeKind::Called, (&text, Vec::new()))
            .await?;
        // What is worse may have playbooks of its own.
        super::start_at(connection, self.plan, self.run.incident).await?;
        Ok(Begun::done(text))
    }

    pub(super) async fn close(&self, connection: &mut Connection) -> Result<Begun, StoreError> {
        let (state, scope): (String, String) = query_as("SELECT state, scope_name FROM incidents WHERE id = ?")
            .bind(self.run.incident)
            .fetch_one(&mut *connection)
            .await?;
        match IncidentState::from_name(&state) {
            Some(IncidentState::Closed) => return Ok(Begun::done("it is closed already")),
            Some(IncidentState::Contained) => {
                return Ok(Begun::failed(format!("the guard still holds a level for {scope}")));
            }
            _ => {}
        }
        let Some(block) = newest(connection).await? else {
            return Ok(Begun::NotNow);
        };
        let why = format!("closed by the playbook {}", self.run.playbook.id);
        incidents::close(connection, self.run.incident, &block, &why).await?;
        Ok(Begun::done("closed"))
    }
}
