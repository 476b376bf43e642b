// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// Several calls in one transaction, as one contract: what an attacker, or a protocol with nested calls, does. For the tests of threats.
contract Script {
    struct Step {
        address to;
        bytes data;
    }

    /// Makes the calls in order; the first that fails undoes all, with its own error.
    function run(Step[] calldata steps) external {
        for (uint256 i = 0; i < steps.length; i++) {
            (bool ok, bytes memory answer) = steps[i].to.call(steps[i].data);
            if (!ok) {
                assembly ("memory-safe") {
                    revert(add(answer, 32), mload(answer))
                }
            }
        }
    }
}
