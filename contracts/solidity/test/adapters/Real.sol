// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { ICordonGuard } from "../../src/ICordonGuard.sol";
import { Checks } from "../Support.sol";

/// More cheat codes.
interface VmFiles {
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function deal(address account, uint256 balance) external;
    function load(address target, bytes32 slot) external view returns (bytes32);
    function store(address target, bytes32 slot, bytes32 value) external;
}

/// Deploys published contracts from the bytecode that their npm packages carry.
abstract contract Real is Checks {
    VmFiles internal constant files = VmFiles(address(uint160(uint256(keccak256("hevm cheat code")))));

    string private constant MODULES = "scripts/npm/node_modules/";
    string internal constant OZ = "@openzeppelin/contracts/build/contracts/";
    string internal constant OZ4 = "openzeppelin-contracts-4/build/contracts/";
    string internal constant SAFE = "@safe-global/safe-contracts/build/artifacts/contracts/";
    string internal constant VENUS = "@venusprotocol/venus-protocol/artifacts/contracts/";
    string internal constant LINK = "@chainlink/contracts/abi/v0.6/";

    /// Hardhat's kind of file.
    function real(string memory path, bytes memory arguments) internal returns (address) {
        return _deploy(path, ".bytecode", arguments);
    }

    /// The kind of Chainlink's package.
    function chainlink(string memory name, bytes memory arguments) internal returns (address) {
        return _deploy(string.concat(LINK, name, ".json"), ".compilerOutput.evm.bytecode.object", arguments);
    }

    /// Code that is called through a proxy only, put where no deployment would: above the size that chains allow.
    function large(string memory path, address at) internal {
        vm.etch(at, files.parseJsonBytes(files.readFile(string.concat(MODULES, path)), ".deployedBytecode"));
    }

    function _deploy(string memory path, string memory key, bytes memory arguments) private returns (address made) {
        bytes memory code = files.parseJsonBytes(files.readFile(string.concat(MODULES, path)), key);
        code = bytes.concat(code, arguments);
        assembly {
            made := create(0, add(code, 32), mload(code))
        }
        ok(made != address(0), path);
    }
}

/// Stands for the guard where only its identity, a level and its answers to hooks matter; the real one is met in the Rust tests.
contract GuardStandIn {
    ICordonGuard.Level public level;
    ICordonGuard.Level public whole;
    bool public closed;
    uint64 public lastHeartbeat;
    address public guardian;
    address public governorIs;
    uint256 public lastAmount;
    uint8 public lastAction;
    uint256 public entered;
    uint256 public exited;
    mapping(uint256 => bool) public announced;

    constructor() {
        governorIs = msg.sender;
    }

    function setLevel(ICordonGuard.Level level_) external {
        level = level_;
    }

    /// The level of the whole protocol, scope 0, where it is stricter than the others'.
    function setWhole(ICordonGuard.Level whole_) external {
        whole = whole_;
    }

    function setClosed(bool closed_) external {
        closed = closed_;
    }

    function setGuardian(address guardian_) external {
        guardian = guardian_;
    }

    function setHeartbeat(uint64 at) external {
        lastHeartbeat = at;
    }

    function announce(uint256 amount) external {
        announced[amount] = true;
    }

    /// As the real one: under containment a `Loosen` passes when it was announced, and when Halted nothing is withdrawn.
    function enter(uint24 scopes, uint8 action, address, uint256 amount, address) external returns (uint256) {
        bool loosens = action == uint8(ICordonGuard.Action.Loosen);
        bool withdraws = action == uint8(ICordonGuard.Action.Withdraw);
        bool contained = level == ICordonGuard.Level.ReduceOnly || level == ICordonGuard.Level.Halted;
        bool refused =
            closed || (loosens && contained && !announced[amount]) || (withdraws && level == ICordonGuard.Level.Halted);
        if (refused) revert ICordonGuard.ActionClosed(uint8(scopes), level, action);
        (lastAction, lastAmount) = (action, amount);
        entered += 1;
        return type(uint256).max - entered;
    }

    function exit(uint256 ticket) external {
        if (ticket != type(uint256).max - entered + exited) revert ICordonGuard.BadTicket(ticket);
        exited += 1;
    }

    function scopeStatus(uint8 scope) external view returns (ICordonGuard.ScopeStatus memory status) {
        status.level = scope == 0 && whole != ICordonGuard.Level.Normal ? whole : level;
        if (status.level != ICordonGuard.Level.Normal) (status.since, status.incident) = (uint64(block.timestamp), 7);
    }

    function levelOf(uint8) external view returns (ICordonGuard.Level) {
        return whole != ICordonGuard.Level.Normal ? whole : level;
    }

    function hasRole(ICordonGuard.Role role, address account) external view returns (bool) {
        return role == ICordonGuard.Role.Guardian && account == guardian;
    }

    function governor() external view returns (address, address, uint32, bool) {
        return (governorIs, address(0), 0, true);
    }
}
