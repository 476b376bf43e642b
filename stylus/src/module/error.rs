//! Why a module cannot be activated.

use thiserror::Error;

/// Why a module is refused. Messages name the rule and, where there is one, the way out.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// The module is larger than the chain allows.
    #[error("the module has {len} bytes, the limit is {max}: make it smaller (strip, opt-level z, wasm-opt -Oz)")]
    TooLarge {
        /// Size in bytes.
        len: usize,
        /// Limit in bytes.
        max: u32,
    },
    /// Not valid WebAssembly in the accepted feature set.
    #[error("failed to validate the module: {0}")]
    Invalid(#[from] wasmparser::Error),
    /// A section that programs must not have.
    #[error("unsupported section type {0}")]
    Section(String),
    /// An import that is no function.
    #[error("unsupported import kind of {module}.{name}: only functions can be imported")]
    ImportKind {
        /// Imported module.
        module: String,
        /// Imported name.
        name: String,
    },
    /// An import that no host offers.
    #[error("No such import: {module}.{name} (programs may import the functions of vm_hooks)")]
    NoSuchImport {
        /// Imported module.
        module: String,
        /// Imported name.
        name: String,
    },
    /// A host function imported with a type that is not its own.
    #[error("wrong type for import {module}.{name}: it is {expected}")]
    ImportType {
        /// Imported module.
        module: String,
        /// Imported name.
        name: String,
        /// The function's type.
        expected: String,
    },
    /// A function imported twice as different types.
    #[error("inconsistent imports for {module}.{name}: import it once")]
    Inconsistent {
        /// Imported module.
        module: String,
        /// Imported name.
        name: String,
    },
    /// The hook that pays for memory is needed and not imported.
    #[error(
        "missing import vm_hooks.pay_for_memory_grow of type (i32) -> (): a program whose memory can grow must import it; \
         a program without an entrypoint usually lacks it"
    )]
    MissingGrowHook,
    /// An export has the name of an import.
    #[error("the module exports an import with the same name: {0}")]
    ExportsImport(String),
    /// A name that belongs to the instrumentation.
    #[error("{0} is a reserved symbol: names must not start with \"stylus\"")]
    Reserved(String),
    /// A needed export is missing or of the wrong kind.
    #[error("missing export with name {name}: it must be {expected}")]
    MissingExport {
        /// Name of the export.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A count or size above its limit.
    #[error("too many {what}: {count} > {limit}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// The memory's initial size is above what is left.
    #[error(
        "memory exceeds limit: {pages} > {limit} pages (a linker stack of 1 MiB alone takes 16: link with -zstack-size=8192)"
    )]
    Memory {
        /// Initial pages.
        pages: u64,
        /// Pages that are allowed.
        limit: u64,
    },
    /// A start function.
    #[error("wasm start functions not allowed")]
    Start,
    /// A global initialiser that is not one constant.
    #[error("non-constant initialiser of global {0}: it must be a single const")]
    Initializer(u32),
    /// A segment that does not fit into its memory or table.
    #[error("{kind} segment {index} is out of bounds")]
    SegmentBounds {
        /// `data` or `element`.
        kind: &'static str,
        /// Index of the segment.
        index: u32,
    },
    /// An operator that programs must not use.
    #[error("function {function}: {reason}: {operator}")]
    Operator {
        /// Index among the module's own functions.
        function: u32,
        /// What is wrong with the operator.
        reason: &'static str,
        /// The operator.
        operator: String,
    },
    /// A function whose stack frame is too large.
    #[error("function {function}: frame too large: {size} > {limit} words")]
    Frame {
        /// Index among the module's own functions.
        function: u32,
        /// Words that it needs.
        size: u32,
        /// Words that are allowed.
        limit: u32,
    },
    /// A predicted cost that does not fit into the program record.
    #[error("{0} too high: the program is too big")]
    Cost(&'static str),
    /// The instrumented module could not be written.
    #[error("failed to write the instrumented module: {0}")]
    Encode(String),
}
