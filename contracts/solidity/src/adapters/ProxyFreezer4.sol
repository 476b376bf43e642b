// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { Freezer, Frozen } from "./Freezer.sol";

/// What a transparent proxy of OpenZeppelin 4 answers its admin, and nobody else.
interface ITransparentProxy4 {
    function implementation() external returns (address);
    function changeAdmin(address newAdmin) external;
    function upgradeTo(address implementation) external;
    function upgradeToAndCall(address implementation, bytes calldata data) external payable;
}

/// @title Lets a guard freeze a transparent proxy of OpenZeppelin 4, and thaw it to what it was.
/// @notice There one ProxyAdmin serves many proxies, and its owner can upgrade them all. So the freezer is not given the ProxyAdmin but the
/// one proxy: `ProxyAdmin.changeProxyAdmin(proxy, freezer)`. `handBack` takes the account that is the proxy's admin afterwards: the
/// ProxyAdmin, as a rule.
contract ProxyFreezer4 is Freezer {
    constructor(address binder_, address proxy_, address owner_)
        Freezer(binder_, proxy_, owner_, address(new Frozen()))
    { }

    /// Such a proxy does not hand its admin on to the code behind it, but tells what that is. False when this contract is not its admin.
    function frozen() public view override returns (bool) {
        (bool answered, uint256 word) = _ask(abi.encodeCall(ITransparentProxy4.implementation, ()));
        return answered && word == uint160(frozenCode);
    }

    /// The proxy tells its admin.
    function _behind() internal override returns (address) {
        return ITransparentProxy4(proxy).implementation();
    }

    function _put(address code, bytes memory data, uint256 value) internal override {
        ITransparentProxy4 to = ITransparentProxy4(proxy);
        // `upgradeToAndCall` of 4.x calls the new code even with nothing to say, which it may refuse.
        if (data.length == 0 && value == 0) to.upgradeTo(code);
        else to.upgradeToAndCall{ value: value }(code, data);
        // Whoever is not the admin is handed on to the code behind the proxy, which may take any call.
        address behind = to.implementation();
        if (behind != code) revert ProxyDidNotFollow(code, behind);
    }

    function _give(address newOwner) internal override {
        ITransparentProxy4(proxy).changeAdmin(newOwner);
    }
}
