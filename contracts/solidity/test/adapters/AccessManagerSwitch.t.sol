// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { AccessManagerSwitch, IAccessManager } from "../../src/adapters/AccessManagerSwitch.sol";
import { GuardBound } from "../../src/adapters/GuardBound.sol";
import { GuardStandIn, Real } from "./Real.sol";

interface IManager is IAccessManager {
    function grantRole(uint64 role, address account, uint32 delay) external;
    function revokeRole(uint64 role, address account) external;
    function hasRole(uint64 role, address account) external view returns (bool, uint32);
    function canCall(address caller, address target, bytes4 selector) external view returns (bool, uint32);
    function setTargetFunctionRole(address target, bytes4[] calldata selectors, uint64 role) external;
}

/// Against the published AccessManager of OpenZeppelin 5.4.0.
contract AccessManagerSwitchTest is Real {
    address private constant MARKET = address(0xA11CE);
    address private constant OTHER = address(0xB0B);
    address private constant TRADER = address(0x7);
    bytes4 private constant TRADE = 0x12345678;
    uint64 private constant TRADERS = 5;

    IManager private manager;
    AccessManagerSwitch private lever;
    address private guard;

    function setUp() public {
        manager = IManager(real(string.concat(OZ, "AccessManager.json"), abi.encode(address(this))));
        guard = address(new GuardStandIn());
        address[] memory targets = new address[](1);
        targets[0] = MARKET;
        lever = new AccessManagerSwitch(address(this), manager, targets);
        manager.grantRole(0, address(lever), 0);
        manager.grantRole(TRADERS, TRADER, 0);
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = TRADE;
        manager.setTargetFunctionRole(MARKET, selectors, TRADERS);
        manager.setTargetFunctionRole(OTHER, selectors, TRADERS);
    }

    function _canTrade(address target) private view returns (bool can) {
        (can,) = manager.canCall(TRADER, target, TRADE);
    }

    function test_the_guard_closes_the_target_and_opens_it_again() public {
        lever.bind(guard);
        ok(_canTrade(MARKET), "open at first");
        vm.prank(guard);
        lever.close(MARKET);
        ok(!_canTrade(MARKET) && lever.isClosed(MARKET), "closed");
        ok(_canTrade(OTHER), "the other target goes on");
        vm.prank(guard);
        lever.open(MARKET);
        ok(_canTrade(MARKET) && !lever.isClosed(MARKET), "open again");
    }

    function test_attack_nobody_but_the_guard_moves_it() public {
        lever.bind(guard);
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        lever.close(MARKET);
        vm.prank(guard);
        lever.close(MARKET);
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        lever.open(MARKET);
    }

    function test_attack_a_stolen_guard_closes_no_other_target() public {
        lever.bind(guard);
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(AccessManagerSwitch.UnknownTarget.selector, OTHER));
        lever.close(OTHER);
        address[] memory targets = new address[](1);
        targets[0] = address(manager);
        vm.expectRevert(abi.encodeWithSelector(AccessManagerSwitch.BadTarget.selector, address(manager)));
        new AccessManagerSwitch(address(this), manager, targets);
    }

    function test_attack_a_stolen_guard_opens_nothing_that_the_admin_had_closed() public {
        lever.bind(guard);
        manager.setTargetClosed(MARKET, true);
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(AccessManagerSwitch.AlreadyClosed.selector, MARKET));
        lever.close(MARKET);
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(AccessManagerSwitch.NotClosedHere.selector, MARKET));
        lever.open(MARKET);
        ok(lever.isClosed(MARKET), "still closed");
    }

    function test_the_admin_takes_the_role_back_at_any_time() public {
        lever.bind(guard);
        vm.prank(guard);
        lever.close(MARKET);
        manager.revokeRole(0, address(lever));
        manager.setTargetClosed(MARKET, false);
        vm.prank(guard);
        vm.expectRevert();
        lever.close(MARKET);
        ok(_canTrade(MARKET), "open");
    }

    function test_attack_binding_is_once_and_the_binders() public {
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotBinder.selector, address(0xBAD)));
        lever.bind(guard);
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotAContract.selector, address(0x1234)));
        lever.bind(address(0x1234));
        lever.bind(guard);
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotBinder.selector, address(this)));
        lever.bind(guard);
    }
}
