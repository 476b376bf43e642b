// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { Guarded } from "../src/Guarded.sol";
import { ICordonGuard } from "../src/ICordonGuard.sol";
import { PriceFeed } from "./PriceFeed.sol";
import { TestToken } from "./TestToken.sol";

/// @title A small ERC-4626 vault that lends to one borrower against a quoted loan book.
/// @notice Deliberately the classic unsafe kind: shares are priced by the vault's balance and there are no virtual shares,
/// so that whoever deposits first into an empty vault can inflate the price of a share by a donation.
/// Its hooks sleep until the owner names a guard.
contract CreditVault is Guarded {
    event Transfer(address indexed from, address indexed to, uint256 amount);
    event Deposit(address indexed sender, address indexed owner, uint256 assets, uint256 shares);
    event Withdraw(
        address indexed sender, address indexed receiver, address indexed owner, uint256 assets, uint256 shares
    );
    event GuardSet(address indexed guard);

    error NotOwner(address caller);
    error NotBorrower(address caller);
    error InsufficientShares(address account, uint256 shares, uint256 needed);
    error InsufficientLoans(uint256 loans, uint256 repaid);

    uint256 private constant PAR = 1e8;

    TestToken public immutable asset;
    /// Quotes one unit of the loan book in assets, 8 decimals.
    PriceFeed public immutable quote;
    address public immutable owner;
    address public immutable borrower;
    /// This vault's scope in the guard.
    uint24 public immutable scope;

    address public guard;
    uint8 public immutable decimals;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    /// Units of the loan book; worth `quote` each.
    uint256 public loans;

    constructor(TestToken asset_, PriceFeed quote_, address owner_, address borrower_, uint24 scope_) {
        asset = asset_;
        quote = quote_;
        owner = owner_;
        borrower = borrower_;
        scope = scope_;
        decimals = asset_.decimals();
    }

    /// Switches the hooks on (or off, with the zero address).
    function setGuard(address guard_) external {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        guard = guard_;
        emit GuardSet(guard_);
    }

    function totalAssets() public view returns (uint256) {
        return asset.balanceOf(address(this)) + _value(loans);
    }

    function convertToShares(uint256 assets) public view returns (uint256) {
        return totalSupply == 0 ? assets : assets * totalSupply / totalAssets();
    }

    function convertToAssets(uint256 shares) public view returns (uint256) {
        return totalSupply == 0 ? shares : shares * totalAssets() / totalSupply;
    }

    function deposit(uint256 assets, address receiver)
        external
        guarded(scope, ICordonGuard.Action.Deposit, address(asset), assets, receiver)
        returns (uint256 shares)
    {
        shares = convertToShares(assets);
        asset.transferFrom(msg.sender, address(this), assets);
        totalSupply += shares;
        balanceOf[receiver] += shares;
        emit Transfer(address(0), receiver, shares);
        emit Deposit(msg.sender, receiver, assets, shares);
    }

    /// Burns the caller's own shares; allowances are left out on purpose.
    function redeem(uint256 shares, address receiver)
        external
        guarded(scope, ICordonGuard.Action.Withdraw, address(asset), convertToAssets(shares), msg.sender)
        returns (uint256 assets)
    {
        uint256 held = balanceOf[msg.sender];
        if (held < shares) revert InsufficientShares(msg.sender, held, shares);
        assets = convertToAssets(shares);
        balanceOf[msg.sender] = held - shares;
        totalSupply -= shares;
        asset.transfer(receiver, assets);
        emit Transfer(msg.sender, address(0), shares);
        emit Withdraw(msg.sender, receiver, msg.sender, assets, shares);
    }

    /// The borrower draws `assets`; the loan book grows by their worth at today's quote.
    function borrow(uint256 assets)
        external
        guarded(scope, ICordonGuard.Action.Increase, address(asset), assets, msg.sender)
    {
        if (msg.sender != borrower) revert NotBorrower(msg.sender);
        uint256 price = uint256(quote.latestAnswer());
        // Rounded up: the book never holds less than what was paid out.
        loans += (assets * PAR + price - 1) / price;
        asset.transfer(msg.sender, assets);
    }

    /// The borrower takes `units` out of the loan book for their worth at today's quote, rounded up.
    function repay(uint256 units)
        external
        guarded(scope, ICordonGuard.Action.Repay, address(asset), _value(units), msg.sender)
    {
        if (msg.sender != borrower) revert NotBorrower(msg.sender);
        if (units > loans) revert InsufficientLoans(loans, units);
        loans -= units;
        asset.transferFrom(msg.sender, address(this), _value(units) + 1);
    }

    function _value(uint256 units) private view returns (uint256) {
        return units * uint256(quote.latestAnswer()) / PAR;
    }

    function _guard() internal view override returns (address) {
        return guard;
    }
}
