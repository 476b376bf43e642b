//! One pass over a module's sections: every section is validated, checked against the chain's rules and written out again.

use std::convert::Infallible;

use wasm_encoder::reencode;
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, ExportKind, ExportSection, FunctionSection, GlobalSection,
    GlobalType, ImportSection, MemorySection, Module, TableSection, TypeSection, ValType,
};
use wasmparser::{FuncValidatorAllocations, KnownCustom, Name, Parser, Payload, ValidPayload, Validator, WasmFeatures};

use super::instrument::{Globals, SINGLE_VALUE_VERSION, Types};
use super::limits::{check_name, count};
use super::names::Import;
use super::{ENTRYPOINT, INK_LEFT, INK_STATUS, MEMORY, ModuleError, Prepared, ProgramInfo, STACK_LEFT, limits};
use crate::activation::{self, Sizes};
use crate::pricing::Params;

impl From<reencode::Error<Infallible>> for ModuleError {
    fn from(error: reencode::Error<Infallible>) -> Self {
        match error {
            reencode::Error::ParseError(error) => Self::Invalid(error),
            other => Self::Encode(other.to_string()),
        }
    }
}

/// The sections of the instrumented module, in the order in which they are written.
#[derive(Default)]
pub(super) struct Output {
    pub(super) types: TypeSection,
    pub(super) imports: ImportSection,
    pub(super) functions: FunctionSection,
    pub(super) tables: TableSection,
    pub(super) memories: MemorySection,
    pub(super) globals: GlobalSection,
    pub(super) exports: ExportSection,
    pub(super) elements: ElementSection,
    pub(super) code: CodeSection,
    pub(super) data: DataSection,
}

/// Collects what the rules need to know of a module while its sections go by.
pub(super) struct Builder<'p, 'a> {
    pub(super) params: &'p Params,
    /// Pages that the module may start with.
    pub(super) page_limit: u64,
    pub(super) out: Output,
    pub(super) types: Types,
    pub(super) imports: Vec<Import<'a>>,
    pub(super) grow_hook: Option<u32>,
    /// Initial pages and declared maximum of the memory.
    pub(super) memory: Option<(u64, Option<u64>)>,
    pub(super) table_entries: u64,
    pub(super) globals: u32,
    pub(super) has_memory_export: bool,
    pub(super) entrypoint: Option<u32>,
    pub(super) bodies: u32,
    pub(super) moved_values: u64,
    pub(super) info: ProgramInfo,
    pub(super) allocations: FuncValidatorAllocations,
}

impl<'p, 'a> Builder<'p, 'a> {
    /// A builder for one module on a chain with these parameters, `open_pages` being open already.
    pub(super) fn new(params: &'p Params, open_pages: u16) -> Self {
        let left = u64::from(params.page_limit.saturating_sub(open_pages));
        Self {
            params,
            page_limit: left.min(limits::MEMORY_PAGES),
            out: Output::default(),
            types: Types::default(),
            imports: Vec::new(),
            grow_hook: None,
            memory: None,
            table_entries: 0,
            globals: 0,
            has_memory_export: false,
            entrypoint: None,
            bodies: 0,
            moved_values: 0,
            info: ProgramInfo::default(),
            allocations: FuncValidatorAllocations::default(),
        }
    }

    /// Validates and instruments a module.
    pub(super) fn build(mut self, wasm: &'a [u8]) -> Result<Prepared, ModuleError> {
        let features = features(self.params.version);
        let mut validator = Validator::new_with_features(features);
        let mut parser = Parser::new(0);
        parser.set_features(features);
        self.info.wasm_len = count(wasm.len());
        for payload in parser.parse_all(wasm) {
            let payload = payload?;
            if let Some(section) = unsupported(&payload) {
                return Err(ModuleError::Section(section));
            }
            match validator.payload(&payload)? {
                ValidPayload::Func(function, body) => self.body(function, &body)?,
                _ => self.section(payload)?,
            }
        }
        self.finish()
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), ModuleError> {
        match payload {
            Payload::TypeSection(section) => self.types(section),
            Payload::ImportSection(section) => self.imports(section),
            Payload::FunctionSection(section) => self.functions(section),
            Payload::TableSection(section) => self.tables(section),
            Payload::MemorySection(section) => self.memories(section),
            Payload::GlobalSection(section) => self.globals(section),
            Payload::ExportSection(section) => self.exports(section),
            Payload::StartSection { .. } => Err(ModuleError::Start),
            Payload::ElementSection(section) => self.elements(section),
            Payload::CodeSectionStart { .. } => self.check_before_code(),
            Payload::DataSection(section) => self.data(section),
            Payload::CustomSection(section) => match section.as_known() {
                // only the module's own name has a rule; the rest is for people, is dropped, and may be malformed
                KnownCustom::Name(names) => names.map_while(Result::ok).try_for_each(|name| match name {
                    Name::Module { name, .. } => check_name("bytes in the module's name", name),
                    _ => Ok(()),
                }),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Everything that instrumentation builds on is known before the first body.
    fn check_before_code(&self) -> Result<(), ModuleError> {
        if let Some((initial, maximum)) = self.memory
            && maximum != Some(initial)
            && self.grow_hook.is_none()
        {
            return Err(ModuleError::MissingGrowHook);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Prepared, ModuleError> {
        self.check_entrypoint()?;
        let Some((pages, _)) = self.memory.filter(|_| self.has_memory_export) else {
            return Err(ModuleError::MissingExport {
                name: MEMORY,
                expected: "the module's own memory",
            });
        };
        self.check_before_code()?;
        self.info.footprint = u16::try_from(pages).map_err(|_| ModuleError::Cost("memory"))?;
        self.info.globals = u64::from(self.globals) + u64::from(limits::OWN_GLOBALS);
        self.estimate()?;
        self.add_globals();
        Ok(Prepared {
            wasm: self.out.write(),
            info: self.info,
        })
    }

    fn check_entrypoint(&self) -> Result<(), ModuleError> {
        let i32 = [wasmparser::ValType::I32];
        let ty = self.entrypoint.and_then(|index| self.types.function(index));
        if ty.is_some_and(|ty| ty.params() == i32 && ty.results() == i32) {
            return Ok(());
        }
        Err(ModuleError::MissingExport {
            name: ENTRYPOINT,
            expected: "a function of type (i32) -> i32",
        })
    }

    /// Predicts the costs that the program record stores.
    fn estimate(&mut self) -> Result<(), ModuleError> {
        let info = &mut self.info;
        let estimates = activation::estimate(
            self.params.version,
            Sizes {
                functions: info.functions,
                type_len: info.type_len,
                wasm_len: info.wasm_len,
                globals: info.globals,
                segments_len: info.data_len + info.element_len,
                footprint: info.footprint,
            },
        );
        info.init_cost = u16::try_from(estimates.init).map_err(|_| ModuleError::Cost("init cost"))?;
        info.cached_cost = u16::try_from(estimates.cached).map_err(|_| ModuleError::Cost("cached cost"))?;
        info.asm_estimate = u32::try_from(estimates.asm).map_err(|_| ModuleError::Cost("asm estimate"))?;
        Ok(())
    }

    /// Appends and exports the globals of the instrumentation, all zero: the host sets them before a call.
    fn add_globals(&mut self) {
        let Globals { ink, status, stack, .. } = Globals::after(self.globals);
        let global = |val_type| GlobalType {
            val_type,
            mutable: true,
            shared: false,
        };
        self.out.globals.global(global(ValType::I64), &ConstExpr::i64_const(0));
        for _ in 1..limits::OWN_GLOBALS {
            self.out.globals.global(global(ValType::I32), &ConstExpr::i32_const(0));
        }
        for (name, index) in [(INK_LEFT, ink), (INK_STATUS, status), (STACK_LEFT, stack)] {
            self.out.exports.export(name, ExportKind::Global, index);
        }
    }
}

impl Output {
    fn write(&self) -> Vec<u8> {
        let mut module = Module::new();
        module
            .section(&self.types)
            .section(&self.imports)
            .section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        module
            .section(&self.memories)
            .section(&self.globals)
            .section(&self.exports);
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        module.section(&self.code);
        if !self.data.is_empty() {
            module.section(&self.data);
        }
        module.finish()
    }
}

/// The features of WebAssembly that a Stylus version accepts.
fn features(stylus_version: u16) -> WasmFeatures {
    let mut features = WasmFeatures::MVP
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::BULK_MEMORY;
    if stylus_version < SINGLE_VALUE_VERSION {
        features |= WasmFeatures::MULTI_VALUE;
    }
    features
}

/// Names a section that programs must not have.
fn unsupported(payload: &Payload<'_>) -> Option<String> {
    match payload {
        Payload::DataCountSection { .. } => {
            Some("DataCount (give wasm-opt --enable-bulk-memory-opt instead of --enable-bulk-memory)".to_owned())
        }
        Payload::TagSection(_) => Some("Tag".to_owned()),
        Payload::UnknownSection { id, .. } => Some(id.to_string()),
        _ => None,
    }
}
