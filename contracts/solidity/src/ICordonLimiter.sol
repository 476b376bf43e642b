// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title The asset functions of ERC-7265 (circuit breaker), as a protected contract calls them.
/// @notice The native asset is `address(1)`. Before `onTokenOutflow` the caller transfers the tokens to the breaker.
interface IAssetCircuitBreaker {
    event AssetDeposit(address indexed asset, address indexed from, uint256 amount);
    event AssetWithdraw(address indexed asset, address indexed recipient, uint256 amount);

    function onTokenInflow(address token, uint256 amount) external;
    function onTokenOutflow(address token, uint256 amount, address recipient) external;
    function onNativeAssetInflow(uint256 amount) external;
    function onNativeAssetOutflow(address recipient) external payable;

    /// Whether nothing of the token may leave the calling contract at once.
    function isTokenRateLimited(address token) external view returns (bool);
}

/// @title Outflow limits with quarantine: what exceeds a limit is delayed, never lost.
/// @notice Implemented in Rust on Stylus (contracts/limiter). A limit belongs to one protected contract, one asset and one
/// account class (0 unless the protocol knows better). Times are Unix seconds, amounts units of the asset (below 2^128).
interface ICordonLimiter is IAssetCircuitBreaker {
    /// `None`: the limit applies. `Quarter`: a quarter of it. `Full`: everything is quarantined.
    enum Hold {
        None,
        Quarter,
        Full
    }

    struct Limit {
        uint128 units; // most units per period, kept to 32 significant bits
        uint32 period; // seconds, below 2^24
        uint16 share; // of the protected contract's balance per period, basis points; 0: the units alone count
        uint8 scope; // the guard's scope whose incidents concern the asset
        bool rebasing; // balances change by themselves: what is brought is measured within the transaction only
        bool elastic; // inflows give their account credit for one to two periods, not only within the transaction
    }

    // ---------------------------------------------------------------- hot path (protected contracts)

    /// Takes `amount` out of the caller's limit before it pays `account`, which it then does itself: `passed` at once, and the rest
    /// by transferring it to the limiter and calling `quarantine`.
    function outflow(address asset, uint8 class, address account, uint256 amount) external returns (uint256 passed);

    /// Gives `account` credit for what it has paid in to the caller.
    function inflow(address asset, uint8 class, address account, uint256 amount) external;

    /// Takes over `amount` that the caller has transferred after its `outflow` (or sends along, if native) for `recipient`, and of it
    /// what has arrived. Reverts when nothing has.
    /// @return item its number.
    function quarantine(address asset, uint8 class, uint256 amount, address recipient)
        external
        payable
        returns (uint256 item);

    /// Reads the limiter's balance of a token. To be called before a transfer to the limiter that no `outflow` comes before (with
    /// ERC-7265's functions), where the token takes a fee or moves balances by itself. Open to anyone.
    function expect(address token) external;

    // ---------------------------------------------------------------- quarantine

    /// Pays an item that is due, to its recipient; 30 days later to the protocol if the recipient cannot be paid. The native asset the
    /// protocol then gets even when it takes no value. Open to anyone.
    function release(uint256 item) external;

    /// Pays an item at once (guardian): 15 minutes after it was queued, and not while its scope is contained.
    function releaseEarly(uint256 item) external;

    /// Moves an item's release one day away (guardian), while its scope is contained and up to 7 days beyond its delay.
    function hold(uint256 item) external;

    /// Pays an item back to the protocol it came from (governor), while its scope is contained. The native asset as by `release`.
    function giveBack(uint256 item) external;

    /// Names another recipient (the present one). For a recipient that cannot be paid.
    function redirect(uint256 item, address recipient) external;

    /// Pays an item that has been due for 30 days to `to` (governor, or the protocol it came from), if neither recipient nor protocol
    /// can be paid: they are tried first.
    function payInstead(uint256 item, address to) external;

    // ---------------------------------------------------------------- administration

    /// Sets the limiter up, once: its guard, and the delay of quarantine in seconds (at most 7 days). Only in the transaction of
    /// StylusDeployer that deploys it.
    function initialize(address guard, uint32 delay) external;

    /// Sets a limit (governor). What loosens must have been announced when the guard is sealed.
    function setLimit(address protocol, address asset, uint8 class, Limit calldata limit) external;

    /// Takes a limit away (governor, announced when the guard is sealed): everything leaves. What is in quarantine stays there.
    function removeLimit(address protocol, address asset, uint8 class) external;

    /// Sets a hold of people. A guardian: tighter, for 24 hours or what is left of the 72 hours a week that guardians have for each limit;
    /// `None` takes the guardians' hold back, 15 minutes later. The governor: any of its own, a looser one announced when the guard is
    /// sealed. Of all who hold the strictest counts.
    function setHold(address protocol, address asset, uint8 class, Hold hold) external;

    /// Holds for a scope (the guard, as a containment call): never looser than it has been. Read back by `heldFor(...) >= hold`.
    function holdFor(uint8 scope, address protocol, address asset, uint8 class, Hold hold) external;

    /// Undoes `holdFor` for that scope, down to `hold`: what other scopes, guardians and the governor hold stays.
    function letGo(uint8 scope, address protocol, address asset, uint8 class, Hold hold) external;

    /// Announces the hash of the calldata of a `setLimit`, `removeLimit` or `setHold`, for the guard's governor delay (governor). It can then be used
    /// once, for 14 days.
    function announce(bytes32 actionHash) external;

    /// Takes an announcement back (governor, guardian).
    function cancelAnnouncement(bytes32 actionHash) external;

    // ---------------------------------------------------------------- views

    /// A limit, its hold, and what may leave now. Zero when none is set; of one that was taken away 2^128 - 1 may leave.
    function limitOf(address protocol, address asset, uint8 class)
        external
        view
        returns (Limit memory limit, Hold hold, uint256 available);

    /// The hold on a limit: the strictest of all.
    function holdOf(address protocol, address asset, uint8 class) external view returns (uint8 hold);

    /// The guard's hold on a limit for one of its scopes: what a containment call reads back.
    function heldFor(uint8 scope, address protocol, address asset, uint8 class) external view returns (uint8 hold);

    /// Who holds a limit: the guard for any scope, the guardians and until when, the governor; and the seconds that guardians have left.
    function holdersOf(address protocol, address asset, uint8 class)
        external
        view
        returns (uint8 guard, uint8 guardian, uint64 guardianUntil, uint8 governor, uint64 guardianBudget);

    /// An item; `asset` is zero when it does not exist or has been paid.
    function itemOf(uint256 item)
        external
        view
        returns (address asset, address protocol, address recipient, uint256 amount, uint64 queuedAt, uint64 releaseAt);

    /// Credit of an account for outflows of a class, beyond this transaction.
    function creditOf(address protocol, address asset, uint8 class, address account)
        external
        view
        returns (uint256 units);
    function config() external view returns (address guard, uint32 delay, uint64 items);

    // ---------------------------------------------------------------- events

    event LimitSet(
        address indexed protocol, address indexed asset, uint8 class, uint256 units, uint256 period, uint256 share
    );
    event LimitRemoved(address indexed protocol, address indexed asset, uint8 class);
    /// `hold` is the strictest of all now; `until` when the guardians' ends, 0 when it is not theirs.
    event HoldSet(address indexed protocol, address indexed asset, uint8 class, uint8 hold, address by, uint64 until);
    event Quarantined(
        uint256 indexed item,
        address indexed protocol,
        address indexed recipient,
        address asset,
        uint256 amount,
        uint64 releaseAt
    );
    event Released(uint256 indexed item, address indexed to, address asset, uint256 amount, address by);
    event Held(uint256 indexed item, uint64 releaseAt, address by);
    event Redirected(uint256 indexed item, address indexed from, address indexed to);
    event Announced(bytes32 indexed actionHash, uint64 executableAt);
    event AnnouncementCancelled(bytes32 indexed actionHash, address by);

    // ---------------------------------------------------------------- errors

    error AlreadyInitialized();
    error NotDeployer(address caller);
    error NotInitialized();
    error NotLimited(address protocol, address asset, uint8 class);
    error BadLimit(uint256 units, uint256 period, uint256 share);
    error BadDelay(uint256 delay);
    error BadAmount(uint256 amount);
    /// Less has arrived than was to be quarantined; `expect` before the transfer tells a fee from a loss.
    error ShortArrival(address asset, uint256 amount, uint256 arrived);
    /// The token is marked as rebasing and its balance was not read before the transfer: `outflow` or `expect` does it.
    error NotMeasured(address asset);
    /// So little is worth no share of the balance.
    error Diluted(address asset, uint256 amount, uint256 held);
    error TokenSilent(address asset);
    error BadHold(uint8 hold);
    error BadRecipient(address recipient);
    error NotGovernor(address caller);
    error NotGuardian(address caller);
    error NotRecipient(uint256 item, address caller);
    error BadScope(uint8 scope);
    error NotGuard(address caller);
    error NotTighter(uint8 current, uint8 wanted);
    error HoldBudgetSpent(uint64 available);
    error NotAnnounced(bytes32 actionHash);
    error AnnouncementPending(bytes32 actionHash, uint64 executableAt);
    error NoSuchItem(uint256 item);
    error TooEarly(uint256 item, uint64 until);
    error ScopeContained(uint8 scope);
    error ScopeNotContained(uint8 scope);
    error HeldTooLong(uint256 item, uint64 until);
    error PaymentFailed(address asset, address to, uint256 amount);
    error GuardSilent();
    error GasBelowFloor(uint64 needed, uint64 left);
    error Locked();
}
