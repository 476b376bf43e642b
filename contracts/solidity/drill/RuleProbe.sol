// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "../src/ICordonGuard.sol";

/// @title A registered caller whose guarded calls are written by a test: what came before in the transaction, what a call names, and what changes
/// between its `enter` and its `exit`.
contract RuleProbe {
    struct Call {
        uint8 action;
        address asset;
        uint256 amount;
        /// Whether the last call happens within this one.
        bool open;
    }

    /// What a contract of the test answers from now on.
    struct Poke {
        address register;
        uint256 value;
        uint256 silent;
    }

    function run(ICordonGuard guard, uint24 scopes, Call[] calldata before, Call calldata last, Poke[] calldata pokes)
        external
    {
        uint256[] memory tickets = new uint256[](before.length);
        for (uint256 i; i < before.length; ++i) {
            tickets[i] = _enter(guard, 0, before[i]);
            if (!before[i].open) guard.exit(tickets[i]);
        }
        uint256 ticket = _enter(guard, scopes, last);
        for (uint256 i; i < pokes.length; ++i) {
            (bool done,) = pokes[i].register.call(abi.encode(pokes[i].value, pokes[i].silent));
            require(done);
        }
        guard.exit(ticket);
        for (uint256 i = before.length; i > 0; --i) {
            if (before[i - 1].open) guard.exit(tickets[i - 1]);
        }
    }

    function _enter(ICordonGuard guard, uint24 scopes, Call calldata call) private returns (uint256) {
        return guard.enter(scopes, call.action, call.asset, call.amount, msg.sender);
    }
}
