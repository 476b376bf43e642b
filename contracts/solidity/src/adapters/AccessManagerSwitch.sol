// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { GuardBound } from "./GuardBound.sol";

/// What is used of OpenZeppelin's AccessManager (5.x).
interface IAccessManager {
    function isTargetClosed(address target) external view returns (bool);
    function setTargetClosed(address target, bool closed) external;
}

/// @title Lets a guard close and open a few targets of an OpenZeppelin AccessManager.
/// @notice Closing a target takes ADMIN_ROLE, which can also grant every role. This contract holds that role and uses it for two calls
/// only: closing one of the targets named at its deployment, and opening it again if it was open when the guard closed it. The manager's
/// admin takes the role back with `revokeRole`, at any time.
/// @dev The manager keeps one flag per target. When its admin opens and closes a target by hand while it is closed from here, this
/// contract cannot tell: the admin who wants it to stay closed revokes the role, or stops the incident, first.
contract AccessManagerSwitch is GuardBound {
    /// The target was not named at deployment.
    error UnknownTarget(address target);
    /// The target is closed already, by somebody else: there is nothing to close, and nothing to open later.
    error AlreadyClosed(address target);
    /// This contract has not closed the target.
    error NotClosedHere(address target);
    /// No target was named, or the manager itself, which must stay able to take the role back.
    error BadTarget(address target);

    event TargetClosed(address indexed target);
    event TargetOpened(address indexed target);

    IAccessManager public immutable manager;

    /// Whether the guard may close the target.
    mapping(address target => bool known) public isTarget;

    /// Whether it is closed because the guard closed it here.
    mapping(address target => bool closed) public closedHere;

    constructor(address binder_, IAccessManager manager_, address[] memory targets) GuardBound(binder_) {
        if (targets.length == 0) revert BadTarget(address(0));
        manager = manager_;
        for (uint256 i = 0; i < targets.length; ++i) {
            if (targets[i] == address(0) || targets[i] == address(manager_)) revert BadTarget(targets[i]);
            isTarget[targets[i]] = true;
        }
    }

    /// Closes all restricted functions of `target`.
    function close(address target) external onlyGuard {
        if (!isTarget[target]) revert UnknownTarget(target);
        if (manager.isTargetClosed(target)) revert AlreadyClosed(target);
        closedHere[target] = true;
        emit TargetClosed(target);
        manager.setTargetClosed(target, true);
    }

    /// Opens `target`, if it was closed here.
    function open(address target) external onlyGuard {
        if (!closedHere[target]) revert NotClosedHere(target);
        closedHere[target] = false;
        emit TargetOpened(target);
        manager.setTargetClosed(target, false);
    }

    /// Whether the target is closed, whoever closed it: the read-back of the containment call.
    function isClosed(address target) external view returns (bool) {
        return manager.isTargetClosed(target);
    }
}
