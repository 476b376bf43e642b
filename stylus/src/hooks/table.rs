//! Names and signatures of the host functions that programs import.

/// Type of a parameter or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// i32: pointers, lengths, small results.
    I32,
    /// i64: gas, ink, block data.
    I64,
    /// f32, only in `console`.
    F32,
    /// f64, only in `console`.
    F64,
}

/// How a host function is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Import module: `vm_hooks` or `console`.
    pub module: &'static str,
    /// Import name.
    pub name: &'static str,
    /// Parameter types.
    pub params: &'static [Kind],
    /// Result type, if there is a result.
    pub result: Option<Kind>,
}

impl Kind {
    /// Its name in WASM's text format.
    const fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

impl Signature {
    /// The import in WASM's text format; there the function is called `$` and its name.
    pub fn import(&self) -> String {
        let Self { module, name, .. } = self;
        let list = |word: &str, kinds: &[Kind]| {
            let kinds = kinds.iter().map(|kind| format!(" ({word} {})", kind.name()));
            kinds.collect::<String>()
        };
        let (params, result) = (list("param", self.params), list("result", self.result.as_slice()));
        format!(r#"(import "{module}" "{name}" (func ${name}{params}{result}))"#)
    }
}

macro_rules! hooks {
    ($($(#[$doc:meta])* $hook:ident = $module:literal $name:literal ($($param:ident)*) $($result:ident)?;)*) => {
        /// A host function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Hook {
            $($(#[$doc])* $hook,)*
        }

        impl Hook {
            /// All host functions.
            pub const ALL: &[Self] = &[$(Self::$hook,)*];

            /// How the function is imported.
            pub const fn signature(self) -> Signature {
                match self {
                    $(Self::$hook => Signature {
                        module: $module,
                        name: $name,
                        params: &[$(Kind::$param),*],
                        result: hooks!(@result $($result)?),
                    },)*
                }
            }
        }
    };
    (@result) => { None };
    (@result $result:ident) => { Some(Kind::$result) };
}

hooks! {
    /// Copies the calldata into memory.
    ReadArgs = "vm_hooks" "read_args" (I32);
    /// Sets what the program returns or reverts with.
    WriteResult = "vm_hooks" "write_result" (I32 I32);
    /// Ends the program.
    ExitEarly = "vm_hooks" "exit_early" (I32);
    /// Reads a slot through the storage cache.
    StorageLoad = "vm_hooks" "storage_load_bytes32" (I32 I32);
    /// Writes a slot into the storage cache.
    StorageCache = "vm_hooks" "storage_cache_bytes32" (I32 I32);
    /// Writes the storage cache's dirty slots to the state.
    StorageFlush = "vm_hooks" "storage_flush_cache" (I32);
    /// Reads transient storage.
    TransientLoad = "vm_hooks" "transient_load_bytes32" (I32 I32);
    /// Writes transient storage.
    TransientStore = "vm_hooks" "transient_store_bytes32" (I32 I32);
    /// CALL.
    Call = "vm_hooks" "call_contract" (I32 I32 I32 I32 I64 I32) I32;
    /// DELEGATECALL.
    DelegateCall = "vm_hooks" "delegate_call_contract" (I32 I32 I32 I64 I32) I32;
    /// STATICCALL.
    StaticCall = "vm_hooks" "static_call_contract" (I32 I32 I32 I64 I32) I32;
    /// CREATE.
    Create1 = "vm_hooks" "create1" (I32 I32 I32 I32 I32);
    /// CREATE2.
    Create2 = "vm_hooks" "create2" (I32 I32 I32 I32 I32 I32);
    /// Copies what the last call returned.
    ReadReturnData = "vm_hooks" "read_return_data" (I32 I32 I32) I32;
    /// Length of what the last call returned.
    ReturnDataSize = "vm_hooks" "return_data_size" () I32;
    /// Emits a log.
    EmitLog = "vm_hooks" "emit_log" (I32 I32 I32);
    /// Balance of an account.
    AccountBalance = "vm_hooks" "account_balance" (I32 I32);
    /// Code of an account.
    AccountCode = "vm_hooks" "account_code" (I32 I32 I32 I32) I32;
    /// Size of an account's code.
    AccountCodeSize = "vm_hooks" "account_code_size" (I32) I32;
    /// Hash of an account's code.
    AccountCodeHash = "vm_hooks" "account_codehash" (I32 I32);
    /// Gas left.
    GasLeft = "vm_hooks" "evm_gas_left" () I64;
    /// Ink left.
    InkLeft = "vm_hooks" "evm_ink_left" () I64;
    /// Base fee of the block.
    BaseFee = "vm_hooks" "block_basefee" (I32);
    /// Beneficiary of the block.
    Coinbase = "vm_hooks" "block_coinbase" (I32);
    /// Gas limit of the block.
    GasLimit = "vm_hooks" "block_gas_limit" () I64;
    /// Number of the block, as the NUMBER opcode has it.
    BlockNumber = "vm_hooks" "block_number" () I64;
    /// Time of the block.
    Timestamp = "vm_hooks" "block_timestamp" () I64;
    /// Chain id.
    ChainId = "vm_hooks" "chainid" () I64;
    /// The acting address.
    ContractAddress = "vm_hooks" "contract_address" (I32);
    /// The caller.
    MsgSender = "vm_hooks" "msg_sender" (I32);
    /// The value of the call.
    MsgValue = "vm_hooks" "msg_value" (I32);
    /// Whether the acting address is already running further up.
    MsgReentrant = "vm_hooks" "msg_reentrant" () I32;
    /// Gas price of the transaction.
    GasPrice = "vm_hooks" "tx_gas_price" (I32);
    /// Ink per gas.
    InkPrice = "vm_hooks" "tx_ink_price" () I32;
    /// Sender of the transaction.
    Origin = "vm_hooks" "tx_origin" (I32);
    /// 256-bit division.
    MathDiv = "vm_hooks" "math_div" (I32 I32);
    /// 256-bit remainder.
    MathMod = "vm_hooks" "math_mod" (I32 I32);
    /// 256-bit power.
    MathPow = "vm_hooks" "math_pow" (I32 I32);
    /// 256-bit modular addition.
    MathAddMod = "vm_hooks" "math_add_mod" (I32 I32 I32);
    /// 256-bit modular multiplication.
    MathMulMod = "vm_hooks" "math_mul_mod" (I32 I32 I32);
    /// Keccak-256.
    Keccak = "vm_hooks" "native_keccak256" (I32 I32 I32);
    /// Pays for pages before they are grown.
    PayForMemoryGrow = "vm_hooks" "pay_for_memory_grow" (I32);
    /// Prints text.
    LogText = "console" "log_txt" (I32 I32);
    /// Prints a number.
    LogI32 = "console" "log_i32" (I32);
    /// Prints a number.
    LogI64 = "console" "log_i64" (I64);
    /// Prints a number.
    LogF32 = "console" "log_f32" (F32);
    /// Prints a number.
    LogF64 = "console" "log_f64" (F64);
    /// Prints and returns a number.
    TeeI32 = "console" "tee_i32" (I32) I32;
    /// Prints and returns a number.
    TeeI64 = "console" "tee_i64" (I64) I64;
    /// Prints and returns a number.
    TeeF32 = "console" "tee_f32" (F32) F32;
    /// Prints and returns a number.
    TeeF64 = "console" "tee_f64" (F64) F64;
}

impl Hook {
    /// Whether the function may need the EVM, so that a program can be suspended in it.
    pub(crate) const fn may_ask(self) -> bool {
        matches!(
            self,
            Self::StorageLoad
                | Self::StorageFlush
                | Self::TransientLoad
                | Self::TransientStore
                | Self::Call
                | Self::DelegateCall
                | Self::StaticCall
                | Self::Create1
                | Self::Create2
                | Self::EmitLog
                | Self::AccountBalance
                | Self::AccountCode
                | Self::AccountCodeSize
                | Self::AccountCodeHash
        )
    }
}
