// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { Freezer, Frozen } from "../../src/adapters/Freezer.sol";
import { GuardBound } from "../../src/adapters/GuardBound.sol";
import { ProxyFreezer4 } from "../../src/adapters/ProxyFreezer4.sol";
import { Counter, MendedCounter } from "./ProxyFreezer.t.sol";
import { GuardStandIn, Real } from "./Real.sol";

/// What is used of OpenZeppelin's ProxyAdmin of 4.x: one for many proxies.
interface IProxyAdmin4 {
    function changeProxyAdmin(address proxy, address newAdmin) external;
    function upgrade(address proxy, address implementation) external;
}

/// Takes every call, and says of itself what only a proxy may say.
contract Yes {
    function implementation() external pure returns (address) {
        return address(0x1E5);
    }

    fallback() external payable { }
}

/// Against the published TransparentUpgradeableProxy and ProxyAdmin of OpenZeppelin 4.9.6.
contract ProxyFreezer4Test is Real {
    bytes32 private constant ADMIN_SLOT = bytes32(uint256(keccak256("eip1967.proxy.admin")) - 1);
    bytes32 private constant CODE_SLOT = bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1);

    IProxyAdmin4 private admin;
    Counter private proxy;
    Counter private other;
    ProxyFreezer4 private freezer;
    Counter private code;
    address private guard;

    function setUp() public {
        code = new Counter();
        admin = IProxyAdmin4(real(string.concat(OZ4, "ProxyAdmin.json"), ""));
        proxy = _proxy(address(code));
        other = _proxy(address(code));
        freezer = new ProxyFreezer4(address(this), address(proxy), address(this));
        guard = address(new GuardStandIn());
        freezer.bind(guard);
        admin.changeProxyAdmin(address(proxy), address(freezer));
        proxy.add(5);
    }

    function _proxy(address behind) private returns (Counter) {
        bytes memory arguments = abi.encode(behind, address(admin), bytes(""));
        return Counter(real(string.concat(OZ4, "TransparentUpgradeableProxy.json"), arguments));
    }

    function _slot(Counter at, bytes32 slot) private view returns (address) {
        return address(uint160(uint256(files.load(address(at), slot))));
    }

    function _freeze() private {
        vm.prank(guard);
        freezer.freeze();
    }

    function test_the_guard_freezes_and_thaws_one_proxy_of_an_admin_and_storage_stays() public {
        // The proxy tells what is behind it: no upgrade is needed first.
        ok(!freezer.frozen(), "not yet");
        _freeze();
        ok(freezer.frozen() && Frozen(payable(address(proxy))).isFrozen(), "frozen");
        vm.expectRevert(abi.encodeWithSelector(Frozen.ContractFrozen.selector, Counter.add.selector));
        proxy.add(1);
        (bool took,) = address(proxy).call{ value: 1 }("");
        ok(!took, "no ether comes in");
        other.add(1);
        vm.prank(guard);
        freezer.thaw();
        proxy.add(1);
        eq(proxy.count(), 6, "count");
        ok(_slot(proxy, CODE_SLOT) == address(code), "the same code");
    }

    function test_attack_nobody_but_the_guard_freezes_or_thaws() public {
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        freezer.freeze();
        _freeze();
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        freezer.thaw();
    }

    function test_attack_a_stolen_guard_puts_no_code_of_its_own_there() public {
        vm.startPrank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotOwner.selector, guard));
        freezer.upgrade(address(this), "");
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotOwner.selector, guard));
        freezer.handBack(guard);
        vm.stopPrank();
        ok(_slot(proxy, CODE_SLOT) == address(code), "the same code");
    }

    function test_attack_thawing_does_not_bring_the_broken_code_back() public {
        _freeze();
        address mended = address(new MendedCounter());
        freezer.upgrade(mended, "");
        ok(_slot(proxy, CODE_SLOT) == mended, "mended at once");
        uint256 until = block.timestamp + 7 days;
        vm.startPrank(guard);
        vm.expectRevert(Freezer.NotFrozen.selector);
        freezer.thaw();
        vm.expectRevert(abi.encodeWithSelector(Freezer.JustMended.selector, until));
        freezer.freeze();
        vm.warp(until);
        freezer.freeze();
        freezer.thaw();
        vm.stopPrank();
        ok(_slot(proxy, CODE_SLOT) == mended, "thawed to what the owner put there");
    }

    function test_an_upgrade_calls_the_new_code_when_there_is_something_to_say() public {
        freezer.upgrade(address(new MendedCounter()), abi.encodeCall(MendedCounter.add, (9)));
        eq(proxy.count(), 6, "added once, as the mended code does");
    }

    function test_the_owner_hands_the_proxy_back_even_while_frozen() public {
        _freeze();
        freezer.handBack(address(admin));
        ok(_slot(proxy, ADMIN_SLOT) == address(admin), "admin");
        ok(_slot(proxy, CODE_SLOT) == address(code), "thawed");
        admin.upgrade(address(proxy), address(new MendedCounter()));
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.AlreadyHandedBack.selector, address(admin)));
        freezer.freeze();
        ok(!freezer.frozen(), "it says so");
    }

    /// Whoever is not the admin is handed on to the code, and code that takes every call must not pass for frozen.
    function test_attack_a_freezer_without_the_role_does_not_say_that_it_has_frozen() public {
        Counter yes = _proxy(address(new Yes()));
        ProxyFreezer4 powerless = new ProxyFreezer4(address(this), address(yes), address(this));
        powerless.bind(guard);
        bytes4 why = Freezer.ProxyDidNotFollow.selector;
        address frozen = powerless.frozenCode();
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(why, frozen, address(0x1E5)));
        powerless.freeze();
        vm.expectRevert(abi.encodeWithSelector(why, address(code), address(0x1E5)));
        powerless.upgrade(address(code), "");
        ok(!powerless.frozen(), "not frozen");
    }
}
