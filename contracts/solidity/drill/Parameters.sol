// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title What a timelock governs from day to day.
contract Parameters {
    error NotOwner(address caller);

    event FeeSet(uint256 bps);

    address public immutable owner;
    uint256 public fee;

    constructor(address owner_) {
        owner = owner_;
    }

    function setFee(uint256 bps) external {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        fee = bps;
        emit FeeSet(bps);
    }
}
