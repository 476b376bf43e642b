// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonLimiter } from "./ICordonLimiter.sol";

/// @title What a Solidity protocol inherits to pay out within its limits.
/// @notice `_payOut` instead of a transfer; `_paidIn` after value has come in. What exceeds the limit goes to the limiter, which pays
/// it later. When the limiter does not answer (expired program), nothing is paid out and the call reverts.
abstract contract Limited {
    /// The token refused a transfer.
    error TransferRefused(address asset, address to, uint256 amount);
    /// The limiter answered more than was asked for.
    error LimiterAnswersNonsense(uint256 passed, uint256 amount);

    /// The native asset, as ERC-7265 writes it.
    address internal constant NATIVE = address(1);

    /// The limiter. Prefer an immutable.
    function _limiter() internal view virtual returns (ICordonLimiter);

    /// Gives `account` credit for `amount` that has come in, so that it may take as much out again in this transaction (or for one to
    /// two periods, where the limit is elastic) without using the limit up for others.
    function _paidIn(address asset, uint8 class, address account, uint256 amount) internal {
        _limiter().inflow(asset, class, account, amount);
    }

    /// Pays `amount` to `to`: at once what the limit passes, the rest through quarantine.
    /// @return item number of the item in quarantine; 0 when all was paid.
    function _payOut(address asset, uint8 class, address to, uint256 amount) internal returns (uint256 item) {
        ICordonLimiter limiter = _limiter();
        uint256 passed = limiter.outflow(asset, class, to, amount);
        if (passed > amount) revert LimiterAnswersNonsense(passed, amount);
        if (passed != 0) _send(asset, to, passed);
        uint256 rest = amount - passed;
        if (rest == 0) return 0;
        if (asset == NATIVE) return limiter.quarantine{ value: rest }(asset, class, rest, to);
        _send(asset, address(limiter), rest);
        return limiter.quarantine(asset, class, rest, to);
    }

    /// Transfers the native asset or a token, also one that answers nothing.
    function _send(address asset, address to, uint256 amount) internal {
        bool ok;
        bytes memory data;
        if (asset == NATIVE) {
            (ok,) = to.call{ value: amount }("");
        } else {
            (ok, data) = asset.call(abi.encodeWithSignature("transfer(address,uint256)", to, amount));
            ok = ok
                && (data.length == 0 ? asset.code.length != 0 : data.length == 32 && abi.decode(data, (uint256)) == 1);
        }
        if (!ok) revert TransferRefused(asset, to, amount);
    }
}
