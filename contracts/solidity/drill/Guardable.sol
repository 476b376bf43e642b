// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { Guarded } from "../src/Guarded.sol";

/// @title What the drills' protocols have alike: an owner, a scope, and hooks that sleep until the owner names a guard.
abstract contract Guardable is Guarded {
    error NotOwner(address caller);

    event GuardSet(address indexed guard);

    address public immutable owner;
    /// The protocol's scope in the guard.
    uint24 public immutable scope;

    address public guard;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    constructor(address owner_, uint24 scope_) {
        (owner, scope) = (owner_, scope_);
    }

    /// Switches the hooks on (or off, with the zero address).
    function setGuard(address guard_) external onlyOwner {
        guard = guard_;
        emit GuardSet(guard_);
    }

    function _guard() internal view override returns (address) {
        return guard;
    }
}
