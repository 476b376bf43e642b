//! Native code on disk.
//!
//! Loading native code means running it, so that only code that this user's own processes wrote may be loaded: a file
//! must belong to the user and be writable by nobody else, and carry a hash, keyed with a secret of the directory, over its
//! name and content. Anything else counts as absent, and is made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use alloy_primitives::{B256, Bytes, Keccak256, keccak256};
use thiserror::Error;

use super::Key;

/// First bytes of a file. To be changed whenever files become incompatible.
const MAGIC: &[u8; 8] = b"cordonw\x01";
/// What instrumented code is made by, which is part of every hash: native code of another build's rules must not be found.
const RULES: [&str; 8] = [
    env!("CARGO_PKG_VERSION"),
    include_str!("../module.rs"),
    include_str!("../module/body.rs"),
    include_str!("../module/build.rs"),
    include_str!("../module/instrument.rs"),
    include_str!("../module/sections.rs"),
    include_str!("../pricing/opcode.rs"),
    include_str!("../hooks/table.rs"),
];
/// Magic, hash, length of the instrumented module.
const HEADER: usize = 8 + 32 + 8;
/// Largest file that is read.
const MAX_FILE: u64 = 256 << 20;
/// What the directory may hold; beyond it, what was written first goes.
const MAX_TOTAL: u64 = 1 << 30;
const KEY_FILE: &str = "key";
const SUFFIX: &str = "cwasm";
/// Suffix of files that are being written, and the age at which nobody writes them any more.
const UNFINISHED: &str = "tmp";
const ABANDONED: Duration = Duration::from_secs(3600);

/// The directory for native code cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// It cannot be created, read or written.
    #[error("the directory for compiled programs {} cannot be used: {source}", path.display())]
    Io {
        /// The directory or a file of it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others could have put something into it.
    #[error(
        "the directory for compiled programs is not safe: {} belongs to another user or can be written by others; \
         choose another directory, or remove it and let it be made again",
        path.display()
    )]
    Unsafe {
        /// The directory or file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("no random numbers for the key of the directory for compiled programs")]
    Random,
}

/// The user's directory for compiled programs: `cordon/programs` in `$XDG_CACHE_HOME`, or in `.cache` of the home
/// directory; `None` if neither is known.
pub fn default_directory() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("cordon").join("programs"))
}

/// Native code that this user's processes made.
#[derive(Debug)]
pub struct Authentic(Vec<u8>, usize);

impl Authentic {
    /// The code.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.get(self.1..).unwrap_or_default()
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Kept {
    /// The instrumented module.
    pub(super) wasm: Bytes,
    /// Its native code.
    pub(super) code: Authentic,
}

/// A directory with native code.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    key: B256,
    /// Hash of [`RULES`].
    rules: B256,
    /// Makes the names of unfinished files unique.
    counter: AtomicU64,
}

impl Disk {
    /// Opens a directory, which is created for this user alone if it is missing.
    pub(super) fn open(directory: &Path) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Io {
            path: directory.to_owned(),
            source,
        };
        create_private(directory).map_err(failed)?;
        let disk = Self {
            directory: directory.to_owned(),
            key: B256::ZERO,
            rules: keccak256(RULES.concat()),
            counter: AtomicU64::new(0),
        };
        // A file that this process has just made tells who its user is.
        let probe = disk.unfinished();
        let made = new_file(&probe).and_then(|file| file.metadata()).map_err(failed)?;
        let safe = fs::metadata(directory).map(|metadata| is_private(&metadata, &made));
        let key = match safe {
            Ok(true) => disk.key(&made),
            Ok(false) => Err(DiskError::Unsafe {
                path: directory.to_owned(),
            }),
            Err(source) => Err(failed(source)),
        };
        fs::remove_file(&probe).map_err(failed)?;
        Ok(Self { key: key?, ..disk })
    }

    /// The directory's key; made if there is none.
    fn key(&self, own: &fs::Metadata) -> Result<B256, DiskError> {
        let path = self.directory.join(KEY_FILE);
        let failed = |source| DiskError::Io {
            path: path.clone(),
            source,
        };
        // Twice: a damaged key is removed at the first attempt, and another process may be faster.
        for _ in 0..2 {
            match read_private(&path, own, 1 << 10) {
                Ok(Some(bytes)) => match B256::try_from(bytes.as_slice()) {
                    Ok(key) => return Ok(key),
                    Err(_) => fs::remove_file(&path).map_err(failed)?,
                },
                Ok(None) => return Err(DiskError::Unsafe { path }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            let key = B256::try_random().map_err(|_| DiskError::Random)?;
            let unfinished = self.unfinished();
            new_file(&unfinished)
                .and_then(|mut file| file.write_all(key.as_slice()))
                .map_err(failed)?;
            // A link, unlike a rename, leaves a key alone that another process has made meanwhile.
            let linked = fs::hard_link(&unfinished, &path);
            fs::remove_file(&unfinished).map_err(failed)?;
            match linked {
                Ok(()) => return Ok(key),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(io::Error::other("its key keeps changing")))
    }

    /// Native code of a program, if there is any that can be trusted.
    pub(super) fn load(&self, key: Key) -> Option<Kept> {
        let path = self.path(key);
        let own = fs::metadata(self.directory.join(KEY_FILE)).ok()?;
        let content = match read_private(&path, &own, MAX_FILE) {
            Ok(content) => content?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::debug!(target: "stylus", path = %path.display(), %error, "native code cannot be read");
                return None;
            }
        };
        let kept = self.open_content(key, content);
        if kept.is_none() {
            tracing::warn!(target: "stylus", path = %path.display(), "damaged or foreign native code is made again");
        }
        kept
    }

    fn open_content(&self, key: Key, content: Vec<u8>) -> Option<Kept> {
        let (magic, rest) = content.split_first_chunk::<8>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        if magic != MAGIC || *hash != self.hash(key, rest) {
            return None;
        }
        let (len, rest) = rest.split_first_chunk::<8>()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        let wasm = Bytes::copy_from_slice(rest.get(..len)?);
        Some(Kept {
            wasm,
            code: Authentic(content, HEADER.checked_add(len)?),
        })
    }

    /// Keeps native code. Failing to is no harm: it is made again.
    pub(super) fn store(&self, key: Key, wasm: &[u8], code: &[u8]) {
        let unfinished = self.unfinished();
        let written = self
            .write(&unfinished, key, wasm, code)
            .and_then(|()| fs::rename(&unfinished, self.path(key)));
        if let Err(error) = written {
            tracing::debug!(target: "stylus", %error, "native code cannot be kept");
            // It may not even exist.
            let _ = fs::remove_file(&unfinished);
        }
        if let Err(error) = self.shrink() {
            tracing::debug!(target: "stylus", %error, "old native code cannot be removed");
        }
    }

    fn write(&self, path: &Path, key: Key, wasm: &[u8], code: &[u8]) -> io::Result<()> {
        let len = u64::try_from(wasm.len()).unwrap_or(u64::MAX);
        let body = [&len.to_le_bytes(), wasm, code].concat();
        let mut file = new_file(path)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.hash(key, &body))?;
        file.write_all(&body)
    }

    /// Keyed hash of a file's name and body. A sponge needs no more than the key in front.
    fn hash(&self, key: Key, body: &[u8]) -> [u8; 32] {
        let mut hasher = Keccak256::new();
        hasher.update(self.key);
        hasher.update(self.rules);
        hasher.update(key.code_hash);
        hasher.update(key.version.to_be_bytes());
        hasher.update([u8::from(key.debug)]);
        hasher.update(body);
        hasher.finalize().0
    }

    fn path(&self, key: Key) -> PathBuf {
        let Key {
            code_hash,
            version,
            debug,
        } = key;
        let debug = if debug { "-debug" } else { "" };
        self.directory.join(format!("{code_hash:x}-{version}{debug}.{SUFFIX}"))
    }

    fn unfinished(&self) -> PathBuf {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let nanos = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| time.subsec_nanos());
        self.directory
            .join(format!(".{}-{nanos}-{count}.{UNFINISHED}", std::process::id()))
    }

    /// Removes what was written first while the directory holds too much, and what was never finished.
    fn shrink(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            let modified = metadata.modified()?;
            let extension = path.extension().unwrap_or_default();
            if extension == SUFFIX {
                files.push((modified, metadata.len(), path));
            } else if extension == UNFINISHED && modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                fs::remove_file(path)?;
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if total <= MAX_TOTAL {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(len);
        }
        Ok(())
    }
}

/// The content of a file that only this user can have written; `None` for any other file.
fn read_private(path: &Path, own: &fs::Metadata, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || !is_private(&metadata, own) || metadata.len() > max {
        return Ok(None);
    }
    let mut content = Vec::new();
    Read::take(&mut file, max).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Whether a file or directory belongs to the owner of `own` and cannot be written by others.
#[cfg(unix)]
fn is_private(metadata: &fs::Metadata, own: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.uid() == own.uid() && metadata.mode() & 0o022 == 0
}

/// Elsewhere the user's profile directory is private, and the keyed hash has to do.
#[cfg(not(unix))]
fn is_private(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// A new file that only this user can read.
fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
