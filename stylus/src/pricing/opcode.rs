//! Ink per operator, and what an operator does to the stack: one table for metering, depth and the list of what is allowed.

use wasmparser::{BlockType, Operator};

/// Ink of a basic block's own metering, added to its operators.
pub const BLOCK_HEADER_INK: u64 = 2_450;
/// Ink per byte of `memory.copy` and `memory.fill`.
pub const BULK_BYTE_INK: u64 = 100;
/// Ink that `call_indirect` pays per parameter of the called type, on top of its base.
pub(crate) const INDIRECT_PARAM_INK: u64 = 650;

/// Price of operators that may be in a module but can never run.
const UNAFFORDABLE: u64 = u64::MAX;

/// What an operator does to the operand stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Pushes (positive) or pops (negative) that many values net.
    Net(i8),
    /// Opens a scope after popping `pops` values.
    Enter { block: BlockType, pops: u32 },
    /// Second half of an `if`.
    Else,
    /// Closes a scope.
    End,
    /// Calls the function with this index.
    Call(u32),
    /// Calls through a table with this type.
    CallIndirect(u32),
}

/// Price and stack effect of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Ink; for `call_indirect` without its parameters.
    pub(crate) ink: u64,
    pub(crate) effect: Effect,
}

/// Whether a basic block ends with this operator.
pub(crate) fn ends_block(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        op,
        O::End
            | O::Else
            | O::Return
            | O::Loop { .. }
            | O::Br { .. }
            | O::BrTable { .. }
            | O::BrIf { .. }
            | O::If { .. }
            | O::Call { .. }
            | O::CallIndirect { .. }
    )
}

/// Describes an operator.
///
/// # Errors
/// Why programs must not contain it.
pub(crate) fn describe(op: &Operator<'_>) -> Result<Row, &'static str> {
    if let Some(row) = control(op).or_else(|| data(op)).or_else(|| arithmetic(op)) {
        return Ok(row);
    }
    Err(if is_float(op) {
        "No implementation for floating point operation"
    } else {
        "unsupported operator (build with -C target-cpu=mvp, or run wasm-opt with its lowering passes)"
    })
}

fn net(ink: u64, values: i8) -> Option<Row> {
    Some(Row {
        ink,
        effect: Effect::Net(values),
    })
}

/// Control flow.
fn control(op: &Operator<'_>) -> Option<Row> {
    use Operator as O;
    let (ink, effect) = match op {
        O::Unreachable | O::Nop | O::Return => (1, Effect::Net(0)),
        O::Block { blockty } | O::Loop { blockty } => (
            1,
            Effect::Enter {
                block: *blockty,
                pops: 0,
            },
        ),
        O::If { blockty } => (
            765,
            Effect::Enter {
                block: *blockty,
                pops: 1,
            },
        ),
        O::Else => (1, Effect::Else),
        O::End => (1, Effect::End),
        O::Br { .. } => (765, Effect::Net(0)),
        O::BrIf { .. } => (765, Effect::Net(-1)),
        O::BrTable { targets } => (2_400 + 325 * u64::from(targets.len()), Effect::Net(-1)),
        O::Call { function_index } => (3_800, Effect::Call(*function_index)),
        O::CallIndirect { type_index, .. } => (13_610, Effect::CallIndirect(*type_index)),
        _ => return None,
    };
    Some(Row { ink, effect })
}

/// Constants, variables, memory.
fn data(op: &Operator<'_>) -> Option<Row> {
    use Operator as O;
    match op {
        O::I32Const { .. } | O::I64Const { .. } => net(1, 1),
        O::F32Const { .. } | O::F64Const { .. } => net(UNAFFORDABLE, 1),
        O::Drop => net(9, -1),
        O::Select => net(1_250, -2),
        O::LocalGet { .. } => net(75, 1),
        O::LocalTee { .. } => net(75, 0),
        O::LocalSet { .. } => net(210, -1),
        O::GlobalGet { .. } => net(225, 1),
        O::GlobalSet { .. } => net(575, -1),
        O::I32Load { .. } | O::I32Load8S { .. } | O::I32Load8U { .. } | O::I32Load16S { .. } | O::I32Load16U { .. } => {
            net(670, 0)
        }
        O::I64Load { .. }
        | O::I64Load8S { .. }
        | O::I64Load8U { .. }
        | O::I64Load16S { .. }
        | O::I64Load16U { .. }
        | O::I64Load32S { .. }
        | O::I64Load32U { .. } => net(680, 0),
        O::F32Load { .. } | O::F64Load { .. } => net(UNAFFORDABLE, 0),
        O::I32Store { .. } | O::I32Store8 { .. } | O::I32Store16 { .. } => net(825, -2),
        O::I64Store { .. } | O::I64Store8 { .. } | O::I64Store16 { .. } | O::I64Store32 { .. } => net(950, -2),
        O::F32Store { .. } | O::F64Store { .. } => net(UNAFFORDABLE, -2),
        O::MemorySize { .. } => net(3_000, 1),
        O::MemoryGrow { .. } => net(8_050, 0),
        O::MemoryCopy { .. } | O::MemoryFill { .. } => net(950, -3),
        _ => None,
    }
}

/// Integer arithmetic, comparison and conversion.
fn arithmetic(op: &Operator<'_>) -> Option<Row> {
    use Operator as O;
    match op {
        O::I32Add | O::I32Sub | O::I32And | O::I32Or | O::I32Xor => net(70, -1),
        O::I32Shl | O::I32ShrS | O::I32ShrU | O::I32Rotl | O::I32Rotr => net(70, -1),
        O::I64Add | O::I64Sub | O::I64And | O::I64Or | O::I64Xor => net(100, -1),
        O::I64Shl | O::I64ShrS | O::I64ShrU | O::I64Rotl | O::I64Rotr => net(100, -1),
        O::I32WrapI64 | O::I64ExtendI32S | O::I64ExtendI32U => net(100, 0),
        O::I32Extend8S | O::I32Extend16S | O::I64Extend8S | O::I64Extend16S | O::I64Extend32S => net(100, 0),
        O::I32Mul | O::I64Mul => net(160, -1),
        O::I32Eqz => net(170, 0),
        O::I32Eq | O::I32Ne => net(170, -1),
        O::I32LtS | O::I32LtU | O::I32GtS | O::I32GtU | O::I32LeS | O::I32LeU | O::I32GeS | O::I32GeU => net(170, -1),
        O::I64Eqz => net(225, 0),
        O::I64Eq | O::I64Ne => net(225, -1),
        O::I64LtS | O::I64LtU | O::I64GtS | O::I64GtU | O::I64LeS | O::I64LeU | O::I64GeS | O::I64GeU => net(225, -1),
        O::I32Clz | O::I32Ctz | O::I64Clz | O::I64Ctz => net(210, 0),
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => net(1_120, -1),
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => net(1_270, -1),
        O::I32Popcnt => net(2_650, 0),
        O::I64Popcnt => net(6_000, 0),
        O::I32ReinterpretF32 | O::I64ReinterpretF64 | O::F32ReinterpretI32 | O::F64ReinterpretI64 => {
            net(UNAFFORDABLE, 0)
        }
        _ => None,
    }
}

/// Floating point computation, for which programs have no library.
fn is_float(op: &Operator<'_>) -> bool {
    use Operator as O;
    let comparison = matches!(op, O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge)
        || matches!(op, O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge);
    let unary = matches!(
        op,
        O::F32Abs | O::F32Neg | O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest
    ) || matches!(
        op,
        O::F64Abs | O::F64Neg | O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest
    ) || matches!(op, O::F32Sqrt | O::F64Sqrt);
    let binary = matches!(
        op,
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max | O::F32Copysign
    ) || matches!(
        op,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max | O::F64Copysign
    );
    comparison || unary || binary || is_float_conversion(op)
}

fn is_float_conversion(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(op, O::F32DemoteF64 | O::F64PromoteF32)
        || matches!(
            op,
            O::I32TruncF32S | O::I32TruncF32U | O::I32TruncF64S | O::I32TruncF64U
        )
        || matches!(
            op,
            O::I64TruncF32S | O::I64TruncF32U | O::I64TruncF64S | O::I64TruncF64U
        )
        || matches!(
            op,
            O::I32TruncSatF32S | O::I32TruncSatF32U | O::I32TruncSatF64S | O::I32TruncSatF64U
        )
        || matches!(
            op,
            O::I64TruncSatF32S | O::I64TruncSatF32U | O::I64TruncSatF64S | O::I64TruncSatF64U
        )
        || matches!(
            op,
            O::F32ConvertI32S | O::F32ConvertI32U | O::F32ConvertI64S | O::F32ConvertI64U
        )
        || matches!(
            op,
            O::F64ConvertI32S | O::F64ConvertI32U | O::F64ConvertI64S | O::F64ConvertI64U
        )
}
