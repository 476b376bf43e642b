//! On-chain form of Stylus programs: prefixes, compression, and the init code that deploys them.

use alloy_primitives::Address;
use brotli::enc::{BrotliEncoderParams, StandardAlloc};
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use thiserror::Error;

use crate::pricing::{ARBOS_FRAGMENTS, Params};

#[cfg(test)]
mod tests;

/// First two bytes of all Stylus code.
const MAGIC: [u8; 2] = [0xef, 0xf0];
const CLASSIC: u8 = 0;
const FRAGMENT: u8 = 1;
const ROOT: u8 = 2;
/// Prefix of compressed programs without a dictionary.
const CLASSIC_PREFIX: [u8; 4] = [0xef, 0xf0, CLASSIC, 0];
/// The dictionary for Stylus programs that chains have; it is not part of any package, and no tool compresses with it.
pub const PROGRAM_DICTIONARY: u8 = 1;
/// Bytes of a root before its addresses: prefix, dictionary, decompressed length.
const ROOT_HEADER: usize = 8;

/// Output is decompressed in pieces of this size, so that memory follows what the stream really holds.
const CHUNK: usize = 64 * 1024;

/// What a piece of account code is, judged by its prefix alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// A whole program in one account.
    Classic {
        /// Id of the compression dictionary; only 0 (none) can be decompressed.
        dictionary: u8,
    },
    /// A slice of a program's compressed stream; not executable.
    Fragment,
    /// Names the fragments that make a program.
    Root,
}

impl CodeKind {
    /// Whether code of this kind can be activated and called.
    pub fn is_executable(self) -> bool {
        !matches!(self, Self::Fragment)
    }

    /// Whether a chain of this ArbOS version knows the kind.
    pub fn is_known(self, arbos_version: u64) -> bool {
        match self {
            Self::Classic { .. } => arbos_version >= 30,
            Self::Fragment | Self::Root => arbos_version >= ARBOS_FRAGMENTS,
        }
    }
}

/// Why Stylus code cannot be turned into a module, or a module into code.
#[derive(Debug, Error)]
pub enum CodeError {
    /// The code has no Stylus prefix.
    #[error("not a Stylus program: the code does not start with EFF000 or EFF002")]
    NotStylus,
    /// The code is of another kind than the operation needs.
    #[error("expected {expected} but the code is of kind {found:?}")]
    WrongKind {
        /// What was needed.
        expected: &'static str,
        /// What it is.
        found: CodeKind,
    },
    /// Compressed with a dictionary that is not available.
    #[error("unsupported compression dictionary {0}: compress the program without one (dictionary 0)")]
    Dictionary(u8),
    /// The stream is not valid brotli.
    #[error("the program's brotli stream is {0}")]
    Stream(&'static str),
    /// The module is larger than allowed.
    #[error("the decompressed program is larger than {max} bytes: make it smaller (strip, opt-level z, wasm-opt -Oz)")]
    TooLarge {
        /// Limit in bytes.
        max: usize,
    },
    /// A root's layout is wrong.
    #[error("malformed root program: {0}")]
    Root(String),
    /// The encoder failed.
    #[error("brotli compression failed: {0}")]
    Compress(#[from] std::io::Error),
}

/// Recognises Stylus code by its prefix; at least one byte must follow the three of the prefix.
pub fn kind(code: &[u8]) -> Option<CodeKind> {
    let [first, second, kind, next, ..] = code else {
        return None;
    };
    if [*first, *second] != MAGIC {
        return None;
    }
    match *kind {
        CLASSIC => Some(CodeKind::Classic { dictionary: *next }),
        FRAGMENT => Some(CodeKind::Fragment),
        ROOT => Some(CodeKind::Root),
        _ => None,
    }
}

/// Decompresses classic code (prefix included) to its module.
///
/// # Errors
/// Code of another kind, an unsupported dictionary, a broken stream, or more than `max_wasm_size` bytes of output.
pub fn decompress(code: &[u8], max_wasm_size: usize) -> Result<Vec<u8>, CodeError> {
    match kind(code).ok_or(CodeError::NotStylus)? {
        CodeKind::Classic { dictionary: 0 } => {
            inflate(code.get(CLASSIC_PREFIX.len()..).unwrap_or_default(), max_wasm_size)
        }
        CodeKind::Classic { dictionary } => Err(CodeError::Dictionary(dictionary)),
        found => Err(CodeError::WrongKind {
            expected: "a whole program",
            found,
        }),
    }
}

/// Compresses a module to classic code: the prefix `EFF00000` and brotli, quality 11, window 22.
///
/// # Errors
/// A failure of the encoder.
pub fn compress(wasm: &[u8]) -> Result<Vec<u8>, CodeError> {
    let params = BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        ..BrotliEncoderParams::default()
    };
    let mut code = CLASSIC_PREFIX.to_vec();
    let mut input = wasm;
    brotli::BrotliCompress(&mut input, &mut code, &params)?;
    Ok(code)
}

/// EVM init code that deploys `code` as it is: a 43-byte prelude and the code.
pub fn init_code(code: &[u8]) -> Vec<u8> {
    let mut length = [0_u8; 32];
    if let Some(low) = length.last_chunk_mut::<8>() {
        *low = u64::try_from(code.len()).unwrap_or(u64::MAX).to_be_bytes();
    }
    let mut init = vec![0x7f]; // PUSH32
    init.extend_from_slice(&length);
    // DUP1; PUSH1 43; PUSH1 0; CODECOPY; PUSH1 0; RETURN; version byte
    init.extend_from_slice(&[0x80, 0x60, 0x2b, 0x60, 0x00, 0x39, 0x60, 0x00, 0xf3, 0x00]);
    init.extend_from_slice(code);
    init
}

/// A program whose compressed stream is spread over several accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Exact length of the module in bytes.
    pub wasm_len: usize,
    /// Accounts that hold the fragments, in order.
    pub fragments: Vec<Address>,
}

impl Root {
    /// Reads a root's code.
    ///
    /// # Errors
    /// Code of another kind, an unsupported dictionary, or a layout that breaks the limits in `params`.
    pub fn parse(code: &[u8], params: &Params) -> Result<Self, CodeError> {
        match kind(code).ok_or(CodeError::NotStylus)? {
            CodeKind::Root => {}
            found => {
                return Err(CodeError::WrongKind {
                    expected: "a root",
                    found,
                });
            }
        }
        let Some((&[_, _, _, dictionary, a, b, c, d], addresses)) = code.split_first_chunk::<ROOT_HEADER>() else {
            return Err(CodeError::Root(format!(
                "{} bytes are too short, the header needs {ROOT_HEADER}",
                code.len()
            )));
        };
        if dictionary != 0 {
            return Err(CodeError::Dictionary(dictionary));
        }
        let (addresses, rest) = addresses.as_chunks::<20>();
        let count = addresses.len();
        if !rest.is_empty() {
            return Err(CodeError::Root(format!(
                "{} bytes after {count} addresses of 20 bytes",
                rest.len()
            )));
        }
        if count == 0 || count > usize::from(params.max_fragments) {
            return Err(CodeError::Root(format!(
                "{count} fragments, allowed are 1 to {}",
                params.max_fragments
            )));
        }
        let wasm_len = u32::from_be_bytes([a, b, c, d]);
        if wasm_len > params.max_wasm_size {
            return Err(CodeError::TooLarge {
                max: usize::try_from(params.max_wasm_size).unwrap_or(usize::MAX),
            });
        }
        Ok(Self {
            wasm_len: usize::try_from(wasm_len).unwrap_or(usize::MAX),
            fragments: addresses.iter().map(Address::from).collect(),
        })
    }

    /// Joins and decompresses the fragments' codes (prefixes included), given in the order of [`Root::fragments`].
    ///
    /// # Errors
    /// A wrong number of codes, a code that is no fragment, a broken stream, or a module of another length than declared.
    pub fn decompress<C: AsRef<[u8]>>(&self, codes: &[C]) -> Result<Vec<u8>, CodeError> {
        if codes.len() != self.fragments.len() {
            return Err(CodeError::Root(format!(
                "{} fragments are named, {} were given",
                self.fragments.len(),
                codes.len()
            )));
        }
        let mut stream = Vec::new();
        for code in codes.iter().map(AsRef::as_ref) {
            match kind(code).ok_or(CodeError::NotStylus)? {
                CodeKind::Fragment => stream.extend_from_slice(code.get(3..).unwrap_or_default()),
                found => {
                    return Err(CodeError::WrongKind {
                        expected: "a fragment",
                        found,
                    });
                }
            }
        }
        let wasm = inflate(&stream, self.wasm_len)?;
        if wasm.len() != self.wasm_len {
            return Err(CodeError::Root(format!(
                "{} bytes are declared, the stream holds {}",
                self.wasm_len,
                wasm.len()
            )));
        }
        Ok(wasm)
    }
}

/// Decodes a whole brotli stream of at most `max` bytes of output.
///
/// Bytes after the end of the stream are ignored, as the chain does. The strict decoder refuses "large window" streams, of which a few bytes could demand a gigabyte of memory.
fn inflate(stream: &[u8], max: usize) -> Result<Vec<u8>, CodeError> {
    let mut state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc> = BrotliState::new_strict(
        StandardAlloc::default(),
        StandardAlloc::default(),
        StandardAlloc::default(),
    );
    let (mut input_left, mut input_at, mut total) = (stream.len(), 0, 0);
    let mut chunk = vec![0_u8; CHUNK];
    let mut output = Vec::new();
    loop {
        let (mut chunk_left, mut chunk_at) = (chunk.len(), 0);
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut input_at,
            stream,
            &mut chunk_left,
            &mut chunk_at,
            &mut chunk,
            &mut total,
            &mut state,
        );
        output.extend_from_slice(chunk.get(..chunk_at).unwrap_or_default());
        if output.len() > max {
            return Err(CodeError::TooLarge { max });
        }
        match result {
            BrotliResult::ResultSuccess => return Ok(output),
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::NeedsMoreInput => return Err(CodeError::Stream("cut short")),
            BrotliResult::ResultFailure => return Err(CodeError::Stream("corrupt")),
        }
    }
}
