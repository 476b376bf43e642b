// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { Guarded } from "../src/Guarded.sol";
import { ICordonGuard } from "../src/ICordonGuard.sol";
import { Checks, FailingGuard, LifeTeller } from "./Support.sol";

/// A protocol with one counter, so that whether a body ran can be seen.
contract Counter is Guarded {
    address private immutable guard_;
    uint256 public count;

    constructor(address guard) {
        guard_ = guard;
    }

    function act(uint8 action) external guarded(0x0302, ICordonGuard.Action(action), address(0xA55E7), 42, msg.sender) {
        count += 1;
    }

    function _guard() internal view override returns (address) {
        return guard_;
    }
}

/// Reverts with whatever it was given.
contract RefusingGuard {
    bytes private refusal;

    constructor(bytes memory refusal_) {
        refusal = refusal_;
    }

    fallback() external {
        bytes memory answer = refusal;
        assembly {
            revert(add(answer, 32), mload(answer))
        }
    }
}

contract GuardedTest is Checks {
    FailingGuard private guard;
    Counter private counter;

    uint8 private constant ACTIONS = 11;
    uint8 private constant REPAY = uint8(ICordonGuard.Action.Repay);
    uint8 private constant SETTLE = uint8(ICordonGuard.Action.Settle);
    LifeTeller private constant ARB_WASM = LifeTeller(address(0x71));

    function setUp() public {
        guard = new FailingGuard();
        counter = new Counter(address(guard));
        vm.etch(address(ARB_WASM), type(LifeTeller).runtimeCode);
    }

    function test_enter_and_exit_surround_the_body() public {
        counter.act(uint8(ICordonGuard.Action.Increase));
        eq(counter.count(), 1, "body ran");
        eq(guard.entered(), 1, "entered");
        eq(guard.exited(), 1, "exited");
        eq(guard.lastScopes(), 0x0302, "scopes");
        eq(guard.lastAction(), uint8(ICordonGuard.Action.Increase), "action");
        eq(uint160(guard.lastAsset()), 0xA55E7, "asset");
        eq(guard.lastAmount(), 42, "amount");
        ok(guard.lastAccount() == address(this), "account");
    }

    function test_without_a_guard_the_hooks_sleep() public {
        Counter free = new Counter(address(0));
        for (uint8 action = 0; action < ACTIONS; action++) {
            free.act(action);
        }
        eq(free.count(), ACTIONS, "every action ran");
    }

    function test_a_refusal_is_handed_on_whatever_the_action_but_repayment() public {
        guard.set(FailingGuard.Mode.Refuse);
        for (uint8 action = 0; action < ACTIONS; action++) {
            if (action == REPAY) continue;
            vm.expectRevert(
                abi.encodeWithSelector(
                    ICordonGuard.ActionClosed.selector, uint8(2), ICordonGuard.Level.ReduceOnly, action
                )
            );
            counter.act(action);
        }
        eq(counter.count(), 0, "nothing ran");
    }

    /// Neither a faulty logic nor one that was put in its place shuts repayment, at enter or at exit; settlement waits while it is refused.
    function test_attack_no_answer_of_a_guard_shuts_repayment() public {
        uint256 last = uint256(type(FailingGuard.Mode).max);
        for (uint256 mode = 0; mode <= last; mode++) {
            guard.set(FailingGuard.Mode(mode));
            counter.act(REPAY);
            eq(counter.count(), mode + 1, "repaid");
        }
        bytes[6] memory refusals = [
            abi.encodeWithSelector(ICordonGuard.ActionClosed.selector, uint8(2), ICordonGuard.Level.Halted, SETTLE),
            abi.encodeWithSelector(ICordonGuard.RuleBreached.selector, 3, false, 2, false, 1),
            abi.encodeWithSelector(ICordonGuard.RuleUnknown.selector, 3, 4),
            abi.encodeWithSelector(ICordonGuard.OutOfGasFloor.selector, 2, 1),
            abi.encodeWithSelector(ICordonGuard.NotRegistered.selector, address(counter)),
            abi.encodeWithSelector(ICordonGuard.BadScope.selector, 3, 3)
        ];
        for (uint256 i = 0; i < refusals.length; i++) {
            Counter refused = new Counter(address(new RefusingGuard(refusals[i])));
            refused.act(REPAY);
            eq(refused.count(), 1, "repaid");
            vm.expectRevert(refusals[i]);
            refused.act(SETTLE);
        }
    }

    /// What is wrong with a call is said by its own name, and rules that need more gas than a hook has do not shut repayment.
    function test_mistakes_have_names_and_do_not_shut_repayment() public {
        uint256 count;
        for (uint256 mode = uint256(FailingGuard.Mode.Starved); mode <= uint256(FailingGuard.Mode.BadScope); mode++) {
            guard.set(FailingGuard.Mode(mode));
            for (uint8 action = 0; action < ACTIONS; action++) {
                (bool success, bytes memory answer) = address(counter).call(abi.encodeCall(Counter.act, (action)));
                ok(success == (action == REPAY), "repayment alone passes");
                if (success) count += 1;
                else ok(bytes4(answer) != Guarded.GuardSilent.selector && answer.length >= 36, "named, with values");
            }
        }
        eq(count, 5, "every mode");
        eq(counter.count(), 5, "repaid");
    }

    function test_a_breached_rule_undoes_the_body() public {
        guard.set(FailingGuard.Mode.RefuseAtExit);
        vm.expectRevert(abi.encodeWithSelector(ICordonGuard.RuleBreached.selector, 3, false, 2, false, 1));
        counter.act(uint8(ICordonGuard.Action.Deposit));
        eq(counter.count(), 0, "body undone");
    }

    function test_silence_refuses_risk_and_lets_repayment_and_settlement_pass() public {
        FailingGuard.Mode[6] memory silent = [
            FailingGuard.Mode.RevertForeign,
            FailingGuard.Mode.RevertEmpty,
            FailingGuard.Mode.BurnGas,
            FailingGuard.Mode.AnswerNothing,
            FailingGuard.Mode.AnswerShort,
            FailingGuard.Mode.Bomb
        ];
        for (uint256 i = 0; i < silent.length; i++) {
            guard.set(silent[i]);
            for (uint256 mood = 1; mood <= 3; mood++) {
                ARB_WASM.set(mood);
                _expectDeclaredAnswers(counter, true);
            }
        }
    }

    /// Whoever silences a guard that is alive, by memory, depth or gas, gets nothing past it but a repayment.
    function test_a_guard_that_is_silenced_but_alive_lets_only_repayment_pass() public {
        for (uint256 mode = uint256(FailingGuard.Mode.RevertForeign); mode <= uint256(FailingGuard.Mode.Bomb); mode++) {
            if (mode == uint256(FailingGuard.Mode.ExitBurnsGas)) continue;
            guard.set(FailingGuard.Mode(mode));
            _expectDeclaredAnswers(counter, false);
        }
        guard.set(FailingGuard.Mode.ExitBurnsGas);
        _expectDeclaredAnswers(counter, false);
        // A chain without Stylus tells nothing about life.
        vm.etch(address(ARB_WASM), "");
        _expectDeclaredAnswers(counter, false);
    }

    function test_silence_at_exit_has_the_same_answers() public {
        guard.set(FailingGuard.Mode.ExitBurnsGas);
        ARB_WASM.set(1);
        _expectDeclaredAnswers(counter, true);
    }

    function test_an_address_without_code_is_silent() public {
        ARB_WASM.set(3);
        _expectDeclaredAnswers(new Counter(address(0xDEAD)), true);
    }

    function test_a_hook_call_gets_capped_gas() public {
        counter.act(REPAY);
        ok(guard.gasAtEnter() <= 1_000_000, "capped");
        ok(guard.gasAtEnter() > 990_000, "and not starved");
    }

    function test_a_burnt_guard_costs_no_more_than_its_cap() public {
        guard.set(FailingGuard.Mode.BurnGas);
        uint256 before = gasleft();
        counter.act(REPAY);
        ok(before - gasleft() < 1_150_000, "cost bounded");
    }

    /// However little gas the caller sends, a body runs only when the guard was really asked.
    function testFuzz_gas_cannot_starve_the_guard(uint24 gas_) public {
        uint256 gasLimit = uint256(gas_) % 2_500_000;
        uint256 before = guard.exited();
        (bool success,) = address(counter).call{ gas: gasLimit }(abi.encodeCall(Counter.act, (REPAY)));
        eq(counter.count(), success ? 1 : 0, "body ran iff the call succeeded");
        eq(guard.exited() - before, counter.count(), "asked as often as the body ran");
    }

    function test_below_the_floor_the_call_says_so() public {
        (bool success, bytes memory answer) =
            address(counter).call{ gas: 500_000 }(abi.encodeCall(Counter.act, (REPAY)));
        ok(!success && bytes4(answer) == Guarded.GasBelowFloor.selector, "floor named");
    }

    function _expectDeclaredAnswers(Counter target, bool dead) private {
        for (uint8 action = 0; action < ACTIONS; action++) {
            uint256 before = target.count();
            bool passes = action == REPAY || (dead && action == SETTLE);
            if (!passes) vm.expectRevert(abi.encodeWithSelector(Guarded.GuardSilent.selector, action));
            target.act(action);
            eq(target.count() - before, passes ? 1 : 0, "declared answer");
        }
    }
}
