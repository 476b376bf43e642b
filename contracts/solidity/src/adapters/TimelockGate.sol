// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { Guarded } from "../Guarded.sol";
import { ICordonGuard } from "../ICordonGuard.sol";
import { GuardBound } from "./GuardBound.sol";

/// What is used of OpenZeppelin's TimelockController (4.x, 5.x).
interface ITimelock {
    function hashOperation(address target, uint256 value, bytes calldata data, bytes32 predecessor, bytes32 salt)
        external
        pure
        returns (bytes32);
    function hashOperationBatch(
        address[] calldata targets,
        uint256[] calldata values,
        bytes[] calldata payloads,
        bytes32 predecessor,
        bytes32 salt
    ) external pure returns (bytes32);
    function isOperationPending(bytes32 id) external view returns (bool);
    function getTimestamp(bytes32 id) external view returns (uint256);
    function cancel(bytes32 id) external;
    function execute(address target, uint256 value, bytes calldata payload, bytes32 predecessor, bytes32 salt)
        external
        payable;
    function executeBatch(
        address[] calldata targets,
        uint256[] calldata values,
        bytes[] calldata payloads,
        bytes32 predecessor,
        bytes32 salt
    ) external payable;
}

/// @title Stands between an OpenZeppelin TimelockController and the execution of its operations.
/// @notice The gate is the timelock's only EXECUTOR, and one of its CANCELLERs. Anyone executes through it; each execution is a `Loosen`
/// action of the guard's scope, so that while governance is under containment only operations pass that the guard's governor announced.
/// Operations made of everyday calls (targets and selectors named at deployment) are vetted by whoever shows them; others by
/// the council. That the guard takes a keeper's role away is an everyday call of every gate: whoever has a keeper's key could otherwise
/// contain governance and have his own removal stopped. A pending operation that nobody vetted is a breach that anybody can prove
/// (`!timelock.isOperationPending(id) || gate.vetted(id)`), and while the breach has raised the level, anybody can cancel it.
/// @dev CANCELLER by itself can stop governance for ever, and EXECUTOR by itself could hold it up for ever. Here the first needs a raised level
/// and an operation that nobody vetted, and the second ends: what has been ready for `patience` is executed without asking the guard.
contract TimelockGate is Guarded, GuardBound {
    /// Not an everyday call.
    error NotEveryday(address target, bytes4 selector);
    /// An everyday call sends no ether.
    error SendsEther(uint256 value);
    error BadLength(uint256 targets, uint256 values, uint256 payloads);
    error NotCouncil(address caller);
    error BadPatience(uint256 patience);
    error NotPending(bytes32 id);
    /// The operation was vetted: only the timelock's own cancellers stop it.
    error Vetted(bytes32 id);
    /// Nothing is contained: nobody cancels through the gate.
    error NotContained(uint8 scope);

    event OperationVetted(bytes32 indexed id, address indexed by);
    event OperationStopped(bytes32 indexed id, address indexed by);

    /// Longer than the guard can hold anything without its governor.
    uint256 public constant LEAST_PATIENCE = 8 days;
    uint256 public constant MOST_PATIENCE = 60 days;

    /// A call that anyone may vet.
    struct Everyday {
        address target;
        bytes4 selector;
    }

    ITimelock public immutable timelock;
    /// Governance's scope in the guard.
    uint8 public immutable scope;
    /// Vets what is not everyday; the zero address when nobody does.
    address public immutable council;
    /// Seconds after which a ready operation is executed without asking the guard.
    uint256 public immutable patience;

    mapping(address target => mapping(bytes4 selector => bool everyday)) public isEveryday;
    mapping(bytes32 id => bool yes) public vetted;

    constructor(
        address binder_,
        ITimelock timelock_,
        uint8 scope_,
        address council_,
        uint256 patience_,
        Everyday[] memory everyday
    ) GuardBound(binder_) {
        if (patience_ < LEAST_PATIENCE || patience_ > MOST_PATIENCE) revert BadPatience(patience_);
        timelock = timelock_;
        scope = scope_;
        council = council_;
        patience = patience_;
        for (uint256 i = 0; i < everyday.length; ++i) {
            // The timelock's own functions change who governs: never everyday.
            if (everyday[i].target == address(timelock_)) revert NotEveryday(everyday[i].target, everyday[i].selector);
            isEveryday[everyday[i].target][everyday[i].selector] = true;
        }
    }

    // ---------------------------------------------------------------- vetting

    /// Vets an operation of one everyday call, before or after it is scheduled.
    function vet(address target, uint256 value, bytes calldata data, bytes32 predecessor, bytes32 salt)
        external
        returns (bytes32 id)
    {
        _requireEveryday(target, value, data);
        id = timelock.hashOperation(target, value, data, predecessor, salt);
        _vet(id);
    }

    /// Vets an operation of several everyday calls.
    function vetBatch(
        address[] calldata targets,
        uint256[] calldata values,
        bytes[] calldata payloads,
        bytes32 predecessor,
        bytes32 salt
    ) external returns (bytes32 id) {
        if (targets.length != values.length || targets.length != payloads.length) {
            revert BadLength(targets.length, values.length, payloads.length);
        }
        for (uint256 i = 0; i < targets.length; ++i) {
            _requireEveryday(targets[i], values[i], payloads[i]);
        }
        id = timelock.hashOperationBatch(targets, values, payloads, predecessor, salt);
        _vet(id);
    }

    /// The council vets any operation.
    function approve(bytes32 id) external {
        if (msg.sender != council) revert NotCouncil(msg.sender);
        _vet(id);
    }

    // ---------------------------------------------------------------- execution and its opposite

    /// Executes an operation of one call, as the timelock's `execute`.
    function execute(address target, uint256 value, bytes calldata payload, bytes32 predecessor, bytes32 salt)
        external
        payable
    {
        uint256 ticket = _admit(timelock.hashOperation(target, value, payload, predecessor, salt));
        timelock.execute{ value: msg.value }(target, value, payload, predecessor, salt);
        _exit(ticket, ICordonGuard.Action.Loosen);
    }

    /// Executes an operation of several calls, as the timelock's `executeBatch`.
    function executeBatch(
        address[] calldata targets,
        uint256[] calldata values,
        bytes[] calldata payloads,
        bytes32 predecessor,
        bytes32 salt
    ) external payable {
        uint256 ticket = _admit(timelock.hashOperationBatch(targets, values, payloads, predecessor, salt));
        timelock.executeBatch{ value: msg.value }(targets, values, payloads, predecessor, salt);
        _exit(ticket, ICordonGuard.Action.Loosen);
    }

    /// Cancels a pending operation that nobody vetted, while the guard contains the scope or the whole protocol. Anyone may.
    function stop(bytes32 id) external {
        if (vetted[id]) revert Vetted(id);
        if (!timelock.isOperationPending(id)) revert NotPending(id);
        if (!_isContained()) revert NotContained(scope);
        _stop(id);
    }

    /// The same for many: whoever floods the queue does not outpace those who empty it. What is vetted, or not pending any more, is passed over,
    /// so that nobody stops the others by stopping one first.
    function stopMany(bytes32[] calldata ids) external returns (uint256 stopped) {
        if (!_isContained()) revert NotContained(scope);
        for (uint256 i = 0; i < ids.length; ++i) {
            if (vetted[ids[i]] || !timelock.isOperationPending(ids[i])) continue;
            _stop(ids[i]);
            ++stopped;
        }
    }

    // ---------------------------------------------------------------- inside

    function _stop(bytes32 id) private {
        emit OperationStopped(id, msg.sender);
        timelock.cancel(id);
    }

    /// Asks the guard, unless the operation has been ready for longer than the guard may hold it.
    function _admit(bytes32 id) private returns (uint256 ticket) {
        uint256 ready = timelock.getTimestamp(id);
        // 0 and 1 are the timelock's marks for unknown and done; it refuses both by itself.
        if (ready > 1 && block.timestamp > ready + patience) return 0;
        return _enter(scope, ICordonGuard.Action.Loosen, address(0), uint256(id), msg.sender);
    }

    /// The gate's scope, or the whole protocol.
    function _isContained() private view returns (bool) {
        ICordonGuard.Level level = ICordonGuard(guard).levelOf(scope);
        return level == ICordonGuard.Level.ReduceOnly || level == ICordonGuard.Level.Halted;
    }

    function _requireEveryday(address target, uint256 value, bytes calldata data) private view {
        if (value != 0) revert SendsEther(value);
        bytes4 selector = data.length < 4 ? bytes4(0) : bytes4(data);
        if (data.length >= 4 && isEveryday[target][selector]) return;
        if (!_dismissesKeeper(target, data)) revert NotEveryday(target, selector);
    }

    /// Whether a call takes a keeper's role away in the guard, its exact bytes. It opens nothing: a keeper can only tighten.
    function _dismissesKeeper(address target, bytes calldata data) private view returns (bool) {
        if (target != guard || data.length != 100 || bytes4(data) != ICordonGuard.setRole.selector) return false;
        (uint256 role,, uint256 granted) = abi.decode(data[4:], (uint256, address, uint256));
        return role == uint256(ICordonGuard.Role.Keeper) && granted == 0;
    }

    function _vet(bytes32 id) private {
        vetted[id] = true;
        emit OperationVetted(id, msg.sender);
    }

    function _guard() internal view override returns (address) {
        return guard;
    }
}
