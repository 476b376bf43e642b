// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { ComptrollerSwitch, IComptroller } from "../../src/adapters/ComptrollerSwitch.sol";
import { GuardBound } from "../../src/adapters/GuardBound.sol";
import { Compound, IMarket, IVenus } from "./Compound.sol";
import { GuardStandIn } from "./Real.sol";

/// A Comptroller that answers with its last gas: 57,000 of the 60,000 that it is asked with.
contract SlowComptroller {
    function borrowAllowed(address, address, uint256) external view returns (uint256) {
        uint256 until = gasleft() > 57_000 ? gasleft() - 57_000 : 0;
        while (gasleft() > until + 200) { }
        revert("borrow is paused");
    }
}

/// Against Venus's published Unitroller, Comptrollers and markets (0.7.0).
contract ComptrollerSwitchTest is Compound {
    ComptrollerSwitch private lever;
    address private guard;

    ComptrollerSwitch.Pause private constant MINT = ComptrollerSwitch.Pause.Mint;
    ComptrollerSwitch.Pause private constant BORROW = ComptrollerSwitch.Pause.Borrow;
    ComptrollerSwitch.Pause private constant TRANSFER = ComptrollerSwitch.Pause.Transfer;
    ComptrollerSwitch.Pause private constant SEIZE = ComptrollerSwitch.Pause.Seize;
    ComptrollerSwitch.Pause private constant PROTOCOL = ComptrollerSwitch.Pause.Protocol;

    function setUp() public {
        _market();
        guard = address(new GuardStandIn());
        ComptrollerSwitch.Lever[] memory levers = new ComptrollerSwitch.Lever[](5);
        levers[0] = ComptrollerSwitch.Lever(MINT, address(usd));
        levers[1] = ComptrollerSwitch.Lever(BORROW, address(usd));
        levers[2] = ComptrollerSwitch.Lever(TRANSFER, address(comptroller));
        levers[3] = ComptrollerSwitch.Lever(SEIZE, address(comptroller));
        levers[4] = ComptrollerSwitch.Lever(PROTOCOL, address(comptroller));
        lever = new ComptrollerSwitch(address(this), comptroller, address(this), levers);
        unitroller._setPendingAdmin(address(lever));
        lever.accept();
        lever.bind(guard);
        _go(BORROWER, address(usd), abi.encodeCall(IMarket.borrow, (100_000e18)), true, "a loan at first");
    }

    /// Whether the market does it, and says so.
    function _go(address from, address to, bytes memory call, bool passes, string memory what) private {
        vm.prank(from);
        (bool done, bytes memory answer) = to.call(call);
        ok((done && abi.decode(answer, (uint256)) == 0) == passes, what);
    }

    function _close(ComptrollerSwitch.Pause pause, address market) private {
        vm.prank(guard);
        lever.close(pause, market);
        ok(lever.isClosed(pause, market), "closed");
    }

    function _open(ComptrollerSwitch.Pause pause, address market) private {
        vm.prank(guard);
        lever.open(pause, market);
        ok(!lever.isClosed(pause, market), "open");
    }

    function _borrow(bool passes) private {
        _go(BORROWER, address(usd), abi.encodeCall(IMarket.borrow, (1e18)), passes, "borrow");
    }

    function _mint(bool passes) private {
        _go(LENDER, address(usd), abi.encodeCall(IMarket.mint, (1e18)), passes, "mint");
    }

    function _repay(bool passes) private {
        _go(BORROWER, address(usd), abi.encodeCall(IMarket.repayBorrow, (1e18)), passes, "repay");
    }

    function _liquidate(bool passes) private {
        bytes memory call = abi.encodeCall(IMarket.liquidateBorrow, (BORROWER, 1e18, address(eth)));
        _go(LENDER, address(usd), call, passes, "liquidate");
    }

    function _transfers() private returns (bool done) {
        vm.prank(LENDER);
        (done,) = address(usd).call(abi.encodeCall(IMarket.transfer, (address(0x7), 1)));
    }

    /// Administers as the protocol's timelock does.
    function _administer(bytes memory call) private {
        lever.administer(address(comptroller), call);
    }

    function _borrowPause(bool paused) private view returns (bytes memory) {
        return abi.encodeCall(IComptroller._setBorrowPaused, (address(usd), paused));
    }

    function test_each_pause_closes_what_it_names_and_nothing_else() public {
        _close(BORROW, address(usd));
        _borrow(false);
        _mint(true);
        _repay(true);
        ok(_transfers(), "transfers go on");
        eq(comptroller.redeemAllowed(address(usd), LENDER, 1e18), 0, "redemption is open");
        _open(BORROW, address(usd));
        _borrow(true);

        _close(MINT, address(usd));
        _mint(false);
        _borrow(true);
        _open(MINT, address(usd));
        _mint(true);

        _close(TRANSFER, address(comptroller));
        ok(!_transfers(), "transfers are paused");
        _repay(true);
        _open(TRANSFER, address(comptroller));
        ok(_transfers(), "transfers go on again");

        oracle.setUnderlyingPrice(address(eth), 1_000e18);
        _liquidate(true);
        _close(SEIZE, address(comptroller));
        _liquidate(false);
        _repay(true);
        _open(SEIZE, address(comptroller));
        _liquidate(true);
    }

    /// Venus's pause of everything closes repayment too, and is taken back as the others are.
    function test_the_pause_of_the_whole_protocol_is_taken_back() public {
        _close(BORROW, address(usd));
        _close(PROTOCOL, address(comptroller));
        _repay(false);
        _mint(false);
        ok(lever.isClosed(BORROW, address(usd)), "what the guard had closed before");
        _open(PROTOCOL, address(comptroller));
        _repay(true);
        _mint(true);
        _borrow(false);
        _open(BORROW, address(usd));
        _borrow(true);
    }

    /// The fifth Comptroller has that pause only, and gives it to the pause guardian.
    function test_a_later_implementation_is_put_there_by_its_owner() public {
        address code = address(0x65);
        large(string.concat(VENUS, "Comptroller/ComptrollerG5.sol/ComptrollerG5.json"), code);
        _administer(abi.encodeCall(unitroller._setPendingImplementation, (code)));
        lever.administer(code, abi.encodeCall(IVenus._become, (address(unitroller))));
        _close(PROTOCOL, address(comptroller));
        _repay(false);
        _open(PROTOCOL, address(comptroller));
        _repay(true);
        _go(LENDER, address(usd), abi.encodeWithSignature("redeem(uint256)", 1e18), true, "redeem");
        // It knows no pause of a single market: the guard's rehearsal tells before an incident does.
        vm.prank(guard);
        vm.expectRevert();
        lever.close(BORROW, address(usd));
    }

    /// What the adapter is for: a guard that is pause guardian cannot take back what it set.
    function test_a_pause_guardian_closes_and_only_the_admin_opens() public {
        _administer(abi.encodeCall(IVenus._setPauseGuardian, (guard)));
        vm.prank(guard);
        comptroller._setBorrowPaused(address(usd), true);
        _borrow(false);
        _repay(true);
        vm.prank(guard);
        vm.expectRevert("only admin can unpause");
        comptroller._setBorrowPaused(address(usd), false);
        _administer(_borrowPause(false));
        _borrow(true);
    }

    function test_attack_nobody_but_the_guard_moves_the_comptroller() public {
        bytes memory refusal = abi.encodeWithSelector(GuardBound.NotGuard.selector, address(this));
        vm.expectRevert(refusal);
        lever.close(BORROW, address(usd));
        _close(BORROW, address(usd));
        vm.expectRevert(refusal);
        lever.open(BORROW, address(usd));
        // Nor does the guard administer.
        bytes memory notOwner = abi.encodeWithSelector(ComptrollerSwitch.NotOwner.selector, guard);
        vm.prank(guard);
        vm.expectRevert(notOwner);
        lever.administer(address(comptroller), _borrowPause(false));
        vm.prank(guard);
        vm.expectRevert(notOwner);
        lever.handBack(guard);
        vm.expectRevert(abi.encodeWithSelector(GuardBound.NotBinder.selector, address(this)));
        lever.bind(guard);
    }

    function test_attack_a_stolen_guard_closes_no_other_market() public {
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(ComptrollerSwitch.UnknownLever.selector, BORROW, address(eth)));
        lever.close(BORROW, address(eth));
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(ComptrollerSwitch.UnknownLever.selector, MINT, address(comptroller)));
        lever.open(MINT, address(comptroller));
    }

    function test_attack_a_stolen_guard_opens_no_pause_that_the_admin_had_set() public {
        _administer(_borrowPause(true));
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(ComptrollerSwitch.AlreadyClosed.selector, BORROW, address(usd)));
        lever.close(BORROW, address(usd));
        _refusesToOpen();
        // Nor one that the admin set again while it was the guard's.
        _administer(_borrowPause(false));
        _close(BORROW, address(usd));
        _administer(_borrowPause(true));
        _refusesToOpen();
        _borrow(false);
    }

    /// With the whole protocol paused nobody sees the admin's pause of a market, so the guard takes none for its own.
    function test_attack_a_pause_of_the_protocol_hides_no_pause_of_the_admin() public {
        _administer(_borrowPause(true));
        _close(PROTOCOL, address(comptroller));
        vm.prank(guard);
        vm.expectRevert(ComptrollerSwitch.HiddenByProtocolPause.selector);
        lever.close(BORROW, address(usd));
        _refusesToOpen();
        _open(PROTOCOL, address(comptroller));
        _borrow(false);
    }

    /// Whoever chooses the gas does not make a pause of the admin look open, to have it taken for the guard's and opened later.
    function test_attack_gas_does_not_hide_a_pause() public {
        _administer(_borrowPause(true));
        for (uint256 gas = 5_000; gas < 300_000; gas += 5_000) {
            vm.prank(guard);
            (bool closed,) = address(lever).call{ gas: gas }(abi.encodeCall(lever.close, (BORROW, address(usd))));
            ok(!closed, "taken for open");
            try lever.isClosed{ gas: gas }(BORROW, address(usd)) returns (bool shown) {
                ok(shown, "shown as open");
            } catch { }
        }
        _refusesToOpen();
    }

    /// Also where the question takes nearly all the gas it is given, so that a starved one would leave enough for the answer "open".
    function test_attack_a_question_that_is_starved_is_no_answer() public {
        IComptroller slow = IComptroller(address(new SlowComptroller()));
        ComptrollerSwitch.Lever[] memory levers = new ComptrollerSwitch.Lever[](1);
        levers[0] = ComptrollerSwitch.Lever(BORROW, address(usd));
        ComptrollerSwitch asked = new ComptrollerSwitch(address(this), slow, address(this), levers);
        ok(asked.isClosed(BORROW, address(usd)), "with gas enough");
        uint256 answered;
        for (uint256 gas = 20_000; gas < 130_000; gas += 100) {
            try asked.isClosed{ gas: gas }(BORROW, address(usd)) returns (bool shown) {
                ok(shown, "shown as open");
                answered += 1;
            } catch { }
        }
        ok(answered > 0, "the last ones had gas enough");
    }

    function _refusesToOpen() private {
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(ComptrollerSwitch.NotClosedHere.selector, BORROW, address(usd)));
        lever.open(BORROW, address(usd));
    }

    /// The owner opens in the middle of an incident, and whoever retries containment would close again.
    function test_attack_what_the_owner_opened_is_not_closed_again_by_retrying() public {
        _close(BORROW, address(usd));
        _administer(_borrowPause(false));
        _borrow(true);
        uint256 until = block.timestamp + 7 days;
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(ComptrollerSwitch.JustOpened.selector, until));
        lever.close(BORROW, address(usd));
        // Opening it twice does not shorten that.
        _administer(_borrowPause(false));
        vm.warp(until - 1);
        vm.prank(guard);
        vm.expectRevert(abi.encodeWithSelector(ComptrollerSwitch.JustOpened.selector, until));
        lever.close(BORROW, address(usd));
        vm.warp(until);
        _close(BORROW, address(usd));
    }

    /// A dead or hostile guard holds nothing: the owner leaves in the middle of an incident, and opens.
    function test_attack_a_guard_cannot_hold_the_comptroller_for_ever() public {
        _close(SEIZE, address(comptroller));
        _close(BORROW, address(usd));
        lever.handBack(address(this));
        eq(unitroller._acceptAdmin(), 0, "the admin is back");
        comptroller._setBorrowPaused(address(usd), false);
        comptroller._setSeizePaused(false);
        _borrow(true);
        vm.prank(guard);
        vm.expectRevert("only pause guardian and admin can");
        lever.close(BORROW, address(usd));
    }

    function test_attack_levers_that_stand_for_one_pause_are_refused() public {
        ComptrollerSwitch.Lever[] memory levers = new ComptrollerSwitch.Lever[](1);
        levers[0] = ComptrollerSwitch.Lever(SEIZE, address(usd));
        _badLevers(levers, 0);
        levers[0] = ComptrollerSwitch.Lever(BORROW, address(comptroller));
        _badLevers(levers, 0);
        levers[0] = ComptrollerSwitch.Lever(BORROW, address(0));
        _badLevers(levers, 0);
        levers = new ComptrollerSwitch.Lever[](2);
        levers[0] = ComptrollerSwitch.Lever(BORROW, address(usd));
        levers[1] = ComptrollerSwitch.Lever(BORROW, address(usd));
        _badLevers(levers, 1);
    }

    function _badLevers(ComptrollerSwitch.Lever[] memory levers, uint256 index) private {
        vm.expectRevert(abi.encodeWithSelector(ComptrollerSwitch.BadLever.selector, index));
        new ComptrollerSwitch(address(this), comptroller, address(this), levers);
    }

    /// What the adapter adds to a pause and its taking back, warm, without the transaction's own price.
    function test_gas_of_the_adapter() public {
        vm.startPrank(guard);
        uint256 left = gasleft();
        lever.close(BORROW, address(usd));
        uint256 close = left - gasleft();
        left = gasleft();
        ok(lever.isClosed(BORROW, address(usd)), "closed");
        uint256 read = left - gasleft();
        left = gasleft();
        lever.open(BORROW, address(usd));
        uint256 open = left - gasleft();
        vm.stopPrank();
        emit Gas(close, read, open);
        ok(close < 80_000 && read < 20_000 && open < 20_000, "gas");
    }

    event Gas(uint256 close, uint256 read, uint256 open);
}
