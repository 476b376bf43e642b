// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { AggregatorV3Interface, GuardedPriceFeed } from "../src/GuardedPriceFeed.sol";
import { Real } from "./adapters/Real.sol";

interface IFlux is AggregatorV3Interface {
    function changeOracles(
        address[] calldata removed,
        address[] calldata added,
        address[] calldata admins,
        uint32 least,
        uint32 most,
        uint32 restart
    ) external;
    function submit(uint256 round, int256 submission) external;
}

interface IMock is AggregatorV3Interface {
    function updateRoundData(uint80 round, int256 answer, uint256 timestamp, uint256 startedAt) external;
}

/// As old aggregators did while a round was open: the number of the new one, the answer of the one before. So Chainlink's documentation tells
/// consumers to compare the two.
contract Carried {
    uint256 private immutable round;
    uint256 private immutable answeredIn;

    constructor(uint256 round_, uint256 answeredIn_) {
        (round, answeredIn) = (round_, answeredIn_);
    }

    function decimals() external pure returns (uint8) {
        return 8;
    }

    function latestRoundData() external view returns (uint256, int256, uint256, uint256, uint256) {
        return (round, 2_000e8, block.timestamp, block.timestamp, answeredIn);
    }
}

/// With Chainlink's published FluxAggregator behind its EACAggregatorProxy as the primary, a second FluxAggregator of other decimals, and
/// Chainlink's MockV3Aggregator as the sequencer's uptime feed (their package, version 0.1.9).
contract GuardedPriceFeedTest is Real {
    IFlux private primary;
    IFlux private second;
    IMock private uptime;
    GuardedPriceFeed private feed;
    mapping(IFlux => uint256) private rounds;

    function setUp() public {
        vm.warp(1_700_000_000);
        primary = _flux(8);
        second = _flux(10);
        uptime = IMock(chainlink("MockV3Aggregator", abi.encode(uint8(0), int256(0))));
        feed = new GuardedPriceFeed(_settings());
        _publish(2_000);
        vm.warp(block.timestamp + 1 hours);
        _publish(2_000);
    }

    function _flux(uint8 decimals) private returns (IFlux flux) {
        bytes memory arguments = abi.encode(
            address(this), uint128(0), uint32(60), address(0), int256(1), int256(1e30), decimals, "WETH / USD"
        );
        flux = IFlux(chainlink("FluxAggregator", arguments));
        address[] memory none = new address[](0);
        address[] memory oracles = new address[](1);
        oracles[0] = address(this);
        flux.changeOracles(none, oracles, oracles, 1, 1, 0);
    }

    function _settings() private returns (GuardedPriceFeed.Settings memory) {
        bytes memory arguments = abi.encode(address(primary), address(0));
        return GuardedPriceFeed.Settings({
            primary: AggregatorV3Interface(chainlink("EACAggregatorProxy", arguments)),
            second: second,
            sequencer: uptime,
            primaryMaxAge: 2 hours,
            secondMaxAge: 1 days,
            deviationBps: 500,
            anchorBps: 2_000,
            anchorPeriod: 10 minutes,
            sequencerGrace: 30 minutes,
            least: 10e8,
            most: 1_000_000e8
        });
    }

    function _submit(IFlux flux, int256 answer) private {
        rounds[flux] += 1;
        flux.submit(rounds[flux], answer);
    }

    function _publish(int256 dollars) private {
        _submit(primary, dollars * 1e8);
        _submit(second, dollars * 1e10);
    }

    function _refused(bytes memory error) private {
        vm.expectRevert(error);
        feed.latestRoundData();
    }

    function test_a_good_price_passes_as_it_is() public view {
        (, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        eq(uint256(answer), 2_000e8, "answer");
        eq(updatedAt, block.timestamp, "time");
        eq(uint256(feed.latestAnswer()), 2_000e8, "the older interface");
        eq(feed.decimals(), 8, "decimals");
        (, answer,,,) = feed.getRoundData((1 << 64) | 1);
        eq(uint256(answer), 2_000e8, "history of the primary");
    }

    /// Consumers ask for a round that is not 0, answered in that round, and some for its data again.
    function test_a_price_has_a_round_that_can_be_asked_for() public {
        (uint80 id, int256 answer,, uint256 updatedAt, uint80 answeredIn) = feed.latestRoundData();
        ok(id != 0 && answeredIn >= id, "a round of the primary");
        (uint80 again, int256 same,, uint256 at,) = feed.getRoundData(id);
        ok(again == id && same == answer && at == updatedAt, "which it knows");
        // The primary falls silent for longer than its age, the second goes on, in other decimals.
        vm.warp(block.timestamp + 3 hours);
        _submit(second, 2_010e10);
        (id, answer,, updatedAt, answeredIn) = feed.latestRoundData();
        eq(uint256(answer), 2_010e8, "the second's");
        ok(id != 0 && answeredIn >= id, "a round of the second");
        (again, same,, at, answeredIn) = feed.getRoundData(id);
        ok(again == id && same == answer && at == updatedAt && answeredIn >= id, "which it knows too");
        GuardedPriceFeed.Settings memory settings = _settings();
        settings.second = AggregatorV3Interface(address(0));
        GuardedPriceFeed lone = new GuardedPriceFeed(settings);
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.UnknownRound.selector, id));
        lone.getRoundData(id);
    }

    function test_an_answer_of_an_earlier_round_is_none() public {
        GuardedPriceFeed.Settings memory settings = _settings();
        uint256[2][3] memory rounds_ =
            [[uint256(8), 7], [uint256(1) << 79, 1 << 79], [type(uint256).max, type(uint256).max]];
        for (uint256 i; i < rounds_.length; ++i) {
            settings.primary = AggregatorV3Interface(address(new Carried(rounds_[i][0], rounds_[i][1])));
            settings.second = AggregatorV3Interface(address(0));
            GuardedPriceFeed carried = new GuardedPriceFeed(settings);
            vm.expectRevert(
                abi.encodeWithSelector(
                    GuardedPriceFeed.PriceUnavailable.selector,
                    GuardedPriceFeed.Fault.CarriedOver,
                    GuardedPriceFeed.Fault.Absent
                )
            );
            carried.latestRoundData();
        }
        settings.primary = AggregatorV3Interface(address(new Carried(8, 8)));
        new GuardedPriceFeed(settings).latestRoundData();
    }

    function test_attack_one_source_that_runs_away_gives_no_price() public {
        _submit(primary, 200_000e8);
        _refused(
            abi.encodeWithSelector(
                GuardedPriceFeed.PricesDisagree.selector, int256(200_000e8), int256(2_000e8), uint256(990_000)
            )
        );
        (int256 answer,) = feed.priceFor(true);
        eq(uint256(answer), 200_000e8, "without an anchor what lowers risk gets the primary's");
    }

    function test_attack_one_source_does_not_choose_the_price_of_liquidations() public {
        feed.moveAnchor();
        vm.warp(block.timestamp + 10 minutes);
        feed.moveAnchor();
        _submit(second, 1_000e10);
        (int256 answer,) = feed.priceFor(true);
        eq(uint256(answer), 2_000e8, "the second runs down: nobody is liquidated by it");
        _submit(second, 2_000e10);
        _submit(primary, 1_000e8);
        (answer,) = feed.priceFor(true);
        eq(uint256(answer), 2_000e8, "the primary runs down");
        _submit(primary, 200_000e8);
        (answer,) = feed.priceFor(true);
        eq(uint256(answer), 2_000e8, "the primary runs up");
        vm.warp(block.timestamp + 20 minutes + 1);
        (answer,) = feed.priceFor(true);
        eq(uint256(answer), 200_000e8, "the anchor has ended: the primary's");
    }

    function test_attack_a_disagreement_just_after_an_outage_gives_no_price() public {
        _submit(primary, 1_000e8);
        uint256 now_ = block.timestamp;
        uptime.updateRoundData(2, 1, now_, now_);
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.SequencerDown.selector, now_));
        feed.priceFor(true);
        uptime.updateRoundData(3, 0, now_, now_);
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.SequencerJustUp.selector, now_, now_ + 30 minutes));
        feed.priceFor(true);
        vm.warp(now_ + 30 minutes);
        feed.priceFor(true);
    }

    function test_attack_there_is_no_gap_between_two_anchors() public {
        feed.moveAnchor();
        vm.warp(block.timestamp + 10 minutes);
        feed.moveAnchor();
        // Moved a while later than it could be: until then the old one holds.
        vm.warp(block.timestamp + 17 minutes);
        _publish(1_500);
        vm.expectPartialRevert(GuardedPriceFeed.PriceJumped.selector);
        feed.latestRoundData();
        _publish(1_900);
        feed.moveAnchor();
        vm.warp(block.timestamp + 9 minutes);
        _publish(1_500);
        vm.expectPartialRevert(GuardedPriceFeed.PriceJumped.selector);
        feed.latestRoundData();
    }

    function test_attack_an_anchor_that_ended_does_not_come_back() public {
        feed.moveAnchor();
        vm.warp(block.timestamp + 10 minutes);
        feed.moveAnchor();
        vm.warp(block.timestamp + 1 days);
        _publish(1_000);
        feed.moveAnchor();
        (, uint64 at) = feed.anchor();
        eq(at, 0, "none");
        (, int256 answer,,,) = feed.latestRoundData();
        eq(uint256(answer), 1_000e8, "yesterday's price stops nobody");
    }

    function test_an_old_primary_is_replaced_by_the_second() public {
        vm.warp(block.timestamp + 2 hours + 1);
        (, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        eq(uint256(answer), 2_000e8, "answer");
        eq(updatedAt, block.timestamp - 2 hours - 1, "the second's time");
        vm.warp(block.timestamp + 1 days);
        bytes memory error = abi.encodeWithSelector(
            GuardedPriceFeed.PriceUnavailable.selector, GuardedPriceFeed.Fault.TooOld, GuardedPriceFeed.Fault.TooOld
        );
        _refused(error);
        vm.expectRevert(error);
        feed.priceFor(true);
    }

    function test_attack_prices_out_of_bounds_are_no_prices() public {
        _submit(primary, 9e8);
        (, int256 answer,,,) = feed.latestRoundData();
        eq(uint256(answer), 2_000e8, "the second's");
        _submit(second, 9e10);
        _refused(
            abi.encodeWithSelector(
                GuardedPriceFeed.PriceUnavailable.selector,
                GuardedPriceFeed.Fault.OutOfBounds,
                GuardedPriceFeed.Fault.OutOfBounds
            )
        );
    }

    function test_a_feed_that_reverts_is_silent() public {
        vm.etch(address(primary), hex"fe");
        (, int256 answer,,,) = feed.latestRoundData();
        eq(uint256(answer), 2_000e8, "the second's");
    }

    function test_attack_starving_a_feed_does_not_choose_the_other() public {
        _submit(primary, 200_000e8);
        for (uint256 gas_ = 20_000; gas_ < 400_000; gas_ += 5_000) {
            (bool done,) =
                address(feed).staticcall{ gas: gas_ }(abi.encodeCall(AggregatorV3Interface.latestRoundData, ()));
            ok(!done, "never a price");
        }
    }

    /// Who could not repay during an outage has the grace period to do so: liquidations wait, also while both feeds agree.
    function test_attack_liquidations_do_not_run_ahead_of_repayments_after_an_outage() public {
        uint256 now_ = block.timestamp;
        uptime.updateRoundData(2, 1, now_, now_);
        (int256 answer,) = feed.priceFor(true);
        eq(uint256(answer), 2_000e8, "repaying goes on");
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.SequencerDown.selector, now_));
        feed.priceForLiquidation();
        uptime.updateRoundData(3, 0, now_, now_);
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.SequencerJustUp.selector, now_, now_ + 30 minutes));
        feed.priceForLiquidation();
        vm.warp(now_ + 30 minutes);
        (answer,) = feed.priceForLiquidation();
        eq(uint256(answer), 2_000e8, "after the grace period");
    }

    /// A false alarm does not hold liquidations up: an uptime feed that is silent, or was never set, says nothing of an outage.
    function test_a_silent_uptime_feed_stops_no_liquidation() public {
        vm.etch(address(uptime), hex"fe");
        (int256 answer,) = feed.priceForLiquidation();
        eq(uint256(answer), 2_000e8, "liquidations run");
        _refused(abi.encodeWithSelector(GuardedPriceFeed.SequencerDown.selector, 0));
    }

    function test_an_uptime_feed_that_tells_of_the_future_says_nothing() public {
        uptime.updateRoundData(9, 0, block.timestamp, type(uint256).max);
        (int256 answer,) = feed.priceForLiquidation();
        eq(uint256(answer), 2_000e8, "liquidations run");
        _refused(abi.encodeWithSelector(GuardedPriceFeed.SequencerDown.selector, type(uint256).max));
        uptime.updateRoundData(10, 1, block.timestamp, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.SequencerDown.selector, type(uint256).max));
        feed.priceForLiquidation();
    }

    function test_while_the_sequencer_was_down_and_just_after_there_is_no_strict_price() public {
        uint256 now_ = block.timestamp;
        uptime.updateRoundData(2, 1, now_, now_);
        _refused(abi.encodeWithSelector(GuardedPriceFeed.SequencerDown.selector, now_));
        uptime.updateRoundData(3, 0, now_, now_);
        _refused(abi.encodeWithSelector(GuardedPriceFeed.SequencerJustUp.selector, now_, now_ + 30 minutes));
        (int256 answer,) = feed.priceFor(true);
        eq(uint256(answer), 2_000e8, "repaying and liquidating go on");
        vm.warp(now_ + 30 minutes);
        feed.latestRoundData();
        vm.etch(address(uptime), hex"fe");
        _refused(abi.encodeWithSelector(GuardedPriceFeed.SequencerDown.selector, 0));
    }

    function test_attack_both_sources_jumping_at_once_are_held_by_the_anchor_for_a_while() public {
        feed.moveAnchor();
        vm.warp(block.timestamp + 10 minutes);
        feed.moveAnchor();
        _publish(1_840);
        feed.latestRoundData();
        _publish(1_500);
        _refused(
            abi.encodeWithSelector(
                GuardedPriceFeed.PriceJumped.selector, int256(1_500e8), int256(2_000e8), uint256(3_334)
            )
        );
        vm.warp(block.timestamp + 20 minutes);
        vm.expectPartialRevert(GuardedPriceFeed.PriceJumped.selector);
        feed.moveAnchor();
        vm.warp(block.timestamp + 1);
        (, int256 answer,,,) = feed.latestRoundData();
        eq(uint256(answer), 1_500e8, "the anchor ends: a true jump is believed");
    }

    function test_attack_the_anchor_is_not_hurried_along() public {
        feed.moveAnchor();
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.AnchorTooYoung.selector, block.timestamp + 10 minutes));
        feed.moveAnchor();
    }

    function test_settings_that_check_nothing_are_refused() public {
        GuardedPriceFeed.Settings memory settings = _settings();
        settings.primaryMaxAge = 0;
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.BadSettings.selector, "primaryMaxAge"));
        new GuardedPriceFeed(settings);
        settings = _settings();
        settings.deviationBps = 0;
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.BadSettings.selector, "second"));
        new GuardedPriceFeed(settings);
        settings = _settings();
        settings.most = settings.least;
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.BadSettings.selector, "bounds"));
        new GuardedPriceFeed(settings);
        settings = _settings();
        settings.anchorPeriod = type(uint256).max;
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.BadSettings.selector, "anchorPeriod"));
        new GuardedPriceFeed(settings);
        settings = _settings();
        settings.sequencerGrace = type(uint256).max;
        vm.expectRevert(abi.encodeWithSelector(GuardedPriceFeed.BadSettings.selector, "sequencerGrace"));
        new GuardedPriceFeed(settings);
    }
}
