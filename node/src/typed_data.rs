//! The hash of typed data that wallets sign (EIP-712), as `eth_signTypedData_v4` takes it.

use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    dyn_abi::DynSolType,
    primitives::{Address, B256, Bytes, U256, keccak256},
};
use serde::Deserialize;
use serde_json::Value;

use crate::rpc::number;

/// Name of the type of the domain.
const DOMAIN: &str = "EIP712Domain";

/// The fields that a domain may have, in the order in which they are hashed.
const DOMAIN_FIELDS: [(&str, &str); 5] = [
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
];

/// Typed data cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TypedDataError {
    #[error("the typed data is not understood: {0}")]
    Format(serde_json::Error),
    #[error("`{place}`: `types` has no `{kind}`, which is no type of Solidity either")]
    UnknownType { place: String, kind: String },
    #[error("`{place}` is missing")]
    Missing { place: String },
    #[error("`{place}` is no {kind}: {value}")]
    Value { place: String, kind: String, value: String },
}

#[derive(Clone, Debug, Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Types, a domain and a message.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TypedData {
    types: BTreeMap<String, Vec<Field>>,
    primary_type: String,
    #[serde(default)]
    domain: Value,
    #[serde(default)]
    message: Value,
}

impl TypedData {
    /// Reads typed data, given as an object or as its text.
    pub(crate) fn parse(value: Value) -> Result<Self, TypedDataError> {
        let parsed = match value {
            Value::String(text) => serde_json::from_str(&text),
            other => serde_json::from_value(other),
        };
        let mut data: Self = parsed.map_err(TypedDataError::Format)?;
        if !data.types.contains_key(DOMAIN) {
            let given = DOMAIN_FIELDS.into_iter();
            let given = given.filter(|(name, _)| data.domain.get(name).is_some_and(|value| !value.is_null()));
            let fields = given.map(|(name, kind)| Field {
                name: name.to_owned(),
                kind: kind.to_owned(),
            });
            data.types.insert(DOMAIN.to_owned(), fields.collect());
        }
        Ok(data)
    }

    /// What is signed.
    pub(crate) fn signing_hash(&self) -> Result<B256, TypedDataError> {
        let mut hasher = Hasher {
            types: &self.types,
            hashes: BTreeMap::new(),
        };
        let mut signed = vec![0x19, 0x01];
        signed.extend(hasher.hash_struct(DOMAIN, &self.domain, "domain")?);
        // The domain may be all that there is to sign.
        if self.primary_type != DOMAIN {
            signed.extend(hasher.hash_struct(&self.primary_type, &self.message, "message")?);
        }
        Ok(keccak256(signed))
    }
}

struct Hasher<'a> {
    types: &'a BTreeMap<String, Vec<Field>>,
    /// Hashes of types that were met.
    hashes: BTreeMap<String, B256>,
}

impl Hasher<'_> {
    /// The type with the types that it refers to, after it and in the order of their names.
    fn encode_type(&self, kind: &str) -> String {
        let mut met = BTreeSet::new();
        let mut open = vec![kind];
        while let Some(next) = open.pop() {
            if let Some(fields) = self.types.get(next).filter(|_| met.insert(next)) {
                open.extend(fields.iter().map(|field| element(&field.kind)));
            }
        }
        met.remove(kind);
        let parts = std::iter::once(kind).chain(met).map(|name| {
            let fields = self.types.get(name).into_iter().flatten();
            let fields: Vec<_> = fields.map(|field| format!("{} {}", field.kind, field.name)).collect();
            format!("{name}({})", fields.join(","))
        });
        parts.collect()
    }

    fn type_hash(&mut self, kind: &str) -> B256 {
        if let Some(known) = self.hashes.get(kind) {
            return *known;
        }
        let hash = keccak256(self.encode_type(kind));
        self.hashes.insert(kind.to_owned(), hash);
        hash
    }

    fn hash_struct(&mut self, kind: &str, value: &Value, place: &str) -> Result<B256, TypedDataError> {
        let types = self.types;
        let fields = types.get(kind).ok_or_else(|| TypedDataError::UnknownType {
            place: place.to_owned(),
            kind: kind.to_owned(),
        })?;
        let mut encoded = self.type_hash(kind).to_vec();
        for field in fields {
            let place = format!("{place}.{}", field.name);
            let Some(value) = value.get(&field.name).filter(|value| !value.is_null()) else {
                return Err(TypedDataError::Missing { place });
            };
            encoded.extend(self.encode(&field.kind, value, &place)?);
        }
        Ok(keccak256(encoded))
    }

    /// The word that stands for a value.
    fn encode(&mut self, kind: &str, value: &Value, place: &str) -> Result<B256, TypedDataError> {
        if let Some((inner, count)) = array(kind) {
            let items = value
                .as_array()
                .filter(|items| count.is_none_or(|count| count == items.len()));
            let items = items.ok_or_else(|| wrong(place, kind, value))?;
            let mut encoded = Vec::with_capacity(items.len().saturating_mul(32));
            for (index, item) in items.iter().enumerate() {
                encoded.extend(self.encode(inner, item, &format!("{place}[{index}]"))?);
            }
            return Ok(keccak256(encoded));
        }
        if self.types.contains_key(kind) {
            return self.hash_struct(kind, value, place);
        }
        let solidity = DynSolType::parse(kind).map_err(|_| TypedDataError::UnknownType {
            place: place.to_owned(),
            kind: kind.to_owned(),
        })?;
        word(&solidity, value).ok_or_else(|| wrong(place, kind, value))
    }
}

fn wrong(place: &str, kind: &str, value: &Value) -> TypedDataError {
    let mut shown: String = value.to_string().chars().take(100).collect();
    if value.to_string().len() > shown.len() {
        shown.push('…');
    }
    TypedDataError::Value {
        place: place.to_owned(),
        kind: kind.to_owned(),
        value: shown,
    }
}

/// The type of an array's elements, and their number where the type tells it.
fn array(kind: &str) -> Option<(&str, Option<usize>)> {
    let (inner, count) = kind.strip_suffix(']')?.rsplit_once('[')?;
    match count {
        "" => Some((inner, None)),
        count => Some((inner, Some(count.parse().ok()?))),
    }
}

/// The innermost type of an array's elements, or the type itself.
fn element(kind: &str) -> &str {
    kind.split_once('[').map_or(kind, |(inner, _)| inner)
}

/// The word of a value that is neither array nor struct; `None` if it is none of this type.
fn word(kind: &DynSolType, value: &Value) -> Option<B256> {
    match *kind {
        DynSolType::Bool => {
            let truth = value.as_bool().or_else(|| value.as_str()?.parse().ok())?;
            Some(B256::with_last_byte(truth.into()))
        }
        DynSolType::Address => Some(value.as_str()?.parse::<Address>().ok()?.into_word()),
        DynSolType::Uint(bits) => number(value).filter(|number| number.bit_len() <= bits).map(B256::from),
        DynSolType::Int(bits) => integer(value, bits),
        DynSolType::FixedBytes(size) => {
            let bytes = value.as_str()?.parse::<Bytes>().ok()?;
            (bytes.len() == size).then(|| B256::right_padding_from(&bytes))
        }
        DynSolType::Bytes => Some(keccak256(value.as_str()?.parse::<Bytes>().ok()?)),
        DynSolType::String => Some(keccak256(value.as_str()?)),
        _ => None,
    }
}

/// A number with a sign, of so many bits, as two's complement.
fn integer(value: &Value, bits: usize) -> Option<B256> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let limit = U256::ONE.checked_shl(bits.checked_sub(1)?)?;
    match text.strip_prefix('-') {
        Some(magnitude) => number(&Value::String(magnitude.to_owned()))
            .filter(|magnitude| *magnitude <= limit)
            .map(|magnitude| B256::from(U256::ZERO.wrapping_sub(magnitude))),
        None => number(&Value::String(text))
            .filter(|number| *number < limit)
            .map(B256::from),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use alloy::primitives::b256;
    use serde_json::json;

    use super::*;

    /// The example of EIP-712.
    fn mail() -> Value {
        json!({
            "types": {
                "EIP712Domain": [
                    { "name": "name", "type": "string" }, { "name": "version", "type": "string" },
                    { "name": "chainId", "type": "uint256" }, { "name": "verifyingContract", "type": "address" }
                ],
                "Person": [{ "name": "name", "type": "string" }, { "name": "wallet", "type": "address" }],
                "Mail": [
                    { "name": "from", "type": "Person" }, { "name": "to", "type": "Person" },
                    { "name": "contents", "type": "string" }
                ]
            },
            "primaryType": "Mail",
            "domain": {
                "name": "Ether Mail", "version": "1", "chainId": 1,
                "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"
            },
            "message": {
                "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
                "to": { "name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
                "contents": "Hello, Bob!"
            }
        })
    }

    #[test]
    fn the_example_of_the_specification_has_its_hash() {
        let expected = b256!("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
        assert_eq!(TypedData::parse(mail()).unwrap().signing_hash().unwrap(), expected);
        let text = Value::String(mail().to_string());
        assert_eq!(TypedData::parse(text).unwrap().signing_hash().unwrap(), expected);
        let mut without_domain = mail();
        without_domain["types"].as_object_mut().unwrap().remove(DOMAIN);
        let data = TypedData::parse(without_domain).unwrap();
        assert_eq!(data.signing_hash().unwrap(), expected);
    }

    #[test]
    fn what_does_not_fit_its_type_is_told_with_its_place() {
        for (field, kind, value, told) in [
            ("contents", "uint8", json!(256), "`message.contents` is no uint8: 256"),
            ("contents", "int8", json!(-129), "`message.contents` is no int8: -129"),
            (
                "contents",
                "bytes4",
                json!("0x010203"),
                "`message.contents` is no bytes4",
            ),
            ("contents", "bool[2]", json!([true]), "`message.contents` is no bool[2]"),
            ("contents", "Nobody", json!(1), "`types` has no `Nobody`"),
            ("contents", "address", json!("0x1"), "`message.contents` is no address"),
            ("other", "string", json!("x"), "`message.other` is missing"),
        ] {
            let mut data = mail();
            data["types"]["Mail"][2] = json!({ "name": field, "type": kind });
            data["message"]["contents"] = value;
            let error = TypedData::parse(data).unwrap().signing_hash().unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn the_least_and_the_greatest_numbers_fit() {
        for (kind, value, expected) in [
            (
                "int8",
                json!(-128),
                B256::repeat_byte(0xff) ^ B256::with_last_byte(0x7f),
            ),
            ("int8", json!("127"), B256::with_last_byte(127)),
            ("uint8", json!("0xff"), B256::with_last_byte(255)),
            ("int256", json!("-1"), B256::repeat_byte(0xff)),
        ] {
            assert_eq!(
                word(&DynSolType::parse(kind).unwrap(), &value),
                Some(expected),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_type_may_refer_to_itself() {
        let data = json!({
            "types": { "Node": [{ "name": "value", "type": "uint8" }, { "name": "next", "type": "Node[]" }] },
            "primaryType": "Node", "domain": {},
            "message": { "value": 1, "next": [{ "value": 2, "next": [] }] }
        });
        let hash = |data: &Value| TypedData::parse(data.clone()).unwrap().signing_hash().unwrap();
        let mut other = data.clone();
        other["message"]["next"][0]["value"] = json!(3);
        assert_ne!(hash(&data), hash(&other));
    }
}
