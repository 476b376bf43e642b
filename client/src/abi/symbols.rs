//! The compiler's view of the named contracts.

use alloy::json_abi::{Function, Param, StateMutability};
use alloy::primitives::Address;
use cordon_core::rule::{FunctionSig, SymbolError, Symbols, Type};

use super::Contracts;

impl Symbols for Contracts {
    fn contract(&self, name: &str) -> Option<Address> {
        self.get(name).map(|contract| contract.address)
    }

    fn function(&self, contract: &str, function: &str, argc: usize) -> Result<FunctionSig, SymbolError> {
        let overloads = self
            .get(contract)
            .and_then(|c| c.abi.function(function))
            .ok_or(SymbolError::Unknown)?;
        let fitting: Vec<&Function> = overloads.iter().filter(|f| f.inputs.len() == argc).collect();
        match fitting.as_slice() {
            [] => {
                let mut takes: Vec<usize> = overloads.iter().map(|f| f.inputs.len()).collect();
                takes.sort_unstable();
                takes.dedup();
                Err(SymbolError::WrongArgumentCount { takes })
            }
            [only] => Ok(signature(only)),
            several => Err(SymbolError::Ambiguous {
                signatures: several.iter().map(|f| f.signature()).collect(),
            }),
        }
    }

    fn names(&self) -> Vec<String> {
        Contracts::names(self).map(str::to_owned).collect()
    }

    fn functions(&self, contract: &str) -> Vec<String> {
        self.get(contract)
            .map(|c| c.abi.functions.keys().cloned().collect())
            .unwrap_or_default()
    }
}

fn signature(function: &Function) -> FunctionSig {
    let mut outputs = Vec::new();
    for output in &function.outputs {
        flatten(output, &mut outputs);
    }
    FunctionSig {
        selector: function.selector().0,
        inputs: function.inputs.iter().map(abi_type).collect(),
        outputs,
        view: matches!(function.state_mutability, StateMutability::View | StateMutability::Pure),
    }
}

/// A parameter's type. Tuples and fixed arrays become `Other` of their size in the head.
fn abi_type(param: &Param) -> Type {
    match Type::parse(&param.ty) {
        Type::Other { .. } => Type::Other {
            name: param.selector_type().into_owned(),
            words: head_words(param),
        },
        known => known,
    }
}

/// Fields of an answer in the order of their words: a static struct takes the place of its fields.
fn flatten(param: &Param, fields: &mut Vec<(Option<String>, Type)>) {
    if param.ty == "tuple" && !is_dynamic(param) {
        for component in &param.components {
            flatten(component, fields);
        }
        return;
    }
    let name = (!param.name.is_empty()).then(|| param.name.clone());
    fields.push((name, abi_type(param)));
}

/// The element type and the lengths of the arrays around it: `uint8[2][]` is `uint8`, `[Some(2), None]`.
fn dimensions(ty: &str) -> (&str, Vec<Option<u16>>) {
    let base = ty.split('[').next().unwrap_or(ty);
    let lengths = ty
        .split('[')
        .skip(1)
        .map(|part| part.trim_end_matches(']').parse().ok())
        .collect();
    (base, lengths)
}

fn is_dynamic(param: &Param) -> bool {
    let (base, lengths) = dimensions(&param.ty);
    match base {
        "string" | "bytes" => true,
        _ if lengths.contains(&None) => true,
        "tuple" => param.components.iter().any(is_dynamic),
        _ => false,
    }
}

/// Words in the head: 1 for what is dynamic, which has its offset there.
fn head_words(param: &Param) -> u16 {
    if is_dynamic(param) {
        return 1;
    }
    let (base, lengths) = dimensions(&param.ty);
    let element = match base {
        "tuple" => param
            .components
            .iter()
            .fold(0, |sum: u16, c| sum.saturating_add(head_words(c))),
        _ => 1,
    };
    lengths.into_iter().flatten().fold(element, u16::saturating_mul)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use alloy::json_abi::JsonAbi;
    use alloy::primitives::address;

    use super::super::{Contract, parse_signature};
    use super::*;

    fn contracts(signatures: &[&str]) -> Contracts {
        let mut abi = JsonAbi::new();
        for signature in signatures {
            parse_signature(&mut abi, signature).unwrap();
        }
        let mut contracts = Contracts::default();
        let address = address!("0x00000000000000000000000000000000000000aa");
        contracts.insert("pool", Contract { address, abi });
        contracts
    }

    /// The answer of a function whose outputs are given as a JSON ABI: that form alone can name the fields of structs.
    fn outputs(json: &str) -> Vec<(Option<String>, Type)> {
        let function =
            format!(r#"[{{"type":"function","name":"f","inputs":[],"outputs":{json},"stateMutability":"view"}}]"#);
        let mut contracts = Contracts::default();
        contracts.insert(
            "pool",
            Contract {
                address: Address::ZERO,
                abi: serde_json::from_str(&function).unwrap(),
            },
        );
        contracts.function("pool", "f", 0).unwrap().outputs
    }

    const UINT: Type = Type::Int {
        signed: false,
        bits: 256,
    };

    fn named(name: &str, ty: Type) -> (Option<String>, Type) {
        (Some(name.to_owned()), ty)
    }

    fn other(name: &str, words: u16) -> Type {
        Type::Other {
            name: name.to_owned(),
            words,
        }
    }

    #[test]
    fn fields_of_static_structs_take_their_places() {
        assert_eq!(
            outputs(
                r#"[{"name":"s","type":"tuple","components":[
                      {"name":"a","type":"uint256"},
                      {"name":"d","type":"tuple","components":[{"name":"b","type":"bool"},{"name":"c","type":"int24"}]}]},
                    {"name":"e","type":"address"}]"#
            ),
            [
                named("a", UINT),
                named("b", Type::Bool),
                named("c", Type::Int { signed: true, bits: 24 }),
                named("e", Type::Address),
            ]
        );
    }

    #[test]
    fn what_is_dynamic_has_one_word_in_the_head() {
        assert_eq!(
            outputs(
                r#"[{"name":"s","type":"tuple","components":[{"name":"a","type":"uint256"},{"name":"b","type":"string"}]},
                    {"name":"t","type":"uint256[3]"},
                    {"name":"u","type":"tuple[2]","components":[{"name":"x","type":"uint8"},{"name":"y","type":"bool"}]},
                    {"name":"v","type":"uint256"}]"#
            ),
            [
                named("s", other("(uint256,string)", 1)),
                named("t", other("uint256[3]", 3)),
                named("u", other("(uint8,bool)[2]", 4)),
                named("v", UINT),
            ]
        );
        assert_eq!(
            outputs(r#"[{"name":"","type":"bytes"},{"name":"","type":"bytes4"}]"#),
            [(None, other("bytes", 1)), (None, Type::Word { bytes: 4 })]
        );
    }

    #[test]
    fn functions_are_found_by_name_and_number_of_arguments() {
        let contracts = contracts(&[
            "function g(address[] a, bool b) returns (bool)",
            "function g(uint256 a) view returns (uint256)",
            "function h(uint256 a) view",
            "function h(address a) view",
        ]);
        let two = contracts.function("pool", "g", 2).unwrap();
        assert_eq!(two.inputs, [Type::Array(Box::new(Type::Address)), Type::Bool]);
        assert!(!two.view);
        assert!(contracts.function("pool", "g", 1).unwrap().view);
        assert_eq!(
            contracts.function("pool", "g", 3),
            Err(SymbolError::WrongArgumentCount { takes: vec![1, 2] })
        );
        assert_eq!(contracts.function("pool", "nothing", 0), Err(SymbolError::Unknown));
        assert_eq!(
            contracts.function("pool", "h", 1),
            Err(SymbolError::Ambiguous {
                signatures: vec!["h(uint256)".into(), "h(address)".into()]
            })
        );
        assert_eq!(contracts.functions("pool"), ["g", "h"]);
    }
}
