//! The Markdown report of an incident, from the record alone; amounts are given by whoever knows them.

mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cordon_client::CompiledConfig;
use tokio::sync::Mutex;

use crate::record::{Incident, Store, StoreError};

pub use text::{Amount, markdown};

/// The rules as they are written in `cordon.toml`, by name.
#[derive(Debug, Clone, Default)]
pub struct RuleTexts(BTreeMap<String, String>);

impl RuleTexts {
    /// Those of a configuration.
    #[must_use]
    pub fn of(compiled: &CompiledConfig) -> Self {
        let texts = compiled.rules.iter().map(|rule| (rule.id.clone(), rule.source.clone()));
        Self(texts.collect())
    }

    /// The text of the rule called `name`; `None` when the configuration of now has none of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Where reports are written. They are rewritten whenever their incident changes.
#[derive(Debug, Clone)]
pub struct Reports {
    directory: Option<PathBuf>,
    rules: Arc<RuleTexts>,
    /// One report at a time: two tasks may have something new to say.
    writing: Arc<Mutex<()>>,
}

impl Reports {
    /// Reports in `directory`, or nowhere.
    #[must_use]
    pub fn new(directory: Option<PathBuf>, rules: RuleTexts) -> Self {
        Self {
            directory,
            rules: Arc::new(rules),
            writing: Arc::default(),
        }
    }

    /// Writes the reports of the newest incidents: a crash may have come between a change of the record and its report.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(crate) async fn renew(&self, store: &Store) -> Result<(), StoreError> {
        const NEWEST: u32 = 16;
        if self.directory.is_some() {
            for incident in store.newest_incidents(None, NEWEST).await? {
                self.write(store, incident.id).await;
            }
        }
        Ok(())
    }

    /// Why no report could be written now; `None` when one could, or none is wanted. Nothing is left behind.
    pub(crate) fn unwritable(&self) -> Option<String> {
        let directory = self.directory.as_deref()?;
        // The folder is made with the first report.
        let there = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
        let probe = there.join(format!(".cordon-check-{}", std::process::id()));
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&probe) {
            Ok(_) => {
                let _ = std::fs::remove_file(&probe);
                None
            }
            Err(error) => Some(format!(
                "nothing can be written to {}: {error}; name another folder, or let the keeper write there",
                directory.display()
            )),
        }
    }

    /// Writes the report of an incident. A report that cannot be written is logged and stops nothing.
    pub async fn write(&self, store: &Store, incident: i64) {
        let Some(directory) = &self.directory else { return };
        let _writing = self.writing.lock().await;
        match store.incident(incident).await {
            Ok(Some(incident)) => {
                if let Err(error) = write(directory, &incident, &[], &self.rules).await {
                    tracing::error!(incident = incident.id, directory = %directory.display(), %error, "a report could not be written");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(incident, %error, "an incident could not be read for its report"),
        }
    }
}

/// Writes the report of an incident into `directory`, which is created when it is missing, and returns the file.
///
/// # Errors
/// What the file system says. A reader never sees half a report: it is written beside and then renamed.
pub async fn write(
    directory: &Path,
    incident: &Incident,
    amounts: &[Amount],
    rules: &RuleTexts,
) -> std::io::Result<PathBuf> {
    tokio::fs::create_dir_all(directory).await?;
    let file = directory.join(format!("incident-{:04}.md", incident.id));
    let beside = directory.join(format!(".incident-{:04}.md.{}", incident.id, std::process::id()));
    tokio::fs::write(&beside, markdown(incident, amounts, rules)).await?;
    tokio::fs::rename(&beside, &file).await?;
    Ok(file)
}
