// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { GuardBound } from "./GuardBound.sol";

/// What is used of OpenZeppelin's ProxyAdmin (5.x: one per transparent proxy).
interface IProxyAdmin {
    function UPGRADE_INTERFACE_VERSION() external view returns (string memory);
    function owner() external view returns (address);
    function transferOwnership(address newOwner) external;
    function upgradeAndCall(address proxy, address implementation, bytes calldata data) external payable;
}

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

/// @title Lets a guard freeze a transparent proxy, and thaw it to what it was.
/// @notice Upgrading takes the ownership of the ProxyAdmin, which can put any code behind the proxy. This contract holds it. The guard can
/// put one thing there, the `Frozen` code deployed with this contract, and put back what the owner had there. The owner (the protocol's
/// timelock) upgrades through this contract, and takes the ownership back with `handBack`.
/// @dev A transparent proxy tells nobody what is behind it. So the first `upgrade` of the owner, which may well be to the same
/// implementation, makes it known; before that the guard can freeze nothing.
contract ProxyFreezer is GuardBound {
    /// Only the owner may do this.
    error NotOwner(address caller);
    /// The ProxyAdmin is of another version: its `upgradeAndCall` does something else.
    error UnknownProxyAdmin(string version);
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

    IProxyAdmin public immutable admin;
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

    constructor(address binder_, IProxyAdmin admin_, address proxy_, address owner_) GuardBound(binder_) {
        string memory version = admin_.UPGRADE_INTERFACE_VERSION();
        if (keccak256(bytes(version)) != keccak256("5.0.0")) revert UnknownProxyAdmin(version);
        admin = admin_;
        proxy = proxy_;
        owner = owner_;
        frozenCode = address(new Frozen());
    }

    /// Puts the `Frozen` code behind the proxy; not within `MENDED_REST` of an upgrade while it was frozen.
    function freeze() external onlyGuard {
        if (frozen) revert AlreadyFrozen();
        if (implementation == address(0)) revert ImplementationUnknown();
        if (block.timestamp < restsUntil) revert JustMended(restsUntil);
        frozen = true;
        emit FrozenByGuard(implementation);
        admin.upgradeAndCall(proxy, frozenCode, "");
    }

    /// Puts the owner's implementation back.
    function thaw() external onlyGuard {
        if (!frozen) revert NotFrozen();
        frozen = false;
        emit Thawed(implementation);
        admin.upgradeAndCall(proxy, implementation, "");
    }

    /// Upgrades the proxy. An upgrade while it is frozen thaws it: the mended code works at once, no later `thaw` brings the old code back, and nobody
    /// has it frozen again for `MENDED_REST` by retrying the containment of the old one.
    function upgrade(address implementation_, bytes calldata data) external payable onlyOwner {
        if (implementation_.code.length == 0) revert NotAnImplementation(implementation_);
        emit Upgraded(implementation_, frozen);
        implementation = implementation_;
        if (frozen) restsUntil = block.timestamp + MENDED_REST;
        frozen = false;
        admin.upgradeAndCall{ value: msg.value }(proxy, implementation_, data);
    }

    /// Gives the ProxyAdmin to `newOwner`; from then on this contract can do nothing. A frozen proxy is thawed first.
    function handBack(address newOwner) external onlyOwner {
        if (frozen) {
            frozen = false;
            emit Thawed(implementation);
            admin.upgradeAndCall(proxy, implementation, "");
        }
        emit HandedBack(newOwner);
        admin.transferOwnership(newOwner);
    }
}
