// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "../src/ICordonGuard.sol";

/// @title A registered caller that measures what a hook pair costs it, for the benchmarks.
/// @notice Also the contract that rules read and containment calls change, so that a benchmark needs nothing else.
contract HookProbe {
    /// Gas of `enter`, then of `exit`, as the caller pays it: the call itself, the access of a cold account included.
    event Measured(uint256 enterGas, uint256 exitGas);

    /// Gas of a question to another contract, as the asker pays it.
    event Asked(uint256 gas);

    /// What rules read. Breached above 100 in the benchmark's configuration.
    uint256 public gauge;
    /// What containment sets.
    bool public stopped;
    bool public shut;
    bool public closed;

    function setGauge(uint256 value) external {
        gauge = value;
    }

    function setStopped(bool value) external {
        stopped = value;
    }

    function setShut(bool value) external {
        shut = value;
    }

    function setClosed(bool value) external {
        closed = value;
    }

    /// The gauge as another reading of it: rules that want several reads.
    function scaled(uint256 factor) external view returns (uint256) {
        return gauge * factor;
    }

    /// One question, to an account that is cold.
    function ask(address whom, bytes calldata question) external {
        uint256 before = gasleft();
        (bool answered,) = whom.staticcall(question);
        uint256 spent = before - gasleft();
        require(answered);
        emit Asked(spent);
    }

    /// One guarded call around nothing.
    function probe(ICordonGuard guard, uint24 scopes, ICordonGuard.Action action) external {
        uint256 before = gasleft();
        uint256 ticket = guard.enter(scopes, uint8(action), address(0), 0, msg.sender);
        uint256 between = gasleft();
        guard.exit(ticket);
        emit Measured(before - between, between - gasleft());
    }
}
