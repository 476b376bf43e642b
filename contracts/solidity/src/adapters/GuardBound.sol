// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title What every adapter knows of its guard: one address, named once and never changed.
/// @notice An adapter has to stand before the guard, whose rulebook names it. So whoever deploys it binds it afterwards, once, and has
/// no power over it from then on. Until it is bound nobody can make it do anything.
abstract contract GuardBound {
    /// Only the guard may do this.
    error NotGuard(address caller);
    /// Only the binder may do this, and only once.
    error NotBinder(address caller);
    /// What was named as the guard has no code.
    error NotAContract(address account);

    event Bound(address indexed guard);

    /// The guard; the zero address until it is bound.
    address public guard;

    /// Who names the guard; the zero address afterwards.
    address public binder;

    modifier onlyGuard() {
        if (msg.sender != guard) revert NotGuard(msg.sender);
        _;
    }

    constructor(address binder_) {
        binder = binder_;
    }

    /// Names the guard for good.
    function bind(address guard_) external {
        if (msg.sender != binder) revert NotBinder(msg.sender);
        if (guard_.code.length == 0) revert NotAContract(guard_);
        guard = guard_;
        binder = address(0);
        emit Bound(guard_);
    }
}
