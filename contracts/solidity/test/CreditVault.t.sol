// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { CreditVault } from "../drill/CreditVault.sol";
import { PriceFeed } from "../drill/PriceFeed.sol";
import { TestToken } from "../drill/TestToken.sol";
import { VaultInflator } from "../drill/VaultInflator.sol";
import { ICordonGuard } from "../src/ICordonGuard.sol";
import { Checks, FailingGuard } from "./Support.sol";

contract CreditVaultTest is Checks {
    address private constant ALICE = address(0xA11CE);
    address private constant VICTIM = address(0x71C71);
    address private constant BORROWER = address(0xB0220);

    TestToken private token;
    PriceFeed private quote;
    CreditVault private vault;
    FailingGuard private guard;

    function setUp() public {
        token = new TestToken("Test Dollar", "TUSD", 6);
        quote = new PriceFeed("loan book / TUSD", 1e8, address(this));
        vault = new CreditVault(token, quote, address(this), BORROWER, 1);
        guard = new FailingGuard();
        guard.setTolerance(50);
        _fund(ALICE);
        _fund(VICTIM);
        _fund(BORROWER);
    }

    function test_shares_follow_the_loan_book() public {
        _deposit(ALICE, 100_000e6);
        vm.prank(BORROWER);
        vault.borrow(50_000e6);
        eq(vault.totalAssets(), 100_000e6, "a loan at par changes nothing");
        quote.setAnswer(0.92e8);
        eq(vault.totalAssets(), 96_000e6, "the book fell by 8 %");
        vm.prank(BORROWER);
        vault.repay(50_000e6);
        eq(vault.totalAssets(), 96_000e6 + 1, "repaid at today's quote, rounded up");
        eq(vault.loans(), 0, "book empty");
    }

    function test_only_the_borrower_borrows() public {
        _deposit(ALICE, 1_000e6);
        vm.expectRevert(abi.encodeWithSelector(CreditVault.NotBorrower.selector, address(this)));
        vault.borrow(1);
    }

    function test_only_the_owner_names_the_guard() public {
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(CreditVault.NotOwner.selector, ALICE));
        vault.setGuard(address(0));
    }

    function test_redeem_needs_shares() public {
        _deposit(ALICE, 1_000e6);
        vm.expectRevert(abi.encodeWithSelector(CreditVault.InsufficientShares.selector, address(this), 0, 1));
        vault.redeem(1, address(this));
    }

    function test_unguarded_the_first_depositor_takes_the_victims_deposit() public {
        uint256 before = token.balanceOf(address(this));
        VaultInflator thief = _inflate(10_000e6);
        eq(_deposit(VICTIM, 10_000e6), 0, "no share for the victim");
        thief.cashOut(vault);
        eq(token.balanceOf(address(this)) - before, 20_000e6 + 1, "own stake and the victim's deposit");
    }

    function test_guarded_the_victims_deposit_reverts_and_the_thief_gains_nothing() public {
        vault.setGuard(address(guard));
        uint256 before = token.balanceOf(address(this));
        VaultInflator thief = _inflate(10_000e6);
        uint256 held = token.balanceOf(VICTIM);
        vm.startPrank(VICTIM);
        vm.expectPartialRevert(ICordonGuard.RuleBreached.selector);
        vault.deposit(10_000e6, VICTIM);
        vm.stopPrank();
        eq(token.balanceOf(VICTIM), held, "the victim keeps the deposit");
        thief.cashOut(vault);
        eq(token.balanceOf(address(this)) - before, 10_000e6 + 1, "the thief gets the own stake back");
    }

    /// Whatever the donation and the deposit: under the guard no depositor loses more than the rule's tolerance.
    function testFuzz_guarded_no_deposit_loses_beyond_tolerance(uint64 donation, uint64 amount) public {
        vault.setGuard(address(guard));
        uint256 assets = 1 + uint256(amount) % 1_000_000e6;
        _inflate(1 + uint256(donation) % 1_000_000e6);
        vm.prank(VICTIM);
        (bool success,) = address(vault).call(abi.encodeCall(CreditVault.deposit, (assets, VICTIM)));
        if (!success) return;
        uint256 worth = vault.convertToAssets(vault.balanceOf(VICTIM));
        // The price moved by at most 50 bps, which is the loss spread over all shares there are.
        ok((assets - worth) * 10_000 <= vault.totalAssets() * 50 + 10_000, "loss within tolerance");
    }

    function test_guarded_honest_traffic_passes() public {
        vault.setGuard(address(guard));
        _deposit(ALICE, 100_000e6);
        _deposit(VICTIM, 3_333_333_333);
        vm.prank(BORROWER);
        vault.borrow(80_000e6);
        quote.setAnswer(0.92e8);
        _deposit(VICTIM, 1);
        vm.prank(BORROWER);
        vault.repay(80_000e6);
        uint256 shares = vault.balanceOf(ALICE);
        vm.prank(ALICE);
        vault.redeem(shares, ALICE);
        eq(guard.entered(), 6, "every call was guarded");
        eq(guard.exited(), 6, "and checked");
    }

    function _inflate(uint256 donation) private returns (VaultInflator thief) {
        thief = new VaultInflator();
        token.mint(address(thief), donation + 1);
        thief.inflate(vault);
    }

    function _deposit(address who, uint256 assets) private returns (uint256 shares) {
        vm.prank(who);
        return vault.deposit(assets, who);
    }

    function _fund(address who) private {
        token.mint(who, 2_000_000e6);
        vm.prank(who);
        token.approve(address(vault), type(uint256).max);
    }
}
