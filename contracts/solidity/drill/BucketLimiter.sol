// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title The limiter's hot path written in Solidity, to measure against: the same bucket in one word, the same credit.
contract BucketLimiter {
    struct Bucket {
        uint128 filled; // units times the period
        uint40 at;
        uint24 period;
        uint64 units;
    }

    mapping(bytes32 => Bucket) private _buckets;

    error NotLimited(address protocol, address asset, uint8 class);

    function set(address protocol, address asset, uint8 class, uint64 units, uint24 period) external {
        _buckets[keccak256(abi.encode(protocol, asset, class))] = Bucket(0, 0, period, units);
    }

    function outflow(address asset, uint8 class, address account, uint256 amount) external returns (uint256 passed) {
        uint256 rest = amount - _useCredit(keccak256(abi.encode(msg.sender, asset, account)), amount);
        Bucket storage slot = _buckets[keccak256(abi.encode(msg.sender, asset, class))];
        Bucket memory bucket = slot;
        if (bucket.units == 0) revert NotLimited(msg.sender, asset, class);
        uint256 leak = uint256(bucket.units) * (block.timestamp - bucket.at);
        uint256 filled = bucket.filled > leak ? bucket.filled - leak : 0;
        uint256 full = uint256(bucket.units) * bucket.period;
        uint256 room = full > filled ? full - filled : 0;
        uint256 taken = rest * bucket.period <= room ? rest : room / bucket.period;
        bucket.filled = uint128(filled + taken * bucket.period);
        bucket.at = uint40(block.timestamp);
        slot.filled = bucket.filled;
        slot.at = bucket.at;
        return amount - rest + taken;
    }

    function inflow(address asset, uint8, address account, uint256 amount) external {
        bytes32 key = keccak256(abi.encode(msg.sender, asset, account));
        assembly ("memory-safe") {
            tstore(key, add(tload(key), amount))
        }
    }

    function _useCredit(bytes32 key, uint256 amount) private returns (uint256 used) {
        uint256 credit;
        assembly ("memory-safe") {
            credit := tload(key)
        }
        if (credit == 0) return 0;
        used = credit < amount ? credit : amount;
        assembly ("memory-safe") {
            tstore(key, sub(credit, used))
        }
    }
}

/// @title As much of a guard as the limiter asks for when limits are set: its governor is who deployed it.
contract GovernorStub {
    address private immutable GOVERNOR = msg.sender;

    function governor() external view returns (address current, address proposed, uint32 delay, bool isSealed) {
        return (GOVERNOR, address(0), 0, false);
    }
}
