// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { ICordonGuard } from "../../src/ICordonGuard.sol";
import { SafeTransactionGuard } from "../../src/adapters/SafeTransactionGuard.sol";
import { GuardStandIn } from "./Real.sol";
import { IRealSafe, SafeSupport } from "./SafeSupport.sol";

/// Runs in the Safe's storage and replaces its code, as in February 2025.
contract Trojan {
    address private singleton;

    function swap(address backdoor) external {
        singleton = backdoor;
    }
}

contract Sink {
    receive() external payable { }
}

contract SafeTransactionGuardTest is SafeSupport {
    uint24 private constant SCOPE = 3;
    uint256 private constant DELAY = 2 days;

    SafeTransactionGuard private adapter;
    GuardStandIn private guard;
    address private trojan;
    address private sink;

    function setUp() public {
        vm.warp(1_700_000_000);
        makeSafe();
        guard = new GuardStandIn();
        adapter = new SafeTransactionGuard(address(this), address(safe), SCOPE, DELAY, batches);
        adapter.bind(address(guard));
        execute(address(safe), 0, abi.encodeCall(IRealSafe.setGuard, (address(adapter))), 0);
        trojan = address(new Trojan());
        sink = address(new Sink());
    }

    function _swap() private pure returns (bytes memory) {
        return abi.encodeCall(Trojan.swap, (address(0xBAD)));
    }

    function _schedule(address to, bytes memory data, uint8 operation) private returns (bytes32) {
        vm.prank(files.addr(ONE));
        return adapter.schedule(to, 0, data, operation);
    }

    /// The transaction of both owners, refused with this error.
    function _refused(address to, uint256 value, bytes memory data, uint8 operation, bytes memory error) private {
        bytes memory proof = signed(to, value, data, operation, 0);
        vm.expectRevert(error);
        safe.execTransaction(to, value, data, operation, 0, 0, 0, address(0), payable(address(this)), proof);
    }

    function _batch(bytes memory parts) private pure returns (bytes memory) {
        return abi.encodeWithSignature("multiSend(bytes)", parts);
    }

    function _code() private view returns (address) {
        return address(uint160(uint256(files.load(address(safe), 0))));
    }

    // ---------------------------------------------------------------- honest owners

    function test_ordinary_transactions_pass_at_once_as_withdrawals() public {
        execute(sink, 1 ether, "", 0);
        eq(sink.balance, 1 ether, "paid");
        eq(guard.lastAction(), uint8(ICordonGuard.Action.Withdraw), "action");
        eq(guard.lastAmount(), 1 ether, "amount");
        eq(guard.exited(), 1, "the hook after it");
    }

    function test_batches_of_ordinary_calls_pass_at_once() public {
        bytes memory parts = bytes.concat(part(sink, 1 ether, "", 0), part(sink, 2 ether, hex"", 0));
        execute(batches, 0, _batch(parts), 1);
        eq(sink.balance, 3 ether, "paid");
    }

    function test_using_up_a_nonce_is_ordinary() public {
        execute(address(safe), 0, "", 0);
    }

    function test_changes_of_the_safe_pass_after_the_delay_and_once() public {
        bytes memory add = abi.encodeCall(IRealSafe.addOwnerWithThreshold, (address(0xACE), 2));
        bytes32 action = _schedule(address(safe), add, 0);
        _refused(
            address(safe),
            0,
            add,
            0,
            abi.encodeWithSelector(SafeTransactionGuard.NotReady.selector, action, block.timestamp + DELAY)
        );
        vm.warp(block.timestamp + DELAY);
        execute(address(safe), 0, add, 0);
        ok(safe.isOwner(address(0xACE)), "added");
        _refused(address(safe), 0, add, 0, abi.encodeWithSelector(SafeTransactionGuard.NotScheduled.selector, action));
    }

    function test_what_was_ready_for_a_week_is_void() public {
        bytes memory add = abi.encodeCall(IRealSafe.addOwnerWithThreshold, (address(0xACE), 2));
        bytes32 action = _schedule(address(safe), add, 0);
        uint256 until = block.timestamp + DELAY + 7 days;
        vm.warp(until + 1);
        _refused(address(safe), 0, add, 0, abi.encodeWithSelector(SafeTransactionGuard.Expired.selector, action, until));
        _schedule(address(safe), add, 0);
    }

    function test_the_guard_of_the_guard_holds_withdrawals_and_changes() public {
        guard.setLevel(ICordonGuard.Level.Halted);
        bytes memory closed =
            abi.encodeWithSelector(ICordonGuard.ActionClosed.selector, uint8(SCOPE), ICordonGuard.Level.Halted, 1);
        _refused(sink, 1 ether, "", 0, closed);
    }

    // ---------------------------------------------------------------- attacks

    function test_attack_the_master_copy_is_not_swapped_by_signatures_alone() public {
        bytes32 action = adapter.actionOf(trojan, 0, _swap(), 1);
        _refused(trojan, 0, _swap(), 1, abi.encodeWithSelector(SafeTransactionGuard.NotScheduled.selector, action));
        ok(_code() == singleton, "the same code");
    }

    function test_attack_a_scheduled_swap_is_seen_held_and_cancelled() public {
        _schedule(trojan, _swap(), 1);
        eq(adapter.handovers(), 1, "seen by a rule of one line");
        guard.setLevel(ICordonGuard.Level.ReduceOnly);
        vm.warp(block.timestamp + DELAY + 7 days);
        bytes memory closed =
            abi.encodeWithSelector(ICordonGuard.ActionClosed.selector, uint8(SCOPE), ICordonGuard.Level.ReduceOnly, 10);
        _refused(trojan, 0, _swap(), 1, closed);
        guard.setGuardian(address(0x6));
        vm.prank(address(0x6));
        adapter.cancel(trojan, 0, _swap(), 1);
        eq(adapter.handovers(), 0, "nothing left");
        guard.setLevel(ICordonGuard.Level.Normal);
        bytes32 action = adapter.actionOf(trojan, 0, _swap(), 1);
        _refused(trojan, 0, _swap(), 1, abi.encodeWithSelector(SafeTransactionGuard.NotScheduled.selector, action));
    }

    function test_attack_a_change_does_not_hide_in_a_batch() public {
        bytes memory leave = abi.encodeCall(IRealSafe.setGuard, (address(0)));
        bytes memory parts = bytes.concat(part(sink, 1, "", 0), part(address(safe), 0, leave, 0));
        _refused(
            batches,
            0,
            _batch(parts),
            1,
            abi.encodeWithSelector(SafeTransactionGuard.NotInBatch.selector, address(safe), 0)
        );
        parts = part(trojan, 0, _swap(), 1);
        _refused(
            batches, 0, _batch(parts), 1, abi.encodeWithSelector(SafeTransactionGuard.NotInBatch.selector, trojan, 1)
        );
    }

    function test_attack_a_part_that_reaches_beyond_the_batch_is_refused() public {
        bytes memory malformed = abi.encodeWithSelector(SafeTransactionGuard.MalformedBatch.selector);
        bytes memory long = abi.encodePacked(uint8(0), sink, uint256(0), uint256(33), bytes32(0));
        _refused(batches, 0, _batch(long), 1, malformed);
        bytes memory huge = abi.encodePacked(uint8(0), sink, uint256(0), type(uint256).max);
        _refused(batches, 0, _batch(huge), 1, malformed);
        _refused(batches, 0, _batch(bytes.concat(part(sink, 0, "", 0), hex"00")), 1, malformed);
    }

    function test_attack_other_code_at_the_batch_contract_is_no_batch() public {
        vm.etch(batches, address(new Trojan()).code);
        bytes memory batch = _batch(part(sink, 1, "", 0));
        bytes32 action = adapter.actionOf(batches, 0, batch, 1);
        _refused(batches, 0, batch, 1, abi.encodeWithSelector(SafeTransactionGuard.NotScheduled.selector, action));
    }

    function test_attack_the_guard_is_not_taken_off_by_signatures_alone() public {
        bytes memory leave = abi.encodeCall(IRealSafe.setGuard, (address(0)));
        bytes32 action = adapter.actionOf(address(safe), 0, leave, 0);
        _refused(address(safe), 0, leave, 0, abi.encodeWithSelector(SafeTransactionGuard.NotScheduled.selector, action));
        bytes memory module = abi.encodeCall(IRealSafe.enableModule, (address(0xBAD)));
        action = adapter.actionOf(address(safe), 0, module, 0);
        _refused(
            address(safe), 0, module, 0, abi.encodeWithSelector(SafeTransactionGuard.NotScheduled.selector, action)
        );
    }

    function test_attack_a_dead_or_hostile_guard_cannot_hold_the_safe_for_ever() public {
        bytes memory leave = abi.encodeCall(IRealSafe.setGuard, (address(0)));
        bytes32 action = _schedule(address(safe), leave, 0);
        guard.setClosed(true);
        vm.warp(block.timestamp + DELAY);
        _refused(
            address(safe),
            0,
            leave,
            0,
            abi.encodeWithSelector(SafeTransactionGuard.NotReady.selector, action, block.timestamp + 7 days)
        );
        vm.warp(block.timestamp + 7 days);
        execute(address(safe), 0, leave, 0);
        execute(trojan, 0, _swap(), 1);
        ok(_code() == address(0xBAD), "free, for better or worse");
    }

    function test_attack_a_stolen_guard_does_not_cancel_leaving_for_ever() public {
        bytes memory leave = abi.encodeCall(IRealSafe.setGuard, (address(0)));
        guard.setGuardian(address(0x6));
        guard.setClosed(true);
        for (uint256 i = 0; i < 2; ++i) {
            _schedule(address(safe), leave, 0);
            vm.prank(address(0x6));
            adapter.cancel(address(safe), 0, leave, 0);
        }
        _schedule(address(safe), leave, 0);
        vm.prank(address(0x6));
        vm.expectRevert(
            abi.encodeWithSelector(SafeTransactionGuard.LeavingNotCancellable.selector, address(0x6), uint256(2))
        );
        adapter.cancel(address(safe), 0, leave, 0);
        vm.warp(block.timestamp + DELAY + 7 days);
        execute(address(safe), 0, leave, 0);
        execute(sink, 1, "", 0);
        eq(sink.balance, 1, "the Safe is free");
        eq(adapter.leaveCancels(), 0, "counted from the beginning, should it come back");
    }

    function test_attack_bytes_behind_the_arguments_hide_no_handover() public {
        bytes memory leave = bytes.concat(abi.encodeCall(IRealSafe.setGuard, (address(0))), hex"00");
        bytes32 action = _schedule(address(safe), leave, 0);
        eq(adapter.readyAt(action), block.timestamp + DELAY + 7 days, "the delay of leaving");
        eq(adapter.handovers(), 1, "counted");
        _schedule(address(safe), abi.encodeCall(IRealSafe.setGuard, (address(0xBAD))), 0);
        eq(adapter.handovers(), 2, "another guard");
        bytes memory module = bytes.concat(abi.encodeCall(IRealSafe.enableModule, (address(0xBAD))), hex"00");
        _schedule(address(safe), module, 0);
        eq(adapter.handovers(), 3, "a module");
        _schedule(address(safe), abi.encodeCall(IRealSafe.addOwnerWithThreshold, (address(0xACE), 2)), 0);
        eq(adapter.handovers(), 3, "an owner is none");
        // The Safe would take the bytes for leaving; the Cordon guard is asked for all but the exact ones.
        guard.setLevel(ICordonGuard.Level.ReduceOnly);
        vm.warp(block.timestamp + DELAY + 7 days);
        bytes memory closed =
            abi.encodeWithSelector(ICordonGuard.ActionClosed.selector, uint8(SCOPE), ICordonGuard.Level.ReduceOnly, 10);
        _refused(address(safe), 0, leave, 0, closed);
        guard.setLevel(ICordonGuard.Level.Normal);
        execute(address(safe), 0, leave, 0);
        eq(adapter.handovers(), 2, "done");
    }

    function test_attack_an_expired_handover_does_not_alarm_for_ever() public {
        bytes32 action = _schedule(trojan, _swap(), 1);
        uint256 until = block.timestamp + DELAY + 7 days + 7 days;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.NotExpired.selector, action, until));
        adapter.forget(trojan, 0, _swap(), 1);
        vm.warp(until + 1);
        adapter.forget(trojan, 0, _swap(), 1);
        eq(adapter.handovers(), 0, "anybody clears it");
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.NotScheduled.selector, action));
        adapter.forget(trojan, 0, _swap(), 1);
    }

    function test_the_safe_cancels_its_leaving_and_trusts_the_guardians_anew() public {
        bytes memory leave = abi.encodeCall(IRealSafe.setGuard, (address(0)));
        guard.setGuardian(address(0x6));
        _schedule(address(safe), leave, 0);
        vm.prank(address(0x6));
        adapter.cancel(address(safe), 0, leave, 0);
        eq(adapter.leaveCancels(), 1, "counted");
        _schedule(address(safe), leave, 0);
        execute(address(adapter), 0, abi.encodeCall(SafeTransactionGuard.cancel, (address(safe), 0, leave, 0)), 0);
        eq(adapter.leaveCancels(), 0, "given back");
    }

    function test_attack_one_owner_cannot_keep_the_others_from_removing_him() public {
        (address one, address two) = (files.addr(ONE), files.addr(TWO));
        bytes memory add = abi.encodeCall(IRealSafe.addOwnerWithThreshold, (address(0xACE), 1));
        _schedule(address(safe), add, 0);
        vm.prank(two);
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.NotCanceller.selector, two));
        adapter.cancel(address(safe), 0, add, 0);
        bytes32 action = adapter.actionOf(address(safe), 0, add, 0);
        vm.prank(two);
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.AlreadyScheduled.selector, action));
        adapter.schedule(address(safe), 0, add, 0);
        // All of them together may.
        execute(address(adapter), 0, abi.encodeCall(SafeTransactionGuard.cancel, (address(safe), 0, add, 0)), 0);
        eq(adapter.readyAt(action), 0, "cancelled");
        ok(one != two, "two owners");
    }

    function test_attack_a_refund_does_not_ride_on_a_scheduled_change() public {
        bytes memory add = abi.encodeCall(IRealSafe.addOwnerWithThreshold, (address(0xACE), 2));
        _schedule(address(safe), add, 0);
        vm.warp(block.timestamp + DELAY);
        bytes memory proof = signed(address(safe), 0, add, 0, 1 ether);
        vm.expectRevert(SafeTransactionGuard.RefundNotAllowed.selector);
        safe.execTransaction(address(safe), 0, add, 0, 0, 0, 1 ether, address(0), payable(address(this)), proof);
    }

    /// A module or other code takes the Safe out of the guard's sight as much as `setGuard(0)` does: no shorter way out.
    function test_attack_a_module_or_other_code_is_no_shorter_way_out() public {
        bytes memory module = abi.encodeCall(IRealSafe.enableModule, (address(0xBAD)));
        bytes32 action = _schedule(address(safe), module, 0);
        bytes32 swap = _schedule(trojan, _swap(), 1);
        uint256 ready = block.timestamp + DELAY + 7 days;
        vm.warp(ready - 1);
        _refused(
            address(safe), 0, module, 0, abi.encodeWithSelector(SafeTransactionGuard.NotReady.selector, action, ready)
        );
        _refused(trojan, 0, _swap(), 1, abi.encodeWithSelector(SafeTransactionGuard.NotReady.selector, swap, ready));
        vm.warp(ready);
        execute(address(safe), 0, module, 0);
    }

    function _spam(uint256 number) private pure returns (bytes memory) {
        return abi.encodeCall(IRealSafe.addOwnerWithThreshold, (address(uint160(0xACE00 + number)), 2));
    }

    function test_attack_one_owner_does_not_flood_the_queue() public {
        address one = files.addr(ONE);
        uint256 start = block.timestamp;
        for (uint256 i = 0; i < 8; ++i) {
            _schedule(address(safe), _spam(i), 0);
        }
        bytes memory full =
            abi.encodeWithSelector(SafeTransactionGuard.TooManyScheduled.selector, one, start + DELAY + 7 days + 1);
        vm.prank(one);
        vm.expectRevert(full);
        adapter.schedule(address(safe), 0, _spam(8), 0);
        // The other owner has places of her own.
        vm.prank(files.addr(TWO));
        adapter.schedule(address(safe), 0, _spam(8), 0);
        // What guardians cancel keeps its place until it would have been ready: he does not outpace them.
        guard.setGuardian(address(0x6));
        vm.prank(address(0x6));
        adapter.cancel(address(safe), 0, _spam(0), 0);
        vm.prank(one);
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.TooManyScheduled.selector, one, start + DELAY + 1));
        adapter.schedule(address(safe), 0, _spam(0), 0);
        vm.warp(start + DELAY);
        // What was executed gives its place back at once.
        execute(address(safe), 0, _spam(1), 0);
        _schedule(address(safe), _spam(9), 0);
        vm.warp(start + DELAY + 1);
        _schedule(address(safe), _spam(0), 0);
        vm.prank(one);
        vm.expectPartialRevert(SafeTransactionGuard.TooManyScheduled.selector);
        adapter.schedule(address(safe), 0, _spam(10), 0);
        // What has expired is in nobody's way, forgotten or not.
        vm.warp(start + DELAY + 7 days + 1);
        for (uint256 i = 10; i < 16; ++i) {
            _schedule(address(safe), _spam(i), 0);
        }
        adapter.forget(address(safe), 0, _spam(2), 0);
        vm.prank(one);
        vm.expectPartialRevert(SafeTransactionGuard.TooManyScheduled.selector);
        adapter.schedule(address(safe), 0, _spam(16), 0);
    }

    function test_attack_strangers_schedule_and_check_nothing() public {
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.NotOwner.selector, address(0xBAD)));
        adapter.schedule(trojan, 0, _swap(), 1);
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.NotSafe.selector, address(0xBAD)));
        adapter.checkAfterExecution(0, true);
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(SafeTransactionGuard.NotSafe.selector, address(0xBAD)));
        adapter.checkTransaction(sink, 0, "", 0, 0, 0, 0, address(0), payable(0), "", address(0));
    }

    function test_a_transaction_within_a_transaction_is_checked_by_itself() public {
        // The inner one takes the next nonce.
        bytes32 digest =
            safe.getTransactionHash(sink, 1 ether, "", 0, 0, 0, 0, address(0), address(this), safe.nonce() + 1);
        bytes memory inner = abi.encodeCall(
            IRealSafe.execTransaction,
            (sink, 1 ether, "", 0, 0, 0, 0, address(0), payable(address(this)), signatures(digest))
        );
        Relay relay = new Relay(address(safe), inner);
        execute(address(relay), 0, abi.encodeCall(Relay.relay, ()), 0);
        eq(sink.balance, 1 ether, "paid");
        eq(guard.entered(), 2, "entered");
        eq(guard.exited(), 2, "exited, the inner one first");
    }
}

/// Hands a transaction on to the Safe in the midst of another one.
contract Relay {
    address private immutable safe;
    bytes private call;

    constructor(address safe_, bytes memory call_) {
        (safe, call) = (safe_, call_);
    }

    function relay() external {
        (bool done,) = safe.call(call);
        require(done);
    }
}
