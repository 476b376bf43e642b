// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { ICordonGuard } from "../../src/ICordonGuard.sol";
import { ITimelock, TimelockGate } from "../../src/adapters/TimelockGate.sol";
import { GuardStandIn, Real } from "./Real.sol";

interface IController is ITimelock {
    function grantRole(bytes32 role, address account) external;
    function schedule(
        address target,
        uint256 value,
        bytes calldata data,
        bytes32 predecessor,
        bytes32 salt,
        uint256 delay
    ) external;
    function scheduleBatch(
        address[] calldata targets,
        uint256[] calldata values,
        bytes[] calldata payloads,
        bytes32 predecessor,
        bytes32 salt,
        uint256 delay
    ) external;
    function isOperationDone(bytes32 id) external view returns (bool);
}

contract Parameters {
    uint256 public fee;

    function setFee(uint256 fee_) external {
        fee = fee_;
    }
}

/// Against a published TimelockController.
abstract contract TimelockGating is Real {
    bytes32 private constant CANCELLER = keccak256("CANCELLER_ROLE");
    uint8 private constant SCOPE = 2;
    uint256 private constant DELAY = 2 days;
    uint256 private constant PATIENCE = 14 days;
    address private constant COUNCIL = address(0xC0);
    address private constant THIEF = address(0xBAD);

    IController private timelock;
    TimelockGate private gate;
    GuardStandIn private guard;
    Parameters private parameters;

    /// Folder of the package's artifacts.
    function _package() internal pure virtual returns (string memory);

    function setUp() public {
        vm.warp(1_700_000_000);
        parameters = new Parameters();
        guard = new GuardStandIn();
        address[] memory proposers = new address[](1);
        proposers[0] = address(this);
        // The gate's address is needed for the timelock's roles, and the timelock's for the gate: the set-up's admin grants them.
        bytes memory arguments = abi.encode(DELAY, proposers, new address[](0), address(this));
        timelock = IController(real(string.concat(_package(), "TimelockController.json"), arguments));
        files.deal(address(timelock), 100 ether);
        TimelockGate.Everyday[] memory everyday = new TimelockGate.Everyday[](1);
        everyday[0] = TimelockGate.Everyday(address(parameters), Parameters.setFee.selector);
        gate = new TimelockGate(address(this), timelock, SCOPE, COUNCIL, PATIENCE, everyday);
        gate.bind(address(guard));
        timelock.grantRole(keccak256("EXECUTOR_ROLE"), address(gate));
        timelock.grantRole(CANCELLER, address(gate));
    }

    function _fee(uint256 fee) private pure returns (bytes memory) {
        return abi.encodeCall(Parameters.setFee, (fee));
    }

    /// Everything to the thief.
    function _queueTheft() private returns (bytes32 id) {
        timelock.schedule(THIEF, 100 ether, "", 0, 0, DELAY);
        return timelock.hashOperation(THIEF, 100 ether, "", 0, 0);
    }

    function _closed() private view returns (bytes memory) {
        return abi.encodeWithSelector(ICordonGuard.ActionClosed.selector, SCOPE, guard.level(), 10);
    }

    // ---------------------------------------------------------------- honest governance

    function test_everyday_operations_are_vetted_by_anyone_and_executed_by_anyone() public {
        vm.prank(address(0x1));
        bytes32 id = gate.vet(address(parameters), 0, _fee(30), 0, 0);
        timelock.schedule(address(parameters), 0, _fee(30), 0, 0, DELAY);
        ok(gate.vetted(id), "vetted before it was scheduled");
        vm.warp(block.timestamp + DELAY);
        vm.prank(address(0x2));
        gate.execute(address(parameters), 0, _fee(30), 0, 0);
        eq(parameters.fee(), 30, "fee");
        eq(guard.exited(), 1, "the hook after it");
    }

    function test_batches_too() public {
        address[] memory targets = new address[](2);
        bytes[] memory payloads = new bytes[](2);
        (targets[0], targets[1]) = (address(parameters), address(parameters));
        (payloads[0], payloads[1]) = (_fee(1), _fee(2));
        uint256[] memory values = new uint256[](2);
        bytes32 id = gate.vetBatch(targets, values, payloads, 0, 0);
        timelock.scheduleBatch(targets, values, payloads, 0, 0, DELAY);
        vm.warp(block.timestamp + DELAY);
        gate.executeBatch(targets, values, payloads, 0, 0);
        ok(timelock.isOperationDone(id), "done");
        eq(parameters.fee(), 2, "fee");
    }

    function test_the_council_vets_what_is_not_everyday() public {
        bytes32 id = _queueTheft();
        vm.prank(COUNCIL);
        gate.approve(id);
        vm.warp(block.timestamp + DELAY);
        gate.execute(THIEF, 100 ether, "", 0, 0);
        eq(THIEF.balance, 100 ether, "a grant that the council had seen");
    }

    function test_what_the_governor_announced_passes_containment() public {
        bytes32 id = gate.vet(address(parameters), 0, _fee(30), 0, 0);
        timelock.schedule(address(parameters), 0, _fee(30), 0, 0, DELAY);
        guard.setLevel(ICordonGuard.Level.Halted);
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(_closed());
        gate.execute(address(parameters), 0, _fee(30), 0, 0);
        guard.announce(uint256(id));
        gate.execute(address(parameters), 0, _fee(30), 0, 0);
        eq(parameters.fee(), 30, "fee");
    }

    // ---------------------------------------------------------------- attacks

    function test_attack_a_taken_over_governor_is_held_and_stopped() public {
        bytes32 id = _queueTheft();
        ok(!gate.vetted(id) && timelock.isOperationPending(id), "a breach that anybody can prove");
        guard.setLevel(ICordonGuard.Level.ReduceOnly);
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(_closed());
        gate.execute(THIEF, 100 ether, "", 0, 0);
        vm.prank(address(0x99));
        gate.stop(id);
        guard.setLevel(ICordonGuard.Level.Normal);
        vm.expectRevert();
        gate.execute(THIEF, 100 ether, "", 0, 0);
        eq(THIEF.balance, 0, "nothing taken");
    }

    function test_attack_containment_of_the_whole_protocol_stops_it_too() public {
        bytes32 id = _queueTheft();
        guard.setWhole(ICordonGuard.Level.Halted);
        vm.prank(address(0x99));
        gate.stop(id);
        ok(!timelock.isOperationPending(id), "stopped");
    }

    function test_attack_a_flood_of_operations_is_emptied_in_one_transaction() public {
        bytes32[] memory ids = new bytes32[](32);
        for (uint256 i = 0; i < ids.length; ++i) {
            timelock.schedule(THIEF, i, "", 0, 0, DELAY);
            ids[i] = timelock.hashOperation(THIEF, i, "", 0, 0);
        }
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotContained.selector, SCOPE));
        gate.stopMany(ids);
        vm.prank(COUNCIL);
        gate.approve(ids[3]);
        guard.setLevel(ICordonGuard.Level.Halted);
        // Somebody stops one of them first, to make the batch fail.
        gate.stop(ids[0]);
        vm.prank(address(0x99));
        eq(gate.stopMany(ids), 30, "all but the vetted one and the one that was stopped before");
        ok(!timelock.isOperationPending(ids[31]) && timelock.isOperationPending(ids[3]), "and no other");
    }

    function test_attack_nobody_passes_by_the_gate() public {
        _queueTheft();
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert();
        timelock.execute(THIEF, 100 ether, "", 0, 0);
    }

    function test_attack_a_theft_is_not_everyday() public {
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.SendsEther.selector, 100 ether));
        gate.vet(THIEF, 100 ether, "", 0, 0);
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotEveryday.selector, THIEF, bytes4(0)));
        gate.vet(THIEF, 0, "", 0, 0);
        bytes memory grant = abi.encodeCall(IController.grantRole, (CANCELLER, THIEF));
        bytes4 selector = IController.grantRole.selector;
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotEveryday.selector, address(timelock), selector));
        gate.vet(address(timelock), 0, grant, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotCouncil.selector, address(this)));
        gate.approve(bytes32(uint256(1)));
    }

    function test_attack_the_timelocks_own_functions_are_never_everyday() public {
        TimelockGate.Everyday[] memory everyday = new TimelockGate.Everyday[](1);
        everyday[0] = TimelockGate.Everyday(address(timelock), IController.grantRole.selector);
        vm.expectPartialRevert(TimelockGate.NotEveryday.selector);
        new TimelockGate(address(this), timelock, SCOPE, COUNCIL, PATIENCE, everyday);
    }

    function test_attack_a_batch_hides_no_theft() public {
        address[] memory targets = new address[](2);
        bytes[] memory payloads = new bytes[](2);
        (targets[0], targets[1]) = (address(parameters), THIEF);
        payloads[0] = _fee(1);
        uint256[] memory values = new uint256[](2);
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotEveryday.selector, THIEF, bytes4(0)));
        gate.vetBatch(targets, values, payloads, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.BadLength.selector, 2, 1, 2));
        gate.vetBatch(targets, new uint256[](1), payloads, 0, 0);
    }

    function test_attack_honest_operations_are_not_stopped_even_in_an_incident() public {
        bytes32 id = gate.vet(address(parameters), 0, _fee(30), 0, 0);
        timelock.schedule(address(parameters), 0, _fee(30), 0, 0, DELAY);
        guard.setLevel(ICordonGuard.Level.Halted);
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.Vetted.selector, id));
        gate.stop(id);
    }

    /// Whoever has a keeper's key contains governance as often as the keeper's budget allows.
    function test_attack_a_stolen_keeper_does_not_stop_its_own_removal() public {
        bytes memory dismissal = abi.encodeCall(ICordonGuard.setRole, (ICordonGuard.Role.Keeper, THIEF, false));
        timelock.schedule(address(guard), 0, dismissal, 0, 0, DELAY);
        bytes32 id = timelock.hashOperation(address(guard), 0, dismissal, 0, 0);
        vm.prank(address(0x1));
        gate.vet(address(guard), 0, dismissal, 0, 0);
        guard.setLevel(ICordonGuard.Level.ReduceOnly);
        vm.prank(THIEF);
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.Vetted.selector, id));
        gate.stop(id);
        bytes32[] memory ids = new bytes32[](1);
        ids[0] = id;
        eq(gate.stopMany(ids), 0, "nor in a batch");
    }

    function test_attack_nothing_else_of_the_guards_is_everyday() public {
        bytes4 selector = ICordonGuard.setRole.selector;
        bytes[5] memory calls = [
            abi.encodeCall(ICordonGuard.setRole, (ICordonGuard.Role.Keeper, THIEF, true)),
            abi.encodeCall(ICordonGuard.setRole, (ICordonGuard.Role.Guardian, THIEF, false)),
            bytes.concat(abi.encodeCall(ICordonGuard.setRole, (ICordonGuard.Role.Keeper, THIEF, false)), hex"00"),
            abi.encodeWithSelector(selector, uint256(1), THIEF, uint256(2)),
            abi.encodePacked(selector)
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotEveryday.selector, address(guard), selector));
            gate.vet(address(guard), 0, calls[i], 0, 0);
        }
        bytes memory dismissal = abi.encodeCall(ICordonGuard.setRole, (ICordonGuard.Role.Keeper, THIEF, false));
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotEveryday.selector, THIEF, selector));
        gate.vet(THIEF, 0, dismissal, 0, 0);
    }

    function test_attack_nothing_is_stopped_while_nothing_is_contained() public {
        bytes32 id = _queueTheft();
        ICordonGuard.Level[3] memory levels =
            [ICordonGuard.Level.Normal, ICordonGuard.Level.Throttled, ICordonGuard.Level.Grace];
        for (uint256 i = 0; i < levels.length; ++i) {
            guard.setLevel(levels[i]);
            vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotContained.selector, SCOPE));
            gate.stop(id);
        }
        guard.setLevel(ICordonGuard.Level.Halted);
        vm.expectRevert(abi.encodeWithSelector(TimelockGate.NotPending.selector, bytes32(uint256(1))));
        gate.stop(bytes32(uint256(1)));
    }

    function test_attack_a_dead_or_hostile_guard_cannot_hold_governance_for_ever() public {
        timelock.schedule(address(parameters), 0, _fee(30), 0, 0, DELAY);
        guard.setClosed(true);
        vm.warp(block.timestamp + DELAY + PATIENCE);
        vm.expectRevert(_closed());
        gate.execute(address(parameters), 0, _fee(30), 0, 0);
        vm.warp(block.timestamp + 1);
        gate.execute(address(parameters), 0, _fee(30), 0, 0);
        eq(parameters.fee(), 30, "fee");
        vm.expectPartialRevert(TimelockGate.BadPatience.selector);
        new TimelockGate(address(this), timelock, SCOPE, COUNCIL, 7 days, new TimelockGate.Everyday[](0));
    }
}

/// Of OpenZeppelin 5.4.0.
contract TimelockGateTest is TimelockGating {
    function _package() internal pure override returns (string memory) {
        return OZ;
    }
}

/// Of OpenZeppelin 4.9.6.
contract TimelockGate4Test is TimelockGating {
    function _package() internal pure override returns (string memory) {
        return OZ4;
    }
}
