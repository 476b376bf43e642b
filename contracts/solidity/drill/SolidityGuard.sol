// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title The guard's hot path written in Solidity, to measure against: the same checks of a call on a quiet day, in as few words of storage.
/// @notice Who calls, how many scopes there are, whether anything is raised, for which actions a rule is checked and the rule itself are in one
/// word per caller, as in the guard. Levels are read only when something is raised. There is nothing else: no incident, budget, announcement,
/// nesting, expiry, matrix or second rule.
contract SolidityGuard {
    /// Gas of the rule's read.
    uint256 private constant READ_GAS = 100_000;

    address private immutable GOVERNOR = msg.sender;

    /// From the low end: what the rule reads (160 bits), by which function (32), what its answer may be at most (32), for which actions it is
    /// checked (16, a bit each), how many scopes there are (8, none for a stranger), whether any level is not Normal (1).
    mapping(address => uint256) private _callers;
    /// Two bits per scope.
    uint256 private _levels;

    error NotGovernor(address caller);
    error NotRegistered(address caller);
    error BadScope(uint24 scopes);
    error ActionClosed(uint8 scope, uint8 level, uint8 action);
    error RuleBreached(uint256 observed, uint256 bound);
    error RuleUnknown();
    error OutOfGasFloor(uint256 left);

    modifier onlyGovernor() {
        if (msg.sender != GOVERNOR) revert NotGovernor(msg.sender);
        _;
    }

    function register(address caller, address target, bytes4 selector, uint32 most, uint16 checked, uint8 scopes)
        external
        onlyGovernor
    {
        uint256 rule = uint160(target) | uint256(uint32(selector)) << 160 | uint256(most) << 192;
        uint256 raised = _levels == 0 ? 0 : 1;
        _callers[caller] = rule | uint256(checked) << 224 | uint256(scopes) << 240 | raised << 248;
    }

    /// Raises or lowers a scope, as one caller sees it.
    function setLevel(address caller, uint8 scope, uint8 level) external onlyGovernor {
        uint256 shift = uint256(scope) * 2;
        _levels = (_levels & ~(uint256(3) << shift)) | (uint256(level & 3) << shift);
        uint256 raised = _levels == 0 ? 0 : 1;
        _callers[caller] = _callers[caller] & ~(uint256(1) << 248) | raised << 248;
    }

    function enter(uint24 scopes, uint8 action, address, uint256, address) external view returns (uint256 ticket) {
        uint256 caller = _callers[msg.sender];
        uint256 count = caller >> 240 & 0xff;
        if (count == 0) revert NotRegistered(msg.sender);
        (uint256 a, uint256 b, uint256 c) = (scopes & 0xff, scopes >> 8 & 0xff, scopes >> 16);
        if (a >= count || b >= count || c >= count) revert BadScope(scopes);
        if (caller >> 248 != 0) _requireOpen([0, a, b, c], action);
        unchecked {
            if (caller >> 224 >> action & 1 != 0) ticket = uint256(action) + 1;
        }
    }

    function exit(uint256 ticket) external view {
        if (ticket == 0) return;
        uint256 word = _callers[msg.sender];
        unchecked {
            if (word >> 224 >> (ticket - 1) & 1 == 0) return;
        }
        // With less the read might fail for want of gas, which says nothing about the rule.
        if (gasleft() < READ_GAS + READ_GAS / 63 + 10_000) revert OutOfGasFloor(gasleft());
        bool answered;
        uint256 observed;
        assembly ("memory-safe") {
            mstore(0, shl(224, shr(160, word)))
            answered := staticcall(READ_GAS, word, 0, 4, 0, 32)
            answered := and(answered, gt(returndatasize(), 31))
            observed := mload(0)
        }
        if (!answered) revert RuleUnknown();
        uint256 most = uint32(word >> 192);
        if (observed > most) revert RuleBreached(observed, most);
    }

    /// ReduceOnly and Halted close; what they leave open is not told apart here.
    function _requireOpen(uint256[4] memory scopes, uint8 action) private view {
        for (uint256 i; i < 4; ++i) {
            uint256 level = _levels >> (scopes[i] * 2) & 3;
            if (level > 1) revert ActionClosed(uint8(scopes[i]), uint8(level), action);
        }
    }
}
