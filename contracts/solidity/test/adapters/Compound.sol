// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { IComptroller } from "../../src/adapters/ComptrollerSwitch.sol";
import { Real } from "./Real.sol";

interface IUnitroller {
    function admin() external view returns (address);
    function _setPendingAdmin(address admin) external returns (uint256);
    function _acceptAdmin() external returns (uint256);
    function _setPendingImplementation(address code) external returns (uint256);
}

interface IVenus is IComptroller {
    function _become(address unitroller) external;
    function _setPauseGuardian(address guardian) external returns (uint256);
    function _setPriceOracle(address oracle) external returns (uint256);
    function _setCloseFactor(uint256 mantissa) external returns (uint256);
    function _setLiquidationIncentive(uint256 mantissa) external returns (uint256);
    function _setMaxAssets(uint256 count) external returns (uint256);
    function _supportMarket(address market) external returns (uint256);
    function _setCollateralFactor(address market, uint256 mantissa) external returns (uint256);
    function enterMarkets(address[] calldata markets) external returns (uint256[] memory);
    function redeemAllowed(address market, address redeemer, uint256 tokens) external returns (uint256);
}

interface IMarket {
    function mint(uint256 amount) external returns (uint256);
    function redeem(uint256 tokens) external returns (uint256);
    function borrow(uint256 amount) external returns (uint256);
    function repayBorrow(uint256 amount) external returns (uint256);
    function liquidateBorrow(address borrower, uint256 amount, address collateral) external returns (uint256);
    function transfer(address to, uint256 tokens) external returns (bool);
    function balanceOf(address account) external view returns (uint256);
    function borrowBalanceStored(address account) external view returns (uint256);
}

interface IFaucet {
    function allocateTo(address to, uint256 amount) external;
    function approve(address spender, uint256 amount) external returns (bool);
}

interface IOracle {
    function setUnderlyingPrice(address market, uint256 price) external;
}

/// Two markets of Venus's published contracts (0.7.0): its first Comptroller, whose pause guardian is Compound's of 2020, behind the Unitroller.
abstract contract Compound is Real {
    address internal constant LENDER = address(0x1E4D);
    address internal constant BORROWER = address(0xB0220);

    IUnitroller internal unitroller;
    IVenus internal comptroller;
    IOracle internal oracle;
    address internal rates;
    IMarket internal usd;
    IMarket internal eth;
    IFaucet internal usdToken;
    IFaucet internal ethToken;

    /// This contract is the admin.
    function _market() internal {
        unitroller = IUnitroller(real(string.concat(VENUS, "Comptroller/Unitroller.sol/Unitroller.json"), ""));
        comptroller = IVenus(address(unitroller));
        become("ComptrollerG1", address(0x61));
        oracle = IOracle(real(string.concat(VENUS, "test/SimplePriceOracle.sol/SimplePriceOracle.json"), ""));
        string memory model = "InterestRateModels/WhitePaperInterestRateModel.sol/WhitePaperInterestRateModel.json";
        rates = real(string.concat(VENUS, model), abi.encode(0, 0));
        comptroller._setPriceOracle(address(oracle));
        comptroller._setCloseFactor(0.5e18);
        comptroller._setLiquidationIncentive(1.1e18);
        comptroller._setMaxAssets(10);
        (usd, usdToken) = _list("USD", 1e18);
        (eth, ethToken) = _list("ETH", 2000e18);
        _as(LENDER, usdToken, usd, 1_000_000e18);
        _as(BORROWER, ethToken, eth, 100e18);
        address[] memory entered = new address[](1);
        entered[0] = address(eth);
        vm.prank(BORROWER);
        comptroller.enterMarkets(entered);
    }

    /// Another implementation behind the Unitroller, put there by its admin.
    function become(string memory name, address at) internal {
        large(string.concat(VENUS, "Comptroller/", name, ".sol/", name, ".json"), at);
        unitroller._setPendingImplementation(at);
        IVenus(at)._become(address(unitroller));
    }

    function _list(string memory name, uint256 price) internal returns (IMarket market, IFaucet token) {
        string memory faucet = string.concat(VENUS, "test/FaucetToken.sol/FaucetToken.json");
        token = IFaucet(real(faucet, abi.encode(0, name, 18, name)));
        string memory immutableMarket = string.concat(VENUS, "Tokens/VTokens/VBep20Immutable.sol/VBep20Immutable.json");
        bytes memory arguments = abi.encode(token, comptroller, rates, 1e18, name, name, 8, address(this));
        market = IMarket(real(immutableMarket, arguments));
        oracle.setUnderlyingPrice(address(market), price);
        eq(comptroller._supportMarket(address(market)), 0, "listed");
        eq(comptroller._setCollateralFactor(address(market), 0.8e18), 0, "collateral");
    }

    function _as(address account, IFaucet token, IMarket market, uint256 amount) private {
        token.allocateTo(account, 2 * amount);
        vm.startPrank(account);
        token.approve(address(market), type(uint256).max);
        eq(market.mint(amount), 0, "supplied");
        vm.stopPrank();
        usdToken.allocateTo(account, 1_000_000e18);
        vm.prank(account);
        usdToken.approve(address(usd), type(uint256).max);
    }
}
