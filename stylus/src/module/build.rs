//! One pass over a module's sections: every section is validated, checked against the chain's rules and written out again.

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, ExportKind, ExportSection, FunctionSection, GlobalSection,
    GlobalType, ImportSection, MemorySection, Module, TableSection, TypeSection, ValType,
};
use wasmparser::{
    DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader, ExportSectionReader, ExternalKind,
    FuncToValidate, FuncValidatorAllocations, FunctionBody, FunctionSectionReader, GlobalSectionReader,
    ImportSectionReader, KnownCustom, MemorySectionReader, Name, Operator, Parser, Payload, TableSectionReader,
    TypeRef, TypeSectionReader, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

use super::instrument::{Globals, Instrument, Types};
use super::limits::{check_name, check_operators, count};
use super::names::{Import, check_export};
use super::{ENTRYPOINT, INK_LEFT, INK_STATUS, MEMORY, ModuleError, Prepared, ProgramInfo, STACK_LEFT, limits};
use crate::activation::{self, Sizes};
use crate::pricing::{ARBOS_CHARGING_FIXES, Params};

/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 65_536;
/// First Stylus version without multi-value.
const SINGLE_VALUE_VERSION: u16 = 3;

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
struct Output {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
}

/// Collects what the rules need to know of a module while its sections go by.
pub(super) struct Builder<'p, 'a> {
    params: &'p Params,
    /// Pages that the module may start with.
    page_limit: u64,
    out: Output,
    types: Types,
    imports: Vec<Import<'a>>,
    grow_hook: Option<u32>,
    /// Initial pages and declared maximum of the memory.
    memory: Option<(u64, Option<u64>)>,
    table_entries: u64,
    globals: u32,
    has_memory_export: bool,
    entrypoint: Option<u32>,
    bodies: u32,
    info: ProgramInfo,
    allocations: FuncValidatorAllocations,
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
                KnownCustom::Name(names) => names.into_iter().try_for_each(|name| match name {
                    Ok(Name::Module { name, .. }) => check_name("bytes in the module's name", name),
                    // other names are only for people, and are dropped
                    _ => Ok(()),
                }),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn types(&mut self, section: TypeSectionReader<'a>) -> Result<(), ModuleError> {
        for ty in section.clone().into_iter_err_on_gc_types() {
            self.types.signatures.push(ty?);
        }
        Ok(RoundtripReencoder.parse_type_section(&mut self.out.types, section)?)
    }

    fn imports(&mut self, section: ImportSectionReader<'a>) -> Result<(), ModuleError> {
        for import in section.clone().into_imports() {
            let import = import?;
            let TypeRef::Func(type_index) = import.ty else {
                return Err(ModuleError::ImportKind {
                    module: import.module.to_owned(),
                    name: import.name.to_owned(),
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
        let mut known = std::collections::HashMap::new();
        for import in &self.imports {
            let first = *known.entry((import.module, import.name)).or_insert(import.type_index);
            if first != import.type_index {
                return Err(ModuleError::Inconsistent {
                    module: import.module.to_owned(),
                    name: import.name.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn functions(&mut self, section: FunctionSectionReader<'a>) -> Result<(), ModuleError> {
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

    fn tables(&mut self, section: TableSectionReader<'a>) -> Result<(), ModuleError> {
        for table in section.clone() {
            self.table_entries = self.table_entries.saturating_add(table?.ty.initial);
        }
        limits::check("wasm table entries", self.table_entries, limits::TABLE_ENTRIES)?;
        Ok(RoundtripReencoder.parse_table_section(&mut self.out.tables, section)?)
    }

    fn memories(&mut self, section: MemorySectionReader<'a>) -> Result<(), ModuleError> {
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

    fn globals(&mut self, section: GlobalSectionReader<'a>) -> Result<(), ModuleError> {
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

    fn exports(&mut self, section: ExportSectionReader<'a>) -> Result<(), ModuleError> {
        for export in section {
            let export = export?;
            check_export(export.name, &self.imports)?;
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

    fn elements(&mut self, section: ElementSectionReader<'a>) -> Result<(), ModuleError> {
        limits::check("wasm elements", u64::from(section.count()), limits::ELEMENT_SEGMENTS)?;
        for (index, element) in (0_u32..).zip(section) {
            let element = element?;
            self.info.element_len += element.range.end.saturating_sub(element.range.start);
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

    fn data(&mut self, section: DataSectionReader<'a>) -> Result<(), ModuleError> {
        limits::check("wasm datas", u64::from(section.count()), limits::DATA_SEGMENTS)?;
        let memory = self.memory.map_or(0, |(pages, _)| pages * PAGE_BYTES);
        for (index, data) in (0_u32..).zip(section) {
            let data = data?;
            self.info.data_bytes += count(data.data.len());
            self.info.data_len += data.range.end.saturating_sub(data.range.start);
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

    /// Validates, instruments and writes one function body.
    fn body(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'a>,
    ) -> Result<(), ModuleError> {
        let mut locals = 0_u64;
        for group in body.get_locals_reader()? {
            locals = locals.saturating_add(u64::from(group?.0));
            limits::check("wasm locals", locals, limits::LOCALS)?;
        }
        let operators = self.operators(function, body)?;

        // a memory that cannot grow makes `memory.grow` fail, so nothing is paid for it
        let fixed = self.memory.is_some_and(|(initial, maximum)| maximum == Some(initial));
        let instrument = Instrument {
            types: &self.types,
            globals: Globals::after(self.globals),
            grow_hook: if fixed { None } else { self.grow_hook },
            function: self.bodies,
            locals: u32::try_from(locals).unwrap_or(u32::MAX),
        };
        let operators = instrument.run(operators)?;
        self.info.operators += count(operators.len());
        self.bodies += 1;

        let mut out = RoundtripReencoder.new_function_with_parsed_locals(body)?;
        for operator in operators {
            out.instruction(&RoundtripReencoder.instruction(operator)?);
        }
        self.out.code.function(&out);
        Ok(())
    }

    /// Reads and validates the operators of a body; stops as soon as there are too many.
    fn operators(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'a>,
    ) -> Result<Vec<Operator<'a>>, ModuleError> {
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut locals = body.get_binary_reader();
        validator.read_locals(&mut locals)?;
        let mut reader = body.get_operators_reader()?;
        let mut operators = Vec::new();
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset()?;
            validator.op(offset, &operator)?;
            operators.push(operator);
            check_operators(operators.len())?;
        }
        reader.finish()?;
        self.allocations = validator.into_allocations();
        Ok(operators)
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
        Payload::DataCountSection { .. } => Some("DataCount (link without passive data segments)".to_owned()),
        Payload::TagSection(_) => Some("Tag".to_owned()),
        Payload::UnknownSection { id, .. } => Some(id.to_string()),
        _ => None,
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
