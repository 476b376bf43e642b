// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { SafeTransactionGuard } from "../../src/adapters/SafeTransactionGuard.sol";
import { IRealSafe, SafeSupport } from "./SafeSupport.sol";

/// Stands where the Safe stands, and notices when a batch calls it as the Safe would call itself.
contract Probe {
    bool public touched;

    function run(address batches, bytes calldata data) external returns (bool done) {
        (done,) = batches.delegatecall(data);
    }

    fallback() external {
        if (msg.sender == address(this)) touched = true;
    }
}

/// Reads a batch as MultiSendCallOnly 1.5 does, which no pinned package carries: there the zero address means the Safe itself.
contract BatchesOfNextVersion {
    function multiSend(bytes memory parts) external {
        for (uint256 at = 0; at < parts.length;) {
            uint256 size;
            bool done;
            assembly {
                let head := add(add(parts, 32), at)
                let to := shr(96, mload(add(head, 1)))
                if iszero(to) { to := address() }
                size := mload(add(head, 53))
                if iszero(shr(248, mload(head))) {
                    done := call(gas(), to, mload(add(head, 21)), add(head, 85), size, 0, 0)
                }
            }
            require(done);
            at += 85 + size;
        }
    }
}

/// The adapter reads a batch as the published MultiSendCallOnly does: whatever it lets pass calls the Safe nowhere.
contract SafeBatchTest is SafeSupport {
    Probe private probe;
    SafeTransactionGuard private adapter;
    /// Bound to the batch contract of the next version.
    SafeTransactionGuard private nextAdapter;
    address private nextBatches;

    function setUp() public {
        makeSafe();
        probe = new Probe();
        adapter = new SafeTransactionGuard(address(this), address(probe), 1, 1 hours, batches);
        nextBatches = address(new BatchesOfNextVersion());
        nextAdapter = new SafeTransactionGuard(address(this), address(probe), 1, 1 hours, nextBatches);
    }

    /// The first part carries a second one, behind some padding, in its data. `kind` says what its length claims: all of that, the padding
    /// alone (which brings the second part to light), or anything. Then a byte is changed, and the end cut off. The hidden part is for the
    /// Safe, named by its address or by zero.
    function _batch(uint8 kind, uint16 length, uint16 cut, uint16 at, uint8 value)
        private
        view
        returns (bytes memory parts)
    {
        address self = kind & 64 == 0 ? address(probe) : address(0);
        bytes memory hidden = part(self, 0, abi.encodeCall(IRealSafe.setGuard, (address(0))), 0);
        bytes memory padding = new bytes(length % 97);
        bytes memory carried = bytes.concat(padding, hidden);
        uint256 claimed = kind % 4 == 0 ? length % 400 : kind % 4 == 1 ? padding.length : carried.length;
        parts = abi.encodePacked(uint8(0), address(0xEA7), uint256(0), claimed, carried);
        if (value != 0) parts[at % parts.length] = bytes1(value);
        uint256 kept = parts.length - (kind < 128 ? 0 : cut % parts.length);
        assembly {
            mstore(parts, kept)
        }
    }

    function _passes(bytes memory data) private returns (bool) {
        return _passes(adapter, batches, data);
    }

    function _passes(SafeTransactionGuard by, address through, bytes memory data) private returns (bool passes) {
        vm.prank(address(probe));
        try by.checkTransaction(through, 0, data, 1, 0, 0, 0, address(0), payable(0), "", address(0)) {
            passes = true;
        } catch { }
    }

    function testFuzz_attack_no_batch_that_passes_calls_the_safe(
        uint8 kind,
        uint16 length,
        uint16 cut,
        uint16 at,
        uint8 value
    ) public {
        bytes memory data = abi.encodeWithSignature("multiSend(bytes)", _batch(kind, length, cut, at, value));
        if (_passes(data)) probe.run(batches, data);
        if (_passes(nextAdapter, nextBatches, data)) probe.run(nextBatches, data);
        ok(!probe.touched(), "a call of the Safe to itself passed");
    }

    /// The hidden part is there to be found: where the outer part ends before it, MultiSendCallOnly runs it, and the adapter refuses.
    function test_a_hidden_part_is_refused_where_it_would_be_run() public {
        bytes memory data = abi.encodeWithSignature("multiSend(bytes)", _batch(1, 7, 0, 0, 0));
        ok(!_passes(data), "refused");
        ok(probe.run(batches, data) && probe.touched(), "and rightly so");
        // Inside the first part's data it is nothing but data.
        data = abi.encodeWithSignature("multiSend(bytes)", _batch(2, 7, 0, 0, 0));
        ok(_passes(data), "passes");
    }

    function test_attack_the_zero_address_does_not_stand_for_the_safe() public {
        bytes memory parts = part(address(0), 0, abi.encodeCall(IRealSafe.setGuard, (address(0))), 0);
        bytes memory data = abi.encodeWithSignature("multiSend(bytes)", parts);
        vm.prank(address(probe));
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.NotInBatch.selector, address(0), 0));
        adapter.checkTransaction(batches, 0, data, 1, 0, 0, 0, address(0), payable(0), "", address(0));
        ok(!_passes(nextAdapter, nextBatches, data), "refused");
        ok(probe.run(nextBatches, data) && probe.touched(), "and rightly so");
    }
}
