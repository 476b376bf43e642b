// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { IArbWasm } from "../src/Guarded.sol";
import { ICordonGuard } from "../src/ICordonGuard.sol";

/// The few cheat codes these tests need.
interface Vm {
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function expectRevert(bytes calldata data) external;
    function expectRevert(bytes4 selector) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectRevert() external;
    function assume(bool condition) external;
    function warp(uint256 timestamp) external;
    function etch(address target, bytes calldata code) external;
}

abstract contract Checks {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    error Differs(string what, uint256 actual, uint256 expected);
    error Fails(string what);

    function eq(uint256 actual, uint256 expected, string memory what) internal pure {
        if (actual != expected) revert Differs(what, actual, expected);
    }

    function ok(bool condition, string memory what) internal pure {
        if (!condition) revert Fails(what);
    }
}

/// A guard that can fail in every way a real one can, and otherwise answers what it is told to.
/// It knows one rule: with `tolerance` set, the caller's share price may move by that many bps within a call.
contract FailingGuard {
    enum Mode {
        Answer,
        Refuse,
        RefuseAtExit,
        RevertForeign,
        RevertEmpty,
        BurnGas,
        AnswerNothing,
        AnswerShort,
        ExitBurnsGas,
        Bomb,
        Starved,
        NotAnnounced,
        AnnouncementPending,
        NotRegistered,
        BadScope
    }

    Mode public mode;
    uint256 public tolerance;
    uint256 public entered;
    uint256 public exited;
    uint256 public gasAtEnter;
    uint24 public lastScopes;
    uint8 public lastAction;
    address public lastAsset;
    uint256 public lastAmount;
    address public lastAccount;
    uint256 private priceAtEntry;

    error SomethingElse();

    function set(Mode mode_) external {
        mode = mode_;
    }

    function setTolerance(uint256 bps) external {
        tolerance = bps;
    }

    function enter(uint24 scopes, uint8 action, address asset, uint256 amount, address account)
        external
        returns (uint256 ticket)
    {
        uint256 left = gasleft();
        if (mode == Mode.Refuse) {
            revert ICordonGuard.ActionClosed(uint8(scopes), ICordonGuard.Level.ReduceOnly, action);
        }
        _fail();
        gasAtEnter = left;
        entered += 1;
        (lastScopes, lastAction, lastAsset, lastAmount, lastAccount) = (scopes, action, asset, amount, account);
        if (tolerance != 0) priceAtEntry = _price();
        return 7;
    }

    function exit(uint256 ticket) external {
        if (ticket != 7) revert ICordonGuard.BadTicket(ticket);
        if (mode == Mode.RefuseAtExit) revert ICordonGuard.RuleBreached(3, false, 2, false, 1);
        if (mode == Mode.ExitBurnsGas) _burn();
        exited += 1;
        if (tolerance == 0 || IShares(msg.sender).totalSupply() == 0) return;
        uint256 price = _price();
        uint256 gap = price > priceAtEntry ? price - priceAtEntry : priceAtEntry - price;
        uint256 larger = price > priceAtEntry ? price : priceAtEntry;
        if (gap * 10_000 > larger * tolerance) revert ICordonGuard.RuleBreached(0, false, price, false, priceAtEntry);
    }

    function _price() private view returns (uint256) {
        return IShares(msg.sender).convertToAssets(1e18);
    }

    function _fail() private view {
        if (mode == Mode.RevertForeign) revert SomethingElse();
        if (mode == Mode.Starved) revert ICordonGuard.OutOfGasFloor(314_761, 55_606);
        if (mode == Mode.NotAnnounced) revert ICordonGuard.NotAnnounced(bytes32(uint256(1)));
        if (mode == Mode.AnnouncementPending) revert ICordonGuard.AnnouncementPending(bytes32(uint256(1)), 2);
        if (mode == Mode.NotRegistered) revert ICordonGuard.NotRegistered(msg.sender);
        if (mode == Mode.BadScope) revert ICordonGuard.BadScope(3, 3);
        if (mode == Mode.RevertEmpty) {
            assembly {
                revert(0, 0)
            }
        }
        if (mode == Mode.BurnGas) _burn();
        if (mode == Mode.AnswerNothing) {
            assembly {
                return(0, 0)
            }
        }
        if (mode == Mode.AnswerShort) {
            assembly {
                return(0, 31)
            }
        }
        if (mode == Mode.Bomb) {
            assembly {
                revert(0, 200000)
            }
        }
    }

    function _burn() private pure {
        assembly {
            invalid()
        }
    }
}

/// ArbWasm in its four moods; put at its address with `vm.etch`.
contract LifeTeller {
    uint256 public mood;

    function set(uint256 mood_) external {
        mood = mood_;
    }

    function programTimeLeft(address) external view returns (uint64) {
        if (mood == 1) revert IArbWasm.ProgramExpired(31_536_001);
        if (mood == 2) revert IArbWasm.ProgramNeedsUpgrade(1, 2);
        if (mood == 3) revert IArbWasm.ProgramNotActivated();
        return 1;
    }
}

interface IShares {
    function totalSupply() external view returns (uint256);
    function convertToAssets(uint256 shares) external view returns (uint256);
}
