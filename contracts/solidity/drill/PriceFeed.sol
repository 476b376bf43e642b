// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title A price feed of the kind Chainlink publishes, moved by its owner.
/// @notice Drills deploy two per asset: the market's source, and a reference that moves on its own and may lag.
contract PriceFeed {
    error NotOwner(address caller);
    error BadAnswer(int256 answer);

    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    uint8 public constant decimals = 8;

    /// Who moves the price.
    address public immutable owner;
    string public description;
    int256 public latestAnswer;
    uint256 public latestTimestamp;
    uint80 public latestRound;

    constructor(string memory description_, int256 answer, address owner_) {
        owner = owner_;
        description = description_;
        _update(answer);
    }

    /// Publishes a price with 8 decimals.
    function setAnswer(int256 answer) external {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _update(answer);
    }

    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        return (latestRound, latestAnswer, latestTimestamp, latestTimestamp, latestRound);
    }

    function _update(int256 answer) private {
        if (answer <= 0) revert BadAnswer(answer);
        latestAnswer = answer;
        latestTimestamp = block.timestamp;
        latestRound += 1;
        emit AnswerUpdated(answer, latestRound, block.timestamp);
    }
}
