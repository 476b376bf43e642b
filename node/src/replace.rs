//! Replacing a file as a whole, and clearing away what others left behind when they were killed at it.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What follows the name of a file in that of its unfinished successor, before the number of the process: nobody calls a copy so.
const UNFINISHED: &str = ".unfinished-";

/// Attempts to make a file that nobody clears away before it is locked.
const ATTEMPTS: usize = 10;

/// Writes a file, whole or not at all: whoever is killed while writing leaves the old one. Missing folders are made.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = folder_of(path) {
        std::fs::create_dir_all(folder)?;
    }
    let mut unfinished = path.to_path_buf().into_os_string();
    unfinished.push(format!("{UNFINISHED}{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    // The lock goes with the value, and tells others that somebody is writing.
    let mut file = locked(&unfinished)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

/// Removes the unfinished files beside `path` that nobody is writing any more.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    let folder = folder_of(path).unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let ours = path
            .file_name()
            .is_some_and(|name| is_unfinished(&entry.file_name(), name));
        if !ours || !entry.file_type()?.is_file() {
            continue;
        }
        let file = OpenOptions::new().write(true).open(entry.path())?;
        match file.try_lock() {
            Ok(()) => std::fs::remove_file(entry.path())?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
}

/// Whether `found` is what a process makes to replace `name`.
fn is_unfinished(found: &OsString, name: &OsStr) -> bool {
    let rest = found.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
    let process = rest.and_then(|rest| rest.strip_prefix(UNFINISHED.as_bytes()));
    process.is_some_and(|process| !process.is_empty() && process.iter().all(u8::is_ascii_digit))
}

/// Opens a file and locks it, and makes it again when it was cleared away in between.
fn locked(path: &Path) -> io::Result<File> {
    for _ in 0..ATTEMPTS {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        if path.exists() {
            return Ok(file);
        }
    }
    Err(io::Error::other("it is removed again and again while it is being made"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/state.json");
        write(&path, b"first and long").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(names(path.parent().unwrap()), ["state.json"]);
    }

    #[test]
    fn only_what_nobody_writes_any_more_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let others = [
            "state.json",
            "state.json.bak",
            "state.json.1",
            "other.json.unfinished-77",
            "state.json.unfinished-",
        ];
        for name in others
            .into_iter()
            .chain(["state.json.unfinished-123", "state.json.unfinished-99"])
        {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(folder.path().join("state.json.unfinished-5")).unwrap();
        let writing = locked(&folder.path().join("state.json.unfinished-99")).unwrap();
        clear(&path).unwrap();
        let mut expected: Vec<_> = others
            .into_iter()
            .chain(["state.json.unfinished-5", "state.json.unfinished-99"])
            .collect();
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        drop(writing);
        clear(&path).unwrap();
        assert!(!folder.path().join("state.json.unfinished-99").exists());
        clear(&folder.path().join("nowhere/state.json")).unwrap();
    }
}
