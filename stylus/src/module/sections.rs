//! Checks and re-encoding of the sections of a module.

use std::collections::{HashMap, HashSet};

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{
    DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader, ExportSectionReader, ExternalKind,
    FunctionSectionReader, GlobalSectionReader, ImportSectionReader, MemorySectionReader, Operator, TableSectionReader,
    TypeRef, TypeSectionReader,
};

use super::build::Builder;
use super::limits::{check_name, count};
use super::names::{Import, check_export, shorten};
use super::{ENTRYPOINT, MEMORY, ModuleError, limits};
use crate::pricing::ARBOS_CHARGING_FIXES;

/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 65_536;

impl<'a> Builder<'_, 'a> {
    pub(super) fn types(&mut self, section: TypeSectionReader<'a>) -> Result<(), ModuleError> {
        for ty in section.clone().into_iter_err_on_gc_types() {
            self.types.add(ty?, self.params.version);
        }
        Ok(RoundtripReencoder.parse_type_section(&mut self.out.types, section)?)
    }

    pub(super) fn imports(&mut self, section: ImportSectionReader<'a>) -> Result<(), ModuleError> {
        for import in section.clone().into_imports() {
            let import = import?;
            let TypeRef::Func(type_index) = import.ty else {
                return Err(ModuleError::ImportKind {
                    module: shorten(import.module),
                    name: shorten(import.name),
                });
            };
            let import = Import {
                module: import.module,
                name: import.name,
                type_index,
            };
            import.check(self.types.signature(type_index), self.params.debug)?;
            if import.is_grow_hook() && self.grow_hook.is_none() {
                self.grow_hook = u32::try_from(self.imports.len()).ok();
            }
            self.imports.push(import);
            self.types.functions.push(type_index);
            if self.params.arbos_version >= ARBOS_CHARGING_FIXES {
                limits::check("wasm imports", count(self.imports.len()), limits::IMPORTS)?;
            }
        }
        self.check_same_types()?;
        Ok(RoundtripReencoder.parse_import_section(&mut self.out.imports, section)?)
    }

    /// A function imported twice must be imported with the same type index.
    fn check_same_types(&self) -> Result<(), ModuleError> {
        let mut known = HashMap::new();
        for import in &self.imports {
            let first = *known.entry((import.module, import.name)).or_insert(import.type_index);
            if first != import.type_index {
                return Err(ModuleError::Inconsistent {
                    module: shorten(import.module),
                    name: shorten(import.name),
                });
            }
        }
        Ok(())
    }

    pub(super) fn functions(&mut self, section: FunctionSectionReader<'a>) -> Result<(), ModuleError> {
        limits::check("wasm functions", u64::from(section.count()), limits::FUNCTIONS)?;
        self.info.functions = u64::from(section.count());
        for type_index in section.clone() {
            let type_index = type_index?;
            if let Some(ty) = self.types.signature(type_index) {
                self.info.type_len += count(ty.params().len()) + count(ty.results().len());
            }
            self.types.functions.push(type_index);
        }
        Ok(RoundtripReencoder.parse_function_section(&mut self.out.functions, section)?)
    }

    pub(super) fn tables(&mut self, section: TableSectionReader<'a>) -> Result<(), ModuleError> {
        for table in section.clone() {
            self.table_entries = self.table_entries.saturating_add(table?.ty.initial);
        }
        limits::check("wasm table entries", self.table_entries, limits::TABLE_ENTRIES)?;
        Ok(RoundtripReencoder.parse_table_section(&mut self.out.tables, section)?)
    }

    pub(super) fn memories(&mut self, section: MemorySectionReader<'a>) -> Result<(), ModuleError> {
        limits::check("wasm memories", u64::from(section.count()), 1)?;
        for memory in section {
            let memory = memory?;
            if memory.initial > self.page_limit {
                return Err(ModuleError::Memory {
                    pages: memory.initial,
                    limit: self.page_limit,
                });
            }
            self.memory = Some((memory.initial, memory.maximum));
            let maximum = memory
                .maximum
                .unwrap_or(limits::MEMORY_MAX_PAGES)
                .min(limits::MEMORY_MAX_PAGES);
            let mut memory = RoundtripReencoder.memory_type(memory)?;
            memory.maximum = Some(maximum);
            self.out.memories.memory(memory);
        }
        Ok(())
    }

    pub(super) fn globals(&mut self, section: GlobalSectionReader<'a>) -> Result<(), ModuleError> {
        self.globals = section.count();
        let all = u64::from(self.globals) + u64::from(limits::OWN_GLOBALS);
        limits::check("wasm globals", all, limits::GLOBALS)?;
        for (index, global) in (0_u32..).zip(section.clone()) {
            let mut init = global?.init_expr.get_operators_reader();
            let constant = matches!(
                init.read()?,
                Operator::I32Const { .. }
                    | Operator::I64Const { .. }
                    | Operator::F32Const { .. }
                    | Operator::F64Const { .. }
            );
            if !constant || !init.is_end_then_eof() {
                return Err(ModuleError::Initializer(index));
            }
        }
        Ok(RoundtripReencoder.parse_global_section(&mut self.out.globals, section)?)
    }

    pub(super) fn exports(&mut self, section: ExportSectionReader<'a>) -> Result<(), ModuleError> {
        let imported = self.imports.iter().map(|import| import.name).collect::<HashSet<_>>();
        for export in section {
            let export = export?;
            check_export(export.name, &imported)?;
            let entrypoint = export.name == ENTRYPOINT && export.kind == ExternalKind::Func;
            let memory = export.name == MEMORY && export.kind == ExternalKind::Memory;
            if entrypoint {
                self.entrypoint = Some(export.index);
            }
            self.has_memory_export |= memory;
            if self.params.debug {
                check_name("bytes in the name of an export", export.name)?;
            } else if !entrypoint && !memory {
                continue;
            }
            RoundtripReencoder.parse_export(&mut self.out.exports, export)?;
            limits::check("wasm exports", u64::from(self.out.exports.len()), limits::EXPORTS)?;
        }
        Ok(())
    }

    pub(super) fn elements(&mut self, section: ElementSectionReader<'a>) -> Result<(), ModuleError> {
        limits::check("wasm elements", u64::from(section.count()), limits::ELEMENT_SEGMENTS)?;
        for (index, element) in (0_u32..).zip(section) {
            let element = element?;
            self.info.element_len += element.range.len() as u64;
            limits::check("wasm element entries", self.info.element_len, limits::ELEMENT_BYTES)?;
            if let ElementKind::Active { offset_expr, .. } = &element.kind {
                let entries = match &element.items {
                    ElementItems::Functions(items) => items.count(),
                    ElementItems::Expressions(_, items) => items.count(),
                };
                let end = offset(offset_expr)?.map(|offset| offset + u64::from(entries));
                if end.is_none_or(|end| end > self.table_entries) {
                    return Err(ModuleError::SegmentBounds { kind: "element", index });
                }
            }
            RoundtripReencoder.parse_element(&mut self.out.elements, element)?;
        }
        Ok(())
    }

    pub(super) fn data(&mut self, section: DataSectionReader<'a>) -> Result<(), ModuleError> {
        limits::check("wasm datas", u64::from(section.count()), limits::DATA_SEGMENTS)?;
        let memory = self.memory.map_or(0, |(pages, _)| pages * PAGE_BYTES);
        for (index, data) in (0_u32..).zip(section) {
            let data = data?;
            self.info.data_bytes += count(data.data.len());
            self.info.data_len += data.range.len() as u64;
            if let DataKind::Active { offset_expr, .. } = &data.kind {
                let end = offset(offset_expr)?.map(|offset| offset + count(data.data.len()));
                if end.is_none_or(|end| end > memory) {
                    return Err(ModuleError::SegmentBounds { kind: "data", index });
                }
            }
            RoundtripReencoder.parse_data(&mut self.out.data, data)?;
        }
        Ok(())
    }
}

/// Offset of an active segment; none if it is not a single constant.
fn offset(expression: &wasmparser::ConstExpr<'_>) -> Result<Option<u64>, ModuleError> {
    let mut reader = expression.get_operators_reader();
    Ok(match reader.read()? {
        Operator::I32Const { value } if reader.is_end_then_eof() => Some(u64::from(value.cast_unsigned())),
        _ => None,
    })
}
