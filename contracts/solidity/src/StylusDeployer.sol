// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @dev The part of the precompile ArbWasm that deploying needs.
interface IArbWasm {
    function activateProgram(address program) external payable returns (uint16 version, uint256 dataFee);
    function stylusVersion() external view returns (uint16 version);
    function codehashVersion(bytes32 codehash) external view returns (uint16 version);
}

/// @title Deploys, activates and initialises a Stylus program in one transaction
/// @notice Nobody can call the program before its initialiser has run. Interface of the deployer that Arbitrum chains
/// have at 0xcEcba2F1DC234f70Dd89F2041029807F8D03A990, which local chains get at genesis; own implementation.
contract StylusDeployer {
    IArbWasm private constant ARB_WASM = IArbWasm(0x0000000000000000000000000000000000000071);

    /// @notice A program has been deployed at `deployedContract`.
    event ContractDeployed(address deployedContract);

    /// @notice The creation failed; `bytecode` is the init code.
    error ContractDeploymentError(bytes bytecode);
    /// @notice The initialiser of `newContract` reverted with `data`.
    error ContractInitializationError(address newContract, bytes data);
    /// @notice The caller did not accept `excessValue` wei back.
    error RefundExcessValueError(uint256 excessValue);
    /// @notice There is nothing to deploy.
    error EmptyBytecode();
    /// @notice Value was meant for an initialiser that is not called.
    error InitValueButNotInitData();

    /// @notice Deploys `bytecode` (init code), activates it if its code is not active yet, calls it with `initData` and
    /// `initValue`, and returns what is left of the value.
    /// @param bytecode Init code of the program
    /// @param initData Calldata of the initialiser; empty for none
    /// @param initValue Wei for the initialiser; the rest of the value pays for the activation
    /// @param salt 0 for CREATE; otherwise CREATE2 with `initSalt(salt, initData)`
    /// @return deployed Address of the program
    function deploy(bytes calldata bytecode, bytes calldata initData, uint256 initValue, bytes32 salt)
        external
        payable
        returns (address deployed)
    {
        if (bytecode.length == 0) revert EmptyBytecode();
        if (initData.length == 0 && initValue != 0) revert InitValueButNotInitData();

        deployed = _create(bytecode, salt == bytes32(0) ? salt : initSalt(salt, initData));
        uint256 spent = initValue;
        if (requiresActivation(deployed)) {
            (, uint256 dataFee) = ARB_WASM.activateProgram{ value: msg.value - initValue }(deployed);
            spent += dataFee;
        }
        if (initData.length != 0) {
            (bool initialised, bytes memory answer) = deployed.call{ value: initValue }(initData);
            if (!initialised) revert ContractInitializationError(deployed, answer);
        }
        _refund(msg.value - spent);
        emit ContractDeployed(deployed);
    }

    /// @notice Whether the code of `program` has to be activated before it can be called.
    function requiresActivation(address program) public view returns (bool) {
        uint16 active;
        try ARB_WASM.codehashVersion(program.codehash) returns (uint16 version) {
            active = version;
        } catch { }
        return active != ARB_WASM.stylusVersion();
    }

    /// @notice The salt that CREATE2 is given, so that an address commits to its initialisation.
    function initSalt(bytes32 salt, bytes calldata initData) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(salt, initData));
    }

    function _create(bytes memory bytecode, bytes32 salt) private returns (address deployed) {
        assembly ("memory-safe") {
            let start := add(bytecode, 0x20)
            switch salt
            case 0 { deployed := create(0, start, mload(bytecode)) }
            default { deployed := create2(0, start, mload(bytecode), salt) }
        }
        if (deployed == address(0)) revert ContractDeploymentError(bytecode);
    }

    function _refund(uint256 excess) private {
        if (excess == 0) return;
        (bool accepted,) = msg.sender.call{ value: excess }("");
        if (!accepted) revert RefundExcessValueError(excess);
    }
}
