//! Settings that are one text or a list of texts, each with its place.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::schema::Text;

/// The value of `abi`: `"erc20"`, `"file.json"`, or a list of signatures.
pub(super) enum RawAbi {
    Name(String),
    Signatures(Vec<Text>),
}

/// One text or a list of texts.
pub(super) struct OneOrMany(pub(super) Vec<Text>);

/// Reads a string into `A` or a list into `B`: an untagged enum would lose the places.
struct StringOrList<T>(PhantomData<T>, &'static str);

impl<'de, T: From<String> + From<Vec<Text>>> Visitor<'de> for StringOrList<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        Ok(T::from(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Text>()? {
            items.push(item);
        }
        Ok(T::from(items))
    }
}

impl From<String> for RawAbi {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<Vec<Text>> for RawAbi {
    fn from(signatures: Vec<Text>) -> Self {
        Self::Signatures(signatures)
    }
}

impl<'de> Deserialize<'de> for RawAbi {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrList(
            PhantomData,
            "\"erc20\", \"erc4626\", the path of a JSON file, or a list of signatures",
        ))
    }
}

/// Either form, before the place of a lone string is put back.
enum Texts {
    One(String),
    Many(Vec<Text>),
}

impl From<String> for Texts {
    fn from(text: String) -> Self {
        Self::One(text)
    }
}

impl From<Vec<Text>> for Texts {
    fn from(texts: Vec<Text>) -> Self {
        Self::Many(texts)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrList(PhantomData, "a string or a list of strings"))
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Spanned::<Texts>::deserialize(deserializer)?;
        let span = texts.span();
        Ok(Self(match texts.into_inner() {
            Texts::One(text) => vec![Spanned::new(span, text)],
            Texts::Many(texts) => texts,
        }))
    }
}
