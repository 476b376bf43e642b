//! What is bound to statements and read from rows: whole numbers, text, bytes.

use std::sync::Arc;

use crate::record::StoreError;

/// Type of a value; an absent one has a type too, because PostgreSQL asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::record) enum Kind {
    Int,
    Text,
    Blob,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::record) enum Value {
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
    Null(Kind),
}

/// A type that can be bound: what it is when it is absent.
pub(in crate::record) trait Typed {
    const KIND: Kind;
}

macro_rules! bindable {
    ($($type:ty, $kind:ident, $value:ident => $made:expr;)*) => {$(
        impl Typed for $type {
            const KIND: Kind = Kind::$kind;
        }

        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                Self::$kind($made)
            }
        }
    )*};
}

bindable! {
    i64, Int, value => value;
    &i64, Int, value => *value;
    bool, Int, value => i64::from(value);
    String, Text, value => value;
    &String, Text, value => value.clone();
    &str, Text, value => value.to_owned();
    Vec<u8>, Blob, value => value;
}

impl<T: Typed + Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::KIND), Into::into)
    }
}

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        value.as_ref().into()
    }
}

/// A type that a value can be read as.
pub(in crate::record) trait FromValue<'r>: Sized {
    /// The value, or `None` when it is of another type.
    fn from_value(value: &'r Value) -> Option<Self>;
}

impl FromValue<'_> for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl<'r> FromValue<'r> for &'r str {
    fn from_value(value: &'r Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl FromValue<'_> for String {
    fn from_value(value: &Value) -> Option<Self> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl<'r> FromValue<'r> for &'r [u8] {
    fn from_value(value: &'r Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl FromValue<'_> for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        <&[u8]>::from_value(value).map(<[u8]>::to_vec)
    }
}

impl<'r, T: FromValue<'r>> FromValue<'r> for Option<T> {
    fn from_value(value: &'r Value) -> Option<Self> {
        match value {
            Value::Null(_) => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// A row.
#[derive(Debug, Clone)]
pub(in crate::record) struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(super) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of a column.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when there is no such column, or it holds something else.
    pub(in crate::record) fn try_get<'r, T: FromValue<'r>>(&'r self, column: &'static str) -> Result<T, StoreError> {
        self.columns
            .iter()
            .position(|name| name == column)
            .and_then(|at| self.values.get(at))
            .and_then(T::from_value)
            .ok_or(StoreError::Damaged { what: column })
    }
}

/// A tuple that a row can be read as, in the order of its columns.
pub(in crate::record) trait FromRow: Sized {
    /// # Errors
    /// [`StoreError::Damaged`] when the row is another one.
    fn from_row(row: &Row) -> Result<Self, StoreError>;
}

macro_rules! tuples {
    ($(($($name:ident),+))*) => {$(
        impl<$($name: for<'r> FromValue<'r>),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row) -> Result<Self, StoreError> {
                let mut values = row.values().iter();
                Ok(($(
                    values.next().and_then($name::from_value).ok_or(StoreError::Damaged { what: "row" })?,
                )+))
            }
        }
    )*};
}

tuples! {
    (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) (A, B, C, D, E, F, G) (A, B, C, D, E, F, G, H)
    (A, B, C, D, E, F, G, H, I)
}
