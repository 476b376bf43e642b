//! The parser: from tokens to a tree.
//!
//! ```text
//! or      = and ("||" and)*
//! and     = compare ("&&" compare)*
//! compare = sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)?
//! sum     = product (("+" | "-") product)*
//! product = unary (("*" | "/") unary)*
//! unary   = ("!" | "-") unary | postfix
//! postfix = primary ("." name "(" arguments ")" | "." name | "." number)*
//! arguments = ((name ":")? or ("," (name ":")? or)*)?
//! primary = number unit? | hex | "true" | "false" | name | name "(" arguments ")" | "(" or ")" | "[" arguments "]"
//! ```

use crate::baseline::SIGMA;
use crate::rule::compile::CompileError;
use crate::rule::lex::{Token, TokenKind, tokens};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use alloy_primitives::{B256, U256};

/// Longest text of a rule, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// Deepest nesting of brackets, arguments and signs.
pub const MAX_DEPTH: usize = 48;

/// A piece of a rule and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    pub(crate) column: usize,
    pub(crate) node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Int(U256),
    /// A share in parts of 10,000.
    Ratio(u32),
    Word(B256),
    Bool(bool),
    Name(String),
    /// `name(arguments)`: a built-in function, or a contract's functions at another address.
    Apply(String, Vec<Expr>),
    /// `object.name(arguments)`.
    Method(Box<Expr>, String, Vec<Expr>),
    /// `object.name`.
    Field(Box<Expr>, String),
    Unary(&'static str, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    List(Vec<Expr>),
    /// `name: value`, among arguments.
    Named(String, Box<Expr>),
}

/// Parses a whole text.
pub(crate) fn parse(source: &str) -> Result<Expr, CompileError> {
    if source.len() > MAX_SOURCE {
        return Err(CompileError::at(
            1,
            format!("longer than {MAX_SOURCE} bytes: name parts of it with `let`"),
        ));
    }
    let mut parser = Parser {
        tokens: tokens(source)?,
        at: 0,
        depth: 0,
    };
    let expr = parser.or()?;
    let token = parser.peek();
    match &token.kind {
        TokenKind::End => Ok(expr),
        TokenKind::Sign(sign @ ("<" | "<=" | ">" | ">=" | "==" | "!=")) => Err(CompileError::at(
            token.column,
            format!("comparisons do not chain: write `a {sign} b && b {sign} c`"),
        )),
        TokenKind::Sign("%") => Err(CompileError::at(
            token.column,
            "`%` is a unit of a number, as in `85 %`; there is no modulo",
        )),
        other => Err(CompileError::at(
            token.column,
            format!("expected an operator or the end, found {}", show(other)),
        )),
    }
}

fn show(kind: &TokenKind) -> String {
    match kind {
        TokenKind::Name(name) => format!("`{name}`"),
        TokenKind::Number(..) => String::from("a number"),
        TokenKind::Hex(_) => String::from("a hexadecimal word"),
        TokenKind::Sign(sign) => format!("`{sign}`"),
        TokenKind::End => String::from("the end"),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

const END: Token = Token {
    column: 1,
    kind: TokenKind::End,
};

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&END)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    /// Takes the sign if it comes next.
    fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(&self.peek().kind, TokenKind::Sign(found) if *found == sign);
        if found {
            self.at += 1;
        }
        found
    }

    fn need(&mut self, sign: &str, why: &str) -> Result<(), CompileError> {
        if self.eat(sign) {
            return Ok(());
        }
        let token = self.peek();
        Err(CompileError::at(
            token.column,
            format!("expected `{sign}` {why}, found {}", show(&token.kind)),
        ))
    }

    /// A left-associative chain of binary operators.
    fn chain(
        &mut self,
        signs: &[&'static str],
        operand: fn(&mut Self) -> Result<Expr, CompileError>,
    ) -> Result<Expr, CompileError> {
        let mut left = operand(self)?;
        loop {
            let column = self.peek().column;
            let Some(sign) = signs.iter().find(|sign| self.eat(sign)) else {
                return Ok(left);
            };
            let right = operand(self)?;
            left = Expr {
                column,
                node: Node::Binary(sign, Box::new(left), Box::new(right)),
            };
        }
    }

    fn or(&mut self) -> Result<Expr, CompileError> {
        self.chain(&["||"], |parser| parser.chain(&["&&"], Self::compare))
    }

    fn compare(&mut self) -> Result<Expr, CompileError> {
        let left = self.sum()?;
        let column = self.peek().column;
        let Some(sign) = ["<", "<=", ">", ">=", "==", "!="]
            .into_iter()
            .find(|sign| self.eat(sign))
        else {
            return Ok(left);
        };
        let right = self.sum()?;
        Ok(Expr {
            column,
            node: Node::Binary(sign, Box::new(left), Box::new(right)),
        })
    }

    fn sum(&mut self) -> Result<Expr, CompileError> {
        self.chain(&["+", "-"], |parser| parser.chain(&["*", "/"], Self::unary))
    }

    fn unary(&mut self) -> Result<Expr, CompileError> {
        let column = self.peek().column;
        let Some(sign) = ["!", "-"].into_iter().find(|sign| self.eat(sign)) else {
            return self.postfix();
        };
        let operand = self.deeper(Self::unary)?;
        Ok(Expr {
            column,
            node: Node::Unary(sign, Box::new(operand)),
        })
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, CompileError>) -> Result<T, CompileError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CompileError::at(
                self.peek().column,
                "nested too deep: name parts of it with `let`",
            ));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn postfix(&mut self) -> Result<Expr, CompileError> {
        let mut object = self.primary()?;
        while self.eat(".") {
            let token = self.next();
            let name = match token.kind {
                TokenKind::Name(name) => name,
                TokenKind::Number(index, 0) => format!("{index}"),
                other => {
                    return Err(CompileError::at(
                        token.column,
                        format!("expected a name after `.`, found {}", show(&other)),
                    ));
                }
            };
            let node = if self.eat("(") {
                Node::Method(Box::new(object), name, self.deeper(|parser| parser.list(")"))?)
            } else {
                Node::Field(Box::new(object), name)
            };
            object = Expr {
                column: token.column,
                node,
            };
        }
        Ok(object)
    }

    /// Expressions between commas, up to the closing bracket.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, CompileError> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(self.argument()?);
            if !self.eat(",") {
                self.need(close, "or `,`")?;
                return Ok(items);
            }
        }
    }

    /// An argument, which may have a name.
    fn argument(&mut self) -> Result<Expr, CompileError> {
        let behind = self.tokens.get(self.at.saturating_add(1)).map(|token| &token.kind);
        let token = self.peek();
        let (TokenKind::Name(name), Some(TokenKind::Sign(":"))) = (&token.kind, behind) else {
            return self.or();
        };
        let (name, column) = (name.clone(), token.column);
        self.at += 2;
        let value = Box::new(self.or()?);
        Ok(Expr {
            column,
            node: Node::Named(name, value),
        })
    }

    fn primary(&mut self) -> Result<Expr, CompileError> {
        let token = self.next();
        let column = token.column;
        let node = match token.kind {
            TokenKind::Number(digits, scale) => self.number(column, digits, scale)?,
            TokenKind::Hex(word) => Node::Word(word),
            TokenKind::Name(name) if name == "true" || name == "false" => Node::Bool(name == "true"),
            TokenKind::Name(name) => {
                if self.eat("(") {
                    Node::Apply(name, self.deeper(|parser| parser.list(")"))?)
                } else {
                    Node::Name(name)
                }
            }
            TokenKind::Sign("(") => {
                let inner = self.deeper(Self::or)?;
                self.need(")", "to close the bracket")?;
                return Ok(inner);
            }
            TokenKind::Sign("[") => Node::List(self.deeper(|parser| parser.list("]"))?),
            other => {
                return Err(CompileError::at(
                    column,
                    format!("expected a value, found {}", show(&other)),
                ));
            }
        };
        Ok(Expr { column, node })
    }

    /// A number with its unit, if one follows.
    fn number(&mut self, column: usize, digits: U256, scale: i32) -> Result<Node, CompileError> {
        let ratio = |per: i32| {
            scaled(digits, scale + per)
                .and_then(|value| u32::try_from(value).ok())
                .map(Node::Ratio)
                .ok_or_else(|| {
                    CompileError::at(
                        column,
                        "a share has whole basis points (0.01 %), and at most 4,294,967,295 of them",
                    )
                })
        };
        if self.eat("%") {
            return ratio(2);
        }
        let unit = match &self.peek().kind {
            TokenKind::Name(name) => name.clone(),
            _ => String::new(),
        };
        let factor: u64 = match unit.as_str() {
            "bps" => {
                self.at += 1;
                return ratio(0);
            }
            "s" | "second" | "seconds" => 1,
            "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "week" | "weeks" => 604_800,
            "sigma" => SIGMA.into(),
            "wei" => 1,
            "gwei" => 1_000_000_000,
            "ether" => 1_000_000_000_000_000_000,
            "" => 0,
            other => {
                return Err(CompileError::at(
                    self.peek().column,
                    format!(
                        "`{other}` is no unit: use %, bps, seconds, minutes, hours, days, weeks, sigma, wei, gwei or ether"
                    ),
                ));
            }
        };
        if factor > 0 {
            self.at += 1;
        }
        digits
            .checked_mul(U256::from(factor.max(1)))
            .and_then(|value| scaled(value, scale))
            .map(Node::Int)
            .ok_or_else(|| CompileError::at(column, "not a whole number of at most 256 bits"))
    }
}

/// `value * 10^scale` when it is a whole number that fits.
fn scaled(mut value: U256, scale: i32) -> Option<U256> {
    let ten = U256::from(10);
    for _ in 0..scale.unsigned_abs() {
        if scale > 0 {
            value = value.checked_mul(ten)?;
        } else {
            let (quotient, rest) = value.div_rem(ten);
            if !rest.is_zero() {
                return None;
            }
            value = quotient;
        }
    }
    Some(value)
}
