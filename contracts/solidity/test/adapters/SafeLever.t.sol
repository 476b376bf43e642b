// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { GuardBound } from "../../src/adapters/GuardBound.sol";
import { ISafeModules, SafeLever } from "../../src/adapters/SafeLever.sol";
import { GuardStandIn } from "./Real.sol";
import { IRealSafe, SafeSupport } from "./SafeSupport.sol";

interface IPausableToken {
    function grantRole(bytes32 role, address account) external;
    function renounceRole(bytes32 role, address account) external;
    function revokeRole(bytes32 role, address account) external;
    function pause() external;
    function unpause() external;
    function paused() external view returns (bool);
}

/// The published Safe 1.4.1 holds PAUSER_ROLE of OpenZeppelin's published ERC20PresetMinterPauser (4.9.6).
contract SafeLeverTest is SafeSupport {
    bytes32 private constant PAUSER = keccak256("PAUSER_ROLE");

    IPausableToken private token;
    SafeLever private lever;
    address private guard;

    function setUp() public {
        makeSafe();
        token = IPausableToken(real(string.concat(OZ4, "ERC20PresetMinterPauser.json"), abi.encode("Token", "TOK")));
        token.grantRole(PAUSER, address(safe));
        token.renounceRole(PAUSER, address(this));
        lever = _lever(address(token), abi.encodeCall(IPausableToken.pause, ()));
        guard = address(new GuardStandIn());
        lever.bind(guard);
        execute(address(safe), 0, abi.encodeCall(IRealSafe.enableModule, (address(lever))), 0);
    }

    function _lever(address target, bytes memory closing) private returns (SafeLever) {
        bytes memory opening = abi.encodeCall(IPausableToken.unpause, ());
        return new SafeLever(address(this), ISafeModules(address(safe)), target, closing, opening);
    }

    function test_the_guard_pauses_through_the_safe_and_takes_it_back() public {
        vm.prank(guard);
        lever.close();
        ok(token.paused() && lever.pulled(), "paused");
        vm.prank(guard);
        lever.open();
        ok(!token.paused() && !lever.pulled(), "unpaused");
    }

    function test_attack_nobody_but_the_guard_pulls_it() public {
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        lever.close();
        vm.prank(guard);
        lever.close();
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        lever.open();
    }

    function test_attack_the_lever_never_calls_the_safe_itself() public {
        bytes memory takeover = abi.encodeCall(IRealSafe.enableModule, (address(0xBAD)));
        vm.expectRevert(abi.encodeWithSelector(SafeLever.BadTarget.selector, address(safe)));
        _lever(address(safe), takeover);
    }

    function test_attack_a_stolen_guard_does_not_undo_what_it_did_not_do() public {
        execute(address(token), 0, abi.encodeCall(IPausableToken.pause, ()), 0);
        vm.prank(guard);
        vm.expectRevert(SafeLever.NotPulled.selector);
        lever.open();
        vm.prank(guard);
        vm.expectPartialRevert(SafeLever.CallFailed.selector);
        lever.close();
        ok(token.paused(), "the owners' pause stays");
    }

    function test_owners_who_open_by_hand_do_not_jam_the_lever() public {
        vm.prank(guard);
        lever.close();
        execute(address(token), 0, abi.encodeCall(IPausableToken.unpause, ()), 0);
        vm.prank(guard);
        lever.close();
        ok(token.paused(), "paused again");
        vm.prank(guard);
        lever.open();
        ok(!token.paused(), "and opened");
    }

    function test_the_owners_disable_it_at_any_time() public {
        bytes memory disable = abi.encodeCall(IRealSafe.disableModule, (address(1), address(lever)));
        execute(address(safe), 0, disable, 0);
        vm.prank(guard);
        vm.expectRevert();
        lever.close();
    }
}
