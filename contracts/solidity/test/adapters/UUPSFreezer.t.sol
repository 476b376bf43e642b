// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {
    AccessControl as Roles4
} from "../../../../scripts/npm/node_modules/openzeppelin-contracts-4/access/AccessControl.sol";
import {
    UUPSUpgradeable as UUPS4
} from "../../../../scripts/npm/node_modules/openzeppelin-contracts-4/proxy/utils/UUPSUpgradeable.sol";
import {
    UUPSUpgradeable as UUPS5
} from "../../../../scripts/npm/node_modules/@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import { Freezer, Frozen } from "../../src/adapters/Freezer.sol";
import { GuardBound } from "../../src/adapters/GuardBound.sol";
import { IRoles, IUUPS, UUPSFreezer } from "../../src/adapters/UUPSFreezer.sol";
import { GuardStandIn, Real } from "./Real.sol";

interface ICounter {
    function count() external view returns (uint256);
    function add(uint256 by) external;
}

/// OpenZeppelin 5.4.0, with an owner in its storage.
contract Counter5 is UUPS5 {
    address public owner;
    uint256 public count;
    uint256 public fee;

    modifier onlyOwner() {
        require(msg.sender == owner, "not the owner");
        _;
    }

    function initialize(address owner_) external {
        require(owner == address(0), "initialized");
        owner = owner_;
    }

    function transferOwnership(address newOwner) external virtual onlyOwner {
        owner = newOwner;
    }

    function setFee(uint256 fee_) external onlyOwner {
        fee = fee_;
    }

    function add(uint256 by) external virtual {
        count += by;
    }

    function _authorizeUpgrade(address) internal override onlyOwner { }
}

contract MendedCounter5 is Counter5 {
    function add(uint256) external override {
        count += 1;
    }
}

/// An owner is proposed, and accepts.
contract TwoSteps is Counter5 {
    address public pendingOwner;

    function transferOwnership(address newOwner) external override onlyOwner {
        pendingOwner = newOwner;
    }

    function acceptOwnership() external {
        require(msg.sender == pendingOwner, "not proposed");
        owner = msg.sender;
    }
}

contract SaysFrozen is Counter5 {
    function isFrozen() external pure returns (bool) {
        return true;
    }
}

/// Takes `upgradeTo` as it takes every call, and does nothing.
contract Swallows {
    bool private immutable WORDY;

    constructor(bool wordy) {
        WORDY = wordy;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        return WORDY ? abi.encode(1) : bytes("");
    }
}

/// OpenZeppelin 4.9.6, with a role that upgrades. Answers what it does not know, as some code of that age does.
contract Counter4 is UUPS4, Roles4 {
    bytes32 public constant UPGRADER = keccak256("UPGRADER_ROLE");

    uint256 public count;

    function initialize(address admin, address upgrader) external {
        require(getRoleAdmin(UPGRADER) == DEFAULT_ADMIN_ROLE && !hasRole(DEFAULT_ADMIN_ROLE, admin), "initialized");
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(UPGRADER, upgrader);
    }

    fallback() external { }

    function add(uint256 by) external {
        count += by;
    }

    function _authorizeUpgrade(address) internal override onlyRole(UPGRADER) { }
}

/// What both versions have to do. The proxies are the published ERC1967Proxy, the code behind them derives from the published sources: the
/// packages carry no UUPS implementation.
abstract contract UUPSFreezing is Real {
    bytes32 internal constant CODE_SLOT = bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1);

    address internal proxy;
    address internal code;
    UUPSFreezer internal freezer;
    address internal guard;

    function _bind() internal {
        guard = address(new GuardStandIn());
        freezer.bind(guard);
        ICounter(proxy).add(5);
    }

    function _behind() internal view returns (address) {
        return address(uint160(uint256(files.load(proxy, CODE_SLOT))));
    }

    function _freeze() internal {
        freezer.upgrade(code, "");
        vm.prank(guard);
        freezer.freeze();
    }

    function test_the_guard_freezes_and_thaws_and_storage_stays() public {
        ok(!freezer.frozen(), "not yet");
        _freeze();
        ok(freezer.frozen() && Frozen(payable(proxy)).isFrozen(), "frozen");
        vm.expectRevert(abi.encodeWithSelector(Frozen.ContractFrozen.selector, ICounter.add.selector));
        ICounter(proxy).add(1);
        (bool took,) = proxy.call{ value: 1 }("");
        ok(!took, "no ether comes in");
        vm.prank(guard);
        freezer.thaw();
        ICounter(proxy).add(1);
        eq(ICounter(proxy).count(), 6, "count");
        ok(!freezer.frozen() && _behind() == code, "the same code");
    }

    function test_attack_nobody_but_the_freezer_moves_a_frozen_proxy() public {
        _freeze();
        bytes memory refused = abi.encodeWithSelector(Frozen.ContractFrozen.selector, IUUPS.upgradeToAndCall.selector);
        address[3] memory others = [address(this), guard, address(0xBAD)];
        for (uint256 i; i < others.length; ++i) {
            vm.startPrank(others[i]);
            vm.expectRevert(refused);
            IUUPS(proxy).upgradeToAndCall(code, "");
            vm.expectRevert(abi.encodeWithSelector(Frozen.ContractFrozen.selector, IUUPS.upgradeTo.selector));
            IUUPS(proxy).upgradeTo(code);
            vm.stopPrank();
        }
        // Nor is the frozen code itself to be moved, or a proxy to be put behind a proxy.
        address frozen = freezer.frozenCode();
        vm.prank(address(freezer));
        vm.expectRevert(refused);
        IUUPS(frozen).upgradeToAndCall(code, "");
        vm.expectRevert(abi.encodeWithSelector(Frozen.ContractFrozen.selector, IUUPS.proxiableUUID.selector));
        IUUPS(proxy).proxiableUUID();
        ok(_behind() == frozen, "frozen still");
    }

    function test_attack_a_stolen_guard_puts_no_code_of_its_own_there() public {
        freezer.upgrade(code, "");
        vm.startPrank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotOwner.selector, guard));
        freezer.upgrade(address(this), "");
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotOwner.selector, guard));
        freezer.handBack(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.NotOwner.selector, guard));
        freezer.administer("");
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this)));
        freezer.freeze();
    }

    /// A frozen proxy takes no code that could never be changed again.
    function test_a_mistaken_upgrade_of_a_frozen_proxy_is_refused() public {
        _freeze();
        vm.expectRevert();
        freezer.upgrade(guard, "");
        ok(freezer.frozen() && _behind() == freezer.frozenCode(), "frozen still");
    }

    function test_code_that_is_mended_while_frozen_works_at_once_and_rests() public {
        _freeze();
        address mended = address(new MendedCounter5());
        // Other code than before, and of the newer version.
        freezer.upgrade(mended, abi.encodeCall(ICounter.add, (100)));
        ok(_behind() == mended, "mended at once");
        vm.startPrank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.JustMended.selector, block.timestamp + 7 days));
        freezer.freeze();
        vm.expectRevert(Freezer.NotFrozen.selector);
        freezer.thaw();
        vm.stopPrank();
    }

    function test_nothing_is_frozen_that_could_not_be_thawed() public {
        vm.prank(guard);
        vm.expectRevert(Freezer.ImplementationUnknown.selector);
        freezer.freeze();
    }
}

contract UUPSFreezer5Test is UUPSFreezing {
    function setUp() public {
        code = address(new Counter5());
        bytes memory start = abi.encodeCall(Counter5.initialize, (address(this)));
        proxy = real(string.concat(OZ, "ERC1967Proxy.json"), abi.encode(code, start));
        freezer = new UUPSFreezer(address(this), proxy, address(this), 0);
        Counter5(proxy).transferOwnership(address(freezer));
        _bind();
    }

    function test_the_owner_uses_its_other_powers_through_the_freezer() public {
        freezer.administer(abi.encodeCall(Counter5.setFee, (7)));
        eq(Counter5(proxy).fee(), 7, "fee");
        bytes memory around = abi.encodeCall(IUUPS.upgradeToAndCall, (code, bytes("")));
        vm.expectRevert(abi.encodeWithSelector(UUPSFreezer.NotByAdminister.selector, IUUPS.upgradeToAndCall.selector));
        freezer.administer(around);
    }

    function test_the_owner_takes_the_ownership_back_even_while_frozen() public {
        _freeze();
        freezer.handBack(address(0xFACE));
        ok(Counter5(proxy).owner() == address(0xFACE), "owner");
        ok(_behind() == code, "thawed");
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.AlreadyHandedBack.selector, address(0xFACE)));
        freezer.freeze();
    }

    /// Where ownership takes two steps the freezer has it until the second; its guard has no use of it any more.
    function test_attack_a_stolen_guard_does_not_freeze_between_the_two_steps() public {
        freezer.upgrade(address(new TwoSteps()), "");
        freezer.handBack(address(0xFACE));
        ok(Counter5(proxy).owner() == address(freezer), "not accepted yet");
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.AlreadyHandedBack.selector, address(0xFACE)));
        freezer.freeze();
        // Named by mistake: the owner names another, and upgrades in the meantime.
        freezer.upgrade(address(new TwoSteps()), "");
        freezer.handBack(address(0xF00D));
        vm.prank(address(0xF00D));
        TwoSteps(proxy).acceptOwnership();
        ok(Counter5(proxy).owner() == address(0xF00D), "accepted");
    }

    /// Code may have a word of its own for being frozen, and be mended all the same.
    function test_code_that_calls_itself_frozen_is_not_taken_for_the_frozen_code() public {
        address code_ = address(new SaysFrozen());
        freezer.upgrade(code_, "");
        ok(!freezer.frozen(), "not by the guard");
        vm.startPrank(guard);
        freezer.freeze();
        ok(freezer.frozen(), "by the guard");
        freezer.thaw();
        vm.stopPrank();
        ok(!freezer.frozen() && _behind() == code_, "thawed");
    }
}

contract UUPSFreezer4Test is UUPSFreezing {
    function setUp() public {
        code = address(new Counter4());
        proxy = real(string.concat(OZ4, "ERC1967Proxy.json"), abi.encode(code, bytes("")));
        bytes32 role = Counter4(proxy).UPGRADER();
        freezer = new UUPSFreezer(address(this), proxy, address(this), role);
        Counter4(proxy).initialize(address(this), address(freezer));
        _bind();
    }

    function test_the_freezer_gives_its_role_up_even_while_frozen() public {
        // While it is frozen its admin grants nothing.
        Counter4(proxy).grantRole(Counter4(proxy).UPGRADER(), address(0xFACE));
        _freeze();
        freezer.handBack(address(0xFACE));
        ok(!Counter4(proxy).hasRole(Counter4(proxy).UPGRADER(), address(freezer)), "role");
        ok(_behind() == code, "thawed");
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.AlreadyHandedBack.selector, address(0xFACE)));
        freezer.freeze();
    }

    /// With the last holder of the role gone nobody could upgrade the proxy, ever.
    function test_attack_the_role_is_not_let_go_before_the_next_has_it() public {
        bytes32 role = Counter4(proxy).UPGRADER();
        _freeze();
        vm.expectRevert(abi.encodeWithSelector(UUPSFreezer.NewOwnerLacksRole.selector, role, address(0xFACE)));
        freezer.handBack(address(0xFACE));
        // Nor given to the freezer itself, which would then renounce it.
        vm.expectRevert(abi.encodeWithSelector(Freezer.BadNewOwner.selector, address(freezer)));
        freezer.handBack(address(freezer));
        vm.expectRevert(abi.encodeWithSelector(Freezer.BadNewOwner.selector, address(0)));
        freezer.handBack(address(0));
        ok(freezer.frozen() && freezer.handedBackTo() == address(0), "as before");
        vm.prank(guard);
        freezer.thaw();
        ok(Counter4(proxy).hasRole(role, address(freezer)), "role");
    }

    /// Also when the freezer may grant itself the role again.
    function test_attack_a_stolen_guard_does_not_freeze_after_handing_back() public {
        Counter4(proxy).grantRole(0, address(freezer));
        freezer.upgrade(code, "");
        freezer.handBack(address(0xFACE));
        bytes32 role = Counter4(proxy).UPGRADER();
        freezer.administer(abi.encodeCall(IRoles.grantRole, (role, address(freezer))));
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(Freezer.AlreadyHandedBack.selector, address(0xFACE)));
        freezer.freeze();
    }

    /// Code that takes every call takes `upgradeTo` too, and the proxy runs on.
    function test_attack_a_proxy_that_did_not_follow_does_not_pass_for_frozen() public {
        for (uint256 i; i < 2; ++i) {
            address swallows = address(new Swallows(i == 1));
            address deaf = real(string.concat(OZ4, "ERC1967Proxy.json"), abi.encode(swallows, bytes("")));
            UUPSFreezer powerless = new UUPSFreezer(address(this), deaf, address(this), 0);
            powerless.bind(guard);
            powerless.upgrade(code, "");
            address frozen = powerless.frozenCode();
            vm.prank(guard);
            vm.expectRevert(abi.encodeWithSelector(Freezer.ProxyDidNotFollow.selector, frozen, address(0)));
            powerless.freeze();
            ok(!powerless.frozen(), "not frozen");
        }
    }

    function test_the_next_upgrader_gets_the_role_where_the_freezer_may_grant_it() public {
        Counter4(proxy).grantRole(0, address(freezer));
        freezer.handBack(address(0xFACE));
        ok(Counter4(proxy).hasRole(Counter4(proxy).UPGRADER(), address(0xFACE)), "role");
    }
}
