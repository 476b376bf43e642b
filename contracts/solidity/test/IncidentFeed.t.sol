// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { ICordonGuard } from "../src/ICordonGuard.sol";
import { INoticeReceiver, IncidentFeed } from "../src/IncidentFeed.sol";
import { GuardStandIn } from "./adapters/Real.sol";
import { Checks } from "./Support.sol";

contract Lender is INoticeReceiver {
    IncidentFeed private immutable feed;
    IncidentFeed.Notice public notice;
    ICordonGuard.Level public level;
    uint256 public told;
    bool public failing;

    constructor(IncidentFeed feed_) {
        feed = feed_;
    }

    function subscribe(address guard, uint8 scope, bool active) external {
        feed.subscribe(guard, scope, 15 minutes, active);
    }

    function fail(bool failing_) external {
        failing = failing_;
    }

    function onNotice(address, uint8, IncidentFeed.Status calldata status) external {
        require(msg.sender == address(feed) && !failing);
        (notice, level) = (status.notice, status.level);
        told += 1;
    }
}

/// Answers whatever is asked with `word`, `size` times.
contract Babbler {
    uint256 private immutable word;
    uint256 private immutable size;

    constructor(uint256 word_, uint256 size_) {
        (word, size) = (word_, size_);
    }

    fallback() external {
        uint256 word_ = word;
        uint256 size_ = size;
        assembly {
            for { let i := 0 } lt(i, size_) { i := add(i, 1) } { mstore(mul(i, 32), word_) }
            return(0, mul(size_, 32))
        }
    }
}

/// Tells one level of the whole protocol and another of every scope.
contract StepGuard {
    ICordonGuard.Level private whole;
    ICordonGuard.Level private own;

    function set(ICordonGuard.Level whole_, ICordonGuard.Level own_) external {
        (whole, own) = (whole_, own_);
    }

    function lastHeartbeat() external pure returns (uint64) {
        return 1;
    }

    function scopeStatus(uint8 scope) external view returns (ICordonGuard.ScopeStatus memory status) {
        status.level = scope == 0 ? whole : own;
    }

    function levelOf(uint8 scope) external view returns (ICordonGuard.Level) {
        return scope != 0 && _rank(own) > _rank(whole) ? own : whole;
    }

    function _rank(ICordonGuard.Level level) private pure returns (uint256) {
        if (level == ICordonGuard.Level.Normal) return 0;
        return level == ICordonGuard.Level.Grace ? 1 : 1 + uint256(level);
    }
}

/// Halted, and uses the gas of reading 256 slots and more before it says so, as the guard with the most containment calls in force.
contract BusyGuard {
    function scopeStatus(uint8) external view returns (ICordonGuard.ScopeStatus memory status) {
        uint256 given = gasleft();
        while (given - gasleft() < 750_000) { }
        status.level = ICordonGuard.Level.Halted;
    }

    function lastHeartbeat() external pure returns (uint64) {
        return 1;
    }
}

contract IncidentFeedTest is Checks {
    IncidentFeed private feed;
    GuardStandIn private guard;
    Lender private lender;

    function setUp() public {
        vm.warp(1_700_000_000);
        feed = new IncidentFeed();
        guard = new GuardStandIn();
        guard.setHeartbeat(uint64(block.timestamp));
        lender = new Lender(feed);
        lender.subscribe(address(guard), 4, true);
    }

    function _notice(uint64 maxAge) private view returns (uint256) {
        return uint256(feed.statusOf(address(guard), 4, maxAge).notice);
    }

    function test_a_calm_guard_is_calm_as_long_as_its_keeper_lives() public {
        eq(_notice(15 minutes), uint256(IncidentFeed.Notice.Calm), "calm");
        feed.requireCalm(address(guard), 4, 15 minutes);
        vm.warp(block.timestamp + 15 minutes + 1);
        eq(_notice(15 minutes), uint256(IncidentFeed.Notice.Stale), "stale");
        eq(_notice(0), uint256(IncidentFeed.Notice.Calm), "who does not care for heartbeats");
        vm.expectPartialRevert(IncidentFeed.NotCalm.selector);
        feed.requireCalm(address(guard), 4, 15 minutes);
        guard.setHeartbeat(0);
        eq(feed.statusOf(address(guard), 4, 1).heartbeatAge, type(uint64).max, "never a heartbeat");
    }

    function test_containment_is_told_with_its_incident() public {
        guard.setLevel(ICordonGuard.Level.ReduceOnly);
        IncidentFeed.Status memory status = feed.statusOf(address(guard), 4, 15 minutes);
        eq(uint256(status.notice), uint256(IncidentFeed.Notice.Contained), "notice");
        eq(uint256(status.level), uint256(ICordonGuard.Level.ReduceOnly), "level");
        eq(status.incident, 7, "incident");
        eq(status.since, block.timestamp, "since");
        vm.expectRevert(
            abi.encodeWithSelector(
                IncidentFeed.NotCalm.selector,
                address(guard),
                4,
                IncidentFeed.Notice.Contained,
                ICordonGuard.Level.ReduceOnly
            )
        );
        feed.requireCalm(address(guard), 4, 15 minutes);
    }

    function test_attack_what_is_no_guard_is_silent_and_never_calm() public {
        address[5] memory none = [
            address(0xDEAD),
            address(new Babbler(0, 4)),
            address(new Babbler(5, 7)),
            address(new Babbler(1 << 64, 7)),
            address(this)
        ];
        for (uint256 i = 0; i < none.length; ++i) {
            IncidentFeed.Status memory status = feed.statusOf(none[i], 0, 0);
            eq(uint256(status.notice), uint256(IncidentFeed.Notice.Silent), "silent");
            vm.expectRevert(abi.encodeWithSelector(IncidentFeed.GuardSilent.selector, none[i]));
            feed.levelOf(none[i], 0);
        }
    }

    function test_the_protocols_level_counts_in_every_scope() public {
        StepGuard stepped = new StepGuard();
        ICordonGuard.Level[4] memory levels = [
            ICordonGuard.Level.Normal, ICordonGuard.Level.Grace, ICordonGuard.Level.Throttled, ICordonGuard.Level.Halted
        ];
        for (uint256 own = 0; own < levels.length; ++own) {
            for (uint256 whole = 0; whole < levels.length; ++whole) {
                stepped.set(levels[whole], levels[own]);
                uint256 stricter = uint256(levels[own > whole ? own : whole]);
                eq(uint256(feed.levelOf(address(stepped), 3)), stricter, "the stricter of the two");
                eq(uint256(feed.statusOf(address(stepped), 3, 0).level), stricter, "and so in the status");
                eq(uint256(feed.levelOf(address(stepped), 0)), uint256(levels[whole]), "the protocol's own");
            }
        }
    }

    function test_attack_a_guard_with_many_calls_in_force_is_not_silent() public {
        address busy = address(new BusyGuard());
        eq(uint256(feed.statusOf(busy, 4, 0).notice), uint256(IncidentFeed.Notice.Contained), "contained");
        for (uint256 gas_ = 100_000; gas_ < 3_000_000; gas_ += 100_000) {
            (bool done, bytes memory answer) =
                address(feed).staticcall{ gas: gas_ }(abi.encodeCall(IncidentFeed.statusOf, (busy, 0, 0)));
            bool told = done && abi.decode(answer, (IncidentFeed.Status)).notice == IncidentFeed.Notice.Contained;
            ok(told || bytes4(answer) == IncidentFeed.GasBelowFloor.selector, "starved, it says so");
        }
    }

    function test_attack_gas_does_not_make_a_guard_silent() public view {
        (bool done, bytes memory answer) =
            address(feed).staticcall{ gas: 200_000 }(abi.encodeCall(IncidentFeed.statusOf, (address(guard), 4, 0)));
        ok(!done, "refused");
        ok(bytes4(answer) == IncidentFeed.GasBelowFloor.selector, "with the named error");
        bytes memory question = abi.encodeCall(IncidentFeed.levelOf, (address(guard), 4));
        for (uint256 gas_ = 10_000; gas_ < 400_000; gas_ += 10_000) {
            (done, answer) = address(feed).staticcall{ gas: gas_ }(question);
            ok(done || bytes4(answer) != IncidentFeed.GuardSilent.selector, "never the guard's fault");
        }
    }

    function test_attack_only_the_governor_says_what_a_scope_covers() public {
        feed.cover(address(guard), address(0xABC), 4);
        eq(uint256(feed.statusOfContract(address(guard), address(0xABC), 0).notice), 0, "calm");
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(IncidentFeed.NotGovernor.selector, address(guard), address(0xBAD)));
        feed.cover(address(guard), address(0xDEF), 4);
        feed.uncover(address(guard), address(0xABC));
        vm.expectRevert(abi.encodeWithSelector(IncidentFeed.NotCovered.selector, address(guard), address(0xABC)));
        feed.statusOfContract(address(guard), address(0xABC), 0);
    }

    function test_anyone_pushes_a_change_and_nothing_but_a_change() public {
        bytes memory nothing =
            abi.encodeWithSelector(IncidentFeed.NothingNew.selector, address(lender), address(guard), 4);
        vm.expectRevert(nothing);
        feed.notify(address(lender), address(guard), 4);
        guard.setLevel(ICordonGuard.Level.Halted);
        vm.prank(address(0x99));
        feed.notify(address(lender), address(guard), 4);
        eq(uint256(lender.level()), uint256(ICordonGuard.Level.Halted), "level");
        vm.expectRevert(nothing);
        feed.notify(address(lender), address(guard), 4);
        guard.setLevel(ICordonGuard.Level.Normal);
        feed.notify(address(lender), address(guard), 4);
        eq(uint256(lender.notice()), uint256(IncidentFeed.Notice.Calm), "calm again");
        eq(lender.told(), 2, "told");
    }

    function test_attack_a_receiver_that_fails_is_told_later_and_harms_nobody() public {
        guard.setLevel(ICordonGuard.Level.Halted);
        lender.fail(true);
        vm.expectRevert(abi.encodeWithSelector(IncidentFeed.ReceiverFailed.selector, address(lender)));
        feed.notify(address(lender), address(guard), 4);
        lender.fail(false);
        feed.notify(address(lender), address(guard), 4);
        eq(lender.told(), 1, "told");
        lender.subscribe(address(guard), 4, false);
        vm.expectRevert(abi.encodeWithSelector(IncidentFeed.NotSubscribed.selector, address(lender), address(guard), 4));
        feed.notify(address(lender), address(guard), 4);
    }
}
