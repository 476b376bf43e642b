// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "../src/ICordonGuard.sol";
import { Guardable } from "./Guardable.sol";
import { TestToken } from "./TestToken.sol";

/// @title Put options on ether: the holder delivers ether and gets the strike out of a writer's collateral.
/// @notice Deliberately has the mistake of August 2020: `exercise` looks at several writers' vaults in turn, and for each of them it compares the
/// same `msg.value` with what is due, so that ether delivered once is counted as often as vaults are named.
contract OptionBook is Guardable {
    error WrongDelivery(uint256 sent, uint256 due);
    error InsufficientOptions(address account, uint256 options, uint256 needed);
    error InsufficientCollateral(address writer, uint256 collateral, uint256 needed);
    error EtherRefused();

    event Written(address indexed writer, uint256 units);
    event Exercised(address indexed holder, address indexed writer, uint256 units);

    /// What a writer has in the book.
    struct Vault {
        uint256 collateral;
        uint256 underlying;
    }

    TestToken public immutable asset;
    /// Assets per unit of ether (a thousandth of one, so that drills need little), in smallest units.
    uint256 public immutable strike;
    uint256 public constant UNIT = 1e15;

    mapping(address => Vault) public vaults;
    mapping(address => uint256) public balanceOf;
    /// Ether that the writers' vaults are credited with.
    uint256 public totalUnderlying;

    constructor(TestToken asset_, uint256 strike_, address owner_, uint24 scope_) Guardable(owner_, scope_) {
        (asset, strike) = (asset_, strike_);
    }

    /// Locks the strike of `units` and issues as many options to `to`.
    function write(uint256 units, address to)
        external
        guarded(scope, ICordonGuard.Action.Deposit, address(asset), units * strike, msg.sender)
    {
        vaults[msg.sender].collateral += units * strike;
        balanceOf[to] += units;
        asset.transferFrom(msg.sender, address(this), units * strike);
        emit Written(msg.sender, units);
    }

    /// Exercises `units` against each of the named writers.
    function exercise(uint256 units, address[] calldata writers)
        external
        payable
        guarded(scope, ICordonGuard.Action.Settle, address(0), msg.value, msg.sender)
    {
        for (uint256 i = 0; i < writers.length; ++i) {
            _exercise(units, writers[i]);
        }
    }

    /// A writer takes out the ether that was delivered to his vault.
    function collect()
        external
        guarded(scope, ICordonGuard.Action.Withdraw, address(0), vaults[msg.sender].underlying, msg.sender)
    {
        uint256 due = vaults[msg.sender].underlying;
        vaults[msg.sender].underlying = 0;
        totalUnderlying -= due;
        (bool done,) = msg.sender.call{ value: due }("");
        if (!done) revert EtherRefused();
    }

    /// The mistake: `msg.value` belongs to the call, not to the vault.
    function _exercise(uint256 units, address writer) private {
        if (msg.value != units * UNIT) revert WrongDelivery(msg.value, units * UNIT);
        if (balanceOf[msg.sender] < units) revert InsufficientOptions(msg.sender, balanceOf[msg.sender], units);
        Vault storage vault = vaults[writer];
        if (vault.collateral < units * strike) {
            revert InsufficientCollateral(writer, vault.collateral, units * strike);
        }
        balanceOf[msg.sender] -= units;
        vault.collateral -= units * strike;
        vault.underlying += units * UNIT;
        totalUnderlying += units * UNIT;
        asset.transfer(msg.sender, units * strike);
        emit Exercised(msg.sender, writer, units);
    }
}
