// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { GuardBound } from "../../src/adapters/GuardBound.sol";
import { Freezer, Frozen } from "../../src/adapters/Freezer.sol";
import { IProxyAdmin, ProxyFreezer } from "../../src/adapters/ProxyFreezer.sol";
import { GuardStandIn, Real } from "./Real.sol";

contract Counter {
    uint256 public count;

    function add(uint256 by) external {
        count += by;
    }
}

contract MendedCounter {
    uint256 public count;

    function add(uint256) external {
        count += 1;
    }

    function isMended() external pure returns (bool) {
        return true;
    }
}

/// Against the published TransparentUpgradeableProxy and ProxyAdmin of OpenZeppelin 5.4.0.
contract ProxyFreezerTest is Real {
    bytes32 private constant ADMIN_SLOT = bytes32(uint256(keccak256("eip1967.proxy.admin")) - 1);
    bytes32 private constant CODE_SLOT = bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1);

    Counter private proxy;
    IProxyAdmin private admin;
    ProxyFreezer private freezer;
    Counter private code;
    address private guard;

    function setUp() public {
        code = new Counter();
        bytes memory arguments = abi.encode(address(code), address(this), bytes(""));
        proxy = Counter(real(string.concat(OZ, "TransparentUpgradeableProxy.json"), arguments));
        admin = IProxyAdmin(address(uint160(uint256(files.load(address(proxy), ADMIN_SLOT)))));
        freezer = new ProxyFreezer(address(this), admin, address(proxy), address(this));
        guard = address(new GuardStandIn());
        freezer.bind(guard);
        admin.transferOwnership(address(freezer));
        proxy.add(5);
    }

    function _behind() private view returns (address) {
        return address(uint160(uint256(files.load(address(proxy), CODE_SLOT))));
    }

    function test_the_guard_freezes_and_thaws_and_storage_stays() public {
        freezer.upgrade(address(code), "");
        vm.prank(guard);
        freezer.freeze();
        ok(freezer.frozen() && Frozen(payable(address(proxy))).isFrozen(), "frozen");
        vm.prank(guard);
        vm.expectRevert(Freezer.AlreadyFrozen.selector);
        freezer.freeze();
        vm.expectRevert(abi.encodeWithSelector(Frozen.ContractFrozen.selector, Counter.add.selector));
        proxy.add(1);
        (bool took,) = address(proxy).call{ value: 1 }("");
        ok(!took, "no ether comes in");
        vm.prank(guard);
        freezer.thaw();
        proxy.add(1);
        eq(proxy.count(), 6, "count");
    }

    function test_attack_nobody_but_the_guard_freezes_or_thaws() public {
        freezer.upgrade(address(code), "");
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        freezer.freeze();
        vm.prank(guard);
        freezer.freeze();
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        freezer.thaw();
    }

    function test_attack_a_stolen_guard_puts_no_code_of_its_own_there() public {
        freezer.upgrade(address(code), "");
        vm.startPrank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotOwner.selector, guard));
        freezer.upgrade(address(this), "");
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotOwner.selector, guard));
        freezer.handBack(guard);
        vm.expectRevert();
        admin.upgradeAndCall(address(proxy), address(this), "");
        vm.stopPrank();
        ok(_behind() == address(code), "the same code");
    }

    function test_attack_thawing_does_not_bring_the_broken_code_back() public {
        freezer.upgrade(address(code), "");
        vm.prank(guard);
        freezer.freeze();
        address mended = address(new MendedCounter());
        freezer.upgrade(mended, "");
        ok(_behind() == mended, "mended at once");
        vm.prank(guard);
        vm.expectRevert(Freezer.NotFrozen.selector);
        freezer.thaw();
        vm.warp(block.timestamp + 7 days);
        vm.startPrank(guard);
        freezer.freeze();
        freezer.thaw();
        vm.stopPrank();
        ok(_behind() == mended, "thawed to what the owner put there");
    }

    function test_attack_mended_code_is_not_frozen_again_by_retrying() public {
        freezer.upgrade(address(code), "");
        vm.prank(guard);
        freezer.freeze();
        address mended = address(new MendedCounter());
        freezer.upgrade(mended, "");
        uint256 until = block.timestamp + 7 days;
        // What anybody's `retryContainment` makes the guard do.
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.JustMended.selector, until));
        freezer.freeze();
        vm.warp(until - 1);
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.JustMended.selector, until));
        freezer.freeze();
        ok(_behind() == mended, "mended it stays");
        vm.warp(until);
        vm.prank(guard);
        freezer.freeze();
        ok(freezer.frozen(), "for the next incident");
    }

    function test_an_upgrade_of_a_proxy_that_is_not_frozen_rests_nothing() public {
        freezer.upgrade(address(code), "");
        freezer.upgrade(address(new MendedCounter()), "");
        vm.prank(guard);
        freezer.freeze();
        ok(freezer.frozen(), "frozen at once");
    }

    function test_nothing_is_frozen_that_could_not_be_thawed() public {
        vm.prank(guard);
        vm.expectRevert(Freezer.ImplementationUnknown.selector);
        freezer.freeze();
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotAnImplementation.selector, address(0x12)));
        freezer.upgrade(address(0x12), "");
    }

    function test_attack_the_role_goes_to_nobody_who_could_not_use_it() public {
        vm.expectRevert(abi.encodeWithSelector(Freezer.BadNewOwner.selector, address(0)));
        freezer.handBack(address(0));
        vm.expectRevert(abi.encodeWithSelector(Freezer.BadNewOwner.selector, address(freezer)));
        freezer.handBack(address(freezer));
        address frozen = freezer.frozenCode();
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotAnImplementation.selector, frozen));
        freezer.upgrade(frozen, "");
        ok(freezer.handedBackTo() == address(0) && admin.owner() == address(freezer), "held still");
    }

    function test_the_owner_takes_the_admin_back_even_while_frozen() public {
        freezer.upgrade(address(code), "");
        vm.prank(guard);
        freezer.freeze();
        freezer.handBack(address(0xFACE));
        ok(admin.owner() == address(0xFACE), "owner");
        ok(_behind() == address(code), "thawed");
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.AlreadyHandedBack.selector, address(0xFACE)));
        freezer.freeze();
    }
}
