// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { Freezer, Frozen } from "./Freezer.sol";

/// What is used of a UUPS implementation, 4.x and 5.x.
interface IUUPS {
    function UPGRADE_INTERFACE_VERSION() external view returns (string memory);
    function proxiableUUID() external view returns (bytes32);
    function upgradeTo(address implementation) external;
    function upgradeToAndCall(address implementation, bytes calldata data) external payable;
}

interface IOwnable {
    function transferOwnership(address newOwner) external;
}

interface IRoles {
    function hasRole(bytes32 role, address account) external view returns (bool);
    function grantRole(bytes32 role, address account) external;
    function renounceRole(bytes32 role, address account) external;
}

/// @title Stands behind a frozen UUPS proxy: refuses every call but the freezer's upgrade, without which it would stay frozen for ever.
contract FrozenUUPS is Frozen {
    /// The account has no code that could be upgraded again.
    error NotProxiable(address implementation);

    event Upgraded(address indexed implementation);

    /// ERC-1967's slot of the implementation.
    bytes32 private constant SLOT = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    address private immutable SELF = address(this);

    /// What a UUPS implementation asks of the code that is to follow it; not of a proxy, which would then follow itself.
    function proxiableUUID() external view returns (bytes32) {
        if (address(this) != SELF) revert ContractFrozen(msg.sig);
        return SLOT;
    }

    /// As in 4.x.
    function upgradeTo(address implementation) external {
        _upgradeToAndCall(implementation, "");
    }

    /// As in 5.x: the new code is called when there is something to say.
    function upgradeToAndCall(address implementation, bytes calldata data) external payable {
        _upgradeToAndCall(implementation, data);
    }

    function _upgradeToAndCall(address implementation, bytes memory data) private {
        if (msg.sender != FREEZER || address(this) == SELF) revert ContractFrozen(msg.sig);
        try IUUPS(implementation).proxiableUUID() returns (bytes32 slot) {
            if (slot != SLOT) revert NotProxiable(implementation);
        } catch {
            revert NotProxiable(implementation);
        }
        assembly ("memory-safe") {
            sstore(SLOT, implementation)
        }
        emit Upgraded(implementation);
        if (data.length == 0) return;
        (bool done, bytes memory answer) = implementation.delegatecall(data);
        if (done) return;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}

/// @title Lets a guard freeze a UUPS proxy of OpenZeppelin 4 or 5, and thaw it to what it was.
/// @notice Upgrading takes what the implementation's `_authorizeUpgrade` asks for: its ownership, or a role. This contract holds it. An owner
/// has other powers besides, so that the owner of this contract uses them through it (`administer`).
/// @dev What is behind such a proxy is in its storage, which no contract sees. So the first `upgrade` of the owner, which may well be to the
/// same implementation, makes it known; before that the guard can freeze nothing. Where a role upgrades, this contract must be the only one
/// that has it: who upgrades past it leaves `implementation` stale, and thawing would put the code of before back. Code that takes calls
/// within a call (`multicall` and the like) lets the owner do the same by `administer`, which looks at the outer call only.
contract UUPSFreezer is Freezer {
    /// Upgrades go through `upgrade`, which knows what to thaw to.
    error NotByAdminister(bytes4 selector);
    /// The account does not have the role that upgrades, and this contract cannot grant it: its admin has to, first.
    error NewOwnerLacksRole(bytes32 role, address newOwner);

    /// The role that upgrades; zero when the implementation asks for its owner.
    bytes32 public immutable upgraderRole;

    constructor(address binder_, address proxy_, address owner_, bytes32 upgraderRole_)
        Freezer(binder_, proxy_, owner_, address(new FrozenUUPS()))
    {
        upgraderRole = upgraderRole_;
    }

    /// Any other call of the proxy that its owner may make. Not for calls that carry an upgrade within them (`multicall`): only the outer
    /// selector is looked at.
    function administer(bytes calldata data) external payable onlyOwner returns (bytes memory answer) {
        bytes4 selector = bytes4(data);
        if (selector == IUUPS.upgradeTo.selector || selector == IUUPS.upgradeToAndCall.selector) {
            revert NotByAdminister(selector);
        }
        bool done;
        (done, answer) = proxy.call{ value: msg.value }(data);
        if (done) return answer;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    function _put(address code, bytes memory data, uint256 value) internal override {
        // 4.x calls the new code even with nothing to say, and 5.x has no `upgradeTo`. The code behind the proxy can change from one to the other.
        if (data.length == 0 && value == 0 && !_isFive()) IUUPS(proxy).upgradeTo(code);
        else IUUPS(proxy).upgradeToAndCall{ value: value }(code, data);
    }

    function _give(address newOwner) internal override {
        if (upgraderRole == 0) {
            IOwnable(proxy).transferOwnership(newOwner);
        } else {
            // Where this contract may grant the role it does; else its admin has to, before: with the last holder gone the proxy could
            // never be upgraded again.
            try IRoles(proxy).grantRole(upgraderRole, newOwner) { } catch { }
            (bool answered, uint256 has) = _ask(abi.encodeCall(IRoles.hasRole, (upgraderRole, newOwner)));
            if (!answered || has != 1) revert NewOwnerLacksRole(upgraderRole, newOwner);
            IRoles(proxy).renounceRole(upgraderRole, address(this));
        }
    }

    /// Whether the code behind the proxy says that it is of 5.x. Frozen code does not, and takes either call.
    function _isFive() private view returns (bool) {
        // Read without decoding: code of 4.x may answer anything to a function that it does not have.
        (bool done, bytes memory answer) = proxy.staticcall(abi.encodeCall(IUUPS.UPGRADE_INTERFACE_VERSION, ()));
        return done && keccak256(answer) == keccak256(abi.encode("5.0.0"));
    }
}
