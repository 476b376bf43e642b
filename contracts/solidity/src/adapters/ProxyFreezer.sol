// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { Freezer, Frozen } from "./Freezer.sol";

/// What is used of OpenZeppelin's ProxyAdmin (5.x: one per transparent proxy).
interface IProxyAdmin {
    function UPGRADE_INTERFACE_VERSION() external view returns (string memory);
    function owner() external view returns (address);
    function transferOwnership(address newOwner) external;
    function upgradeAndCall(address proxy, address implementation, bytes calldata data) external payable;
}

/// @title Lets a guard freeze a transparent proxy of OpenZeppelin 5, and thaw it to what it was.
/// @notice Upgrading takes the ownership of the ProxyAdmin, which this contract holds. For proxies of OpenZeppelin 4 there is
/// `ProxyFreezer4`, for UUPS proxies `UUPSFreezer`.
/// @dev A transparent proxy tells nobody but its admin what is behind it, and the ProxyAdmin of 5.x does not ask. So the first `upgrade` of the
/// owner, which may well be to the same implementation, makes it known; before that the guard can freeze nothing.
contract ProxyFreezer is Freezer {
    /// The ProxyAdmin is of another version: its `upgradeAndCall` does something else.
    error UnknownProxyAdmin(string version);

    IProxyAdmin public immutable admin;

    constructor(address binder_, IProxyAdmin admin_, address proxy_, address owner_)
        Freezer(binder_, proxy_, owner_, address(new Frozen()))
    {
        string memory version = admin_.UPGRADE_INTERFACE_VERSION();
        if (keccak256(bytes(version)) != keccak256("5.0.0")) revert UnknownProxyAdmin(version);
        admin = admin_;
    }

    function _put(address code, bytes memory data, uint256 value) internal override {
        admin.upgradeAndCall{ value: value }(proxy, code, data);
    }

    function _give(address newOwner) internal override {
        admin.transferOwnership(newOwner);
    }
}
