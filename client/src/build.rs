//! Building the guard's programs from their sources.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::program::{Program, ProgramError};

/// The script that builds, seen from the project's root.
const SCRIPT: &str = "scripts/build-contracts";
/// Where it puts the programs, seen from the project's root.
const OUTPUT: &str = "contracts/target/cordon";
/// How many of a failed build's last lines are worth showing.
const LINES: usize = 30;

/// Why the programs could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Not within the project.
    #[error("{start} is not within Cordon's sources: no {SCRIPT} there or above; go there, or name it with --root", start = .start.display())]
    NoRoot {
        /// Where the search began.
        start: PathBuf,
    },
    /// The script could not be started.
    #[error("cannot run {path}: {error}", path = .path.display())]
    Run {
        /// The script.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The script failed.
    #[error("building the programs failed ({status}):\n{output}")]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last lines.
        output: String,
    },
    /// What was built is no program.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Names of the programs behind the gate, in the order in which the guard's ABI lists them.
///
/// `respond` answers breaches and hands on what is none of the others'; `hooks` answers hooks where the gate does not; `recover` leads
/// out of incidents; `admin` is set-up and governance; `contain` contains by authority; `inspect` tells: views, evaluation, rehearsals.
pub const PROGRAMS: [&str; 6] = ["respond", "hooks", "recover", "admin", "contain", "inspect"];

/// The guard's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifacts {
    /// The hot path; its account is the guard.
    pub gate: Program,
    /// Those behind it, in the order of [`PROGRAMS`].
    pub behind_the_gate: [Program; PROGRAMS.len()],
}

impl Artifacts {
    /// Reads and checks `NAME.bin` of each program in `directory`.
    pub fn load(directory: &Path) -> Result<Self, ProgramError> {
        let load = |name: &str| {
            let program = Program::load(&directory.join(format!("{name}.bin")))?;
            Ok::<_, ProgramError>(Program {
                name: name.to_owned(),
                ..program
            })
        };
        let [respond, hooks, recover, admin, contain, inspect] = PROGRAMS;
        Ok(Self {
            gate: load("gate")?,
            behind_the_gate: [
                load(respond)?,
                load(hooks)?,
                load(recover)?,
                load(admin)?,
                load(contain)?,
                load(inspect)?,
            ],
        })
    }

    /// All programs, the gate first.
    pub fn all(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.gate).chain(&self.behind_the_gate)
    }

    /// Where a project's build puts its programs.
    pub fn directory(root: &Path) -> PathBuf {
        root.join(OUTPUT)
    }
}

/// The project's root: `start` or the nearest folder above it that has the build script.
pub fn find_root(start: &Path) -> Result<PathBuf, BuildError> {
    start
        .ancestors()
        .find(|folder| folder.join(SCRIPT).is_file())
        .map(Path::to_owned)
        .ok_or_else(|| BuildError::NoRoot {
            start: start.to_owned(),
        })
}

/// Builds the programs of the project at `root` and checks what came out. Takes a minute or more when nothing is cached;
/// the compiler's messages are part of the error when it fails, and not shown otherwise.
pub async fn build_programs(root: &Path) -> Result<Artifacts, BuildError> {
    let script = root.join(SCRIPT);
    let output = Command::new(&script)
        .current_dir(root)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| BuildError::Run { path: script, error })?;
    if !output.status.success() {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let lines: Vec<&str> = text.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(LINES)..)
            .unwrap_or_default()
            .join("\n");
        return Err(BuildError::Failed {
            status: output.status,
            output: last,
        });
    }
    Ok(Artifacts::load(&Artifacts::directory(root))?)
}
