//! From text to tokens.

use crate::rule::compile::CompileError;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use alloy_primitives::{B256, U256, hex};

/// A token and its column (in characters, from 1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) column: usize,
    pub(crate) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Name(String),
    /// A decimal number: digits and the power of ten they are scaled by.
    Number(U256, i32),
    /// 20 bytes (left-padded) or 32 bytes.
    Hex(B256),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Operators and brackets; longer ones first.
const SIGNS: [&str; 23] = [
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", ".", "{", "}",
    ":",
];

/// Splits a text into tokens; the last one is `End`.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, CompileError> {
    let characters: Vec<char> = source.chars().collect();
    let mut lexer = Lexer {
        characters: &characters,
        at: 0,
    };
    let mut out = Vec::new();
    loop {
        lexer.skip(char::is_whitespace);
        let column = lexer.at + 1;
        let kind = lexer.token()?;
        let end = kind == TokenKind::End;
        out.push(Token { column, kind });
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    characters: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.characters.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while self.at < self.characters.len() && wanted(self.peek(0)) {
            taken.push(self.peek(0));
            self.at += 1;
        }
        taken
    }

    fn token(&mut self) -> Result<TokenKind, CompileError> {
        if self.at >= self.characters.len() {
            return Ok(TokenKind::End);
        }
        let first = self.peek(0);
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(TokenKind::Name(self.skip(|c| c.is_ascii_alphanumeric() || c == '_')));
        }
        if first == '0' && matches!(self.peek(1), 'x' | 'X') {
            return self.hex();
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        for sign in SIGNS {
            if sign.chars().enumerate().all(|(i, c)| self.peek(i) == c) {
                self.at += sign.len();
                return Ok(TokenKind::Sign(sign));
            }
        }
        let hint = match first {
            '=' => ": equality is written `==`",
            '&' | '|' => ": `and` is written `&&`, `or` is written `||`",
            _ => "",
        };
        Err(CompileError::at(
            self.at + 1,
            format!("`{first}` means nothing here{hint}"),
        ))
    }

    fn hex(&mut self) -> Result<TokenKind, CompileError> {
        let column = self.at + 1;
        self.at += 2;
        let digits = self.skip(|c| c.is_ascii_alphanumeric() || c == '_');
        let bytes = hex::decode(&digits)
            .map_err(|_| CompileError::at(column, "not hexadecimal: use digits 0-9 and a-f, two per byte"))?;
        match bytes.len() {
            20 | 32 => Ok(TokenKind::Hex(B256::left_padding_from(&bytes))),
            count => Err(CompileError::at(
                column,
                format!(
                    "hexadecimal is for addresses (20 bytes) and words (32 bytes), this has {count}: write numbers in decimal"
                ),
            )),
        }
    }

    fn number(&mut self) -> Result<TokenKind, CompileError> {
        let column = self.at + 1;
        let digit = |c: char| c.is_ascii_digit() || c == '_';
        let mut digits = self.skip(digit);
        let mut scale = 0i32;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            self.at += 1;
            let fraction = self.skip(digit);
            let places = fraction.chars().filter(char::is_ascii_digit).count();
            scale = -i32::try_from(places).unwrap_or(i32::MAX);
            digits.push_str(&fraction);
        }
        let exponent = matches!(self.peek(0), 'e' | 'E')
            && (self.peek(1).is_ascii_digit() || matches!(self.peek(1), '+' | '-') && self.peek(2).is_ascii_digit());
        if exponent {
            self.at += 1;
            let negative = self.peek(0) == '-';
            if matches!(self.peek(0), '+' | '-') {
                self.at += 1;
            }
            let power: i32 = self
                .skip(|c| c.is_ascii_digit())
                .parse()
                .ok()
                .filter(|power| *power <= 100)
                .ok_or_else(|| CompileError::at(column, "the exponent is too large"))?;
            scale += if negative { -power } else { power };
        }
        if self.peek(0).is_ascii_alphabetic() && exponent {
            return Err(CompileError::at(
                self.at + 1,
                "leave a space between a number and its unit",
            ));
        }
        digits.retain(|c| c != '_');
        let value = U256::from_str_radix(&digits, 10)
            .map_err(|_| CompileError::at(column, "the number needs more than 256 bits"))?;
        Ok(TokenKind::Number(value, scale))
    }
}
