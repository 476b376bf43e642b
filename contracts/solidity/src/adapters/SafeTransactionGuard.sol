// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { Guarded } from "../Guarded.sol";
import { ICordonGuard } from "../ICordonGuard.sol";
import { GuardBound } from "./GuardBound.sol";

/// What is used of a Safe.
interface ISafe {
    function isOwner(address owner) external view returns (bool);
}

/// What a Safe (1.3, 1.4) calls before and after each of its transactions.
interface ISafeGuard {
    function checkTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address payable refundReceiver,
        bytes calldata signatures,
        address msgSender
    ) external;
    function checkAfterExecution(bytes32 txHash, bool success) external;
}

/// @title The transaction guard of a Safe: what changes the Safe itself waits in the open, and everything asks the Cordon guard.
/// @notice Signatures prove that owners signed, not that they saw what. So DELEGATECALL, by which one transaction can replace the Safe's
/// code, and calls of the Safe to itself (owners, threshold, modules, guard, fallback handler) must be scheduled by an owner, in full, and
/// wait; meanwhile anybody can read what is coming, and the Safe or a guardian of the Cordon guard can cancel it. What hands the Safe
/// over (DELEGATECALL, another guard or none, a module) waits a week longer than the rest. Ordinary calls go
/// through at once, as `Withdraw` of the Safe's scope. MultiSendCallOnly, named at deployment and recognised by its code, is an ordinary
/// call when all of its parts are.
/// @dev Liveness: an owner schedules `setGuard(0)` and after `leaveDelay` it passes without asking anybody, be the Cordon guard expired,
/// silent or stolen. The guard's guardians cancel that twice at most: then only the Safe does, which also gives them their cancels back. Modules are not seen by transaction guards: enabling one is a call of the Safe to itself, and waits.
contract SafeTransactionGuard is ISafeGuard, Guarded, GuardBound {
    error NotSafe(address caller);
    error NotOwner(address caller);
    error NotCanceller(address caller);
    /// Guardians have cancelled the Safe's leaving as often as they may: only the Safe cancels it from now on.
    error LeavingNotCancellable(address caller, uint256 cancelled);
    error BadDelay(uint256 delay);
    error AlreadyScheduled(bytes32 action);
    error NotScheduled(bytes32 action);
    error NotReady(bytes32 action, uint256 readyAt);
    error Expired(bytes32 action, uint256 expiredAt);
    error NotExpired(bytes32 action, uint256 until);
    /// The owner has scheduled as much as one owner may: one place is free again at that time, or once an action of his was executed.
    error TooManyScheduled(address owner, uint256 until);
    /// What waits pays nobody for its gas: the refund is not part of what was scheduled.
    error RefundNotAllowed();
    /// A batch that is not framed as MultiSendCallOnly reads it.
    error MalformedBatch();
    /// What has to wait stands alone.
    error NotInBatch(address to, uint8 operation);

    event Scheduled(
        bytes32 indexed action,
        address indexed to,
        uint256 value,
        bytes data,
        uint8 operation,
        uint256 readyAt,
        address indexed by
    );
    event Cancelled(bytes32 indexed action, address indexed by);
    event Executed(bytes32 indexed action);
    event Forgotten(bytes32 indexed action, address indexed by);

    /// Bounds of `delay`, in seconds.
    uint256 public constant LEAST_DELAY = 1 hours;
    uint256 public constant MOST_DELAY = 14 days;
    /// For how long what is ready may be executed.
    uint256 public constant WINDOW = 7 days;
    /// How much longer than `delay` a handover takes: as long as the Cordon guard can hold anything without its governor.
    uint256 public constant CEILING = 7 days;
    /// How many actions of one owner can be scheduled at a time. One that was cancelled keeps its place until it would have been ready, so that
    /// an owner does not outpace those who cancel.
    uint256 public constant MOST_SCHEDULED = 8;
    /// How often guardians of the Cordon guard cancel `setGuard(0)`: with a stolen guard they would do so for ever.
    uint256 public constant MOST_LEAVE_CANCELS = 2;

    uint8 private constant CALL = 0;
    uint8 private constant DELEGATECALL = 1;
    /// `setGuard(address)` and `enableModule(address)`: whatever follows their argument is ignored by the Safe.
    bytes4 private constant SET_GUARD = 0xe19a9dd9;
    bytes4 private constant ENABLE_MODULE = 0x610b5925;
    /// `setGuard(address)` with the zero address, and nothing behind it.
    bytes32 private constant LEAVING = keccak256(abi.encodeWithSignature("setGuard(address)", address(0)));
    /// `multiSend(bytes)`.
    bytes4 private constant MULTI_SEND = 0x8d80ff0a;
    /// Operation, target, value and length of one part of a batch.
    uint256 private constant PART_HEAD = 85;

    address public immutable safe;
    /// The Safe's scope in the Cordon guard.
    uint24 public immutable scope;
    /// Seconds between scheduling and execution of what changes the Safe.
    uint256 public immutable delay;
    /// MultiSendCallOnly; the zero address when batches have to wait too.
    address public immutable multiSend;
    bytes32 public immutable multiSendHash;

    /// A scheduled action: when it may be executed (0: it is not scheduled), who scheduled it, and in which of his places.
    struct Entry {
        uint64 readyAt;
        uint8 place;
        address by;
    }

    mapping(bytes32 action => Entry) private entries;
    /// Until when each of an owner's places is taken, 32 bits each: until the action in it expires, was executed or, cancelled, would have been ready.
    mapping(address owner => uint256 packed) private places;
    /// Scheduled actions that hand the Safe over: DELEGATECALLs, other guards or none, modules. A rule of one line: `safe_guard.handovers() == 0`.
    uint256 public handovers;

    /// How often guardians cancelled `setGuard(0)` since the Safe itself last did, or left.
    uint256 public leaveCancels;

    /// Transactions under way, for a Safe transaction may run another one.
    uint256 private transient depth;

    constructor(address binder_, address safe_, uint24 scope_, uint256 delay_, address multiSend_) GuardBound(binder_) {
        if (delay_ < LEAST_DELAY || delay_ > MOST_DELAY) revert BadDelay(delay_);
        safe = safe_;
        scope = scope_;
        delay = delay_;
        multiSend = multiSend_;
        multiSendHash = multiSend_.codehash;
    }

    // ---------------------------------------------------------------- scheduling

    /// Names an action in full; it may be executed after `delay`, a handover after `leaveDelay`. An owner has `MOST_SCHEDULED` places.
    function schedule(address to, uint256 value, bytes calldata data, uint8 operation)
        external
        returns (bytes32 action)
    {
        if (!ISafe(safe).isOwner(msg.sender)) revert NotOwner(msg.sender);
        action = actionOf(to, value, data, operation);
        uint256 before = entries[action].readyAt;
        if (before != 0 && block.timestamp <= before + WINDOW) revert AlreadyScheduled(action);
        bool handsOver = _handsOver(to, data, operation);
        uint256 at = block.timestamp + (handsOver ? leaveDelay() : delay);
        entries[action] = Entry(uint64(at), _takePlace(msg.sender, at + WINDOW), msg.sender);
        if (before == 0 && handsOver) handovers += 1;
        emit Scheduled(action, to, value, data, operation, at, msg.sender);
    }

    /// Withdraws an action. The Safe may, by an ordinary transaction, and so may a guardian of the Cordon guard; not a single owner, who could
    /// otherwise keep the others from removing him. Guardians cancel leaving `MOST_LEAVE_CANCELS` times at most. The action is named in full,
    /// so that the count of handovers is right.
    function cancel(address to, uint256 value, bytes calldata data, uint8 operation) external {
        if (msg.sender != safe && !_isGuardian(msg.sender)) revert NotCanceller(msg.sender);
        bytes32 action = actionOf(to, value, data, operation);
        uint256 at = entries[action].readyAt;
        if (at == 0) revert NotScheduled(action);
        if (_isLeaving(to, data, operation)) _countLeaveCancel();
        _forget(action, _handsOver(to, data, operation), at);
        emit Cancelled(action, msg.sender);
    }

    /// Removes an action whose time is over, so that it is not counted as a handover any longer. Anyone may.
    function forget(address to, uint256 value, bytes calldata data, uint8 operation) external {
        bytes32 action = actionOf(to, value, data, operation);
        uint256 at = entries[action].readyAt;
        if (at == 0) revert NotScheduled(action);
        if (block.timestamp <= at + WINDOW) revert NotExpired(action, at + WINDOW);
        _forget(action, _handsOver(to, data, operation), 0);
        emit Forgotten(action, msg.sender);
    }

    function actionOf(address to, uint256 value, bytes calldata data, uint8 operation) public pure returns (bytes32) {
        return keccak256(abi.encode(to, value, keccak256(data), operation));
    }

    /// When a scheduled action may be executed; 0 when it is not scheduled.
    function readyAt(bytes32 action) external view returns (uint256) {
        return entries[action].readyAt;
    }

    /// Seconds that a handover waits. `setGuard(0)` then passes without the Cordon guard; a module or other code would take the Safe out of
    /// its sight as well, so that a shorter wait for these would be a shorter way out for a thief.
    function leaveDelay() public view returns (uint256) {
        return delay + CEILING;
    }

    // ---------------------------------------------------------------- the Safe's calls

    /// Called by the Safe before a transaction; reverts when it may not be executed now.
    function checkTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256,
        uint256,
        uint256 gasPrice,
        address,
        address payable,
        bytes memory,
        address
    ) external override {
        _check(to, value, data, operation, gasPrice);
    }

    function _check(address to, uint256 value, bytes calldata data, uint8 operation, uint256 gasPrice) private {
        if (msg.sender != safe) revert NotSafe(msg.sender);
        if (_isOrdinary(to, value, data, operation)) {
            _begin(ICordonGuard.Action.Withdraw, value);
            return;
        }
        if (gasPrice != 0) revert RefundNotAllowed();
        bytes32 action = actionOf(to, value, data, operation);
        _consume(action, _handsOver(to, data, operation));
        // Nothing is asked of the Cordon guard on the way out.
        if (_isLeaving(to, data, operation)) {
            leaveCancels = 0;
            _push(0, ICordonGuard.Action.Loosen);
            return;
        }
        _begin(ICordonGuard.Action.Loosen, uint256(action));
    }

    /// Called by the Safe after a transaction: the rules that are hooked to its action are checked.
    function checkAfterExecution(bytes32, bool) external override {
        if (msg.sender != safe) revert NotSafe(msg.sender);
        (uint256 ticket, ICordonGuard.Action action) = _pop();
        _exit(ticket, action);
    }

    /// ERC-165: the Safe's interface of guards, and the one of this function.
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == 0xe6d7a83a || interfaceId == 0x01ffc9a7;
    }

    // ---------------------------------------------------------------- kinds of transactions

    /// A call elsewhere, a batch of such, or the empty call to itself by which owners use up a nonce.
    function _isOrdinary(address to, uint256 value, bytes calldata data, uint8 operation) private view returns (bool) {
        if (operation == CALL) return to != safe || (value == 0 && data.length == 0);
        if (multiSend == address(0) || to != multiSend || to.codehash != multiSendHash) return false;
        if (data.length < 4 || bytes4(data) != MULTI_SEND) return false;
        _requireOrdinaryParts(abi.decode(data[4:], (bytes)));
        return true;
    }

    /// Reads a batch as MultiSendCallOnly does. A part that reached beyond the batch would be read there from elsewhere, so it is refused here.
    function _requireOrdinaryParts(bytes memory parts) private view {
        uint256 at = 0;
        while (at < parts.length) {
            if (parts.length - at < PART_HEAD) revert MalformedBatch();
            uint8 operation;
            address to;
            uint256 size;
            assembly ("memory-safe") {
                let part := add(add(parts, 32), at)
                operation := shr(248, mload(part))
                to := shr(96, mload(add(part, 1)))
                size := mload(add(part, 53))
            }
            // From version 1.5 on MultiSendCallOnly reads the zero address as the Safe itself.
            if (operation != CALL || to == safe || to == address(0)) revert NotInBatch(to, operation);
            if (size > parts.length - at - PART_HEAD) revert MalformedBatch();
            at += PART_HEAD + size;
        }
    }

    /// The one action for which the Cordon guard is not asked: recognised by all of its bytes.
    function _isLeaving(address to, bytes calldata data, uint8 operation) private view returns (bool) {
        return operation == CALL && to == safe && keccak256(data) == LEAVING;
    }

    function _handsOver(address to, bytes calldata data, uint8 operation) private view returns (bool) {
        return operation == DELEGATECALL || _isOwnCall(to, data, operation, SET_GUARD)
            || _isOwnCall(to, data, operation, ENABLE_MODULE);
    }

    /// Whether the Safe would run this function of its own. By the selector, for decoders take any bytes behind the arguments.
    function _isOwnCall(address to, bytes calldata data, uint8 operation, bytes4 selector) private view returns (bool) {
        return operation == CALL && to == safe && data.length >= 4 && bytes4(data) == selector;
    }

    // ---------------------------------------------------------------- state

    function _countLeaveCancel() private {
        if (msg.sender == safe) {
            leaveCancels = 0;
            return;
        }
        if (leaveCancels >= MOST_LEAVE_CANCELS) revert LeavingNotCancellable(msg.sender, leaveCancels);
        leaveCancels += 1;
    }

    function _consume(bytes32 action, bool handsOver) private {
        uint256 at = entries[action].readyAt;
        if (at == 0) revert NotScheduled(action);
        if (block.timestamp < at) revert NotReady(action, at);
        if (block.timestamp > at + WINDOW) revert Expired(action, at + WINDOW);
        _forget(action, handsOver, 0);
        emit Executed(action);
    }

    /// Removes an action; its place stays taken until the time given.
    function _forget(bytes32 action, bool handsOver, uint256 takenUntil) private {
        Entry memory entry = entries[action];
        delete entries[action];
        if (handsOver) handovers -= 1;
        // The place may be another action's by now, when this one has expired.
        uint256 held = _placeOf(places[entry.by], entry.place);
        if (held == uint256(entry.readyAt) + WINDOW) _setPlace(entry.by, entry.place, takenUntil);
    }

    /// Takes a free place of an owner's until then.
    function _takePlace(address owner, uint256 until) private returns (uint8) {
        uint256 packed = places[owner];
        uint256 first = type(uint256).max;
        for (uint8 place = 0; place < MOST_SCHEDULED; ++place) {
            uint256 taken = _placeOf(packed, place);
            if (taken < block.timestamp) {
                _setPlace(owner, place, until);
                return place;
            }
            if (taken < first) first = taken;
        }
        revert TooManyScheduled(owner, first + 1);
    }

    function _placeOf(uint256 packed, uint8 place) private pure returns (uint256) {
        return (packed >> (32 * uint256(place))) & type(uint32).max;
    }

    function _setPlace(address owner, uint8 place, uint256 until) private {
        uint256 shift = 32 * uint256(place);
        places[owner] = (places[owner] & ~(uint256(type(uint32).max) << shift)) | (uint256(uint32(until)) << shift);
    }

    function _begin(ICordonGuard.Action action, uint256 amount) private {
        _push(_enter(scope, action, address(0), amount, safe), action);
    }

    /// Two transient words per transaction under way, from the end of the address space downwards.
    function _push(uint256 ticket, ICordonGuard.Action action) private {
        uint256 at = ++depth * 2;
        assembly ("memory-safe") {
            tstore(not(at), ticket)
            tstore(not(add(at, 1)), action)
        }
    }

    function _pop() private returns (uint256 ticket, ICordonGuard.Action action) {
        uint256 at = depth-- * 2;
        assembly ("memory-safe") {
            ticket := tload(not(at))
            action := tload(not(add(at, 1)))
        }
    }

    function _isGuardian(address account) private view returns (bool) {
        return guard != address(0) && ICordonGuard(guard).hasRole(ICordonGuard.Role.Guardian, account);
    }

    function _guard() internal view override returns (address) {
        return guard;
    }
}
