//! What contracts print by calling the address of `console.log`, as Hardhat and Foundry have it.

use std::{collections::HashMap, sync::OnceLock};

use alloy::{
    dyn_abi::{DynSolType, DynSolValue},
    primitives::{Address, Selector, address, keccak256},
};

use super::names::show;

/// Where `console.log` is "called".
pub(crate) const CONSOLE: Address = address!("000000000000000000636F6e736F6c652e6c6f67");

/// The types that up to four arguments can have. Early libraries hashed `uint` where `uint256` was meant.
const KINDS: [&str; 4] = ["uint256", "string", "bool", "address"];
const OLD_KINDS: [&str; 4] = ["uint", "string", "bool", "address"];
const MAX_ARGUMENTS: usize = 4;

fn signatures() -> &'static HashMap<Selector, DynSolType> {
    static SIGNATURES: OnceLock<HashMap<Selector, DynSolType>> = OnceLock::new();
    SIGNATURES.get_or_init(|| {
        let mut found = HashMap::new();
        let mut add = |function: &str, arguments: &[&str]| {
            let list = arguments.join(",");
            let hash = keccak256(format!("{function}({list})"));
            let selector = Selector::from_slice(hash.get(..4).unwrap_or_default());
            if let Ok(kind) = DynSolType::parse(&format!("({list})")) {
                found.insert(selector, kind);
            }
        };
        for kinds in [KINDS, OLD_KINDS] {
            let mut lists: Vec<Vec<&str>> = vec![Vec::new()];
            for _ in 0..MAX_ARGUMENTS {
                let longer =
                    |list: &Vec<&'static str>| kinds.map(|kind| list.iter().copied().chain([kind]).collect::<Vec<_>>());
                lists = lists.iter().flat_map(longer).collect();
                lists.iter().for_each(|list| add("log", list));
            }
        }
        add("log", &[]);
        for (function, kind) in [
            ("log", "int256"),
            ("log", "int"),
            ("log", "bytes"),
            ("logInt", "int256"),
            ("logUint", "uint256"),
            ("logString", "string"),
            ("logBool", "bool"),
            ("logAddress", "address"),
            ("logBytes", "bytes"),
            ("logBytes32", "bytes32"),
            ("log", "bytes32"),
        ] {
            add(function, &[kind]);
        }
        found
    })
}

/// The text that a call to the console prints, if it is one that prints.
pub(crate) fn text(input: &[u8]) -> Option<String> {
    let (selector, data) = input.split_first_chunk::<4>()?;
    let kind = signatures().get(selector)?;
    let values = match kind.abi_decode_params(data).ok()? {
        DynSolValue::Tuple(values) => values,
        single => vec![single],
    };
    Some(format(&values))
}

/// As `util.format` of Node has it: placeholders in a first text take the values that follow, what remains is appended.
fn format(values: &[DynSolValue]) -> String {
    let mut values = values.iter();
    let mut text = String::new();
    if let Some(first) = values.next() {
        match first {
            DynSolValue::String(pattern) => fill(pattern, &mut values, &mut text),
            other => text.push_str(&plain(other)),
        }
    }
    for value in values {
        text.push(' ');
        text.push_str(&plain(value));
    }
    text
}

fn fill<'v>(pattern: &str, values: &mut impl Iterator<Item = &'v DynSolValue>, text: &mut String) {
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        rest = after;
        match after.chars().next() {
            Some('%') => text.push('%'),
            Some('s' | 'd' | 'i' | 'o' | 'x') => match values.next() {
                Some(value) => text.push_str(&plain(value)),
                None => text.extend(["%", after.get(..1).unwrap_or_default()]),
            },
            _ => {
                text.push('%');
                continue;
            }
        }
        rest = after.get(1..).unwrap_or_default();
    }
    text.push_str(rest);
}

/// A text without quotes, anything else as it is shown elsewhere.
fn plain(value: &DynSolValue) -> String {
    match value {
        DynSolValue::String(text) => text.clone(),
        other => show(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloy::{primitives::U256, sol_types::SolCall};

    use super::*;

    mod abi {
        #![allow(missing_docs, clippy::module_name_repetitions)]
        alloy::sol! {
            function log(string a, uint256 b, address c, bool d);
        }
        pub(super) mod old {
            alloy::sol! {
                function log(string a, uint256 b);
            }
        }
    }

    #[test]
    fn placeholders_take_values_and_the_rest_follows() {
        let call = abi::logCall {
            a: "%s of %% and %d %".to_owned(),
            b: U256::from(7),
            c: CONSOLE,
            d: true,
        };
        assert_eq!(
            text(&call.abi_encode()).unwrap(),
            format!("7 of % and {CONSOLE} % true")
        );
    }

    #[test]
    fn signatures_with_the_short_name_of_uint_are_known() {
        let call = abi::old::logCall {
            a: "n".to_owned(),
            b: U256::from(7),
        };
        let mut data = call.abi_encode();
        let selector = keccak256("log(string,uint)");
        data.splice(..4, selector.iter().copied().take(4));
        assert_eq!(text(&data).unwrap(), "n 7");
    }

    #[test]
    fn other_calls_print_nothing() {
        assert_eq!(text(&[]), None);
        assert_eq!(text(&[1, 2, 3, 4]), None);
        let call = abi::old::logCall {
            a: "n".to_owned(),
            b: U256::from(7),
        };
        assert_eq!(text(call.abi_encode().get(..40).unwrap()), None);
    }
}
