//! A chain in memory, and guests written as WAT.

#![allow(unreachable_pub)]

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use cordon_stylus::arbos::STATE_ADDRESS;
use cordon_stylus::pricing::Params;
use cordon_stylus::{
    BlockContext, CacheOptions, EngineChoice, ProgramCache, StylusContext, StylusEvm, code, genesis, install,
};
use revm::bytecode::Bytecode;
use revm::context::result::{ExecutionResult, HaltReason, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::interpreter::interpreter::EthInterpreter;
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use revm::{DatabaseCommit, Inspector};

pub const NOW: u64 = 1_760_000_000;
pub const SENDER: Address = Address::with_last_byte(0xaa);

/// Host functions in the order of the table, imported under their own names.
pub const IMPORTS: &str = r#"
(import "vm_hooks" "read_args" (func $read_args (param i32)))
(import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
(import "vm_hooks" "exit_early" (func $exit_early (param i32)))
(import "vm_hooks" "storage_load_bytes32" (func $storage_load (param i32 i32)))
(import "vm_hooks" "storage_cache_bytes32" (func $storage_cache (param i32 i32)))
(import "vm_hooks" "storage_flush_cache" (func $storage_flush (param i32)))
(import "vm_hooks" "transient_load_bytes32" (func $transient_load (param i32 i32)))
(import "vm_hooks" "transient_store_bytes32" (func $transient_store (param i32 i32)))
(import "vm_hooks" "call_contract" (func $call (param i32 i32 i32 i32 i64 i32) (result i32)))
(import "vm_hooks" "delegate_call_contract" (func $delegate (param i32 i32 i32 i64 i32) (result i32)))
(import "vm_hooks" "static_call_contract" (func $static (param i32 i32 i32 i64 i32) (result i32)))
(import "vm_hooks" "create1" (func $create1 (param i32 i32 i32 i32 i32)))
(import "vm_hooks" "create2" (func $create2 (param i32 i32 i32 i32 i32 i32)))
(import "vm_hooks" "read_return_data" (func $read_return_data (param i32 i32 i32) (result i32)))
(import "vm_hooks" "return_data_size" (func $return_data_size (result i32)))
(import "vm_hooks" "emit_log" (func $emit_log (param i32 i32 i32)))
(import "vm_hooks" "account_balance" (func $account_balance (param i32 i32)))
(import "vm_hooks" "account_code" (func $account_code (param i32 i32 i32 i32) (result i32)))
(import "vm_hooks" "account_code_size" (func $account_code_size (param i32) (result i32)))
(import "vm_hooks" "account_codehash" (func $account_codehash (param i32 i32)))
(import "vm_hooks" "evm_gas_left" (func $gas_left (result i64)))
(import "vm_hooks" "evm_ink_left" (func $ink_left (result i64)))
(import "vm_hooks" "block_basefee" (func $block_basefee (param i32)))
(import "vm_hooks" "block_coinbase" (func $block_coinbase (param i32)))
(import "vm_hooks" "block_gas_limit" (func $block_gas_limit (result i64)))
(import "vm_hooks" "block_number" (func $block_number (result i64)))
(import "vm_hooks" "block_timestamp" (func $block_timestamp (result i64)))
(import "vm_hooks" "chainid" (func $chainid (result i64)))
(import "vm_hooks" "contract_address" (func $contract_address (param i32)))
(import "vm_hooks" "msg_sender" (func $msg_sender (param i32)))
(import "vm_hooks" "msg_value" (func $msg_value (param i32)))
(import "vm_hooks" "msg_reentrant" (func $msg_reentrant (result i32)))
(import "vm_hooks" "tx_gas_price" (func $tx_gas_price (param i32)))
(import "vm_hooks" "tx_ink_price" (func $tx_ink_price (result i32)))
(import "vm_hooks" "tx_origin" (func $tx_origin (param i32)))
(import "vm_hooks" "math_div" (func $math_div (param i32 i32)))
(import "vm_hooks" "math_mod" (func $math_mod (param i32 i32)))
(import "vm_hooks" "math_pow" (func $math_pow (param i32 i32)))
(import "vm_hooks" "math_add_mod" (func $math_add_mod (param i32 i32 i32)))
(import "vm_hooks" "math_mul_mod" (func $math_mul_mod (param i32 i32 i32)))
(import "vm_hooks" "native_keccak256" (func $keccak (param i32 i32 i32)))
(import "vm_hooks" "pay_for_memory_grow" (func $pay_for_memory_grow (param i32)))
"#;

/// A guest that has all host functions and one page of memory; `body` follows the imports.
pub fn guest(body: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(module {IMPORTS} (memory (export "memory") 1 128) {body})"#)).unwrap()
}

/// A guest whose entry point is `body`, with the calldata length in `$len`.
pub fn entry(body: &str) -> Vec<u8> {
    guest(&format!(
        r#"(func (export "user_entrypoint") (param $len i32) (result i32) (local $i i32) (local $j i64) {body})"#
    ))
}

pub type Db = CacheDB<EmptyDB>;

pub struct Chain {
    pub db: Db,
    pub cache: Arc<ProgramCache>,
    pub block: BlockContext,
    pub params: Params,
    pub now: u64,
}

/// What a transaction did.
#[derive(Debug)]
pub struct Outcome {
    pub result: ExecutionResult<HaltReason>,
}

impl Outcome {
    pub fn success(&self) -> bool {
        self.result.is_success()
    }

    /// Gas of the frame: without the intrinsic 21,000 and calldata, before refunds.
    pub fn gas(&self) -> u64 {
        self.result.tx_gas_used()
    }

    pub fn output(&self) -> Bytes {
        self.result.output().cloned().unwrap_or_default()
    }

    pub fn created(&self) -> Address {
        match &self.result {
            ExecutionResult::Success {
                output: Output::Create(_, Some(address)),
                ..
            } => *address,
            other => panic!("nothing was created: {other:?}"),
        }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new(60)
    }
}

impl Chain {
    pub fn new(arbos: u64) -> Self {
        let mut db = Db::default();
        for account in genesis::alloc(arbos) {
            insert(&mut db, account.address, &account.code, account.nonce, account.balance);
            for (slot, value) in account.storage {
                db.insert_account_storage(account.address, slot, value).unwrap();
            }
        }
        insert(&mut db, SENDER, &[], 0, U256::from(10).pow(U256::from(24)));
        Self {
            db,
            cache: Arc::new(programs()),
            block: BlockContext::new(1),
            params: Params::for_arbos(arbos),
            now: NOW,
        }
    }

    pub fn set_code(&mut self, address: Address, code: &[u8]) {
        insert(&mut self.db, address, code, 1, U256::ZERO);
    }

    pub fn set_balance(&mut self, address: Address, balance: U256) {
        let mut info = self.db.load_account(address).unwrap().info.clone();
        info.balance = balance;
        self.db.insert_account_info(address, info);
    }

    pub fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        self.db.insert_account_storage(address, slot, value).unwrap();
    }

    pub fn slot(&mut self, address: Address, slot: u64) -> U256 {
        revm::Database::storage(&mut self.db, address, U256::from(slot)).unwrap()
    }

    pub fn balance(&mut self, address: Address) -> U256 {
        self.db.load_account(address).unwrap().info.balance
    }

    /// Puts an activated program at `address`.
    pub fn install(&mut self, address: Address, wasm: &[u8]) -> install::InstalledProgram {
        self.install_as(address, wasm, false)
    }

    pub fn install_as(&mut self, address: Address, wasm: &[u8], cached: bool) -> install::InstalledProgram {
        let program = install::program(wasm, &self.params, self.now, cached).unwrap();
        self.set_code(address, &program.code);
        for (slot, value) in &program.slots {
            self.set_slot(STATE_ADDRESS, *slot, *value);
        }
        program
    }

    pub fn evm<INSP>(&mut self, inspector: INSP) -> StylusEvm<&mut Db, INSP> {
        let mut cfg = CfgEnv::new_with_spec(SpecId::PRAGUE);
        cfg.chain_id = 412_346;
        let block = BlockEnv {
            number: U256::from(1000),
            timestamp: U256::from(self.now),
            gas_limit: 1 << 50,
            basefee: 100_000_000,
            beneficiary: Address::with_last_byte(0xcb),
            ..BlockEnv::default()
        };
        StylusEvm::new(
            &mut self.db,
            cfg,
            block,
            self.block.clone(),
            self.cache.clone(),
            inspector,
        )
    }

    pub fn tx(&mut self, kind: TxKind, data: &[u8], value: U256, gas: u64) -> TxEnv {
        TxEnv {
            caller: SENDER,
            kind,
            data: Bytes::copy_from_slice(data),
            value,
            gas_limit: gas,
            gas_price: 100_000_000,
            nonce: self.db.load_account(SENDER).unwrap().info.nonce,
            chain_id: Some(412_346),
            ..TxEnv::default()
        }
    }

    /// Runs a transaction and keeps its changes and the block's memory of programs.
    pub fn send_with(&mut self, kind: TxKind, data: &[u8], value: U256, gas: u64) -> Outcome {
        let tx = self.tx(kind, data, value, gas);
        let mut evm = self.evm(());
        let done = evm.transact(tx).unwrap();
        self.block = evm.into_block_context();
        self.db.commit(done.state);
        Outcome { result: done.result }
    }

    pub fn send(&mut self, to: Address, data: &[u8]) -> Outcome {
        self.send_with(TxKind::Call(to), data, U256::ZERO, 1_000_000_000)
    }

    pub fn inspect<INSP>(&mut self, to: Address, data: &[u8], inspector: INSP) -> (Outcome, INSP)
    where
        INSP: for<'a> Inspector<StylusContext<&'a mut Db>, EthInterpreter>,
    {
        let tx = self.tx(TxKind::Call(to), data, U256::ZERO, 1_000_000_000);
        let mut evm = self.evm(inspector);
        let done = evm.inspect(tx).unwrap();
        let (block, inspector) = evm.into_parts();
        self.block = block;
        self.db.commit(done.state);
        (Outcome { result: done.result }, inspector)
    }
}

/// Programs on the engine that `CORDON_WASM_ENGINE` names, so that the whole suite can be run on each.
pub fn programs() -> ProgramCache {
    let engine = std::env::var("CORDON_WASM_ENGINE").map_or(Ok(EngineChoice::Auto), |name| name.parse());
    let options = CacheOptions {
        engine: engine.unwrap(),
        ..CacheOptions::default()
    };
    ProgramCache::with_options(options).unwrap()
}

fn insert(db: &mut Db, address: Address, code: &[u8], nonce: u64, balance: U256) {
    let code_hash = if code.is_empty() {
        revm::primitives::KECCAK_EMPTY
    } else {
        keccak256(code)
    };
    let code = (!code.is_empty()).then(|| Bytecode::new_raw(Bytes::copy_from_slice(code)));
    db.insert_account_info(
        address,
        AccountInfo {
            balance,
            nonce,
            code_hash,
            code,
            ..AccountInfo::default()
        },
    );
}

/// The intrinsic gas of a call with this calldata.
pub fn intrinsic(data: &[u8]) -> u64 {
    21_000 + data.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum::<u64>()
}

pub fn word(number: u64) -> B256 {
    U256::from(number).into()
}

pub const ETHER: u64 = 1_000_000_000_000_000_000;
/// Gas limit of a transaction on Arbitrum.
pub const GAS: u64 = 32_000_000;

/// Returns its calldata, and stores its first word if there is one.
pub fn echo() -> Vec<u8> {
    entry(
        "(call $read_args (i32.const 0))
         (if (i32.ge_u (local.get $len) (i32.const 32)) (then
             (call $storage_cache (i32.const 4096) (i32.const 0))
             (call $storage_flush (i32.const 1))))
         (call $write_result (i32.const 0) (local.get $len))
         i32.const 0",
    )
}

pub fn call(selector: [u8; 4], words: &[B256]) -> Vec<u8> {
    let mut data = selector.to_vec();
    words.iter().for_each(|word| data.extend_from_slice(word.as_slice()));
    data
}

pub fn activate(program: Address) -> Vec<u8> {
    call(hex!("58c780c2"), &[program.into_word()])
}

pub fn deploy(chain: &mut Chain, wasm: &[u8]) -> Address {
    let init = code::init_code(&code::compress(wasm).unwrap());
    chain.send_with(TxKind::Create, &init, U256::ZERO, GAS).created()
}

pub fn number(output: &Bytes, index: usize) -> U256 {
    U256::from_be_slice(&output[index * 32..index * 32 + 32])
}
