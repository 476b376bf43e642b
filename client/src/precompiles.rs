//! Bindings of what every Stylus chain brings: ArbWasm, which activates programs, and StylusDeployer, which creates,
//! activates and initialises one in a single transaction.

#![allow(missing_docs, clippy::indexing_slicing, clippy::too_many_arguments, unreachable_pub)]

use alloy::primitives::{Address, address};
use alloy::sol;

/// Address of [`ArbWasm`].
pub const ARB_WASM: Address = address!("0x0000000000000000000000000000000000000071");
/// Address of [`StylusDeployer`].
pub const STYLUS_DEPLOYER: Address = address!("0xcEcba2F1DC234f70Dd89F2041029807F8D03A990");
/// Address of the factory that creates contracts at addresses which follow from their code: it takes a salt and init code.
pub const CREATE2_FACTORY: Address = address!("0x4e59b44847b379578588920cA78FbF26c0B4956C");

sol! {
    #[sol(rpc, all_derives)]
    interface ArbWasm {
        function activateProgram(address program) external payable returns (uint16 version, uint256 dataFee);
        function stylusVersion() external view returns (uint16 version);
        function codehashVersion(bytes32 codehash) external view returns (uint16 version);
        function programTimeLeft(address program) external view returns (uint64 secondsLeft);

        error ProgramNotWasm();
        error ProgramNotActivated();
        error ProgramNeedsUpgrade(uint16 version, uint16 stylusVersion);
        error ProgramExpired(uint64 ageInSeconds);
        error ProgramUpToDate();
        error ProgramInsufficientValue(uint256 have, uint256 want);
    }

    #[sol(rpc, all_derives)]
    interface StylusDeployer {
        function deploy(bytes bytecode, bytes initData, uint256 initValue, bytes32 salt) external payable returns (address created);
        function initSalt(bytes32 salt, bytes initData) external view returns (bytes32 mixed);

        event ContractDeployed(address deployedContract);

        error ContractDeploymentError(bytes bytecode);
        error ContractInitializationError(address newContract, bytes data);
        error RefundExcessValueError(uint256 excess);
        error EmptyBytecode();
        error InitValueButNotInitData();
    }
}
