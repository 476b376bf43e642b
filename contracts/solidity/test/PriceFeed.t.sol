// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { PriceFeed } from "../drill/PriceFeed.sol";
import { IAnswer, ScaledFeed } from "../drill/ScaledFeed.sol";
import { Checks } from "./Support.sol";

contract PriceFeedTest is Checks {
    PriceFeed private feed;

    function setUp() public {
        feed = new PriceFeed("WETH / USD", 2_000e8, address(this));
    }

    function test_the_owner_moves_the_price() public {
        vm.warp(1_800_000_000);
        feed.setAnswer(1_840e8);
        (uint80 round, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        eq(uint256(answer), 1_840e8, "answer");
        eq(uint256(feed.latestAnswer()), 1_840e8, "latest answer");
        eq(round, 2, "round");
        eq(updatedAt, 1_800_000_000, "time");
    }

    function test_nobody_else_does() public {
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(PriceFeed.NotOwner.selector, address(0xBAD)));
        feed.setAnswer(1);
    }

    function test_a_price_is_positive() public {
        vm.expectRevert(abi.encodeWithSelector(PriceFeed.BadAnswer.selector, int256(0)));
        feed.setAnswer(0);
    }

    function test_a_scaled_feed_follows_its_source() public {
        ScaledFeed scaled = new ScaledFeed(IAnswer(address(feed)), 100);
        eq(uint256(scaled.latestAnswer()), 200_000e8, "a hundredfold");
        feed.setAnswer(1_000e8);
        eq(uint256(scaled.latestAnswer()), 100_000e8, "still a hundredfold");
    }
}
