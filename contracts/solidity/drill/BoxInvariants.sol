// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// A contract with numbers in boxes.
interface IBoxes {
    function get(uint256 key) external view returns (uint256);
}

/// Invariants of a team as they write them for Foundry: functions that revert when something is wrong. A watch of the keeper runs them
/// against every block; they are never deployed.
contract BoxInvariants {
    /// A box holds more than it may.
    error TooMuch(uint256 key, uint256 value, uint256 most);

    IBoxes internal immutable boxes;
    uint256 internal immutable most;

    constructor(IBoxes boxes_, uint256 most_) {
        require(boxes_.get(9) == 0, "the boxes are being moved");
        boxes = boxes_;
        most = most_;
    }

    function invariant_first() external view {
        uint256 value = boxes.get(1);
        if (value > most) revert TooMuch(1, value, most);
    }

    function invariant_second() external view {
        require(boxes.get(2) <= most, "the second box is too full");
    }
}
