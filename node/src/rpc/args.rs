//! Positional parameters of a method.

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{U256, hex},
};
use jsonrpsee::types::Params;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RpcError;

/// The parameters of one request.
#[derive(Clone, Debug)]
pub(crate) struct Args(Vec<Value>);

impl Args {
    pub(crate) fn parse(params: &Params<'_>) -> Result<Self, RpcError> {
        let values: Option<Vec<Value>> = params.parse().map_err(|_| {
            RpcError::Params("`params` must be a list, in the order of the method's parameters".to_owned())
        })?;
        Ok(Self(values.unwrap_or_default()))
    }

    /// All parameters, to be passed on.
    pub(crate) fn into_values(self) -> Vec<Value> {
        self.0
    }

    /// The parameter as it came, unless it is missing or null.
    pub(crate) fn raw(&self, index: usize) -> Option<&Value> {
        self.0.get(index).filter(|value| !value.is_null())
    }

    /// A parameter that may be missing or null.
    pub(crate) fn optional<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<Option<T>, RpcError> {
        self.raw(index)
            .map(|value| read(value.clone(), index, name))
            .transpose()
    }

    /// A parameter that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<T, RpcError> {
        self.optional(index, name)?.ok_or_else(|| missing(index, name))
    }

    /// A block that may be missing, by number, tag or hash.
    pub(crate) fn optional_block(&self, index: usize) -> Result<Option<BlockId>, RpcError> {
        let block = self.raw(index).map(|value| read(as_quantity(value), index, "block"));
        block.transpose()
    }

    /// A block that must be there, by number, tag or hash.
    pub(crate) fn block(&self, index: usize) -> Result<BlockId, RpcError> {
        self.optional_block(index)?.ok_or_else(|| missing(index, "block"))
    }

    /// The number or tag of a block that may be missing.
    pub(crate) fn optional_tag(&self, index: usize, name: &str) -> Result<Option<BlockNumberOrTag>, RpcError> {
        let tag = self.raw(index).map(|value| read(as_quantity(value), index, name));
        tag.transpose()
    }

    /// The number or tag of a block that must be there.
    pub(crate) fn tag(&self, index: usize, name: &str) -> Result<BlockNumberOrTag, RpcError> {
        self.optional_tag(index, name)?.ok_or_else(|| missing(index, name))
    }

    /// A number that may be missing: hexadecimal or decimal text, or a JSON number.
    pub(crate) fn optional_number(&self, index: usize, name: &str) -> Result<Option<U256>, RpcError> {
        let Some(value) = self.raw(index) else { return Ok(None) };
        number(value).map(Some).ok_or_else(|| {
            RpcError::Params(format!(
                "parameter {} (`{name}`) is no number: {value}",
                index.saturating_add(1)
            ))
        })
    }

    /// A number that must be there.
    pub(crate) fn number(&self, index: usize, name: &str) -> Result<U256, RpcError> {
        self.optional_number(index, name)?.ok_or_else(|| missing(index, name))
    }

    /// A number below 2^64 that may be missing.
    pub(crate) fn optional_u64(&self, index: usize, name: &str) -> Result<Option<u64>, RpcError> {
        let Some(number) = self.optional_number(index, name)? else {
            return Ok(None);
        };
        u64::try_from(number).map(Some).map_err(|_| {
            RpcError::Params(format!(
                "parameter {} (`{name}`) is too big: {number}",
                index.saturating_add(1)
            ))
        })
    }

    /// A number below 2^64 that must be there.
    pub(crate) fn u64(&self, index: usize, name: &str) -> Result<u64, RpcError> {
        self.optional_u64(index, name)?.ok_or_else(|| missing(index, name))
    }
}

fn read<T: DeserializeOwned>(value: Value, index: usize, name: &str) -> Result<T, RpcError> {
    serde_json::from_value(value)
        .map_err(|error| RpcError::Params(format!("parameter {} (`{name}`): {error}", index.saturating_add(1))))
}

/// The number of a block as text, also where a client sends it as a JSON number.
fn as_quantity(value: &Value) -> Value {
    value.as_u64().map_or_else(|| value.clone(), quantity)
}

fn missing(index: usize, name: &str) -> RpcError {
    RpcError::Params(format!("parameter {} (`{name}`) is missing", index.saturating_add(1)))
}

/// A number in any of the forms that clients send.
pub(crate) fn number(value: &Value) -> Option<U256> {
    match value {
        Value::Number(number) => U256::from_str_radix(&number.to_string(), 10).ok(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some("") => Some(U256::ZERO),
            Some(digits) if digits.len() <= 64 => U256::from_str_radix(digits, 16).ok(),
            Some(_) => None,
            None => U256::from_str_radix(text, 10).ok(),
        },
        _ => None,
    }
}

/// A number as JSON-RPC writes quantities.
pub(crate) fn quantity(number: impl TryInto<U256>) -> Value {
    Value::String(
        number
            .try_into()
            .map_or_else(|_| "0x0".to_owned(), |number| format!("{number:#x}")),
    )
}

/// Bytes as JSON-RPC writes them.
pub(crate) fn data(bytes: &[u8]) -> Value {
    Value::String(hex::encode_prefixed(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_come_in_three_forms() {
        for value in [json!(250), json!("0xfa"), json!("250")] {
            assert_eq!(number(&value), Some(U256::from(250)));
        }
        for value in [json!(-1), json!(1.5), json!("x"), json!(true), json!("0xzz")] {
            assert_eq!(number(&value), None, "{value}");
        }
    }

    #[test]
    fn quantities_have_no_leading_zeros() {
        assert_eq!(quantity(0u64), json!("0x0"));
        assert_eq!(quantity(1_024u64), json!("0x400"));
    }
}
