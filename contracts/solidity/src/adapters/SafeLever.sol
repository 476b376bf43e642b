// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { GuardBound } from "./GuardBound.sol";

/// What is used of a Safe (1.3 and later).
interface ISafeModules {
    function execTransactionFromModuleReturnData(address to, uint256 value, bytes calldata data, uint8 operation)
        external
        returns (bool success, bytes memory returnData);
}

/// @title A Safe module that can make two calls, fixed at its deployment: one that closes, and one that takes it back.
/// @notice A module can do with a Safe whatever it likes. This one lets a guard use a role that the Safe holds (owner of a pausable
/// contract, say) for exactly one call and its undoing, without ether, without DELEGATECALL, and never on the Safe itself.
/// The Safe's owners disable the module at any time.
contract SafeLever is GuardBound {
    /// The target may not be the Safe, this contract, or an account without code.
    error BadTarget(address target);
    /// A call without a selector.
    error BadCall();
    /// The lever is not pulled.
    error NotPulled();
    /// The target refused.
    error CallFailed(bytes reason);

    event Pulled();
    event PutBack();

    /// CALL, in the Safe's words.
    uint8 private constant CALL = 0;

    ISafeModules public immutable safe;
    address public immutable target;

    /// Calldata of the call that closes.
    bytes public closing;

    /// Calldata of the call that takes it back.
    bytes public opening;

    /// Whether the guard has closed and has not opened since.
    bool public pulled;

    constructor(address binder_, ISafeModules safe_, address target_, bytes memory closing_, bytes memory opening_)
        GuardBound(binder_)
    {
        if (target_ == address(safe_) || target_.code.length == 0) revert BadTarget(target_);
        if (closing_.length < 4 || opening_.length < 4) revert BadCall();
        safe = safe_;
        target = target_;
        closing = closing_;
        opening = opening_;
    }

    /// Makes the call that closes. Also when it was made before: the owners may have opened by hand meanwhile.
    function close() external onlyGuard {
        pulled = true;
        emit Pulled();
        _call(closing);
    }

    /// Makes the call that takes it back, if the guard had closed.
    function open() external onlyGuard {
        if (!pulled) revert NotPulled();
        pulled = false;
        emit PutBack();
        _call(opening);
    }

    function _call(bytes memory data) private {
        (bool done, bytes memory reason) = safe.execTransactionFromModuleReturnData(target, 0, data, CALL);
        if (!done) revert CallFailed(reason);
    }
}
