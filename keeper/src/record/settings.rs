//! Single values of the record, by name.

use super::db::{Connection, query};

/// Sets a value.
pub(super) fn set(connection: &mut Connection, name: &str, value: &str) {
    query("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .later(connection);
}
