// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { GuardBound } from "./GuardBound.sol";

/// @title Stands behind a frozen proxy: refuses every call, and keeps all storage and all assets as they are.
contract Frozen {
    /// The contract is frozen by its guard.
    error ContractFrozen(bytes4 selector);

    /// What the proxy's storage shows while it is frozen: the guard's read-back.
    function isFrozen() external pure returns (bool) {
        return true;
    }

    receive() external payable {
        revert ContractFrozen(0);
    }

    fallback() external payable {
        revert ContractFrozen(msg.sig);
    }
}

/// @title What all freezers of proxies share: the guard can put one thing behind the proxy, the frozen code deployed with the freezer, and put
/// back what the owner had there.
/// @notice Upgrading takes a role that can put any code behind the proxy. The freezer holds it. The owner (the protocol's timelock) upgrades
/// through the freezer, and takes the role back with `handBack`.
abstract contract Freezer is GuardBound {
    /// Only the owner may do this.
    error NotOwner(address caller);
    /// The account has no code to put behind a proxy.
    error NotAnImplementation(address account);
    /// The owner has to upgrade once, so that it is known what to thaw to.
    error ImplementationUnknown();
    error AlreadyFrozen();
    /// The owner has just mended the frozen code: containment that is retried must not freeze it again.
    error JustMended(uint256 until);
    error NotFrozen();

    event Upgraded(address indexed implementation, bool whileFrozen);
    event FrozenByGuard(address indexed implementation);
    event Thawed(address indexed implementation);
    event HandedBack(address indexed newOwner);

    /// For how long, in seconds, code is not frozen that the owner put there while the proxy was frozen: as long as the guard holds anything
    /// without its governor, so that no containment call of that incident is left to be retried.
    uint256 public constant MENDED_REST = 7 days;

    address public immutable proxy;
    address public immutable owner;

    /// What stands behind the proxy while it is frozen.
    address public immutable frozenCode;

    /// What the owner put behind the proxy; the zero address as long as nothing is known.
    address public implementation;

    /// Whether the guard has frozen the proxy.
    bool public frozen;

    /// Until when, in seconds since 1970, the guard cannot freeze; 0 when the owner never upgraded a frozen proxy.
    uint256 public restsUntil;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    constructor(address binder_, address proxy_, address owner_, address frozenCode_) GuardBound(binder_) {
        proxy = proxy_;
        owner = owner_;
        frozenCode = frozenCode_;
    }

    /// Puts the frozen code behind the proxy; not within `MENDED_REST` of an upgrade while it was frozen.
    function freeze() external onlyGuard {
        if (frozen) revert AlreadyFrozen();
        if (block.timestamp < restsUntil) revert JustMended(restsUntil);
        address behind = _behind();
        if (behind == address(0)) revert ImplementationUnknown();
        implementation = behind;
        frozen = true;
        emit FrozenByGuard(behind);
        _put(frozenCode, "", 0);
    }

    /// Puts the owner's implementation back.
    function thaw() external onlyGuard {
        if (!frozen) revert NotFrozen();
        _thaw();
    }

    /// Upgrades the proxy. An upgrade while it is frozen thaws it: the mended code works at once, no later `thaw` brings the old code back, and nobody
    /// has it frozen again for `MENDED_REST` by retrying the containment of the old one.
    function upgrade(address implementation_, bytes calldata data) external payable onlyOwner {
        if (implementation_.code.length == 0) revert NotAnImplementation(implementation_);
        emit Upgraded(implementation_, frozen);
        implementation = implementation_;
        if (frozen) restsUntil = block.timestamp + MENDED_REST;
        frozen = false;
        _put(implementation_, data, msg.value);
    }

    /// Gives the role to `newOwner`; from then on this contract can do nothing. A frozen proxy is thawed first.
    function handBack(address newOwner) external onlyOwner {
        if (frozen) _thaw();
        emit HandedBack(newOwner);
        _give(newOwner);
    }

    /// What stands behind the proxy that is not frozen; the zero address when it is not known.
    function _behind() internal virtual returns (address) {
        return implementation;
    }

    /// Puts code behind the proxy, and has the proxy call it with `data` when that is not empty.
    function _put(address code, bytes memory data, uint256 value) internal virtual;

    /// Gives away what lets this contract upgrade the proxy.
    function _give(address newOwner) internal virtual;

    function _thaw() private {
        frozen = false;
        emit Thawed(implementation);
        _put(implementation, "", 0);
    }
}
