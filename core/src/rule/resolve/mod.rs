//! From the parsed tree to checked terms: names, kinds, classes.

mod past;
mod reads;
mod usual;
mod words;

pub(crate) use reads::signature;
pub(crate) use words::singular;

use crate::rule::compile::{CompileError, CompiledStream, Param};
use crate::rule::names::suggestion;
use crate::rule::parse::{Expr, Node, parse};
use crate::rule::program::op;
use crate::rule::term::{self, Term, TermNode, build};
use crate::rule::types::Symbols;
use crate::rule::value::{Int, Kind, Value};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloy_primitives::B256;
use words::{CONTEXT, FUNCTIONS, arguments, folded, is_reserved, keeper_word, plural, wrong_count};

/// Most nodes of a rule with all named parts put in.
const MAX_NODES: usize = 4096;

/// What is known while one rule is resolved.
pub(crate) struct Resolver<'a> {
    pub(crate) params: &'a [Param],
    pub(crate) symbols: &'a dyn Symbols,
    lets: Vec<(String, Term)>,
    /// Which of them something uses.
    used: Vec<bool>,
    /// The arguments of `entry`, each once.
    pub(crate) entries: Vec<Term>,
    /// What `anchor`, `mean` and others have the guard store, each once.
    pub(crate) streams: Vec<CompiledStream>,
    /// The first word that makes this a hook rule, and its column.
    pub(crate) hook_word: Option<(String, usize)>,
}

type Resolved = Result<Term, CompileError>;

impl<'a> Resolver<'a> {
    pub(crate) fn new(params: &'a [Param], symbols: &'a dyn Symbols) -> Result<Self, CompileError> {
        for (index, param) in params.iter().enumerate() {
            let taken = params.iter().take(index).any(|other| other.name == param.name);
            if taken || symbols.contract(&param.name).is_some() || is_reserved(&param.name) {
                return Err(CompileError::at(
                    1,
                    format!("parameter `{}` has a name that is taken: rename it", param.name),
                ));
            }
            if param.ty.word_type().is_none() {
                let message = format!(
                    "parameter `{}` cannot be of type {}: use an integer, bool, address or bytesN",
                    param.name, param.ty
                );
                return Err(CompileError::at(1, message));
            }
        }
        Ok(Resolver {
            params,
            symbols,
            lets: Vec::new(),
            used: Vec::new(),
            entries: Vec::new(),
            streams: Vec::new(),
            hook_word: None,
        })
    }

    /// Adds a named part, which later parts and the rule may use.
    pub(crate) fn add(&mut self, name: &str, source: &str) -> Result<(), CompileError> {
        let inside = |error: CompileError| CompileError {
            within: Some(name.to_string()),
            ..error
        };
        let taken = self.lets.iter().any(|(other, _)| other == name)
            || self.params.iter().any(|param| param.name == name)
            || self.symbols.contract(name).is_some()
            || is_reserved(name);
        if taken {
            return Err(inside(CompileError::at(
                1,
                format!("the name `{name}` is taken: rename this part"),
            )));
        }
        let resolved = self.root(source).map_err(inside)?;
        self.lets.push((name.to_string(), resolved));
        self.used.push(false);
        Ok(())
    }

    /// A warning for each named part that nothing uses.
    pub(crate) fn unused(&self) -> impl Iterator<Item = String> {
        let unused = self.lets.iter().zip(&self.used).filter(|(_, used)| !**used);
        unused.map(|((name, _), _)| format!("the part `{name}` is not used: use it or leave it out"))
    }

    /// Resolves a whole text. The result may be a share (`85 %`).
    pub(crate) fn root(&mut self, source: &str) -> Resolved {
        let expr = parse(source)?;
        let resolved = self.any(&expr)?;
        if resolved.size > MAX_NODES {
            return Err(CompileError::at(
                1,
                format!("the rule has more than {MAX_NODES} parts when all names are put in: shorten it"),
            ));
        }
        Ok(resolved)
    }

    /// Resolves an expression; the result may be a share.
    fn any(&mut self, expr: &Expr) -> Resolved {
        match &expr.node {
            Node::Int(value) => Ok(term::int(Int::from(*value))),
            Node::Ratio(share) => Ok(build(TermNode::Ratio(*share), Kind::Int)),
            Node::Word(word) => Ok(term::word(*word)),
            Node::Bool(bit) => Ok(term::bit(*bit)),
            Node::Name(name) => self.name(expr.column, name),
            Node::Apply(name, args) => self.apply(expr.column, name, args),
            Node::Method(object, function, args) => self.read(expr.column, object, function, args, None),
            Node::Field(object, field) => match &object.node {
                Node::Method(contract, function, args) => {
                    self.read(object.column, contract, function, args, Some((expr.column, field)))
                }
                _ => Err(CompileError::at(
                    expr.column,
                    format!("`.{field}` picks a field of a function's answer: call a function first"),
                )),
            },
            Node::Unary("!", operand) => Ok(term::not(self.of_kind(operand, Kind::Bool, "`!`")?)),
            Node::Unary(_, operand) => Ok(term::unary(op::NEG, self.of_kind(operand, Kind::Int, "`-`")?)),
            Node::Binary(sign, left, right) => self.binary(expr.column, sign, left, right),
            Node::List(_) => Err(CompileError::at(
                expr.column,
                "a list stands only among the arguments of a containment call",
            )),
            Node::Named(name, _) => Err(CompileError::at(
                expr.column,
                format!(
                    "`{name}:` stands only among the arguments of `mean`, `deviation`, `score`, `drift`, `lowest` and `highest`"
                ),
            )),
        }
    }

    /// Resolves an expression to a value; a share alone is none.
    pub(crate) fn value(&mut self, expr: &Expr) -> Resolved {
        let resolved = self.any(expr)?;
        if matches!(resolved.node, TermNode::Ratio(_)) {
            return Err(CompileError::at(
                expr.column,
                "a share needs something to be a share of: write `x * 85 %`",
            ));
        }
        Ok(resolved)
    }

    fn of_kind(&mut self, expr: &Expr, kind: Kind, who: &str) -> Resolved {
        let resolved = self.value(expr)?;
        if resolved.kind == kind {
            return Ok(resolved);
        }
        Err(CompileError::at(
            expr.column,
            format!("{who} takes {}, this is {}", plural(kind), singular(resolved.kind)),
        ))
    }

    fn name(&mut self, column: usize, name: &str) -> Resolved {
        if name == "now" {
            return Ok(build(TermNode::Now, Kind::Int));
        }
        for ((other, found), used) in self.lets.iter().zip(&mut self.used) {
            if other == name {
                *used = true;
                return Ok(found.clone());
            }
        }
        for (index, param) in (0u8..).zip(self.params) {
            if let Some(word) = param.ty.word_type().filter(|_| param.name == name) {
                return Ok(build(TermNode::Param(index, word.code()), word.kind()));
            }
        }
        if let Some(address) = self.symbols.contract(name) {
            return Ok(term::word(address.into_word()));
        }
        if CONTEXT.contains(&name) {
            self.is_hook(name, column);
            return Ok(match name {
                "depth" => build(TermNode::Op(op::DEPTH, Vec::new()), Kind::Int),
                _ => build(TermNode::Op(op::ROUND_TRIP, Vec::new()), Kind::Bool),
            });
        }
        keeper_word(column, name)?;
        if FUNCTIONS.contains(&name) {
            return Err(CompileError::at(
                column,
                format!("`{name}` is a function: give its arguments in brackets"),
            ));
        }
        let known = self.known();
        Err(CompileError::at(
            column,
            format!("unknown name `{name}`{}", suggestion(name, &known)),
        ))
    }

    /// Every name that can stand alone.
    fn known(&self) -> Vec<String> {
        let lets = self.lets.iter().map(|(name, _)| name.clone());
        let params = self.params.iter().map(|param| param.name.clone());
        let words = ["now", "true", "false"].into_iter().chain(CONTEXT).map(String::from);
        self.symbols
            .names()
            .into_iter()
            .chain(params)
            .chain(lets)
            .chain(words)
            .collect()
    }

    fn apply(&mut self, column: usize, name: &str, args: &[Expr]) -> Resolved {
        match name {
            "min" | "max" => self.extreme(column, if name == "min" { op::MIN } else { op::MAX }, name, args),
            "abs" => {
                let [value] = arguments(column, name, args)?;
                Ok(term::unary(op::ABS, self.of_kind(value, Kind::Int, "`abs`")?))
            }
            "near" => self.near(column, args),
            "entry" => self.entry(column, args),
            "anchor" => self.anchor(column, args),
            "entered" | "left" => {
                let [asset] = arguments(column, name, args)?;
                let asset = self.of_kind(asset, Kind::Word, &format!("`{name}`"))?;
                self.is_hook(name, column);
                let code = if name == "entered" { op::ENTERED } else { op::LEFT };
                Ok(build(TermNode::Op(code, Vec::from([asset])), Kind::Int))
            }
            "eth" | "codehash" => {
                let [account] = arguments(column, name, args)?;
                let account = self.of_kind(account, Kind::Word, &format!("`{name}`"))?;
                Ok(match name {
                    "eth" => build(TermNode::Balance(account), Kind::Int),
                    _ => build(TermNode::CodeHash(account), Kind::Word),
                })
            }
            _ => match usual::statistic_of(name) {
                Some(what) => self.statistic(column, name, what, args),
                None => Err(self.unknown_function(column, name)),
            },
        }
    }

    /// Notes the word that makes this a hook rule.
    fn is_hook(&mut self, word: &str, column: usize) {
        self.hook_word.get_or_insert_with(|| (word.to_string(), column));
    }

    fn unknown_function(&self, column: usize, name: &str) -> CompileError {
        if let Err(error) = keeper_word(column, name) {
            return error;
        }
        if self.symbols.contract(name).is_some() {
            return CompileError::at(
                column,
                format!("`{name}(…)` is a contract at another address: call a function of it, as in `{name}(x).f()`"),
            );
        }
        if self.known().iter().any(|known| known == name) {
            return CompileError::at(column, format!("`{name}` is a value, not a function"));
        }
        let known: Vec<String> = FUNCTIONS
            .map(String::from)
            .into_iter()
            .chain(self.symbols.names())
            .collect();
        CompileError::at(column, format!("unknown function `{name}`{}", suggestion(name, &known)))
    }

    fn extreme(&mut self, column: usize, code: u8, name: &str, args: &[Expr]) -> Resolved {
        let [first, rest @ ..] = args else {
            return Err(wrong_count(column, name, "at least two", args.len()));
        };
        if rest.is_empty() {
            return Err(wrong_count(column, name, "at least two", args.len()));
        }
        let who = format!("`{name}`");
        let mut result = self.of_kind(first, Kind::Int, &who)?;
        for arg in rest {
            let next = self.of_kind(arg, Kind::Int, &who)?;
            result = term::arithmetic(code, result, next).map_err(|error| folded(column, &error))?;
        }
        Ok(result)
    }

    fn near(&mut self, column: usize, args: &[Expr]) -> Resolved {
        let [left, right, tolerance] = arguments(column, "near", args)?;
        let (x, y) = (
            self.of_kind(left, Kind::Int, "`near`")?,
            self.of_kind(right, Kind::Int, "`near`")?,
        );
        let share = match self.any(tolerance)?.node {
            TermNode::Ratio(share) => share,
            _ => {
                return Err(CompileError::at(
                    tolerance.column,
                    "the tolerance of `near` is a share, as in `50 bps` or `2 %`; for an absolute one write `abs(a - b) <= x`",
                ));
            }
        };
        match u16::try_from(share) {
            Ok(share) if (1..10_000).contains(&share) => Ok(term::near(share, x, y)),
            _ => Err(CompileError::at(
                tolerance.column,
                "the tolerance of `near` lies between 1 bps and 99.99 %",
            )),
        }
    }

    fn binary(&mut self, column: usize, sign: &str, left: &Expr, right: &Expr) -> Resolved {
        match sign {
            "&&" | "||" => {
                let who = format!("`{sign}`");
                let (x, y) = (
                    self.of_kind(left, Kind::Bool, &who)?,
                    self.of_kind(right, Kind::Bool, &who)?,
                );
                Ok(term::junction(sign == "&&", x, y))
            }
            "*" | "/" => self.product(column, sign, left, right),
            "+" | "-" => {
                let who = format!("`{sign}`");
                let (x, y) = (
                    self.of_kind(left, Kind::Int, &who)?,
                    self.of_kind(right, Kind::Int, &who)?,
                );
                let code = if sign == "+" { op::ADD } else { op::SUB };
                term::arithmetic(code, x, y).map_err(|error| folded(column, &error))
            }
            "==" | "!=" => self.equality(column, if sign == "==" { op::EQ } else { op::NE }, left, right),
            _ => {
                let who = format!("`{sign}`");
                let (x, y) = (
                    self.of_kind(left, Kind::Int, &who)?,
                    self.of_kind(right, Kind::Int, &who)?,
                );
                let code = match sign {
                    "<" => op::LT,
                    "<=" => op::LE,
                    ">" => op::GT,
                    _ => op::GE,
                };
                Ok(term::compare(code, x, y))
            }
        }
    }

    fn product(&mut self, column: usize, sign: &str, left: &Expr, right: &Expr) -> Resolved {
        let (x, y) = (self.any(left)?, self.any(right)?);
        for (operand, resolved) in [(left, &x), (right, &y)] {
            if resolved.kind != Kind::Int {
                return Err(CompileError::at(
                    operand.column,
                    format!("`{sign}` takes numbers, this is {}", singular(resolved.kind)),
                ));
            }
        }
        let number = |value: u32| term::int(Int::from(u64::from(value)));
        let result = match (&x.node, sign, &y.node) {
            (TermNode::Ratio(_), _, TermNode::Ratio(_)) | (TermNode::Ratio(_), "/", _) => {
                return Err(CompileError::at(
                    left.column,
                    "a share needs something to be a share of: write `x * 85 %`",
                ));
            }
            (TermNode::Ratio(share), _, _) => term::mul_div(y.clone(), number(*share), number(10_000)),
            (_, "*", TermNode::Ratio(share)) => term::mul_div(x.clone(), number(*share), number(10_000)),
            (_, _, TermNode::Ratio(share)) => term::mul_div(x.clone(), number(10_000), number(*share)),
            (_, "*", _) => term::arithmetic(op::MUL, x.clone(), y.clone()),
            _ => term::arithmetic(op::DIV, x.clone(), y.clone()),
        };
        result.map_err(|error| folded(column, &error))
    }

    fn equality(&mut self, column: usize, code: u8, left: &Expr, right: &Expr) -> Resolved {
        let (mut x, mut y) = (self.value(left)?, self.value(right)?);
        // `source(asset) != 0`: zero is written the same for addresses.
        let zero = |resolved: &Term| resolved.constant_int() == Some(Int::ZERO);
        if x.kind == Kind::Word && zero(&y) {
            y = term::word(B256::ZERO);
        } else if y.kind == Kind::Word && zero(&x) {
            x = term::word(B256::ZERO);
        }
        if x.kind != y.kind {
            let message = format!(
                "the left side is {}, the right side is {}: they are never equal",
                singular(x.kind),
                singular(y.kind)
            );
            return Err(CompileError::at(column, message));
        }
        Ok(term::compare(code, x, y))
    }
}

/// The constant that an expression is, with its column; used for containment calls.
pub(crate) fn constant(resolver: &mut Resolver<'_>, expr: &Expr) -> Result<Value, CompileError> {
    let resolved = resolver.value(expr)?;
    resolved.constant().ok_or_else(|| {
        CompileError::at(
            expr.column,
            "the arguments of a containment call are constants: it is registered beforehand",
        )
    })
}
