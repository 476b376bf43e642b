//! Names of functions, events and errors: those that every node knows, and those of given ABIs.

use std::{collections::HashMap, fs, path::Path};

use alloy::{
    dyn_abi::{DynSolValue, ErrorExt, EventExt, FunctionExt, JsonAbiExt},
    json_abi::{AbiItem, Error, Event, Function, JsonAbi, Param},
    primitives::{B256, Bytes, Log, Selector, hex},
    sol_types::{Panic, Revert, SolError},
};
use serde_json::Value;

use crate::rpc::unnamed_revert;

/// The signatures that are known without an ABI.
const BUILT_IN: &str = include_str!("signatures.txt");

/// Bounds of what is read from a directory of artifacts.
const MAX_FILES: usize = 20_000;
const MAX_FILE_BYTES: u64 = 64 << 20;
const MAX_DEPTH: usize = 16;

/// Values are cut here when they are shown: bytes, characters, elements.
const MAX_BYTES: usize = 64;
const MAX_ELEMENTS: usize = 16;
const MAX_TEXT: usize = 512;

/// ABIs could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamesError {
    #[error("{path}: {reason}")]
    Read { path: String, reason: String },
    #[error("{0}: neither an ABI nor an artifact with one in `abi`")]
    NoAbi(String),
    #[error("{path} holds more than {MAX_FILES} files: name the directory of the artifacts")]
    TooMany { path: String },
}

/// What selectors and topics mean. Where two have the same, the first that was given counts.
#[derive(Debug, Default)]
pub(crate) struct Names {
    functions: HashMap<Selector, Function>,
    /// By topic and number of indexed parameters, in which events of one name differ.
    events: HashMap<(B256, usize), Event>,
    errors: HashMap<Selector, Error>,
}

impl Names {
    /// The built-in names, after those of the ABIs at `paths`: files, or directories that are searched for artifacts.
    pub(crate) fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Self, NamesError> {
        let mut names = Self::default();
        for path in paths {
            let path = path.as_ref();
            if path.is_dir() {
                names.add_directory(path)?;
            } else if !names.add_file(path)? {
                return Err(NamesError::NoAbi(path.display().to_string()));
            }
        }
        let lines = BUILT_IN
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .filter_map(|line| AbiItem::parse(line).ok())
            .for_each(|item| names.add(item));
        Ok(names)
    }

    fn add_directory(&mut self, root: &Path) -> Result<(), NamesError> {
        let failed = |path: &Path, error: std::io::Error| NamesError::Read {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let mut left = vec![(root.to_owned(), 0_usize)];
        let mut files = 0_usize;
        while let Some((directory, depth)) = left.pop() {
            for entry in fs::read_dir(&directory).map_err(|error| failed(&directory, error))? {
                let entry = entry.map_err(|error| failed(&directory, error))?;
                let kind = entry.file_type().map_err(|error| failed(&entry.path(), error))?;
                files = files.saturating_add(1);
                if files > MAX_FILES {
                    return Err(NamesError::TooMany {
                        path: root.display().to_string(),
                    });
                }
                let path = entry.path();
                if kind.is_dir() && depth < MAX_DEPTH {
                    left.push((path, depth.saturating_add(1)));
                } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "json") {
                    // Not every JSON file there is an artifact.
                    let _ = self.add_file(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the ABI in a file; false when it holds none.
    fn add_file(&mut self, path: &Path) -> Result<bool, NamesError> {
        let failed = |reason: String| NamesError::Read {
            path: path.display().to_string(),
            reason,
        };
        let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > MAX_FILE_BYTES {
            return Err(failed(format!("{size} bytes are too many; at most {MAX_FILE_BYTES}")));
        }
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let Ok(mut value) = serde_json::from_str::<Value>(&text) else {
            return Ok(false);
        };
        let abi = match value.get_mut("abi") {
            Some(abi) => abi.take(),
            None => value,
        };
        match serde_json::from_value::<JsonAbi>(abi) {
            Ok(abi) if !abi.is_empty() => {
                abi.into_items().for_each(|item| self.add(item));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn add(&mut self, item: AbiItem<'static>) {
        match item {
            AbiItem::Function(function) => {
                let function = function.into_owned();
                self.functions.entry(function.selector()).or_insert(function);
            }
            AbiItem::Event(event) => {
                let event = event.into_owned();
                let key = (event.selector(), event.num_topics());
                self.events.entry(key).or_insert(event);
            }
            AbiItem::Error(error) => {
                let error = error.into_owned();
                self.errors.entry(error.selector()).or_insert(error);
            }
            _ => {}
        }
    }

    /// Name and arguments of a call, if its function is known.
    pub(crate) fn call(&self, input: &[u8]) -> Option<String> {
        let (selector, data) = input.split_first_chunk::<4>()?;
        let function = self.functions.get(selector)?;
        let values = function.abi_decode_input(data).ok()?;
        Some(format!("{}({})", function.name, arguments(&function.inputs, &values)))
    }

    /// What a call returned, if its function is known.
    pub(crate) fn returned(&self, input: &[u8], output: &[u8]) -> Option<String> {
        let function = self.functions.get(input.first_chunk::<4>()?)?;
        let values = function.abi_decode_output(output).ok()?;
        let shown: Vec<_> = values.iter().map(show).collect();
        Some(shown.join(", "))
    }

    /// Name and arguments of an event, if it is known.
    pub(crate) fn event(&self, log: &Log) -> Option<String> {
        let topics = log.topics();
        let event = self.events.get(&(*topics.first()?, topics.len()))?;
        let decoded = event.decode_log(&log.data).ok()?;
        let (mut indexed, mut body) = (decoded.indexed.into_iter(), decoded.body.into_iter());
        let values = event.inputs.iter().filter_map(|input| {
            let value = if input.indexed { indexed.next() } else { body.next() }?;
            Some(named(&input.name, &value))
        });
        let values: Vec<_> = values.collect();
        Some(format!("{}({})", event.name, values.join(", ")))
    }

    /// What revert data says: a reason, a panic, or a known error with its arguments.
    pub(crate) fn revert(&self, data: &Bytes) -> Option<String> {
        if let Ok(revert) = Revert::abi_decode(data) {
            return Some(revert.reason().to_owned());
        }
        if let Ok(panic) = Panic::abi_decode(data) {
            return Some(panic.to_string());
        }
        let error = self.errors.get(data.first_chunk::<4>()?)?;
        let values = error.decode_error(data).ok()?.body;
        Some(format!("{}({})", error.name, arguments(&error.inputs, &values)))
    }

    /// The message of a reverted call as clients see it.
    pub(crate) fn revert_message(&self, data: &Bytes) -> String {
        match self.revert(data) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => unnamed_revert(data),
        }
    }
}

fn arguments(params: &[Param], values: &[DynSolValue]) -> String {
    let shown: Vec<_> = params
        .iter()
        .zip(values)
        .map(|(param, value)| named(&param.name, value))
        .collect();
    shown.join(", ")
}

fn named(name: &str, value: &DynSolValue) -> String {
    if name.is_empty() {
        show(value)
    } else {
        format!("{name}: {}", show(value))
    }
}

/// A value for people, cut where it is long.
pub(super) fn show(value: &DynSolValue) -> String {
    match value {
        DynSolValue::Bool(flag) => flag.to_string(),
        DynSolValue::Int(number, _) => number.to_string(),
        DynSolValue::Uint(number, _) => number.to_string(),
        DynSolValue::Address(address) => address.to_string(),
        DynSolValue::Function(function) => hex::encode_prefixed(function.0),
        DynSolValue::FixedBytes(word, size) => show_bytes(word.get(..*size).unwrap_or(&word[..])),
        DynSolValue::Bytes(bytes) => show_bytes(bytes),
        DynSolValue::String(text) if text.chars().count() > MAX_TEXT => {
            format!("{:?}…", text.chars().take(MAX_TEXT).collect::<String>())
        }
        DynSolValue::String(text) => format!("{text:?}"),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) => format!("[{}]", list(values)),
        DynSolValue::Tuple(values) => format!("({})", list(values)),
    }
}

fn list(values: &[DynSolValue]) -> String {
    let mut shown: Vec<_> = values.iter().take(MAX_ELEMENTS).map(show).collect();
    if values.len() > MAX_ELEMENTS {
        shown.push(format!("… {} more", values.len().saturating_sub(MAX_ELEMENTS)));
    }
    shown.join(", ")
}

/// Bytes for people, cut where they are many.
pub(super) fn show_bytes(bytes: &[u8]) -> String {
    match bytes.get(..MAX_BYTES) {
        Some(start) if bytes.len() > MAX_BYTES => {
            format!("{}… ({} bytes)", hex::encode_prefixed(start), bytes.len())
        }
        _ => hex::encode_prefixed(bytes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloy::{
        primitives::{U256, address, hex},
        sol_types::{SolCall, SolError, SolEvent},
    };

    use super::*;

    alloy::sol! {
        #![sol(all_derives)]
        function transfer(address to, uint256 amount) returns (bool);
        event Deposit(address indexed sender, address indexed owner, uint256 assets, uint256 shares);
        error RuleBreached(uint16 rule, bool observedNegative, uint256 observed, bool boundNegative, uint256 bound);
        error Strange(bytes data, string[] words);
    }

    fn built_in() -> Names {
        Names::load::<&Path>(&[]).unwrap()
    }

    #[test]
    fn every_built_in_line_is_a_signature() {
        for line in BUILT_IN
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            AbiItem::parse(line).unwrap_or_else(|error| unreachable!("{line}: {error}"));
        }
    }

    #[test]
    fn the_errors_of_the_guard_are_built_in() {
        let source = include_str!("../../../contracts/solidity/src/ICordonGuard.sol");
        let declared: Vec<_> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("error "))
            .collect();
        assert!(declared.len() > 30, "{declared:?}");
        let enums: Vec<_> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("enum ")?.split(' ').next())
            .collect();
        for line in declared {
            let line = enums.iter().fold(line.to_owned(), |line, name| {
                line.replace(&format!("{name} "), "uint8 ")
            });
            let error = Error::parse(&format!("error {}", line.trim_end_matches(';'))).unwrap();
            assert!(built_in().errors.contains_key(&error.selector()), "{line}");
        }
    }

    #[test]
    fn calls_events_and_errors_get_their_names() {
        let names = built_in();
        let to = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
        let input = transferCall {
            to,
            amount: U256::from(5),
        }
        .abi_encode();
        assert_eq!(names.call(&input).unwrap(), format!("transfer(to: {to}, amount: 5)"));
        assert_eq!(names.returned(&input, &U256::ONE.to_be_bytes::<32>()).unwrap(), "true");
        let log = Log {
            address: to,
            data: Deposit {
                sender: to,
                owner: to,
                assets: U256::from(1),
                shares: U256::from(2),
            }
            .encode_log_data(),
        };
        assert_eq!(
            names.event(&log).unwrap(),
            format!("Deposit(sender: {to}, owner: {to}, assets: 1, shares: 2)")
        );
        let breach = RuleBreached {
            rule: 3,
            observedNegative: false,
            observed: U256::from(9),
            boundNegative: false,
            bound: U256::from(10),
        };
        assert_eq!(
            names.revert_message(&breach.abi_encode().into()),
            "execution reverted: RuleBreached(rule: 3, observedNegative: false, observed: 9, boundNegative: false, bound: 10)"
        );
    }

    #[test]
    fn what_is_unknown_or_broken_has_no_name() {
        let names = built_in();
        assert_eq!(names.call(&[1, 2, 3]), None);
        assert_eq!(names.call(&hex!("a9059cbb00")), None, "the arguments are missing");
        assert_eq!(
            names.revert_message(&Bytes::from(hex!("5a80ad6f").to_vec())),
            "execution reverted: custom error 0x5a80ad6f"
        );
        assert_eq!(
            names.revert_message(&Bytes::from(hex!("5a80ad6f0007").to_vec())),
            "execution reverted: custom error 0x5a80ad6f: 0007"
        );
        assert_eq!(
            names.revert_message(&Bytes::from_static(&[1, 2, 3])),
            "execution reverted"
        );
        assert_eq!(names.revert_message(&Bytes::new()), "execution reverted");
    }

    #[test]
    fn abis_of_files_and_directories_come_first_and_long_values_are_cut() {
        let directory = tempfile::tempdir().unwrap();
        let artifacts = directory.path().join("a/b");
        fs::create_dir_all(&artifacts).unwrap();
        let abi = r#"{"abi":[
            {"type":"error","name":"Strange","inputs":[{"name":"data","type":"bytes"},{"name":"words","type":"string[]"}]},
            {"type":"function","name":"transfer","stateMutability":"nonpayable","outputs":[],
             "inputs":[{"name":"mine","type":"address"},{"name":"own","type":"uint256"}]}]}"#;
        fs::write(artifacts.join("Token.json"), abi).unwrap();
        fs::write(artifacts.join("cache.json"), "{\"files\": 1}").unwrap();
        fs::write(artifacts.join("broken.json"), "{").unwrap();
        let names = Names::load(&[directory.path()]).unwrap();
        let strange = Strange {
            data: vec![7; 100].into(),
            words: vec!["a".to_owned(); 20],
        };
        let text = names.revert(&strange.abi_encode().into()).unwrap();
        assert!(text.contains("… (100 bytes)") && text.contains("… 4 more"), "{text}");
        let input = transferCall {
            to: address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            amount: U256::from(5),
        };
        assert!(names.call(&input.abi_encode()).unwrap().contains("own: 5"));

        let error = Names::load(&[artifacts.join("cache.json")]).unwrap_err();
        assert!(error.to_string().contains("neither an ABI"), "{error}");
        let error = Names::load(&[artifacts.join("absent.json")]).unwrap_err();
        assert!(error.to_string().contains("absent.json"), "{error}");
    }
}
