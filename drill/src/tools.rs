//! Finds what a drill needs besides itself: anvil, published contracts, our compiled Solidity and the guard's programs.

use std::path::{Path, PathBuf};

use crate::error::DrillError;

/// Names the project's root when the drill runs from elsewhere.
const ROOT_VARIABLE: &str = "CORDON_ROOT";

/// Folders of a drill's ingredients, all checked to exist.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Root of the project.
    pub root: PathBuf,
    /// The anvil program.
    pub anvil: PathBuf,
}

impl Tools {
    /// Finds the project's root (given, or `CORDON_ROOT`, or upwards from the working directory) and anvil (given, or a
    /// Foundry installation, or `PATH`, or `scripts/npm`).
    ///
    /// # Errors
    /// [`DrillError::ToolMissing`] says what was looked for and where.
    pub fn discover(root: Option<&Path>, anvil: Option<&Path>) -> Result<Self, DrillError> {
        let root = find_root(root)?;
        let anvil = find_anvil(&root, anvil)?;
        Ok(Self { root, anvil })
    }

    /// Folder of Aave's compiled contracts.
    ///
    /// # Errors
    /// [`DrillError::ToolMissing`] when the package is not installed.
    pub fn aave_artifacts(&self) -> Result<PathBuf, DrillError> {
        existing(
            "Aave's compiled contracts (@aave/core-v3)",
            self.root
                .join("scripts/npm/node_modules/@aave/core-v3/artifacts/contracts"),
        )
    }

    /// Folder of Safe's compiled contracts.
    ///
    /// # Errors
    /// [`DrillError::ToolMissing`] when the package is not installed.
    pub fn safe_artifacts(&self) -> Result<PathBuf, DrillError> {
        existing(
            "Safe's compiled contracts (@safe-global/safe-contracts)",
            self.root
                .join("scripts/npm/node_modules/@safe-global/safe-contracts/build/artifacts/contracts"),
        )
    }

    /// Folder of OpenZeppelin's compiled contracts.
    ///
    /// # Errors
    /// [`DrillError::ToolMissing`] when the package is not installed.
    pub fn openzeppelin_artifacts(&self) -> Result<PathBuf, DrillError> {
        existing(
            "OpenZeppelin's compiled contracts (@openzeppelin/contracts)",
            self.root
                .join("scripts/npm/node_modules/@openzeppelin/contracts/build/contracts"),
        )
    }

    /// Folder of our compiled Solidity.
    ///
    /// # Errors
    /// [`DrillError::ToolMissing`] when `forge build` has not run.
    pub fn solidity_artifacts(&self) -> Result<PathBuf, DrillError> {
        existing("our compiled Solidity (forge build)", self.root.join("out"))
    }

    /// Folder of the guard's compiled programs.
    ///
    /// # Errors
    /// [`DrillError::ToolMissing`] when `cordon guard build` has not run.
    pub fn guard_programs(&self) -> Result<PathBuf, DrillError> {
        existing(
            "the guard's programs (cordon guard build)",
            self.root.join("contracts/target/cordon"),
        )
    }
}

fn existing(what: &str, path: PathBuf) -> Result<PathBuf, DrillError> {
    if path.exists() {
        Ok(path)
    } else {
        Err(missing(what, &[path]))
    }
}

fn missing(what: &str, looked: &[PathBuf]) -> DrillError {
    let looked = looked
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    DrillError::ToolMissing {
        what: what.to_owned(),
        looked,
    }
}

fn is_root(folder: &Path) -> bool {
    folder.join("foundry.toml").is_file() && folder.join("contracts/solidity").is_dir()
}

fn find_root(given: Option<&Path>) -> Result<PathBuf, DrillError> {
    let named = given
        .map(Path::to_path_buf)
        .or_else(|| std::env::var_os(ROOT_VARIABLE).map(PathBuf::from));
    if let Some(folder) = named {
        return if is_root(&folder) {
            Ok(folder)
        } else {
            Err(missing("Cordon's project folder", &[folder]))
        };
    }
    let here = std::env::current_dir().map_err(DrillError::file("read", "."))?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = here.ancestors().chain(built.ancestors());
    candidates
        .filter(|folder| is_root(folder))
        .map(Path::to_path_buf)
        .next()
        .ok_or_else(|| missing(&format!("Cordon's project folder (or set {ROOT_VARIABLE})"), &[here]))
}

fn find_anvil(root: &Path, given: Option<&Path>) -> Result<PathBuf, DrillError> {
    if let Some(anvil) = given {
        return existing("anvil", anvil.to_path_buf());
    }
    let mut candidates = Vec::new();
    if let Some(home) = std::env::var_os("HOME") {
        candidates.push(Path::new(&home).join(".foundry/bin/anvil"));
    }
    if let Some(path) = std::env::var_os("PATH") {
        candidates.extend(std::env::split_paths(&path).map(|folder| folder.join("anvil")));
    }
    candidates.extend(packaged_anvil(root));
    let found = candidates.iter().find(|candidate| candidate.is_file()).cloned();
    found.ok_or_else(|| missing("anvil", &candidates))
}

/// npm's Foundry packages are named after Node's words for platform and architecture.
fn packaged_anvil(root: &Path) -> Option<PathBuf> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => return None,
    };
    let platform = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    Some(root.join(format!(
        "scripts/npm/node_modules/@foundry-rs/anvil-{platform}-{architecture}/bin/anvil"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_project_is_found_from_inside() {
        let root = find_root(None).unwrap();
        assert!(root.join("drill/Cargo.toml").is_file());
    }

    #[test]
    fn a_folder_that_is_not_the_project_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Tools::discover(Some(folder.path()), None).unwrap_err();
        assert!(error.to_string().contains("project folder"), "{error}");
    }

    #[test]
    fn a_given_anvil_must_exist() {
        let error = Tools::discover(None, Some(Path::new("/nonexistent/anvil"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/anvil"), "{error}");
        assert!(error.to_string().contains("scripts/setup"), "{error}");
    }
}
