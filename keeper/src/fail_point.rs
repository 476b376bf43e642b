//! Points at which a test lets the process die, or stand still until it is killed: around every transaction of the record.

use std::sync::OnceLock;

/// Where a step of the record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// It is written but not committed: it must be as if it had not been.
    Before,
    /// It is committed, and nobody was told.
    After,
}

#[derive(Debug)]
struct Points {
    stand: Option<String>,
    die: Option<String>,
}

fn points() -> &'static Points {
    static POINTS: OnceLock<Points> = OnceLock::new();
    POINTS.get_or_init(|| Points {
        stand: std::env::var("CORDON_FAIL_POINT").ok(),
        die: std::env::var("CORDON_KILL_POINT").ok(),
    })
}

/// Stands still for good at the point that `CORDON_FAIL_POINT` names (`before-sent`, `after-decision`), or kills the process
/// (SIGKILL) at the one that `CORDON_KILL_POINT` names.
pub(crate) fn reach(when: When, step: &str) {
    let points = points();
    if is_named(points.die.as_deref(), when, step) {
        tracing::error!(step, "killed at a fail point");
        let _ = std::process::Command::new("kill")
            .args(["-s", "KILL", &std::process::id().to_string()])
            .status();
    } else if !is_named(points.stand.as_deref(), when, step) {
        return;
    }
    tracing::error!(step, "stopped at a fail point, until the process is killed");
    loop {
        std::thread::park();
    }
}

fn is_named(point: Option<&str>, when: When, step: &str) -> bool {
    let prefix = match when {
        When::Before => "before-",
        When::After => "after-",
    };
    point.and_then(|point| point.strip_prefix(prefix)) == Some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_told_apart() {
        assert!(is_named(Some("before-sent"), When::Before, "sent"));
        assert!(!is_named(Some("before-sent"), When::After, "sent"));
        assert!(!is_named(Some("before-sent"), When::Before, "told"));
        assert!(!is_named(None, When::Before, "sent"));
    }
}
