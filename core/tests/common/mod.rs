//! Contracts and chain readings for tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_core::rule::{
    Class, Compiled, Evaluation, FunctionSig, Inputs, Program, ReadError, Reader, SymbolError, Symbols, Type, compile,
    evaluate,
};
use cordon_core::rulebook::{Rule, Rulebook, Scope, ScopeKind, Stream};
use cordon_core::{Action, ActionSet, Level};
use std::collections::HashMap;

/// A contract's address: its position in this list plus 1, in the last byte of 0x…c0de00.
pub const CONTRACTS: [&str; 10] = [
    "vault",
    "usdc",
    "oracle",
    "weth",
    "weth_feed",
    "weth_ref",
    "pool",
    "data",
    "configurator",
    "pair",
];

/// `contract`, signature of the function, names of the answer's fields (`-` for one that has none) and their types.
type Function = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    bool,
);

const FUNCTIONS: &[Function] = &[
    ("vault", "totalAssets()", &[("-", "uint256")], true),
    ("vault", "totalSupply()", &[("-", "uint256")], true),
    ("vault", "totalBorrows()", &[("-", "uint256")], true),
    ("vault", "convertToAssets(uint256)", &[("-", "uint256")], true),
    ("vault", "paused()", &[("-", "bool")], true),
    ("vault", "asset()", &[("-", "address")], true),
    ("vault", "name()", &[("-", "string")], true),
    ("vault", "deposit(uint256,address)", &[("-", "uint256")], false),
    ("usdc", "balanceOf(address)", &[("-", "uint256")], true),
    ("usdc", "decimals()", &[("-", "uint8")], true),
    ("oracle", "getAssetPrice(address)", &[("-", "uint256")], true),
    ("oracle", "getSourceOfAsset(address)", &[("-", "address")], true),
    ("oracle", "setAssetSources(address[],address[])", &[], false),
    ("weth_ref", "latestAnswer()", &[("-", "int256")], true),
    (
        "weth_ref",
        "getRoundData(uint80)",
        &[("roundId", "uint80"), ("answer", "int256"), ("updatedAt", "uint256")],
        true,
    ),
    ("pool", "debtOf(address)", &[("-", "uint256")], true),
    ("pool", "collateralOf(address)", &[("-", "uint256")], true),
    ("data", "getPaused(address)", &[("-", "bool")], true),
    (
        "data",
        "getReserveConfigurationData(address)",
        &[
            ("decimals", "uint256"),
            ("ltv", "uint256"),
            ("borrowingEnabled", "bool"),
            ("isActive", "bool"),
        ],
        true,
    ),
    ("configurator", "setReserveBorrowing(address,bool)", &[], false),
    ("configurator", "setPoolPause(bool)", &[], false),
    ("configurator", "setCap(uint8,int16)", &[], false),
    (
        "pair",
        "getReserves()",
        &[("reserve0", "uint112"), ("reserve1", "uint112"), ("at", "uint32")],
        true,
    ),
    (
        "pair",
        "slot0()",
        &[("sqrtPriceX96", "uint160"), ("tick", "int24")],
        true,
    ),
];

/// Symbols over [`CONTRACTS`] and [`FUNCTIONS`].
pub struct World;

pub fn address(name: &str) -> Address {
    let index = CONTRACTS
        .iter()
        .position(|other| *other == name)
        .expect("a known contract");
    let mut bytes = [0u8; 20];
    bytes[17..].copy_from_slice(&[0xc0, 0xde, u8::try_from(index).unwrap() + 1]);
    Address::new(bytes)
}

pub fn selector(signature: &str) -> [u8; 4] {
    keccak256(signature)[..4].try_into().expect("four bytes")
}

impl Symbols for World {
    fn contract(&self, name: &str) -> Option<Address> {
        CONTRACTS.contains(&name).then(|| address(name))
    }

    fn function(&self, contract: &str, function: &str, argc: usize) -> Result<FunctionSig, SymbolError> {
        let mut counts = Vec::new();
        for (owner, signature, outputs, view) in FUNCTIONS {
            let (name, inputs) = signature.trim_end_matches(')').split_once('(').expect("a signature");
            if *owner != contract || name != function {
                continue;
            }
            let inputs: Vec<Type> = inputs.split(',').filter(|ty| !ty.is_empty()).map(Type::parse).collect();
            if inputs.len() == argc {
                let outputs = outputs
                    .iter()
                    .map(|(name, ty)| ((*name != "-").then(|| (*name).into()), Type::parse(ty)));
                return Ok(FunctionSig {
                    selector: selector(signature),
                    inputs,
                    outputs: outputs.collect(),
                    view: *view,
                });
            }
            counts.push(inputs.len());
        }
        Err(if counts.is_empty() {
            SymbolError::Unknown
        } else {
            SymbolError::WrongArgumentCount { takes: counts }
        })
    }

    fn names(&self) -> Vec<String> {
        CONTRACTS.map(String::from).to_vec()
    }

    fn functions(&self, contract: &str) -> Vec<String> {
        let own = FUNCTIONS.iter().filter(|(owner, ..)| *owner == contract);
        own.map(|(_, signature, ..)| signature.split('(').next().expect("a name").into())
            .collect()
    }
}

/// Answers by (contract, function); a read that has none fails.
#[derive(Default)]
pub struct Chain {
    pub answers: HashMap<(Address, [u8; 4]), Result<Vec<B256>, ReadError>>,
    pub balances: HashMap<Address, U256>,
    pub now: u64,
    pub calls: Vec<(Address, Vec<u8>, u64, u16)>,
}

impl Chain {
    pub fn set(&mut self, contract: &str, signature: &str, words: &[U256]) -> &mut Self {
        let words = words.iter().map(|word| B256::from(*word)).collect();
        self.answers.insert((address(contract), selector(signature)), Ok(words));
        self
    }

    pub fn fail(&mut self, contract: &str, signature: &str, error: ReadError) -> &mut Self {
        self.answers
            .insert((address(contract), selector(signature)), Err(error));
        self
    }
}

impl Reader for Chain {
    fn call(&mut self, target: Address, calldata: &[u8], gas: u64, word: u16) -> Result<B256, ReadError> {
        self.calls.push((target, calldata.to_vec(), gas, word));
        let key = (target, calldata[..4].try_into().expect("a selector"));
        let words = self.answers.get(&key).cloned().unwrap_or(Err(ReadError::NoCode))?;
        words.get(usize::from(word)).copied().ok_or(ReadError::Short)
    }

    fn balance(&mut self, account: Address) -> Result<U256, ReadError> {
        self.balances.get(&account).copied().ok_or(ReadError::Unavailable)
    }

    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError> {
        Ok(keccak256(account))
    }

    fn now(&self) -> u64 {
        self.now
    }
}

pub fn rule(source: &str) -> Compiled {
    compile(source, &[], &[], &World).unwrap_or_else(|error| panic!("{source}: {error}"))
}

pub fn error(source: &str) -> String {
    match compile(source, &[], &[], &World) {
        Ok(_) => panic!("{source} compiles"),
        Err(error) => error.to_string(),
    }
}

pub fn run(compiled: &Compiled, chain: &mut Chain) -> Evaluation {
    let program = Program::decode(&compiled.program).expect("the compiler's programs are valid");
    evaluate(&program, &Inputs::default(), chain)
}

pub fn u(value: u64) -> U256 {
    U256::from(value)
}

/// A rulebook of this rule alone, with the streams that it reads.
pub fn book(compiled: &Compiled) -> Rulebook {
    let streams = compiled.streams.iter().map(|stream| Stream {
        scope: 0,
        spec: stream.spec,
        program: stream.program.clone(),
    });
    Rulebook {
        scopes: vec![Scope::new(ScopeKind::Protocol, "protocol")],
        callers: vec![Address::repeat_byte(1)],
        streams: streams.collect(),
        sets: Vec::new(),
        rules: vec![Rule {
            scope: 0,
            class: Class::State,
            robust: false,
            shadow: false,
            level: Level::ReduceOnly,
            duration: 600,
            check: ActionSet::EMPTY.with(Action::Withdraw),
            params: 0,
            program: compiled.program.clone(),
            entries: Vec::new(),
        }],
        containments: Vec::new(),
    }
}
