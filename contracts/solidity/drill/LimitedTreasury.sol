// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { IAssetCircuitBreaker, ICordonLimiter } from "../src/ICordonLimiter.sol";
import { Limited } from "../src/Limited.sol";

/// @title A treasury without any access control, whose only protection is its limits. For tests and measurements.
contract LimitedTreasury is Limited {
    event Measured(uint256 gas);

    ICordonLimiter private immutable LIMITER;

    constructor(ICordonLimiter limiter) {
        LIMITER = limiter;
    }

    receive() external payable { }

    function _limiter() internal view override returns (ICordonLimiter) {
        return LIMITER;
    }

    function payOut(address asset, uint8 class, address to, uint256 amount) external returns (uint256 item) {
        return _payOut(asset, class, to, amount);
    }

    /// The caller claims to have paid in.
    function paidIn(address asset, uint8 class, address account, uint256 amount) external {
        _paidIn(asset, class, account, amount);
    }

    /// In and out in one transaction, as a flash loan does.
    function roundTrip(address asset, address account, uint256 amountIn, uint256 amountOut) external {
        _paidIn(asset, 0, account, amountIn);
        _payOut(asset, 0, account, amountOut);
    }

    /// The same by ERC-7265's functions.
    function payOut7265(address asset, address to, uint256 amount) external {
        if (asset == NATIVE) {
            LIMITER.onNativeAssetOutflow{ value: amount }(to);
        } else {
            _send(asset, address(LIMITER), amount);
            LIMITER.onTokenOutflow(asset, amount, to);
        }
    }

    /// The same of a token with a fee, or one that moves balances by itself.
    function payOutMeasured(address asset, address to, uint256 amount) external {
        LIMITER.expect(asset);
        _send(asset, address(LIMITER), amount);
        LIMITER.onTokenOutflow(asset, amount, to);
    }

    function paidIn7265(address asset, uint256 amount) external {
        if (asset == NATIVE) LIMITER.onNativeAssetInflow(amount);
        else LIMITER.onTokenInflow(asset, amount);
    }

    /// What one call of the limiter costs its caller.
    function measureOutflow(address asset, uint8 class, address account, uint256 amount) external {
        uint256 before = gasleft();
        LIMITER.outflow(asset, class, account, amount);
        emit Measured(before - gasleft());
    }

    function measureInflow(address asset, uint8 class, address account, uint256 amount) external {
        uint256 before = gasleft();
        LIMITER.inflow(asset, class, account, amount);
        emit Measured(before - gasleft());
    }

    function measureOutflow7265(address asset, address to, uint256 amount) external {
        _send(asset, address(LIMITER), amount);
        uint256 before = gasleft();
        LIMITER.onTokenOutflow(asset, amount, to);
        emit Measured(before - gasleft());
    }
}

/// @title A recipient that refuses value, or tries to get paid once more while it is being paid.
contract AwkwardRecipient {
    bool public refuses = true;
    bool public reentered;
    LimitedTreasury public immutable TREASURY;
    ICordonLimiter public immutable LIMITER;
    uint256 public item;

    constructor(LimitedTreasury treasury, ICordonLimiter limiter) {
        TREASURY = treasury;
        LIMITER = limiter;
    }

    function set(bool refuses_, uint256 item_) external {
        refuses = refuses_;
        item = item_;
    }

    receive() external payable {
        require(!refuses, "refused");
        if (item != 0) {
            (reentered,) = address(LIMITER).call(abi.encodeCall(ICordonLimiter.release, (item)));
        }
    }

    function redirect(uint256 item_, address to) external {
        LIMITER.redirect(item_, to);
    }
}
