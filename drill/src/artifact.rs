//! Compiled contracts: creation code from forge's and Hardhat's JSON files, with libraries linked in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use alloy::primitives::{Address, Bytes};
use serde::Deserialize;

use crate::error::DrillError;

/// Largest artifact that is read, in bytes; the largest real one has 2 MB.
const MAX_ARTIFACT: u64 = 16 << 20;

/// Creation code of one contract, libraries not yet linked.
#[derive(Debug)]
pub(crate) struct Artifact {
    path: PathBuf,
    code: String,
    links: Links,
}

/// Source file -> library -> places in the code.
type Links = BTreeMap<String, BTreeMap<String, Vec<Place>>>;

#[derive(Debug, Deserialize)]
struct Place {
    start: usize,
    length: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HardhatFile {
    bytecode: String,
    link_references: Links,
}

#[derive(Deserialize)]
struct ForgeFile {
    bytecode: ForgeCode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ForgeCode {
    object: String,
    link_references: Links,
}

impl Artifact {
    /// Reads Hardhat's artifact `contract`, given as its path below the artifacts folder without the file's name, as in
    /// `protocol/pool/Pool`.
    pub(crate) fn hardhat(folder: &Path, contract: &str) -> Result<Self, DrillError> {
        let name = contract.rsplit('/').next().unwrap_or(contract);
        Self::hardhat_flat(folder, &format!("{contract}.sol/{name}"))
    }

    /// Reads an artifact of Hardhat's kind, given as its path below `folder` without the extension.
    pub(crate) fn hardhat_flat(folder: &Path, name: &str) -> Result<Self, DrillError> {
        let path = folder.join(format!("{name}.json"));
        let file: HardhatFile = read(&path)?;
        Ok(Self {
            path,
            code: file.bytecode,
            links: file.link_references,
        })
    }

    /// Reads forge's artifact of the contract `name` in the source file of the same name.
    pub(crate) fn forge(folder: &Path, name: &str) -> Result<Self, DrillError> {
        Self::forge_in(folder, name, name)
    }

    /// Reads forge's artifact of the contract `name` in the source file `source`, both without extension.
    pub(crate) fn forge_in(folder: &Path, source: &str, name: &str) -> Result<Self, DrillError> {
        let path = folder.join(format!("{source}.sol/{name}.json"));
        let file: ForgeFile = read(&path)?;
        Ok(Self {
            path,
            code: file.bytecode.object,
            links: file.bytecode.link_references,
        })
    }

    /// Creation code with all libraries linked, followed by the encoded constructor arguments.
    pub(crate) fn creation(
        &self,
        libraries: &BTreeMap<String, Address>,
        arguments: &[u8],
    ) -> Result<Bytes, DrillError> {
        let mut code = self.code.strip_prefix("0x").unwrap_or(&self.code).to_owned();
        for (library, places) in self.links.values().flatten() {
            let address = libraries
                .get(library)
                .ok_or_else(|| self.unusable(format!("library {library} is not deployed")))?;
            let digits = hex::encode(address);
            for place in places {
                let range = place.start * 2..(place.start + place.length) * 2;
                if place.length != Address::len_bytes() || code.get(range.clone()).is_none() {
                    return Err(self.unusable(format!("bad link reference of {library}")));
                }
                code.replace_range(range, &digits);
            }
        }
        let mut bytes =
            hex::decode(&code).map_err(|error| self.unusable(format!("creation code is not hex: {error}")))?;
        if bytes.is_empty() {
            return Err(self.unusable("no creation code (abstract contract or interface)".to_owned()));
        }
        bytes.extend_from_slice(arguments);
        Ok(bytes.into())
    }

    fn unusable(&self, reason: String) -> DrillError {
        DrillError::Artifact {
            path: self.path.clone(),
            reason,
        }
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, DrillError> {
    let unusable = |reason: String| DrillError::Artifact {
        path: path.to_path_buf(),
        reason,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| unusable(format!("{error}; run ./scripts/setup and forge build")))?
        .len();
    if size > MAX_ARTIFACT {
        return Err(unusable(format!(
            "{size} bytes, more than the {MAX_ARTIFACT} that an artifact may have"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(DrillError::file("read", path))?;
    serde_json::from_str(&text).map_err(|error| unusable(format!("not an artifact: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("A.sol")).unwrap();
        std::fs::write(folder.path().join("A.sol/A.json"), text).unwrap();
        let path = folder.path().to_path_buf();
        (folder, path)
    }

    const LINKED: &str = r#"{"bytecode":"0x60__$0123456789012345678901234567890123$__61",
        "linkReferences":{"L.sol":{"L":[{"start":1,"length":20}]}}}"#;

    #[test]
    fn libraries_are_linked_and_arguments_appended() {
        let (_folder, path) = written(LINKED);
        let artifact = Artifact::hardhat(&path, "A").unwrap();
        let libraries = BTreeMap::from([("L".to_owned(), Address::repeat_byte(0xab))]);
        let code = artifact.creation(&libraries, &[1, 2]).unwrap();
        assert_eq!(hex::encode(&code), format!("60{}610102", "ab".repeat(20)));
    }

    #[test]
    fn an_undeployed_library_is_named() {
        let (_folder, path) = written(LINKED);
        let error = Artifact::hardhat(&path, "A")
            .unwrap()
            .creation(&BTreeMap::new(), &[])
            .unwrap_err();
        assert!(error.to_string().contains("library L is not deployed"), "{error}");
    }

    #[test]
    fn abstract_contracts_cannot_be_deployed() {
        let (_folder, path) = written(r#"{"bytecode":{"object":"0x","linkReferences":{}}}"#);
        let error = Artifact::forge(&path, "A")
            .unwrap()
            .creation(&BTreeMap::new(), &[])
            .unwrap_err();
        assert!(error.to_string().contains("no creation code"), "{error}");
    }

    #[test]
    fn a_missing_file_says_what_to_run() {
        let error = Artifact::forge(Path::new("/nonexistent"), "A").unwrap_err();
        assert!(error.to_string().contains("forge build"), "{error}");
    }
}
