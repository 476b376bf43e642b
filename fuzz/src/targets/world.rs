//! A chain in memory, on which the same transaction can be run by each engine.

use std::sync::{Arc, OnceLock};

use alloy_primitives::{Address, Bytes, TxKind, U256, hex, keccak256};
use cordon_stylus::arbos::{STATE_ADDRESS, Space};
use cordon_stylus::hooks::{HostEvent, HostTrace};
use cordon_stylus::pricing::Params;
use cordon_stylus::{BlockContext, CacheOptions, EngineChoice, ProgramCache, StylusEvm, genesis, install};
use revm::bytecode::Bytecode;
use revm::context::result::ResultAndState;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::inspector::NoOpInspector;
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;

/// Who sends, and owns the chain.
pub(super) const SENDER: Address = Address::with_last_byte(0xaa);
/// The program under test.
pub(super) const PROGRAM: Address = Address::with_last_byte(0x99);
/// A program that answers its calldata.
const ECHO: Address = Address::with_last_byte(0x42);
/// A contract that calls its caller back with its calldata.
const BACK: Address = Address::with_last_byte(0x43);
/// A contract that reverts with its calldata.
const REVERT: Address = Address::with_last_byte(0x44);
/// Accounts that programs are likely to name.
pub(super) const ACCOUNTS: [Address; 8] = [
    PROGRAM,
    ECHO,
    BACK,
    REVERT,
    SENDER,
    Address::with_last_byte(0x71),
    Address::with_last_byte(0x04),
    Address::with_last_byte(0x77),
];
const NOW: u64 = 1_760_000_000;

/// State, parameters and programs of a chain.
#[derive(Clone)]
pub(super) struct World {
    db: CacheDB<EmptyDB>,
    params: Params,
}

/// Everything that can be seen of a transaction.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) done: ResultAndState,
    events: Vec<HostEvent>,
    recent: String,
}

impl World {
    /// A chain of this ArbOS version, with a few contracts and programs.
    pub(super) fn new(arbos: u64) -> Self {
        let mut world = Self {
            db: CacheDB::default(),
            params: Params::for_arbos(arbos),
        };
        for account in genesis::alloc(arbos) {
            world.put(account.address, &account.code, account.balance);
            for (slot, value) in account.storage {
                world.slot(account.address, slot, value);
            }
        }
        world.put(SENDER, &[], U256::from(1) << 100);
        let owners = Space::ChainOwners;
        world.slot(STATE_ADDRESS, owners.word(0), U256::from(1));
        world.slot(STATE_ADDRESS, owners.word(1), SENDER.into_word().into());
        world.slot(STATE_ADDRESS, owners.member(SENDER), U256::from(1));
        // calldatacopy(0, 0, size); call(gas, caller, 0, 0, size, 0, 0); returndatacopy(0, 0, size); return(0, size)
        world.put(
            BACK,
            &hex!("366000600037600060003660006000335af1503d600060003e3d6000f3"),
            U256::ZERO,
        );
        world.put(REVERT, &hex!("366000600037366000fd"), U256::ZERO);
        world.install(ECHO, echo());
        world
    }

    fn put(&mut self, address: Address, code: &[u8], balance: U256) {
        let code_hash = keccak256(code);
        let code = (!code.is_empty()).then(|| Bytecode::new_raw(Bytes::copy_from_slice(code)));
        let info = AccountInfo {
            balance,
            nonce: 1,
            code_hash,
            code,
            ..AccountInfo::default()
        };
        self.db.insert_account_info(address, info);
    }

    fn slot(&mut self, address: Address, slot: U256, value: U256) {
        self.db
            .insert_account_storage(address, slot, value)
            .expect("nothing can fail in memory");
    }

    /// Puts an active program at `address`; false when it cannot be activated.
    pub(super) fn install(&mut self, address: Address, wasm: &[u8]) -> bool {
        let Ok(program) = install::program(wasm, &self.params, NOW, false) else {
            return false;
        };
        self.put(address, &program.code, U256::from(1_000));
        for (slot, value) in program.slots {
            self.slot(STATE_ADDRESS, slot, value);
        }
        true
    }

    /// A transaction on one engine.
    pub(super) fn transact(&mut self, cache: &Arc<ProgramCache>, tx: TxEnv) -> Seen {
        let mut cfg = CfgEnv::new_with_spec(SpecId::PRAGUE);
        cfg.chain_id = 412_346;
        let block = BlockEnv {
            number: U256::from(1_000),
            timestamp: U256::from(NOW),
            gas_limit: u64::MAX,
            basefee: 1,
            ..BlockEnv::default()
        };
        let trace = HostTrace::default();
        let mut evm = StylusEvm::new(
            &mut self.db,
            cfg,
            block,
            BlockContext::new(7),
            cache.clone(),
            NoOpInspector,
        );
        evm.trace_programs(trace.clone());
        let done = evm
            .transact(tx)
            .expect("the database never fails, and the transaction is valid");
        let recent = format!("{:?}", evm.into_block_context().recent);
        let mut events = trace.take();
        for event in &mut events {
            // Engines word it differently.
            if let HostEvent::Left { reason, .. } = event {
                *reason = None;
            }
        }
        Seen { done, events, recent }
    }

    /// The same transaction on both engines: what both showed.
    pub(super) fn agree(&self, tx: &TxEnv) -> Seen {
        let interpreted = self.clone().transact(&cache(EngineChoice::Wasmi), tx.clone());
        let native = self.clone().transact(&cache(EngineChoice::Wasmtime), tx.clone());
        assert_eq!(interpreted, native, "wasmi left, wasmtime right");
        assert!(
            native.done.result.tx_gas_used() <= tx.gas_limit,
            "more gas than there was"
        );
        native
    }
}

/// The engines, which are set up once. Programs are bounded in number, so that a long run does not grow.
fn cache(engine: EngineChoice) -> Arc<ProgramCache> {
    static CACHES: OnceLock<[Arc<ProgramCache>; 2]> = OnceLock::new();
    let make = |engine| {
        let options = CacheOptions {
            engine,
            ..CacheOptions::default()
        };
        Arc::new(ProgramCache::with_options(options).expect("nothing is kept on disk"))
    };
    let [interpreted, native] = CACHES.get_or_init(|| [make(EngineChoice::Wasmi), make(EngineChoice::Wasmtime)]);
    match engine {
        EngineChoice::Wasmi => interpreted.clone(),
        _ => native.clone(),
    }
}

/// A call of the program under test.
pub(super) fn call(to: Address, data: &[u8], value: u64, gas: u64) -> TxEnv {
    TxEnv {
        caller: SENDER,
        kind: TxKind::Call(to),
        data: Bytes::copy_from_slice(data),
        value: U256::from(value),
        gas_limit: gas,
        gas_price: 1,
        nonce: 1,
        chain_id: Some(412_346),
        ..TxEnv::default()
    }
}

fn echo() -> &'static [u8] {
    static ECHO: OnceLock<Vec<u8>> = OnceLock::new();
    ECHO.get_or_init(|| {
        let source = r#"(module
            (import "vm_hooks" "read_args" (func $read_args (param i32)))
            (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
            (memory (export "memory") 1 1)
            (func (export "user_entrypoint") (param $len i32) (result i32)
                (call $read_args (i32.const 0))
                (call $write_result (i32.const 0) (local.get $len))
                i32.const 0))"#;
        wat::parse_str(source).expect("it is valid")
    })
}
