//! Invariant contracts of a watch: from the compiler's artifact to the code that is called.

use std::ops::Range;

use alloy::dyn_abi::{DynSolType, DynSolValue};
use alloy::json_abi::{ContractObject, Function, Param as AbiParam};
use alloy::primitives::{B256, Bytes, U256};

use super::super::schema::{RawWatch, Text};
use super::super::watch::InvariantContract;
use super::Checker;
use crate::abi::Contracts;

/// Longest artifact of an invariant contract, in bytes.
const LONGEST_ARTIFACT: u64 = 16 * 1024 * 1024;
/// Address of Foundry's cheatcodes, which exist in tests only.
const CHEATCODES: [u8; 20] = [
    0x71, 0x09, 0x70, 0x9e, 0xcf, 0xa9, 0x1a, 0x80, 0x62, 0x6f, 0xf3, 0x98, 0x9d, 0x68, 0xf6, 0x7f, 0x5b, 0x1d, 0xd1,
    0x2d,
];

impl Checker {
    pub(super) fn invariant_contract(
        &mut self,
        on: &Range<usize>,
        raw: &RawWatch,
        contracts: &Contracts,
    ) -> Option<InvariantContract> {
        let text = self.wanted(on, "invariants", "artifact", raw.artifact.as_ref())?;
        let artifact = self.artifact(text)?;
        let abi = artifact.abi.unwrap_or_default();
        let functions: Vec<Function> = abi
            .functions()
            .filter(|function| function.name.starts_with("invariant") && function.inputs.is_empty())
            .cloned()
            .collect();
        if functions.is_empty() {
            let help = "they are named invariant… and take no arguments".to_owned();
            self.error(text.span(), "the artifact has no invariant functions", help);
            return None;
        }
        let code = artifact.bytecode.unwrap_or_default();
        if code.is_empty() {
            let help = "compile it, and link its libraries".to_owned();
            self.error(text.span(), "the artifact has no code", help);
            return None;
        }
        if code.windows(CHEATCODES.len()).any(|part| part == CHEATCODES) {
            let help = "a function that calls vm… or forge-std's assertions reverts on a chain: use require";
            self.warn(
                text.span(),
                "the contract refers to Foundry's cheatcodes",
                help.to_owned(),
            );
        }
        let errors = abi.errors().cloned().collect();
        let inputs = abi
            .constructor
            .map(|constructor| constructor.inputs)
            .unwrap_or_default();
        let args = self.constructor_args(text, &inputs, &raw.args, contracts)?;
        let storage = self.own_storage(raw, contracts)?;
        Some(InvariantContract {
            creation: Bytes::from([code.as_ref(), &args].concat()),
            functions,
            errors,
            storage,
        })
    }

    fn artifact(&mut self, text: &Text) -> Option<ContractObject> {
        let path = self.source.resolve(text.get_ref());
        let read = || -> Result<ContractObject, String> {
            let size = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
            if size > LONGEST_ARTIFACT {
                return Err(format!("it has {size} bytes, more than {LONGEST_ARTIFACT}"));
            }
            let json = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            serde_json::from_str(&json).map_err(|error| error.to_string())
        };
        read()
            .map_err(|reason| {
                let help = "the JSON that `forge build` writes to out/FILE.sol/CONTRACT.json".to_owned();
                self.error(text.span(), format!("no artifact: {reason}"), help);
            })
            .ok()
    }

    fn constructor_args(
        &mut self,
        at: &Text,
        inputs: &[AbiParam],
        args: &[Text],
        contracts: &Contracts,
    ) -> Option<Vec<u8>> {
        if inputs.len() != args.len() {
            let list: Vec<String> = inputs
                .iter()
                .map(|input| format!("{} {}", input.ty, input.name))
                .collect();
            let help = format!("the constructor takes ({})", list.join(", "));
            self.error(at.span(), format!("{} arguments in `args`", args.len()), help);
            return None;
        }
        let mut values = Vec::new();
        for (input, text) in inputs.iter().zip(args) {
            let ty: Option<DynSolType> = input.selector_type().parse().ok();
            let named = contracts.get(text.get_ref()).filter(|_| input.ty == "address");
            let value = match named {
                Some(contract) => Some(DynSolValue::Address(contract.address)),
                None => ty.and_then(|ty| ty.coerce_str(text.get_ref()).ok()),
            };
            if value.is_none() {
                self.error(
                    text.span(),
                    format!("this is no {} for `{}`", input.ty, input.name),
                    None,
                );
            }
            values.push(value);
        }
        let values: Vec<DynSolValue> = values.into_iter().collect::<Option<_>>()?;
        Some(DynSolValue::Tuple(values).abi_encode_params())
    }

    fn own_storage(&mut self, raw: &RawWatch, contracts: &Contracts) -> Option<Vec<(U256, B256)>> {
        let mut storage = Vec::new();
        for (slot, word) in &raw.state {
            let slot = self.slot(slot)?;
            let value = match contracts.get(word.get_ref()) {
                Some(contract) => contract.address.into_word(),
                None => self.slot(word)?,
            };
            storage.push((slot.into(), value));
        }
        Some(storage)
    }
}
