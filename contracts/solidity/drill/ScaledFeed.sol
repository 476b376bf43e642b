// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

interface IAnswer {
    function latestAnswer() external view returns (int256);
}

/// @title The thief's price source: follows an honest feed, times a factor.
contract ScaledFeed {
    IAnswer public immutable source;
    int256 public immutable factor;

    constructor(IAnswer source_, int256 factor_) {
        source = source_;
        factor = factor_;
    }

    function latestAnswer() external view returns (int256) {
        return source.latestAnswer() * factor;
    }
}
