//! Running a target for a while, and telling how to see again what it found.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use crate::input;
use crate::targets::Target;

/// How long one input may take. The work of each is bounded to far less on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Memory that the process may have used at most, in KiB; asked of the system where it tells (Linux).
const MAX_RESIDENT_KIB: u64 = 3 << 20;
/// Stack of the thread that runs targets: that of a thread which nobody has given more.
const STACK: usize = 2 << 20;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this many inputs.
    Cases(u64),
    /// After this long.
    Elapsed(Duration),
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Inputs that held.
    pub cases: u64,
    /// What broke, if anything did.
    pub finding: Option<Finding>,
}

/// An input for which a property does not hold.
#[derive(Debug)]
pub struct Finding {
    /// What happened.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
    /// Where it comes from: a file of the corpus, or a case of the run.
    pub source: Source,
}

/// Where an input comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A case of the run of a seed.
    Case {
        /// The seed.
        seed: u64,
        /// The case.
        case: u64,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Case { seed, case } => write!(f, "case {case} of seed {seed}"),
        }
    }
}

impl Finding {
    /// Writes the input to `fuzz/artifacts`, from where it can be run again.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, target: &Target) -> io::Result<PathBuf> {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts");
        fs::create_dir_all(&directory)?;
        let hash = alloy_primitives::keccak256(&self.input);
        let path = directory.join(format!("{}-{}", target.name, &format!("{hash:x}")[..16]));
        fs::write(&path, &self.input)?;
        Ok(path)
    }
}

/// Runs one input. A thread that does not come back in time is left behind; the process should end then.
///
/// # Errors
/// What the input broke.
pub fn one(target: &Target, bytes: &[u8]) -> Result<(), String> {
    let (run, bytes) = (target.run, bytes.to_vec());
    let (done, result) = mpsc::channel();
    let thread = thread::Builder::new().stack_size(STACK);
    let spawned = thread.spawn(move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&bytes)));
        // Nobody listens any more when it took too long.
        let _ = done.send(outcome.map_err(|panic| said(panic.as_ref())));
    });
    spawned.map_err(|error| format!("no thread: {error}"))?;
    let outcome = match result.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(format!("no end within {} s", PATIENCE.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("the thread is gone".to_owned()),
    };
    outcome.and_then(|()| match resident_kib() {
        Some(kib) if kib > MAX_RESIDENT_KIB => Err(format!("{kib} KiB of memory in use")),
        _ => Ok(()),
    })
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}

/// The most memory that the process has used, where the system tells.
fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Runs the corpus, and then inputs made from `seed`. Stops at the first finding.
///
/// # Errors
/// The corpus cannot be read.
pub fn run(target: &Target, seed: u64, until: Until) -> io::Result<Report> {
    let begin = Instant::now();
    let corpus = input::corpus(target.name)?;
    let mut cases = 0;
    for (path, bytes) in &corpus {
        if let Err(what) = one(target, bytes) {
            let source = Source::File(path.clone());
            return Ok(found(cases, what, bytes.clone(), source));
        }
        cases += 1;
    }
    let seeds: Vec<_> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    for case in 0.. {
        let over = match until {
            Until::Cases(most) => case >= most,
            Until::Elapsed(most) => begin.elapsed() >= most,
        };
        if over {
            break;
        }
        let bytes = input::make(seed, case, &seeds);
        if let Err(what) = one(target, &bytes) {
            return Ok(found(cases, what, bytes, Source::Case { seed, case }));
        }
        cases += 1;
    }
    Ok(Report { cases, finding: None })
}

const fn found(cases: u64, what: String, input: Vec<u8>, source: Source) -> Report {
    Report {
        cases,
        finding: Some(Finding { what, input, source }),
    }
}
