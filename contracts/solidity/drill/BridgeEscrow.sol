// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "../src/ICordonGuard.sol";
import { Guardable } from "./Guardable.sol";
import { TestToken } from "./TestToken.sol";

/// @title The escrow of a bridge: locks tokens here, and releases them for messages that were proven to come from the other side.
/// @notice Deliberately has the mistake of August 2022: a message that nobody proved has the root zero, and a careless `setTrusted(0)`, as an
/// upgrade's initialiser made it, makes every such message releasable.
contract BridgeEscrow is Guardable {
    error NotUpdater(address caller);
    error Untrusted(bytes32 message, bytes32 root);
    error AlreadyReleased(bytes32 message);

    event Locked(address indexed account, uint256 amount);
    event TrustedSet(bytes32 indexed root, bool trusted);
    event Proven(bytes32 indexed message, bytes32 indexed root);
    event Released(bytes32 indexed message, address indexed to, uint256 amount);

    TestToken public immutable asset;
    /// Who vouches for messages of the other side.
    address public immutable updater;

    mapping(bytes32 => bool) public trusted;
    /// Root under which a message was proven; zero when it was not.
    mapping(bytes32 => bytes32) public rootOf;
    mapping(bytes32 => bool) public released;
    /// Sums of all amounts ever proven, and released.
    uint256 public totalProven;
    uint256 public totalReleased;

    constructor(TestToken asset_, address updater_, address owner_, uint24 scope_) Guardable(owner_, scope_) {
        (asset, updater) = (asset_, updater_);
    }

    function lock(uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Deposit, address(asset), amount, msg.sender)
    {
        asset.transferFrom(msg.sender, address(this), amount);
        emit Locked(msg.sender, amount);
    }

    function setTrusted(bytes32 root, bool trusted_) external onlyOwner {
        trusted[root] = trusted_;
        emit TrustedSet(root, trusted_);
    }

    /// Vouches for a message.
    function prove(address to, uint256 amount, uint256 number, bytes32 root) external {
        if (msg.sender != updater) revert NotUpdater(msg.sender);
        bytes32 message = messageOf(to, amount, number);
        rootOf[message] = root;
        totalProven += amount;
        emit Proven(message, root);
    }

    /// Releases what a message says. Anyone may: a proven message is true whoever brings it.
    function release(address to, uint256 amount, uint256 number)
        external
        guarded(scope, ICordonGuard.Action.Withdraw, address(asset), amount, to)
    {
        bytes32 message = messageOf(to, amount, number);
        if (released[message]) revert AlreadyReleased(message);
        if (!trusted[rootOf[message]]) revert Untrusted(message, rootOf[message]);
        released[message] = true;
        totalReleased += amount;
        asset.transfer(to, amount);
        emit Released(message, to, amount);
    }

    function messageOf(address to, uint256 amount, uint256 number) public pure returns (bytes32) {
        return keccak256(abi.encode(to, amount, number));
    }
}
