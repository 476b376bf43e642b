// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { ICordonGuard } from "./ICordonGuard.sol";

/// What a subscriber is told.
interface INoticeReceiver {
    /// The notice about `scope` of `guard` is another than the last one told. Called by the feed with capped gas.
    function onNotice(address guard, uint8 scope, IncidentFeed.Status calldata status) external;
}

/// @title Tells other protocols how a protocol's guard stands: a lender about its collateral's issuer, a bridge about its counterparty.
/// @notice One feed serves all guards of a chain and belongs to nobody. Three ways to use it: ask at the point of use (`statusOf`, which never
/// reverts because of the guard, or `requireCalm`, which reverts with a named error); look up which scope covers a contract (`coverOf`,
/// kept by the guard's governor); or subscribe, so that anybody can push a change (`notify`).
/// @dev Whom to believe is the asker's choice: every answer is about a guard that the asker named. A guard that does not answer is
/// `Silent`, one whose keeper's heartbeat is too old is `Stale`; neither is `Calm`, and neither is a level.
contract IncidentFeed {
    enum Notice {
        Calm,
        Contained,
        Stale,
        Silent
    }

    struct Status {
        Notice notice;
        ICordonGuard.Level level; // the stricter of the scope's and the whole protocol's
        uint64 since; // when that containment began; 0 when none
        uint64 expiresAt; // when that level steps down; 0 when none
        uint64 incident; // number of the incident in the guard; 0 when none
        uint64 heartbeatAge; // seconds since the keeper's latest heartbeat; the greatest number when there was none
    }

    /// What a governor says of a contract.
    struct Cover {
        bool covered;
        uint8 scope;
    }

    /// What a subscriber wants to know, and was told last.
    struct Subscription {
        bool active;
        uint64 maxHeartbeatAge;
        Notice notice;
        ICordonGuard.Level level;
    }

    error NotGovernor(address guard, address caller);
    error NotCovered(address guard, address account);
    error NotCalm(address guard, uint8 scope, Notice notice, ICordonGuard.Level level);
    error NotSubscribed(address subscriber, address guard, uint8 scope);
    error NothingNew(address subscriber, address guard, uint8 scope);
    /// The guard did not answer: whoever sends a transaction can bring that about, so it is nothing to tell.
    error GuardSilent(address guard);
    error ReceiverFailed(address subscriber);
    error GasBelowFloor(uint256 needed, uint256 left);

    event Covered(address indexed guard, address indexed account, uint8 indexed scope);
    event Uncovered(address indexed guard, address indexed account);
    event Subscribed(
        address indexed subscriber, address indexed guard, uint8 indexed scope, uint64 maxHeartbeatAge, bool active
    );
    event Noticed(
        address indexed subscriber,
        address indexed guard,
        uint8 indexed scope,
        Notice notice,
        ICordonGuard.Level level,
        uint64 incident
    );

    /// Gas of the question for a status, of that for a level or a heartbeat, and of one call of a subscriber. A scope's status reads one slot for
    /// each containment call that serves the scope, and there may be 256: with less gas, a guard that has most in force would be the one that
    /// falls silent. The other two never read more than a few.
    uint256 private constant ASK_GAS = 1_000_000;
    uint256 private constant WORD_GAS = 200_000;
    uint256 private constant TELL_GAS = 500_000;
    /// Words of an encoded `ICordonGuard.ScopeStatus` that are looked at.
    uint256 private constant STATUS_WORDS = 5;

    mapping(address guard => mapping(address account => Cover)) public coverOf;
    mapping(address subscriber => mapping(address guard => mapping(uint8 scope => Subscription))) public subscriptions;

    // ---------------------------------------------------------------- registry

    /// The governor of `guard` says that its `scope` covers `account`.
    function cover(address guard, address account, uint8 scope) external {
        _requireGovernor(guard);
        coverOf[guard][account] = Cover(true, scope);
        emit Covered(guard, account, scope);
    }

    /// The governor of `guard` takes that back.
    function uncover(address guard, address account) external {
        _requireGovernor(guard);
        delete coverOf[guard][account];
        emit Uncovered(guard, account);
    }

    // ---------------------------------------------------------------- asking

    /// How `scope` of `guard` stands now. `maxHeartbeatAge` in seconds; 0 when the heartbeat does not matter.
    function statusOf(address guard, uint8 scope, uint64 maxHeartbeatAge) public view returns (Status memory status) {
        bool answered;
        (answered, status) = _stricterStatus(guard, scope);
        bytes32 last;
        if (answered) (answered, last) = _lastHeartbeat(guard);
        if (!answered) {
            Status memory silent;
            silent.notice = Notice.Silent;
            return silent;
        }
        status.heartbeatAge = _age(uint256(last));
        if (status.level != ICordonGuard.Level.Normal) status.notice = Notice.Contained;
        else if (maxHeartbeatAge != 0 && status.heartbeatAge > maxHeartbeatAge) status.notice = Notice.Stale;
    }

    /// The same for the scope that covers `account`.
    function statusOfContract(address guard, address account, uint64 maxHeartbeatAge)
        external
        view
        returns (Status memory)
    {
        Cover memory found = coverOf[guard][account];
        if (!found.covered) revert NotCovered(guard, account);
        return statusOf(guard, found.scope, maxHeartbeatAge);
    }

    /// The level alone, of a guard that answers: cheap, for while all is Normal the guard's gate says so itself.
    function levelOf(address guard, uint8 scope) external view returns (ICordonGuard.Level) {
        (bool answered, ICordonGuard.Level level) = _level(guard, scope);
        if (!answered) revert GuardSilent(guard);
        return level;
    }

    /// Reverts unless all is calm: for the point at which a counterparty adds risk. Never use it where somebody gets out or repays.
    /// Cheaper when the heartbeat does not matter (0), for then it is not asked for.
    function requireCalm(address guard, uint8 scope, uint64 maxHeartbeatAge) external view {
        (bool answered, ICordonGuard.Level level) = _level(guard, scope);
        bytes32 last;
        if (answered && maxHeartbeatAge != 0) (answered, last) = _lastHeartbeat(guard);
        Notice notice = Notice.Calm;
        if (!answered) notice = Notice.Silent;
        else if (level != ICordonGuard.Level.Normal) notice = Notice.Contained;
        else if (maxHeartbeatAge != 0 && _age(uint256(last)) > maxHeartbeatAge) notice = Notice.Stale;
        if (notice != Notice.Calm) revert NotCalm(guard, scope, notice, level);
    }

    // ---------------------------------------------------------------- telling

    /// The caller wants to be told of changes, or no more.
    function subscribe(address guard, uint8 scope, uint64 maxHeartbeatAge, bool active) external {
        subscriptions[msg.sender][guard][scope] =
            Subscription(active, maxHeartbeatAge, Notice.Calm, ICordonGuard.Level.Normal);
        emit Subscribed(msg.sender, guard, scope, maxHeartbeatAge, active);
    }

    /// Tells a subscriber what has changed. Anyone may; what is told is read here and now.
    function notify(address subscriber, address guard, uint8 scope) external {
        Subscription storage wanted = subscriptions[subscriber][guard][scope];
        if (!wanted.active) revert NotSubscribed(subscriber, guard, scope);
        Status memory status = statusOf(guard, scope, wanted.maxHeartbeatAge);
        if (status.notice == Notice.Silent) revert GuardSilent(guard);
        if (status.notice == wanted.notice && status.level == wanted.level) {
            revert NothingNew(subscriber, guard, scope);
        }
        (wanted.notice, wanted.level) = (status.notice, status.level);
        emit Noticed(subscriber, guard, scope, status.notice, status.level, status.incident);
        _requireGas(TELL_GAS);
        try INoticeReceiver(subscriber).onNotice{ gas: TELL_GAS }(guard, scope, status) { }
        catch {
            revert ReceiverFailed(subscriber);
        }
    }

    // ---------------------------------------------------------------- inside

    function _requireGovernor(address guard) private view {
        (address current,,,) = ICordonGuard(guard).governor();
        if (msg.sender != current) revert NotGovernor(guard, msg.sender);
    }

    /// The scope's status, or the whole protocol's when that is stricter.
    function _stricterStatus(address guard, uint8 scope) private view returns (bool answered, Status memory status) {
        (answered, status) = _scopeStatus(guard, scope);
        if (!answered || scope == 0) return (answered, status);
        Status memory whole;
        (answered, whole) = _scopeStatus(guard, 0);
        if (_strictness(whole.level) > _strictness(status.level)) status = whole;
    }

    /// The first words of the guard's answer; what later versions of a guard add behind them does not matter here.
    function _scopeStatus(address guard, uint8 scope) private view returns (bool answered, Status memory status) {
        bytes memory answer;
        uint256 size;
        (size, answer) = _ask(guard, abi.encodeCall(ICordonGuard.scopeStatus, (scope)), STATUS_WORDS, ASK_GAS);
        answered = size >= answer.length;
        if (!answered) return (false, status);
        // Level, since, expiresAt, ceilingAt, incident.
        uint256[5] memory words = abi.decode(answer, (uint256[5]));
        // A foreign contract may answer anything: a level that does not exist, or a time out of range, is no answer.
        if (words[0] > uint256(type(ICordonGuard.Level).max)) return (false, status);
        for (uint256 i = 1; i < STATUS_WORDS; ++i) {
            if (words[i] > type(uint64).max) return (false, status);
        }
        status.level = ICordonGuard.Level(words[0]);
        status.since = uint64(words[1]);
        status.expiresAt = uint64(words[2]);
        status.incident = uint64(words[4]);
    }

    /// The stricter of the scope's level and the whole protocol's, as the guard tells it. Nothing but one word is such an answer.
    function _level(address guard, uint8 scope) private view returns (bool answered, ICordonGuard.Level level) {
        (uint256 size, bytes memory answer) = _ask(guard, abi.encodeCall(ICordonGuard.levelOf, (scope)), 1, WORD_GAS);
        if (size != answer.length) return (false, level);
        uint256 word = abi.decode(answer, (uint256));
        answered = word <= uint256(type(ICordonGuard.Level).max);
        if (answered) level = ICordonGuard.Level(word);
    }

    function _lastHeartbeat(address guard) private view returns (bool answered, bytes32 last) {
        (uint256 size, bytes memory answer) = _ask(guard, abi.encodeCall(ICordonGuard.lastHeartbeat, ()), 1, WORD_GAS);
        answered = size >= answer.length;
        if (answered) last = abi.decode(answer, (bytes32));
    }

    /// Asks with capped gas, and looks at no more of the answer than there is to know.
    /// @return size how many bytes were answered; 0 when the guard failed.
    function _ask(address guard, bytes memory request, uint256 words, uint256 gas_)
        private
        view
        returns (uint256 size, bytes memory answer)
    {
        _requireGas(gas_);
        answer = new bytes(words * 32);
        assembly ("memory-safe") {
            if staticcall(gas_, guard, add(request, 32), mload(request), add(answer, 32), mload(answer)) {
                size := returndatasize()
            }
        }
    }

    /// Without this floor whoever sends the transaction could starve a guard into silence.
    function _requireGas(uint256 gas_) private view {
        uint256 needed = gas_ + gas_ / 63 + 30_000;
        if (gasleft() < needed) revert GasBelowFloor(needed, gasleft());
    }

    /// Grace follows containment: stricter than Normal, less strict than anything else.
    function _strictness(ICordonGuard.Level level) private pure returns (uint256) {
        if (level == ICordonGuard.Level.Normal) return 0;
        return level == ICordonGuard.Level.Grace ? 1 : 1 + uint256(level);
    }

    function _age(uint256 at) private view returns (uint64) {
        if (at == 0 || at > block.timestamp) return at == 0 ? type(uint64).max : 0;
        return uint64(block.timestamp - at);
    }
}
