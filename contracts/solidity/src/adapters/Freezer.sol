// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { GuardBound } from "./GuardBound.sol";

/// @title Stands behind a frozen proxy: refuses every call, and keeps all storage and all assets as they are.
contract Frozen {
    /// The contract is frozen by its guard.
    error ContractFrozen(bytes4 selector);

    /// Who deployed this: the one freezer whose frozen code it is.
    address internal immutable FREEZER = msg.sender;

    /// For whoever looks at the proxy.
    function isFrozen() external pure returns (bool) {
        return true;
    }

    /// What the freezer asks: other code may have an `isFrozen` of its own, or an answer to everything, but not this one.
    function frozenBy() external view returns (address) {
        return FREEZER;
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
    /// Nothing could upgrade the proxy any more.
    error BadNewOwner(address newOwner);
    /// The owner has taken the role back: the guard freezes nothing through this contract any more.
    error AlreadyHandedBack(address newOwner);
    /// The proxy has other code behind it than it was told (`behind`, or the zero address where the proxy does not tell): this contract
    /// lacks the role, or what it called is not what it was taken for.
    error ProxyDidNotFollow(address wanted, address behind);

    event Upgraded(address indexed implementation, bool whileFrozen);
    event FrozenByGuard(address indexed implementation);
    event Thawed(address indexed implementation);
    event HandedBack(address indexed newOwner);

    /// For how long, in seconds, code is not frozen that the owner put there while the proxy was frozen: as long as the guard holds anything
    /// without its governor, so that no containment call of that incident is left to be retried.
    uint256 public constant MENDED_REST = 7 days;

    /// Gas for asking the proxy; code of old compilers burns all it gets when it has no such function.
    uint256 private constant ASK_GAS = 50_000;

    address public immutable proxy;
    address public immutable owner;

    /// What stands behind the proxy while it is frozen.
    address public immutable frozenCode;

    /// What the owner put behind the proxy; the zero address as long as nothing is known.
    address public implementation;

    /// Whom the owner gave the role to; the zero address as long as this contract has it.
    address public handedBackTo;

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

    /// Whether the frozen code stands behind the proxy: the guard's read-back. The proxy itself is asked, for what this contract has told it
    /// to do need not have happened. False, too, when the proxy does not answer.
    function frozen() public view virtual returns (bool) {
        (bool answered, uint256 word) = _ask(abi.encodeCall(Frozen.frozenBy, ()));
        return answered && word == uint160(address(this));
    }

    /// Puts the frozen code behind the proxy; not within `MENDED_REST` of an upgrade while it was frozen, and never after `handBack`.
    function freeze() external onlyGuard {
        if (handedBackTo != address(0)) revert AlreadyHandedBack(handedBackTo);
        if (frozen()) revert AlreadyFrozen();
        if (block.timestamp < restsUntil) revert JustMended(restsUntil);
        address behind = _behind();
        if (behind == address(0)) revert ImplementationUnknown();
        implementation = behind;
        emit FrozenByGuard(behind);
        _put(frozenCode, "", 0);
        if (!frozen()) revert ProxyDidNotFollow(frozenCode, address(0));
    }

    /// Puts the owner's implementation back.
    function thaw() external onlyGuard {
        if (!frozen()) revert NotFrozen();
        _thaw();
    }

    /// Upgrades the proxy. An upgrade while it is frozen thaws it: the mended code works at once, no later `thaw` brings the old code back, and nobody
    /// has it frozen again for `MENDED_REST` by retrying the containment of the old one.
    function upgrade(address implementation_, bytes calldata data) external payable onlyOwner {
        // The frozen code is no code to thaw to.
        if (implementation_.code.length == 0 || implementation_ == frozenCode) {
            revert NotAnImplementation(implementation_);
        }
        bool whileFrozen = frozen();
        emit Upgraded(implementation_, whileFrozen);
        implementation = implementation_;
        if (whileFrozen) restsUntil = block.timestamp + MENDED_REST;
        _put(implementation_, data, msg.value);
        if (frozen()) revert ProxyDidNotFollow(implementation_, frozenCode);
    }

    /// Gives the role to `newOwner`; a frozen proxy is thawed first. From then on, and for good, the guard freezes nothing through this
    /// contract. Its owner can do through it what the proxy still lets it do: where ownership takes two steps all, until `newOwner` accepts,
    /// and whatever other roles it was given, until it renounces them. May be called again, should `newOwner` not accept.
    function handBack(address newOwner) external onlyOwner {
        if (newOwner == address(0) || newOwner == address(this)) revert BadNewOwner(newOwner);
        if (frozen()) _thaw();
        handedBackTo = newOwner;
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

    /// Asks the proxy for one word, and looks at no more of its answer.
    /// @return answered false when it reverted, or said less.
    function _ask(bytes memory request) internal view returns (bool answered, uint256 word) {
        address to = proxy;
        assembly ("memory-safe") {
            answered := staticcall(ASK_GAS, to, add(request, 32), mload(request), 0, 32)
            answered := and(answered, gt(returndatasize(), 31))
            word := mload(0)
        }
    }

    function _thaw() private {
        emit Thawed(implementation);
        _put(implementation, "", 0);
        if (frozen()) revert ProxyDidNotFollow(implementation, frozenCode);
    }
}
