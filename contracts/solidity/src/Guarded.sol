// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "./ICordonGuard.sol";

/// What is used of Arbitrum's ArbWasm precompile.
interface IArbWasm {
    error ProgramNotActivated();
    error ProgramNeedsUpgrade(uint16 version, uint16 stylusVersion);
    error ProgramExpired(uint64 ageInSeconds);

    function programTimeLeft(address program) external view returns (uint64 timeLeft);
}

/// @title What a Solidity protocol inherits to consult its guard around a function.
/// @notice `guarded` calls `enter` before the body and `exit` after it, with capped gas. A guard can do three things:
/// let pass, refuse (its revert is handed on), or not answer at all (expired program, burnt gas, empty or foreign answer). A repayment it
/// cannot stop by any of these.
/// Silence has causes, and the caller of the protocol can bring some of them about: memory of Stylus programs, which gets dearer the
/// more of it a transaction has open, depth, gas. So a guard that is silent and yet alive refuses all but repayment, which never closes.
/// Only when the chain itself says that the guard's program can no longer run (expired, or behind the chain's version: the same for
/// everybody, and mended by activating it again) does every action get its declared answer: what adds risk is refused, what settles
/// risk passes.
abstract contract Guarded {
    /// The guard did not answer and `action` is not among those that pass in its absence.
    error GuardSilent(ICordonGuard.Action action);
    /// Less gas is left than a hook call needs. Without this floor a caller could starve the guard into silence.
    error GasBelowFloor(uint256 needed, uint256 left);

    /// Gas of a hook call unless the protocol overrides `_guardGas`; an expired program burns at most this much.
    uint256 private constant DEFAULT_GUARD_GAS = 1_000_000;

    /// Gas that is kept for the protocol's own work, and for asking after the guard's life, on top of the guard's share.
    uint256 private constant RESERVE = 100_000;

    /// Arbitrum's precompile that knows whether programs can run.
    uint256 private constant ARB_WASM = 0x71;

    /// Gas for asking it.
    uint256 private constant LIFE_GAS = 50_000;

    /// Consults the guard before and after the function's body. `scopes` packs up to three scope ids, one per byte.
    modifier guarded(uint24 scopes, ICordonGuard.Action action, address asset, uint256 amount, address account) {
        uint256 ticket = _enter(scopes, action, asset, amount, account);
        _;
        _exit(ticket, action);
    }

    /// The guard to ask; the zero address switches the hooks off. Prefer an immutable: a hook pair reads it twice.
    function _guard() internal view virtual returns (address);

    /// Most gas that one hook call may use.
    function _guardGas() internal view virtual returns (uint256) {
        return DEFAULT_GUARD_GAS;
    }

    /// Whether `action` goes ahead when the guard can no longer run. Override only to be stricter.
    function _passesWhenSilent(ICordonGuard.Action action) internal view virtual returns (bool) {
        return action == ICordonGuard.Action.Repay || action == ICordonGuard.Action.Settle;
    }

    /// @return ticket what `_exit` must be given; 0 when nothing is checked afterwards.
    function _enter(uint24 scopes, ICordonGuard.Action action, address asset, uint256 amount, address account)
        internal
        returns (uint256 ticket)
    {
        address guard = _guard();
        if (guard == address(0)) return 0;
        bytes memory request = abi.encodeCall(ICordonGuard.enter, (scopes, uint8(action), asset, amount, account));
        (bool answered, uint256 word) = _ask(guard, action, request, 32);
        if (answered) return word;
        _requireDeclared(guard, action);
    }

    /// Hands `ticket` back, which makes the guard check the rules that are hooked to the action.
    function _exit(uint256 ticket, ICordonGuard.Action action) internal {
        if (ticket == 0) return;
        address guard = _guard();
        (bool answered,) = _ask(guard, action, abi.encodeCall(ICordonGuard.exit, (ticket)), 0);
        if (!answered) _requireDeclared(guard, action);
    }

    /// Reverts unless `action` passes although `guard` did not answer.
    function _requireDeclared(address guard, ICordonGuard.Action action) private view {
        if (!_passesWhenSilent(action)) revert GuardSilent(action);
        if (action != ICordonGuard.Action.Repay && !_cannotRun(guard)) revert GuardSilent(action);
    }

    /// Whether the chain says that the guard's program cannot run, for whoever calls it. Any other answer, or none, says no.
    function _cannotRun(address guard) private view returns (bool) {
        bytes memory request = abi.encodeCall(IArbWasm.programTimeLeft, (guard));
        bool ok;
        bytes32 word;
        uint256 size;
        assembly ("memory-safe") {
            ok := staticcall(LIFE_GAS, ARB_WASM, add(request, 32), mload(request), 0, 32)
            size := returndatasize()
            word := mload(0)
        }
        bytes4 why = bytes4(word);
        return !ok && size >= 4
            && (why == IArbWasm.ProgramExpired.selector
                || why == IArbWasm.ProgramNeedsUpgrade.selector
                || why == IArbWasm.ProgramNotActivated.selector);
    }

    /// Calls the guard with capped gas and looks at no more of its answer than there is to know.
    /// @return answered false when the guard was silent, or refused a repayment; any other refusal does not return.
    /// @return word first word of the answer.
    function _ask(address guard, ICordonGuard.Action action, bytes memory request, uint256 answerSize)
        private
        returns (bool answered, uint256 word)
    {
        uint256 cap = _guardGas();
        // The EVM keeps back one 64th of what is left, so the guard gets its full share only above this floor.
        uint256 needed = cap + cap / 63 + RESERVE;
        if (gasleft() < needed) revert GasBelowFloor(needed, gasleft());
        bool ok;
        uint256 size;
        assembly ("memory-safe") {
            ok := call(cap, guard, 0, add(request, 32), mload(request), 0, 32)
            size := returndatasize()
            word := mload(0)
        }
        // Success without code behind the address, or with too short an answer, says nothing.
        if (ok) return (size >= answerSize && (answerSize != 0 || guard.code.length != 0), word);
        if (size < 4) return (false, word);
        bytes4 why = bytes4(bytes32(word));
        // A sound guard refuses no repayment, so that one which does is faulty, or replaced. What inherits this may never change again: no
        // guard is let shut repayment, whatever it says.
        if (action != ICordonGuard.Action.Repay && (_isRefusal(why) || _isMistake(why))) _handOn();
    }

    /// Errors by which the guard says no. Any other failure says that something is wrong with the guard, not the call.
    function _isRefusal(bytes4 selector) private pure returns (bool) {
        return selector == ICordonGuard.ActionClosed.selector || selector == ICordonGuard.RuleBreached.selector
            || selector == ICordonGuard.RuleUnknown.selector || selector == ICordonGuard.OutOfGasFloor.selector;
    }

    /// Errors that say what is wrong with the call or with how the protocol is set up.
    function _isMistake(bytes4 selector) private pure returns (bool) {
        return selector == ICordonGuard.NotAnnounced.selector || selector == ICordonGuard.AnnouncementPending.selector
            || selector == ICordonGuard.NotRegistered.selector || selector == ICordonGuard.BadScope.selector;
    }

    /// Reverts with the guard's own error; none of the refusals is longer than 256 bytes.
    function _handOn() private pure {
        assembly ("memory-safe") {
            let size := returndatasize()
            if gt(size, 256) { size := 256 }
            let at := mload(0x40)
            returndatacopy(at, 0, size)
            revert(at, size)
        }
    }
}
