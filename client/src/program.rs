//! Stylus programs as files: WebAssembly, and the code that an account holds.

use std::io::Write;
use std::path::{Path, PathBuf};

use alloy::primitives::{B256, Bytes, keccak256};
use wasmparser::{ExternalKind, Parser, Payload};

/// What the code of a Stylus program begins with: the prefix, and 0 for "no dictionary".
pub const CODE_PREFIX: [u8; 4] = [0xef, 0xf0, 0x00, 0x00];
/// Most bytes of an account's code (EIP-170).
pub const MAX_CODE: usize = 24_576;
/// Most bytes of WebAssembly that a chain takes (ArbOS 60).
pub const MAX_WASM: usize = 262_144;

const WASM_MAGIC: &[u8] = b"\0asm";
/// Compression as the chain's own tools do it.
const BROTLI_QUALITY: u32 = 11;
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 4_096;

/// Why a file is no program that can be deployed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The file cannot be read.
    #[error("cannot read the program {path}: {error}; build it with `cordon guard build`", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Not WebAssembly at all.
    #[error(
        "{name} is no Stylus program: it begins with {found}, neither with 0061736d (WebAssembly) nor with eff00000 (compressed code)"
    )]
    WrongMagic {
        /// The program.
        name: String,
        /// Its first bytes in hex.
        found: String,
    },
    /// WebAssembly that cannot be read.
    #[error("{name} is malformed WebAssembly: {reason}")]
    Malformed {
        /// The program.
        name: String,
        /// Why.
        reason: String,
    },
    /// Lacks the entry point.
    #[error(
        "{name} is no Stylus program: it does not export the function `user_entrypoint` (stylus-sdk's #[entrypoint] makes it)"
    )]
    NoEntrypoint {
        /// The program.
        name: String,
    },
    /// Does not fit into an account.
    #[error("{name} has {size} bytes of code after compression, an account holds {MAX_CODE}")]
    CodeTooLarge {
        /// The program.
        name: String,
        /// Bytes with prefix.
        size: usize,
    },
    /// More WebAssembly than the chain takes.
    #[error("{name} has more than {MAX_WASM} bytes of WebAssembly")]
    WasmTooLarge {
        /// The program.
        name: String,
    },
    /// Cannot be compressed or decompressed.
    #[error("{name}: {reason}")]
    Brotli {
        /// The program.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A Stylus program, checked as far as that is possible without a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name in messages.
    pub name: String,
    /// The WebAssembly.
    pub wasm: Bytes,
    /// The code that its account holds: prefix and compressed WebAssembly.
    pub code: Bytes,
}

impl Program {
    /// Reads a file of WebAssembly or of code, whichever it is.
    pub fn load(path: &Path) -> Result<Self, ProgramError> {
        let bytes = std::fs::read(path).map_err(|error| ProgramError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::new(&path.display().to_string(), bytes)
    }

    /// A program from WebAssembly or from code, whichever `bytes` are.
    pub fn new(name: &str, bytes: Vec<u8>) -> Result<Self, ProgramError> {
        let (wasm, code) = if let Some(stream) = bytes.strip_prefix(&CODE_PREFIX) {
            (decompress(name, stream)?, bytes)
        } else if bytes.starts_with(WASM_MAGIC) {
            let code = compress(name, &bytes)?;
            (bytes, code)
        } else {
            let start = bytes.get(..bytes.len().min(4)).unwrap_or_default();
            let found = if start.is_empty() {
                "nothing".to_owned()
            } else {
                hex::encode(start)
            };
            return Err(ProgramError::WrongMagic {
                name: name.to_owned(),
                found,
            });
        };
        if wasm.len() > MAX_WASM {
            return Err(ProgramError::WasmTooLarge { name: name.to_owned() });
        }
        if code.len() > MAX_CODE {
            return Err(ProgramError::CodeTooLarge {
                name: name.to_owned(),
                size: code.len(),
            });
        }
        check_entrypoint(name, &wasm)?;
        Ok(Self {
            name: name.to_owned(),
            wasm: wasm.into(),
            code: code.into(),
        })
    }

    /// Hash of the code, under which the chain knows whether the program is active.
    pub fn code_hash(&self) -> B256 {
        keccak256(&self.code)
    }

    /// Init code that creates the program's account.
    pub fn init_code(&self) -> Bytes {
        init_code(&self.code)
    }
}

/// Init code that answers with `code`: the 43 bytes that the chain's own tools use, so that addresses and hashes agree.
fn init_code(code: &[u8]) -> Bytes {
    // PUSH32 length, DUP1, PUSH1 43, PUSH1 0, CODECOPY, PUSH1 0, RETURN, and a version byte.
    const TAIL: [u8; 10] = [0x80, 0x60, 0x2b, 0x60, 0x00, 0x39, 0x60, 0x00, 0xf3, 0x00];
    let mut init = vec![0x7f];
    init.extend(B256::left_padding_from(&code.len().to_be_bytes()));
    init.extend(TAIL);
    init.extend(code);
    init.into()
}

fn compress(name: &str, wasm: &[u8]) -> Result<Vec<u8>, ProgramError> {
    let mut code = CODE_PREFIX.to_vec();
    let mut writer = brotli::CompressorWriter::new(&mut code, BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
    writer
        .write_all(wasm)
        .and_then(|()| writer.flush())
        .map_err(|error| ProgramError::Brotli {
            name: name.to_owned(),
            reason: error.to_string(),
        })?;
    drop(writer);
    Ok(code)
}

fn decompress(name: &str, stream: &[u8]) -> Result<Vec<u8>, ProgramError> {
    use std::io::Read;
    let mut wasm = Vec::new();
    // One byte more than allowed tells a large program from a bomb without unpacking it.
    let limit = u64::try_from(MAX_WASM).unwrap_or(u64::MAX).saturating_add(1);
    brotli::Decompressor::new(stream, BROTLI_BUFFER)
        .take(limit)
        .read_to_end(&mut wasm)
        .map_err(|error| ProgramError::Brotli {
            name: name.to_owned(),
            reason: format!("its compressed code is damaged: {error}"),
        })?;
    Ok(wasm)
}

fn check_entrypoint(name: &str, wasm: &[u8]) -> Result<(), ProgramError> {
    let malformed = |error: wasmparser::BinaryReaderError| ProgramError::Malformed {
        name: name.to_owned(),
        reason: error.to_string(),
    };
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ExportSection(exports) = payload.map_err(malformed)? {
            for export in exports {
                let export = export.map_err(malformed)?;
                if export.name == "user_entrypoint" && export.kind == ExternalKind::Func {
                    return Ok(());
                }
            }
        }
    }
    Err(ProgramError::NoEntrypoint { name: name.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const PROGRAM: &str = r#"(module
        (memory (export "memory") 1 1)
        (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#;

    fn error(bytes: Vec<u8>) -> String {
        Program::new("p.wasm", bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_program_survives_compression() {
        let wasm = wat::parse_str(PROGRAM).unwrap();
        let program = Program::new("p", wasm.clone()).unwrap();
        assert_eq!(program.code[..4], CODE_PREFIX);
        assert_eq!(program.wasm, wasm);
        let again = Program::new("p", program.code.to_vec()).unwrap();
        assert_eq!(again, program);
        assert_eq!(again.code_hash(), keccak256(&program.code));
    }

    #[test]
    fn init_code_is_the_one_of_the_tools() {
        let program = Program::new("p", wat::parse_str(PROGRAM).unwrap()).unwrap();
        let init = program.init_code();
        assert_eq!(init.len(), 43 + program.code.len());
        assert_eq!(hex::encode(&init[..1]), "7f");
        assert_eq!(usize::from(init[32]), program.code.len());
        assert_eq!(hex::encode(&init[33..43]), "80602b6000396000f300");
    }

    #[test]
    fn what_is_no_program_says_why() {
        assert_eq!(
            error(b"#!/bin/sh".to_vec()),
            "p.wasm is no Stylus program: it begins with 23212f62, neither with 0061736d (WebAssembly) nor with eff00000 (compressed code)"
        );
        assert!(error(Vec::new()).contains("begins with nothing"));
        assert_eq!(
            error(wat::parse_str("(module (memory 1))").unwrap()),
            "p.wasm is no Stylus program: it does not export the function `user_entrypoint` (stylus-sdk's #[entrypoint] makes it)"
        );
        let global = "(module (global (export \"user_entrypoint\") i32 (i32.const 1)))";
        assert!(error(wat::parse_str(global).unwrap()).contains("does not export the function"));
        assert!(error(b"\0asm\x01\0\0\0\x07\xff".to_vec()).starts_with("p.wasm is malformed WebAssembly"));
        assert!(error(vec![0xef, 0xf0, 0, 0, 0xff, 0xff, 0xff]).contains("damaged"));
        let missing = Program::load(Path::new("/nowhere/gate.wasm")).unwrap_err().to_string();
        assert!(
            missing.contains("/nowhere/gate.wasm") && missing.contains("cordon guard build"),
            "{missing}"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        // Random bytes do not compress: 30,000 of them in a data segment are too much for an account.
        let mut state = 1u64;
        let noise: String = (0..30_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                format!("\\{:02x}", state >> 56)
            })
            .collect();
        let text = PROGRAM.replacen("1 1)", &format!("1 1) (data (i32.const 0) \"{noise}\")"), 1);
        assert!(error(wat::parse_str(text).unwrap()).contains("an account holds 24576"));
        let zeros = "\\00".repeat(MAX_WASM);
        let text = PROGRAM.replacen("1 1)", &format!("1 1) (data (i32.const 0) \"{zeros}\")"), 1);
        assert!(error(wat::parse_str(text).unwrap()).contains("more than 262144 bytes"));
    }
}
