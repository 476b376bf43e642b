//! Evaluation of programs: a pure function of the program and the values it reads.

use crate::bytes::Cursor;
use crate::rule::error::{ReadError, Unknown};
use crate::rule::program::{Call, MAX_LOCALS, MAX_STACK, Operator, Program, op, operator};
use crate::rule::value::{Int, Value, WordType};
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256};

/// Reads of the chain at one state. An error makes the verdict `Unknown`.
pub trait Reader {
    /// Calls `target` without changing state, with at most `gas` gas, and returns the `word`-th 32-byte word of the answer.
    ///
    /// # Errors
    /// [`ReadError`]; an answer shorter than the word is [`ReadError::Short`], a target without code [`ReadError::NoCode`].
    fn call(&mut self, target: Address, calldata: &[u8], gas: u64, word: u16) -> Result<B256, ReadError>;

    /// Balance of `account` in wei.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] when it cannot be had.
    fn balance(&mut self, account: Address) -> Result<U256, ReadError>;

    /// Hash of the code of `account`; zero, or the hash of nothing, for an account without code.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] when it cannot be had.
    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError>;

    /// Timestamp of the block, in Unix seconds.
    fn now(&self) -> u64;
}

/// What a program is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// Witness words, in the order of the rule's parameters.
    pub params: &'a [B256],
    /// Values taken at entry, in the order of the rule's entry programs.
    pub entries: &'a [Value],
}

/// Outcome of a rule. The numbers are those of `ICordonGuard.Verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// The rule is true.
    Holds = 0,
    /// The rule is false.
    Breached = 1,
    /// The rule could not be evaluated. Never `Holds`, and never raises a level.
    Unknown = 2,
}

/// An evaluated rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The outcome.
    pub verdict: Verdict,
    /// Why it is `Unknown` ([`Unknown::code`]); 0 otherwise.
    pub reason: u8,
    /// Left operand of the comparison that decided; zero when none did.
    pub observed: Int,
    /// Right operand of the comparison that decided; zero when none did.
    pub bound: Int,
}

impl Evaluation {
    /// The evaluation of a rule that could not be evaluated.
    #[must_use]
    pub const fn unknown(reason: Unknown) -> Self {
        Evaluation {
            verdict: Verdict::Unknown,
            reason: reason.code(),
            observed: Int::ZERO,
            bound: Int::ZERO,
        }
    }
}

/// Evaluates a rule. Never panics, whatever the bytes, and ends after at most as many steps as the program has bytes.
pub fn evaluate<R: Reader>(program: &Program<'_>, inputs: &Inputs<'_>, reader: &mut R) -> Evaluation {
    let mut machine = Machine::new(program, inputs, reader);
    match machine.run() {
        Ok(Value::Bool(holds)) => Evaluation {
            verdict: if holds { Verdict::Holds } else { Verdict::Breached },
            reason: 0,
            observed: machine.observed,
            bound: machine.bound,
        },
        Ok(_) => Evaluation::unknown(Unknown::BadProgram),
        Err(reason) => Evaluation::unknown(reason),
    }
}

/// Evaluates an expression to its value: an `entry` program before the guarded call, say.
///
/// # Errors
/// [`Unknown`] when a read or an operator fails.
pub fn evaluate_value<R: Reader>(program: &Program<'_>, inputs: &Inputs<'_>, reader: &mut R) -> Result<Value, Unknown> {
    Machine::new(program, inputs, reader).run()
}

struct Machine<'a, R> {
    code: &'a [u8],
    inputs: &'a Inputs<'a>,
    reader: &'a mut R,
    stack: Vec<Value>,
    locals: [Value; MAX_LOCALS as usize],
    observed: Int,
    bound: Int,
}

impl<'a, R: Reader> Machine<'a, R> {
    fn new(program: &Program<'a>, inputs: &'a Inputs<'a>, reader: &'a mut R) -> Self {
        Machine {
            code: program.code(),
            inputs,
            reader,
            stack: Vec::with_capacity(MAX_STACK),
            locals: [Value::Bool(false); MAX_LOCALS as usize],
            observed: Int::ZERO,
            bound: Int::ZERO,
        }
    }

    fn run(&mut self) -> Result<Value, Unknown> {
        let mut cursor = Cursor::new(self.code);
        while cursor.position() < self.code.len() {
            let operator = operator(&mut cursor).map_err(|_| Unknown::BadProgram)?;
            if let Operator::Block(and, size) = operator {
                // The block is skipped when its left side has already decided.
                if self.bool()? == and {
                    continue;
                }
                self.push(Value::Bool(!and))?;
                cursor = Cursor::at(self.code, cursor.position().saturating_add(size));
            } else {
                let value = self.value(&operator)?;
                if matches!(
                    operator,
                    Operator::Call(_) | Operator::Param(..) | Operator::Entry(..) | Operator::Get(_)
                ) && matches!(value, Value::Bool(_))
                {
                    // No comparison made this boolean: an earlier one must not explain the verdict.
                    self.decided(Int::ZERO, Int::ZERO);
                }
                self.push(value)?;
            }
        }
        match self.stack.as_slice() {
            [value] => Ok(*value),
            _ => Err(Unknown::BadProgram),
        }
    }

    fn value(&mut self, operator: &Operator<'_>) -> Result<Value, Unknown> {
        Ok(match operator {
            Operator::Int(value) => Value::Int(Int::from(*value)),
            Operator::Word(word) => Value::Word(*word),
            Operator::Bool(bit) => Value::Bool(*bit),
            Operator::Now => Value::Int(Int::from(self.reader.now())),
            Operator::Param(index, word) => {
                let given = self.inputs.params.get(usize::from(*index)).ok_or(Unknown::BadWitness)?;
                word.read(*given).ok_or(Unknown::BadWitness)?
            }
            Operator::Entry(index, kind) => {
                let given = self.inputs.entries.get(usize::from(*index)).ok_or(Unknown::NoEntry)?;
                if given.kind() != *kind {
                    return Err(Unknown::NoEntry);
                }
                *given
            }
            Operator::Get(index) => *self.locals.get(usize::from(*index)).ok_or(Unknown::BadProgram)?,
            Operator::Tee(index) => {
                let value = self.pop()?;
                *self.locals.get_mut(usize::from(*index)).ok_or(Unknown::BadProgram)? = value;
                value
            }
            Operator::Binary(code) => Value::Int(self.binary(*code)?),
            Operator::MulDiv => {
                let (divisor, factor, value) = (self.int()?, self.int()?, self.int()?);
                if divisor.magnitude.is_zero() {
                    return Err(Unknown::DivisionByZero);
                }
                Value::Int(value.mul_div(factor, divisor).ok_or(Unknown::Overflow)?)
            }
            Operator::Unary(code) => {
                let value = self.int()?;
                Value::Int(if *code == op::NEG {
                    value.negated()
                } else {
                    value.absolute()
                })
            }
            Operator::Order(code) => Value::Bool(self.order(*code)?),
            Operator::Equal(equal) => {
                let (right, left) = (self.pop()?, self.pop()?);
                if left.kind() != right.kind() {
                    return Err(Unknown::BadProgram);
                }
                self.decided(left.shown(), right.shown());
                Value::Bool((left == right) == *equal)
            }
            Operator::Near(tolerance) => {
                let (right, left) = (self.int()?, self.int()?);
                self.decided(left, right);
                Value::Bool(left.near(right, *tolerance))
            }
            Operator::Not => Value::Bool(!self.bool()?),
            Operator::Call(call) => self.call(call)?,
            Operator::Balance => {
                let account = self.address()?;
                Value::Int(Int::from(self.reader.balance(account)?))
            }
            Operator::CodeHash => {
                let account = self.address()?;
                Value::Word(self.reader.code_hash(account)?)
            }
            Operator::Block(..) => return Err(Unknown::BadProgram),
        })
    }

    fn binary(&mut self, code: u8) -> Result<Int, Unknown> {
        let (right, left) = (self.int()?, self.int()?);
        let result = match code {
            op::ADD => left.checked_add(right),
            op::SUB => left.checked_sub(right),
            op::MUL => left.checked_mul(right),
            op::DIV if right.magnitude.is_zero() => return Err(Unknown::DivisionByZero),
            op::DIV => left.mul_div(Int::from(1), right),
            op::MIN => Some(left.min(right)),
            _ => Some(left.max(right)),
        };
        result.ok_or(Unknown::Overflow)
    }

    fn order(&mut self, code: u8) -> Result<bool, Unknown> {
        let (right, left) = (self.int()?, self.int()?);
        self.decided(left, right);
        Ok(match code {
            op::LT => left < right,
            op::LE => left <= right,
            op::GT => left > right,
            _ => left >= right,
        })
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Value, Unknown> {
        let mut calldata = Vec::with_capacity(4 + 32 * call.args.len());
        calldata.extend_from_slice(&call.selector);
        let first = self
            .stack
            .len()
            .checked_sub(call.args.len())
            .ok_or(Unknown::BadProgram)?;
        for (code, value) in call.args.iter().zip(self.stack.drain(first..)) {
            let word = WordType::from_u8(*code)
                .and_then(|word| word.write(&value))
                .ok_or(Unknown::BadArgument)?;
            calldata.extend_from_slice(word.as_slice());
        }
        let target = self.address()?;
        let answer = self
            .reader
            .call(target, &calldata, u64::from(call.gas), u16::from(call.word))?;
        call.result.read(answer).ok_or(Unknown::BadAnswer)
    }

    fn decided(&mut self, observed: Int, bound: Int) {
        self.observed = observed;
        self.bound = bound;
    }

    fn address(&mut self) -> Result<Address, Unknown> {
        let value = self.pop()?;
        let word = WordType::ADDRESS.write(&value).ok_or(Unknown::BadArgument)?;
        Ok(Address::from_word(word))
    }

    fn int(&mut self) -> Result<Int, Unknown> {
        match self.pop()? {
            Value::Int(int) => Ok(int),
            _ => Err(Unknown::BadProgram),
        }
    }

    fn bool(&mut self) -> Result<bool, Unknown> {
        match self.pop()? {
            Value::Bool(bit) => Ok(bit),
            _ => Err(Unknown::BadProgram),
        }
    }

    fn pop(&mut self) -> Result<Value, Unknown> {
        self.stack.pop().ok_or(Unknown::BadProgram)
    }

    fn push(&mut self, value: Value) -> Result<(), Unknown> {
        if self.stack.len() >= MAX_STACK {
            return Err(Unknown::BadProgram);
        }
        self.stack.push(value);
        Ok(())
    }
}
