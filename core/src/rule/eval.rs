//! Evaluation of programs: a pure function of the program and the values it reads.

use crate::anchor::{self, Anchor};
use crate::baseline::{Baseline, Spec};
use crate::bytes::Cursor;
use crate::rule::error::{ReadError, Unknown};
use crate::rule::program::{CALL_RESULT, CALL_WORD, Instruction, MAX_LOCALS, MAX_STACK, Program, op};
use crate::rule::value::{Int, Value, WordType};
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256};

/// Reads of the chain at one state. An error makes the verdict `Unknown`.
pub trait Reader {
    /// Whether statistics can be read. A guard's program that asks another one for them leaves their code out; to the evaluator, a
    /// program that reads one is then not valid.
    const STATISTICS: bool = true;

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

    /// A word of the guard's own storage, where it keeps streams ([`crate::anchor::key`]).
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] where no guard is asked.
    fn stored(&mut self, _key: &B256) -> Result<B256, ReadError> {
        Err(ReadError::Unavailable)
    }

    /// What the guard knows of the running transaction. Only a hook knows anything.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] everywhere else.
    fn context(&self, _: Context) -> Result<U256, ReadError> {
        Err(ReadError::Unavailable)
    }
}

/// What a guard knows of the running transaction, in the guarded call that a hook looks at and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// How much of an asset has come in by guarded calls ([`crate::Action::flow`]).
    Entered(Address),
    /// How much of an asset has gone out.
    Left(Address),
    /// How many guarded calls are under way, this one included.
    Depth,
    /// One when there was both a `Deposit` and a `Withdraw`, else zero.
    RoundTrip,
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
            let instruction = Instruction::next(&mut cursor).map_err(|_| Unknown::BadProgram)?;
            if let op::AND_THEN | op::OR_ELSE = instruction.code {
                let and = instruction.code == op::AND_THEN;
                // The block is skipped when its left side has already decided.
                if self.bool()? != and {
                    self.push(Value::Bool(!and))?;
                    cursor = Cursor::at(
                        self.code,
                        cursor.position().saturating_add(usize::from(instruction.short(0))),
                    );
                }
            } else {
                self.step(&instruction)?;
            }
        }
        match self.stack.as_slice() {
            [value] => Ok(*value),
            _ => Err(Unknown::BadProgram),
        }
    }

    fn step(&mut self, instruction: &Instruction<'_>) -> Result<(), Unknown> {
        let value = match instruction.code {
            op::PUSH1..=op::PUSH32 => Value::Int(Int::new(false, instruction.word().into())),
            op::ADDRESS | op::WORD => Value::Word(instruction.word()),
            op::TRUE | op::FALSE => Value::Bool(instruction.code == op::TRUE),
            op::NOW => Value::Int(Int::from(self.reader.now())),
            op::PARAM | op::ENTRY | op::GET | op::CALL => self.input(instruction)?,
            op::TEE => {
                let value = self.pop()?;
                *self
                    .locals
                    .get_mut(usize::from(instruction.byte(0)))
                    .ok_or(Unknown::BadProgram)? = value;
                value
            }
            op::ADD..=op::ABS => return self.arithmetic(instruction.code),
            op::LT..=op::NEAR => Value::Bool(self.compare(instruction)?),
            op::NOT => Value::Bool(!self.bool()?),
            op::BALANCE => {
                let account = self.address()?;
                Value::Int(Int::from(self.reader.balance(account)?))
            }
            op::ENTERED | op::LEFT => {
                let asset = self.address()?;
                let what = match instruction.code {
                    op::ENTERED => Context::Entered(asset),
                    _ => Context::Left(asset),
                };
                Value::Int(Int::from(self.reader.context(what)?))
            }
            op::STORED => Value::Int(self.stored(instruction)?),
            op::DEPTH => Value::Int(Int::from(self.reader.context(Context::Depth)?)),
            op::ROUND_TRIP => Value::Bool(!self.reader.context(Context::RoundTrip)?.is_zero()),
            op::CODE_HASH => {
                let account = self.address()?;
                Value::Word(self.reader.code_hash(account)?)
            }
            _ => return Err(Unknown::BadProgram),
        };
        self.push(value)
    }

    /// What the guard has stored of a stream.
    fn stored(&mut self, instruction: &Instruction<'_>) -> Result<Int, Unknown> {
        let id = instruction.stream();
        let Some(what) = instruction.statistic() else {
            let word = self.reader.stored(&anchor::key(&id, 0))?;
            return Anchor::head(word.into()).value(self.reader.now());
        };
        if !R::STATISTICS {
            return Err(Unknown::BadProgram);
        }
        let spec = Spec::assume_valid(instruction.spec()).ok_or(Unknown::BadProgram)?;
        let value = if what.judges() { self.pop()?.shown() } else { Int::ZERO };
        let first = self.reader.stored(&anchor::key(&id, 0))?.into();
        let baseline = if what.is_of_range() {
            Baseline::unpack(first, self.reader.stored(&anchor::key(&id, 1))?.into())
        } else {
            Baseline::head(first)
        };
        baseline.value(&spec, what, &value, self.reader.now())
    }

    /// A value from outside of the program, or kept in a local.
    fn input(&mut self, instruction: &Instruction<'_>) -> Result<Value, Unknown> {
        let index = usize::from(instruction.byte(0));
        let value = match instruction.code {
            op::PARAM => {
                let given = self.inputs.params.get(index).ok_or(Unknown::BadWitness)?;
                read_as(instruction.byte(1), *given).ok_or(Unknown::BadWitness)?
            }
            op::ENTRY => {
                let given = self.inputs.entries.get(index).ok_or(Unknown::NoEntry)?;
                if given.kind() as u8 != instruction.byte(1) {
                    return Err(Unknown::NoEntry);
                }
                *given
            }
            op::GET => *self.locals.get(index).ok_or(Unknown::BadProgram)?,
            _ => self.call(instruction)?,
        };
        if matches!(value, Value::Bool(_)) {
            // No comparison made this boolean: an earlier one must not explain the verdict.
            self.observed = Int::ZERO;
            self.bound = Int::ZERO;
        }
        Ok(value)
    }

    /// `ADD` to `ABS`; the result takes the place of the leftmost operand.
    fn arithmetic(&mut self, code: u8) -> Result<(), Unknown> {
        let count = match code {
            op::NEG | op::ABS => 1,
            op::MUL_DIV => 3,
            _ => 2,
        };
        let base = self.stack.len().checked_sub(count).ok_or(Unknown::BadProgram)?;
        let Some([Value::Int(left), rest @ ..]) = self.stack.get_mut(base..) else {
            return Err(Unknown::BadProgram);
        };
        let (right, third) = (operand(rest, 0)?, operand(rest, 1)?);
        let divisor = if code == op::DIV { right } else { third };
        let fits = match code {
            op::ADD | op::SUB => left.add(right, code == op::SUB),
            op::DIV | op::MUL_DIV if divisor.magnitude.is_zero() => return Err(Unknown::DivisionByZero),
            op::DIV => left.scale(third, divisor),
            op::MUL | op::MUL_DIV => left.scale(right, divisor),
            op::MIN | op::MAX => {
                if (*right < *left) == (code == op::MIN) {
                    *left = *right;
                }
                true
            }
            _ => {
                *left = Int::new(code == op::NEG && !left.negative, left.magnitude);
                true
            }
        };
        self.stack.truncate(base + 1);
        if fits { Ok(()) } else { Err(Unknown::Overflow) }
    }

    /// `LT` to `NEAR`; the operands are kept as those of the comparison that decided.
    fn compare(&mut self, instruction: &Instruction<'_>) -> Result<bool, Unknown> {
        let code = instruction.code;
        let [.., left, right] = self.stack.as_slice() else {
            return Err(Unknown::BadProgram);
        };
        let equality = matches!(code, op::EQ | op::NE);
        if left.kind() != right.kind() || !equality && !matches!(left, Value::Int(_)) {
            return Err(Unknown::BadProgram);
        }
        self.observed = left.shown();
        self.bound = right.shown();
        self.stack.truncate(self.stack.len().saturating_sub(2));
        let order = self.observed.cmp(&self.bound);
        Ok(match code {
            op::LT => order.is_lt(),
            op::LE => order.is_le(),
            op::GT => order.is_gt(),
            op::GE => order.is_ge(),
            op::EQ => order.is_eq(),
            op::NE => order.is_ne(),
            _ => self.observed.near(self.bound, instruction.short(0)),
        })
    }

    fn call(&mut self, instruction: &Instruction<'_>) -> Result<Value, Unknown> {
        let args = instruction.args();
        let mut calldata = Vec::with_capacity(4 + 32 * args.len());
        calldata.extend_from_slice(instruction.selector());
        let first = self.stack.len().checked_sub(args.len()).ok_or(Unknown::BadProgram)?;
        for (code, value) in args.iter().zip(self.stack.get(first..).unwrap_or_default()) {
            let word = WordType::from_u8(*code)
                .and_then(|word| word.write(value))
                .ok_or(Unknown::BadArgument)?;
            calldata.extend_from_slice(word.as_slice());
        }
        self.stack.truncate(first);
        let target = self.address()?;
        let word = u16::from(instruction.byte(CALL_WORD));
        let answer = self
            .reader
            .call(target, &calldata, u64::from(instruction.gas()), word)?;
        read_as(instruction.byte(CALL_RESULT), answer).ok_or(Unknown::BadAnswer)
    }

    fn address(&mut self) -> Result<Address, Unknown> {
        let value = self.pop()?;
        let word = WordType::ADDRESS.write(&value).ok_or(Unknown::BadArgument)?;
        Ok(Address::from_word(word))
    }

    #[inline(never)]
    fn bool(&mut self) -> Result<bool, Unknown> {
        match self.stack.pop() {
            Some(Value::Bool(bit)) => Ok(bit),
            _ => Err(Unknown::BadProgram),
        }
    }

    #[inline(never)]
    fn pop(&mut self) -> Result<Value, Unknown> {
        self.stack.pop().ok_or(Unknown::BadProgram)
    }

    #[inline(never)]
    fn push(&mut self, value: Value) -> Result<(), Unknown> {
        if self.stack.len() >= MAX_STACK {
            return Err(Unknown::BadProgram);
        }
        self.stack.push(value);
        Ok(())
    }
}

/// An operand to the right of the leftmost; 1 where there is none.
fn operand(rest: &[Value], index: usize) -> Result<&Int, Unknown> {
    match rest.get(index) {
        Some(Value::Int(int)) => Ok(int),
        Some(_) => Err(Unknown::BadProgram),
        None => Ok(&Int::ONE),
    }
}

fn read_as(code: u8, word: B256) -> Option<Value> {
    WordType::from_u8(code)?.read(word)
}
