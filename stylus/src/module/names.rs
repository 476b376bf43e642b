//! Rules about imports and exports: which host functions exist, and which names are not for programs.

use std::collections::HashSet;

use wasmparser::{FuncType, ValType};

use super::ModuleError;
use crate::hooks::{Hook, Kind};

/// Module of the host functions that every chain has.
const HOOKS: &str = "vm_hooks";
/// The hook that pays for memory.
const GROW_HOOK: &str = "pay_for_memory_grow";
/// Characters of a name that a message shows.
const MESSAGE_CHARS: usize = 80;
/// Beginning of the names that belong to the instrumentation.
const RESERVED: &str = "stylus";

/// An imported function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    pub(super) type_index: u32,
}

impl Import<'_> {
    pub(super) fn is_grow_hook(&self) -> bool {
        self.module == HOOKS && self.name == GROW_HOOK
    }

    /// Checks that the host offers the function, with this very type. Other modules than `vm_hooks` need `debug`.
    pub(super) fn check(&self, ty: Option<&FuncType>, debug: bool) -> Result<(), ModuleError> {
        let Self { module, name, .. } = *self;
        if name.starts_with(RESERVED) {
            return Err(ModuleError::Reserved(shorten(name)));
        }
        let signature = Hook::ALL
            .iter()
            .map(|hook| hook.signature())
            .find(|signature| signature.module == module && signature.name == name)
            .filter(|_| debug || module == HOOKS)
            .ok_or_else(|| ModuleError::NoSuchImport {
                module: shorten(module),
                name: shorten(name),
            })?;
        let params = signature.params.iter().copied().map(val_type);
        let results = signature.result.into_iter().map(val_type);
        let fits =
            ty.is_some_and(|ty| params.eq(ty.params().iter().copied()) && results.eq(ty.results().iter().copied()));
        if !fits {
            return Err(ModuleError::ImportType {
                module: shorten(module),
                name: shorten(name),
                expected: format!("{:?} -> {:?}", signature.params, signature.result),
            });
        }
        Ok(())
    }
}

fn val_type(kind: Kind) -> ValType {
    match kind {
        Kind::I32 => ValType::I32,
        Kind::I64 => ValType::I64,
        Kind::F32 => ValType::F32,
        Kind::F64 => ValType::F64,
    }
}

/// Checks one export's name against the imports and the reserved names.
///
/// What counts is the part after the last `__`, which linkers put between module and name.
pub(super) fn check_export(name: &str, imported: &HashSet<&str>) -> Result<(), ModuleError> {
    let last = name.rsplit("__").next().unwrap_or(name);
    if imported.contains(last) {
        return Err(ModuleError::ExportsImport(shorten(last)));
    }
    if last.starts_with(RESERVED) {
        return Err(ModuleError::Reserved(shorten(last)));
    }
    Ok(())
}

/// A name for a message: escaped and cut, since names come from the module and can be 100,000 bytes long.
pub(super) fn shorten(name: &str) -> String {
    name.chars().flat_map(char::escape_debug).take(MESSAGE_CHARS).collect()
}
