// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title The guard of one protocol, as seen from outside.
/// @notice Implemented by Cordon's gate (hot path) and logic (all else) in Rust on Stylus. One guard serves one protocol.
/// Scopes are numbered 0 to 127; scope 0 is the whole protocol and counts in every call. Times are Unix seconds.
interface ICordonGuard {
    /// How much is closed in a scope. `Grace` follows containment: everything but liquidation and new risk is open.
    enum Level {
        Normal,
        Throttled,
        ReduceOnly,
        Halted,
        Grace
    }

    /// What a guarded call does to the protocol's risk.
    enum Action {
        Deposit,
        Withdraw,
        Trade,
        Increase,
        Decrease,
        Repay,
        Settle,
        Liquidate,
        Sync,
        Tighten,
        Loosen
    }

    /// Outcome of a rule. `Unknown`: it could not be evaluated; that is never `Holds`, and it never raises a level.
    enum Verdict {
        Holds,
        Breached,
        Unknown
    }

    /// `Guardian` tightens and releases after a delay, `Keeper` tightens briefly, `Heartbeat` only shows that the keeper lives, `Veto` takes
    /// announcements back, `Seal` tightens once and for longer: its use revokes it, until the governor grants it again (announced).
    enum Role {
        Guardian,
        Keeper,
        Heartbeat,
        Veto,
        Seal
    }

    /// How a rehearsed containment call ended: with its effect, and its undo calls with theirs; its effect was there already; without
    /// effect (a role is missing, a window has closed); with an effect that could not be undone.
    enum Rehearsal {
        Works,
        InForce,
        Fails,
        UndoFails
    }

    /// How far an incident has come. `Open`: a containment call has not had its effect yet. `Contained`: every one has. `Released`: by
    /// authority. `Closed`: the scope is Normal and nothing is left in force. `FalsePositive`: closed, and there was nothing to contain.
    enum IncidentState {
        None,
        Open,
        Contained,
        Released,
        Closed,
        FalsePositive
    }

    /// Who opened an incident: a breach that was proved, or an authority.
    enum Opener {
        Trip,
        Keeper,
        Guardian,
        Governor,
        Seal
    }

    /// The record of an incident. Of a trip, `rule`, `observed` and `bound` are set (119 significant bits of the latter two, cut off
    /// toward zero), and its witness is in the first `RuleTripped` of this incident; else `evidence` is.
    struct Incident {
        uint64 number;
        uint8 scope;
        IncidentState state;
        Opener openedBy;
        uint16 rule;
        Level peak; // the strictest level it reached
        uint8 raises; // how often its level was raised or extended after it was opened, 255 at most
        uint64 openedAt;
        uint64 releasedAt; // 0 when it was not released by authority
        uint64 closedAt; // 0 while it is not closed
        uint32 blockNumber; // as NUMBER tells it: on Arbitrum the estimate of the parent chain's block
        bytes32 evidence;
        bool observedNegative;
        uint256 observed;
        bool boundNegative;
        uint256 bound;
        bytes32 notes; // hash of all notes: keccak256(abi.encode(notes before, note)), from 0
        bytes32 rulebook; // code hash of the rulebook in force when it was opened, which numbers `rule`; events are numbered by the last `RulebookAdopted` before them
    }

    /// Whether the guard could do its work now.
    struct Health {
        uint64 heartbeatAge; // seconds since the latest heartbeat; the greatest number when there was none
        uint64[7] timeLeft; // seconds until gate, respond, hooks, recover, admin, contain and inspect program expire; 0 when one cannot run
        uint8 cached; // bit i: program i of these is in the cache of programs, so that entering it is cheap
        bytes32 rulebook; // code hash of the rulebook in force; zero when none
        bytes32 configuration; // keccak256(abi.encode(code hashes of the gate and the six programs, that of the rulebook, governor, delay, closes()))
        uint256 failing; // bit i: containment call i would fail, or could not be undone
    }

    /// One evaluated rule. `observed` and `bound` are the operands of the comparison that decided (sign and magnitude; zero
    /// when no comparison did). `reason` says why the verdict is `Unknown` (0 otherwise; codes in docs/rules.md).
    struct Evaluation {
        Verdict verdict;
        uint8 reason;
        bool observedNegative;
        uint256 observed;
        bool boundNegative;
        uint256 bound;
    }

    /// State of a scope now, after expiries were applied.
    struct ScopeStatus {
        Level level;
        uint64 since; // when containment of the scope began; 0 when Normal
        uint64 expiresAt; // when the present level steps down; 0 when Normal
        uint64 ceilingAt; // no authority but the governor contains the scope beyond this; 0 when Normal
        uint64 incident; // number of the incident; 0 when none
        uint64 releaseAt; // when a queued release may be executed; 0 when none is queued
        uint256 applied; // bit i: the guard's own doing by containment call i is still in force
    }

    /// A value that the guard observes and stores, for rules to compare with (`anchor`, `mean` and others in a rule).
    struct Stream {
        bytes16 id; // the first half of the hash of its definition: a rulebook that has the same stream goes on with it
        uint8 scope; // nothing is observed while this scope, or scope 0, is raised; for 0 while any is
        uint32 period; // seconds between two observations, and the least age of the anchor
        uint16 step; // most that the stored value moves per period, in basis points; 0 for statistics
        bool known; // whether rules can compare with it now; else they are Unknown
        uint64 since; // when the anchor was stored; 0 when there is none, and for statistics
        uint64 observedAt; // when the latest observation was taken; 0 before the first
        uint64 dueAt; // when the next one may be taken
        bool anchorNegative;
        uint256 anchor; // for statistics the mean
        bool freshNegative;
        uint256 fresh; // what becomes the anchor with the next observation; for statistics the latest one, as far as it counted
    }

    /// What a containment set raises a scope to.
    struct SetOrder {
        uint8 scope;
        Level level;
        uint32 duration; // seconds
    }

    // ---------------------------------------------------------------- hooks (gate)

    /// Called by a registered contract before it acts. Reverts when the strictest of the named scopes (and scope 0)
    /// does not permit `action`. `scopes` packs up to three scope ids, one per byte, unused bytes zero.
    /// `amount` is in units of `asset`; `account` is the user on whose behalf the call acts.
    /// @return ticket to be handed to `exit`; 0 when no rule has to be checked after the call.
    function enter(uint24 scopes, uint8 action, address asset, uint256 amount, address account)
        external
        returns (uint256 ticket);

    /// Called by the same contract when it has acted. Reverts when a rule hooked to the action is breached, but for Repay: such a breach is
    /// counted, and the repayment passes.
    function exit(uint256 ticket) external;

    /// Whether `enter` would pass for these scopes and this action now, rules aside.
    function isAllowed(uint24 scopes, uint8 action) external view returns (bool);

    // ---------------------------------------------------------------- containment

    /// Re-evaluates a state rule with the caller's witness words and, when it is breached, raises its scope to the rule's
    /// level and runs the scope's containment calls. Open to anyone. A spot rule needs two breached observations at least
    /// two seconds apart; the first only records. A trip at a level that already holds for long enough changes nothing.
    /// @return incident the incident's number; 0 when only an observation was recorded.
    function trip(uint16 rule, bytes32[] calldata witness) external returns (uint64 incident);

    /// Raises a scope by authority of a keeper or guardian, within the actor's bounds. `evidence` hashes an off-chain dossier: it opens the
    /// record of a new incident, and is attached as a note, unless it is zero, to the one that is raised further or extended.
    function contain(uint8 scope, Level level, uint32 duration, bytes32 evidence) external returns (uint64 incident);

    /// `trip` of several rules, `rules[i]` with `witnesses[i]`: each that is breached raises its scope. A rule that holds, is unknown or
    /// was observed too recently, and a scope that cannot be raised, are passed over (0), unless that is so of all.
    function tripMany(uint16[] calldata rules, bytes32[][] calldata witnesses)
        external
        returns (uint64[] memory incidents);

    /// `contain` of several scopes: all within the actor's bounds and budget, or none. A scope that is at a stricter level or at its
    /// ceiling is passed over (0), unless that is so of all.
    function containMany(uint8[] calldata scopes, Level level, uint32 duration, bytes32 evidence)
        external
        returns (uint64[] memory incidents);

    /// `contain` of the scopes of a containment set of the rulebook, each to its own level for its own time, as `containMany` does it:
    /// all within the actor's bounds and budget, or none; a scope that is at a stricter level or at its ceiling is passed over.
    function containSet(bytes32 set, bytes32 evidence) external returns (uint64[] memory incidents);

    /// Runs once more the containment calls of a scope that have failed or have not run, those first that gas did not suffice for. With 20
    /// million gas it leaves the rest to the next call, as raising a level does (`ContainmentFailed` with `OutOfGasFloor`). Open to anyone.
    function retryContainment(uint8 scope) external;

    /// Queues the release of a scope (guardian or governor). It may be executed 15 minutes later, unless cancelled by a
    /// guardian or overtaken by a trip.
    function queueRelease(uint8 scope) external;
    function cancelRelease(uint8 scope) external;

    /// Executes a queued release: the scope goes to Grace and what the guard did is undone. Refused while a robust rule
    /// of the scope without parameters is breached.
    function release(uint8 scope) external;

    /// After expiry, undoes what the guard did in a scope, and only that. Before, notes what somebody else has taken back meanwhile, which is
    /// not the guard's to undo any more. With 20 million gas it leaves to the next call what the gas does not suffice for. Open to anyone.
    function settle(uint8 scope) external;

    /// `settle` that gives up what cannot be undone now (a target that is dead, or has taken the guard's role away): it stays as it is, and the
    /// incident can end. The governor's, announced when sealed. Opens nothing.
    function writeOff(uint8 scope) external;

    /// Attaches the hash of a note to a remembered incident (keeper, guardian or governor).
    function noteIncident(uint64 incident, bytes32 note) external;

    /// Says of a remembered incident that is over whether there was nothing to contain (guardian or governor). Moves no level.
    function judgeIncident(uint64 incident, bool falsePositive) external;

    /// Shows that the keeper lives; the keeper's powers need a fresh heartbeat. Only the heartbeat role.
    function heartbeat() external;

    // ---------------------------------------------------------------- streams

    /// Reads the values of these streams of the rulebook and stores them; open to anyone. A stream that is not due, frozen by an
    /// incident or cannot be read is passed over, unless that is so of all. Of one that is frozen the first observation, which waits for
    /// another that agrees, is given up when another value within its bounds is read (`StreamBegunAnew`). Refused within a guarded call that the guard counts.
    function observe(uint8[] calldata streams) external;

    // ---------------------------------------------------------------- administration (governor)

    /// Sets the guard up, once, in the transaction that deploys it. `programs` are those behind the gate: the one that answers
    /// breaches, to which the gate hands on what is none of the others', the one that answers hooks, the one that leads out of incidents,
    /// the one for administration, the one that contains by authority, and the one for views, evaluations and rehearsals.
    function initialize(address[6] calldata programs, address governor, uint32 governorDelay) external;

    /// Ends set-up. From then on every call of the governor that loosens must have been announced `governorDelay` before.
    function seal() external;

    /// Announces the hash of the calldata of a governor's call (or of any `Loosen` action of the protocol).
    function announce(bytes32 actionHash) external;

    /// Takes an announcement back: the governor, or who has `Veto`, unless it is the announcement that his own ends.
    function cancelAnnouncement(bytes32 actionHash) external;

    /// Grants or revokes a role. Revoking needs no announcement, but for `Veto`: who becomes a guardian gets it too, and keeps it when he is
    /// one no more, until `setRole(Veto, account, false)` was announced for as long as all that loosens. Otherwise a thief with the
    /// governor's key would begin by revoking those who can stop him. No account has both `Keeper` and `Heartbeat` (`KeysNotApart`): a stolen
    /// key of the keeper would keep its own power alive.
    function setRole(Role role, address account, bool granted) external;

    /// Proposes a governor (announced when sealed); the new one must accept.
    function proposeGovernor(address governor) external;
    function acceptGovernor() external;

    /// Makes the code of `book` (one STOP byte, then the encoded rulebook) the guard's configuration, if its hash is `codeHash`: what was announced
    /// is what is adopted. Refused (`ScopeMoved`) when a scope would get another name or number, or vanish, that is not Normal; while a
    /// containment call is in force, when any would.
    function adoptRulebook(address book, bytes32 codeHash) external;

    /// Says what the levels close: 16 bits for each of Throttled, ReduceOnly, Halted and Grace from the low end, bit `i` for action `i`. What
    /// the default closes is closed anyway. Refused (`BadMatrix`) when it closes Repay, Sync, Tighten or Loosen (which is announced), when it closes Withdraw, Decrease or
    /// Settle at another level than Halted, or less at ReduceOnly or Halted than at the level before. At once when nothing opens by it, else
    /// announced. No guardian or keeper can: what a thief closes at every level would outlast all that he can contain.
    function setMatrix(uint64 closes) external;

    /// Changes the time between announcement and call, 1 hour to 30 days: longer at once, up to twice what was set up or announced last; else
    /// when it was announced, under the delay that it changes. What was announced before keeps its time.
    function setDelay(uint32 governorDelay) external;

    /// Replaces the programs behind the gate, as one unit, if `codes` is the keccak-256 of their six code hashes one after the other: what was
    /// announced is what will run. They must answer each for its part, and read the rulebook in force. The gate is never replaced.
    function setLogic(address[6] calldata programs, bytes32 codes) external;

    // ---------------------------------------------------------------- views

    function evaluate(uint16 rule, bytes32[] calldata witness) external view returns (Evaluation memory);

    /// Many rules at one block. `rules[i]` is evaluated with `witnesses[i]`.
    function evaluateMany(uint16[] calldata rules, bytes32[][] calldata witnesses)
        external
        view
        returns (Evaluation[] memory);

    /// Refused (`BadScope`) for a scope that the rulebook in force does not have.
    function scopeStatus(uint8 scope) external view returns (ScopeStatus memory);

    /// The level that holds in a scope, or in the whole protocol when that is stricter. For contracts that ask at the point of use: while
    /// all is Normal the gate answers by itself, as it does `lastHeartbeat`. Of a scope below 128 that the rulebook does not have: the whole
    /// protocol's level.
    function levelOf(uint8 scope) external view returns (Level);

    /// What the levels close, the default's included; see `setMatrix`.
    function closes() external view returns (uint64);

    /// Whether a registered contract is in the middle of a guarded call: what it tells about itself may then be half-way changed.
    /// @return depth guarded calls that have not come to their `exit`, of all registered contracts together.
    /// @return complete whether every guarded call is counted. Else only those are whose action some rule that looks at the time before the
    /// call (`entry`, `anchor`, a statistic), or at the transaction, is hooked to: then a depth of 0 does not say that there is none.
    /// @return locked whether the guard itself is calling out, in a containment call or its undoing.
    function guardedCalls() external view returns (uint32 depth, bool complete, bool locked);

    /// All effective levels, three bits per scope: scopes 0 to 84 in the first word, the rest in the second.
    function levels() external view returns (uint256, uint256);

    /// The record of an incident: of one that is not over, or of one of the latest 64.
    function incident(uint64 number) external view returns (Incident memory);

    /// Numbers of the latest incident and of the oldest that is remembered, older ones that are not over aside; 0 and 0 before the first. Numbers
    /// between may be missing: one whose place is taken by an incident that is not over is passed over.
    function incidents() external view returns (uint64 latest, uint64 oldest);

    /// What is stored of a stream of the rulebook in force.
    function stream(uint8 index) external view returns (Stream memory);

    /// Names of the containment sets of the rulebook in force: ASCII, zeros behind.
    function containmentSets() external view returns (bytes32[] memory names);

    /// A containment set: hash of the document that was reviewed, and what it raises, in order.
    function containmentSet(bytes32 set) external view returns (bytes32 reviewed, SetOrder[] memory orders);

    /// Address and code hash of the adopted rulebook (zero when none).
    function rulebook() external view returns (address book, bytes32 codeHash);
    function hasRole(Role role, address account) external view returns (bool);
    function governor() external view returns (address current, address proposed, uint32 delay, bool isSealed);
    function lastHeartbeat() external view returns (uint64);

    /// How often a hook found the rule breached and let the call pass: a rule in shadow, one whose level governs in its stead, a repayment.
    /// `UnknownRule` for one that the rulebook in force does not have.
    function shadowBreaches(uint16 rule) external view returns (uint64);

    /// ERC-165: `type(ICordonGuard).interfaceId`, and the one of this function.
    function supportsInterface(bytes4 interfaceId) external view returns (bool);
    function logic() external view returns (address);
    function programs() external view returns (address[6] memory);

    /// Seconds since `since` in which the scope, or the whole protocol, was Halted: by so much a protocol moves deadlines and
    /// leaves out interest and funding. The latest 64 halts of the scope and of the protocol are told apart; earlier ones count one by one
    /// too, but twice while both stood still, so that the answer is too great rather than too small. Never more than the time since. Refused
    /// (`BadScope`) for a scope that no rulebook of the guard has had.
    function haltedSeconds(uint8 scope, uint64 since) external view returns (uint64);

    /// Rehearses every containment call besides: for calls without a transaction, with much gas. Changes nothing.
    function health() external returns (Health memory);

    /// Makes a containment call and its undo calls as in an incident, and always reverts, with `Rehearsed`: nothing of it stays.
    function rehearse(uint16 call) external;

    /// Makes all containment calls of a set, one after the other as in an incident, then their undo calls, and always reverts, with
    /// `SetRehearsed`: nothing of it stays.
    function rehearseSet(bytes32 set) external;

    // ---------------------------------------------------------------- events

    event LevelRaised(
        uint8 indexed scope, Level from, Level to, uint64 expiresAt, uint64 indexed incident, address indexed by
    );
    event SetContained(bytes32 indexed set, address indexed by, bytes32 reviewed);
    event LevelLowered(uint8 indexed scope, Level from, Level to, uint64 indexed incident, address indexed by);
    event LevelExtended(
        uint8 indexed scope, Level level, uint64 expiresAt, uint64 indexed incident, address indexed by
    );
    event RuleObserved(
        uint16 indexed rule,
        bytes32 witnessHash,
        bool observedNegative,
        uint256 observed,
        bool boundNegative,
        uint256 bound
    );
    event RuleTripped(
        uint16 indexed rule,
        uint64 indexed incident,
        bytes32[] witness,
        bool observedNegative,
        uint256 observed,
        bool boundNegative,
        uint256 bound
    );
    event ShadowBreach(uint16 indexed rule, address indexed caller);
    event IncidentOpened(uint64 indexed incident, uint8 indexed scope, bytes32 evidence);
    event IncidentClosed(uint64 indexed incident, uint8 indexed scope);
    event IncidentContained(uint64 indexed incident);
    /// One that was contained or released is open again: a call has not had its effect.
    event IncidentReopened(uint64 indexed incident);
    event IncidentReleased(uint64 indexed incident, address indexed by);
    event IncidentNoted(uint64 indexed incident, bytes32 note, address indexed by);
    event IncidentJudged(uint64 indexed incident, bool falsePositive, address indexed by);
    event ContainmentApplied(uint16 indexed call, uint64 indexed incident);
    event ContainmentNotNeeded(uint16 indexed call, uint64 indexed incident);
    event ContainmentFailed(uint16 indexed call, uint64 indexed incident, bytes reason);
    event ContainmentUndone(uint16 indexed call, uint64 indexed incident);
    /// Somebody else has taken back what the guard had done while it was to stay: undoing it is not the guard's any more.
    event ContainmentOverruled(uint16 indexed call, uint64 indexed incident);
    event UndoFailed(uint16 indexed call, uint64 indexed incident, bytes reason);
    event UndoWrittenOff(uint16 indexed call, uint64 indexed incident);
    event ReleaseQueued(uint8 indexed scope, uint64 releaseAt, address indexed by);
    event ReleaseCancelled(uint8 indexed scope, address indexed by);
    event Initialized(address[6] programs, address governor, uint32 governorDelay);
    event Sealed();
    event Announced(bytes32 indexed actionHash, uint64 executableAt);
    event AnnouncementCancelled(bytes32 indexed actionHash);
    event RoleSet(Role indexed role, address indexed account, bool granted);
    event GovernorProposed(address indexed governor);
    event GovernorAccepted(address indexed governor);
    event RulebookAdopted(address indexed book, bytes32 codeHash);
    event MatrixChanged(uint64 closes);
    event DelaySet(uint32 governorDelay);
    event LogicSet(address indexed logic, address[6] programs);
    event Heartbeat(uint64 at);
    event StreamObserved(
        uint8 indexed stream, bool observedNegative, uint256 observed, bool freshNegative, uint256 fresh
    );

    /// What a stream was to begin with was contradicted during an incident: it begins anew when that is over.
    event StreamBegunAnew(uint8 indexed stream);

    // ---------------------------------------------------------------- errors

    error AlreadyInitialized();
    error NotInitialized();
    error NotGovernor(address caller);
    error NoGovernor();
    error OwnVeto(address account);
    error BadRole(uint8 role);
    error KeysNotApart(address account);
    error MissingRole(Role role, address caller);
    error NotAnnounced(bytes32 actionHash);
    error AnnouncementPending(bytes32 actionHash, uint64 executableAt);
    error NotRegistered(address caller);
    error ActionClosed(uint8 scope, Level level, uint8 action);
    error BadAction(uint8 action);
    /// `count` is how many scopes the rulebook in force has; 128, how many it can have, where any of them is answered.
    error BadScope(uint8 scope, uint8 count);
    error BadLevel(uint8 level);
    error BadMatrix(uint64 closes);
    error BadTicket(uint256 ticket);
    /// `reason` and `part` (0 the whole, 1 scope, 2 caller, 3 rule, 4 containment call, 5 stream, 6 containment set): codes in docs/rules.md.
    error BadRulebook(uint16 reason, uint8 part, uint16 number);
    error WrongCode(address account, bytes32 codeHash);
    error ScopeMoved(uint8 scope);
    error NoRulebook();
    error UnknownRule(uint16 rule);
    error WrongWitness(uint16 rule, uint256 expected, uint256 given);
    error RuleHolds(uint16 rule);
    error RuleUnknown(uint16 rule, uint8 reason);
    error RuleBreached(uint16 rule, bool observedNegative, uint256 observed, bool boundNegative, uint256 bound);
    error RuleNotTrippable(uint16 rule);
    error ObservedTooSoon(uint16 rule, uint64 until);
    error LevelHasNoEffect(uint8 scope, Level level);
    error NotTighter(uint8 scope, Level current, Level wanted);
    error DurationBeyondRole(uint32 wanted, uint32 most);
    error DurationTooShort(uint32 wanted, uint32 least);
    error BudgetSpent(uint64 available, uint64 wanted);
    error CeilingReached(uint8 scope, uint64 ceilingAt);
    error HeartbeatStale(uint64 last);
    error NothingToRelease(uint8 scope);
    error NothingToRetry(uint8 scope);
    error ReleaseNotQueued(uint8 scope);
    error ReleaseTooEarly(uint64 releaseAt);
    error NotExpired(uint8 scope, uint64 expiresAt);
    error NothingToSettle(uint8 scope);
    error OutOfGasFloor(uint64 needed, uint64 left);
    /// A program behind the gate did not answer though it had gas enough: it has expired (anybody can activate it again), or is out of date.
    error NoAnswer(address program);
    error Locked();
    error NotAProgram(address account);
    error UnknownCall(uint16 call);
    error UnequalLengths(uint256 rules, uint256 witnesses);
    error EmptyBatch();
    error UnknownIncident(uint64 incident);
    error IncidentNotOver(uint64 incident);
    error Rehearsed(uint16 call, Rehearsal outcome);
    error UnknownSet(bytes32 set);
    /// `calls`: bit i when the set runs containment call i. `failing`: bit i when that has no effect, or could not be undone.
    error SetRehearsed(bytes32 set, uint256 calls, uint256 failing);
    error NoStreams();
    error UnknownStream(uint8 stream);
    error StreamNotDue(uint8 stream, uint64 dueAt);
    error StreamFrozen(uint8 stream, uint8 scope);
    error StreamUnreadable(uint8 stream, uint8 reason);
    error GuardedCallRuns();
}
