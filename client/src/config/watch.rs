//! Watches: what is looked for in every block besides the invariants. Who finds one is told; no level is raised.

use std::fmt;

use alloy::json_abi::{Event, Function};
use alloy::primitives::{Address, B256, Bytes, U256};

use super::Severity;

/// How settled a block has to be before a watch speaks of it, or an invariant is evaluated on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finality {
    /// As soon as the block is seen; a reorg is told afterwards.
    #[default]
    Latest,
    /// When the chain calls the block safe.
    Safe,
    /// When the chain calls the block final.
    Finalized,
}

impl Finality {
    /// All of them, the earliest first.
    pub const ALL: [Self; 3] = [Self::Latest, Self::Safe, Self::Finalized];

    /// The name as written in the configuration, which is that of the block tag.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
        }
    }
}

/// Which transactions are meant, by how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// All of them.
    Any,
    /// Those that took effect.
    Success,
    /// Those that were reverted.
    Failure,
}

impl Status {
    /// Whether a transaction that ended like this is meant.
    pub fn includes(self, succeeded: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Success => succeeded,
            Self::Failure => !succeeded,
        }
    }
}

/// A standard whose changes of power are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standard {
    /// The owner of an `Ownable` or `Ownable2Step` contract, a `ProxyAdmin` among them.
    Ownable,
    /// The roles of an `AccessControl` contract.
    AccessControl,
    /// Implementation, admin and beacon of an ERC-1967 proxy, by its events and by its slots.
    Erc1967,
    /// Owners, threshold, modules, guard and fallback handler of a Safe.
    Safe,
    /// `Paused` and `Unpaused`.
    Pausable,
}

impl Standard {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ownable,
        Self::AccessControl,
        Self::Erc1967,
        Self::Safe,
        Self::Pausable,
    ];

    /// The name as written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ownable => "ownable",
            Self::AccessControl => "access-control",
            Self::Erc1967 => "erc1967",
            Self::Safe => "safe",
            Self::Pausable => "pausable",
        }
    }

    /// The events that tell of a change, as Solidity writes them. The older forms of an event are among them.
    pub fn events(self) -> &'static [&'static str] {
        match self {
            Self::Ownable => &[
                "event OwnershipTransferred(address indexed previousOwner, address indexed newOwner)",
                "event OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner)",
            ],
            Self::AccessControl => &[
                "event RoleGranted(bytes32 indexed role, address indexed account, address indexed sender)",
                "event RoleRevoked(bytes32 indexed role, address indexed account, address indexed sender)",
                "event RoleAdminChanged(bytes32 indexed role, bytes32 indexed previousAdminRole, bytes32 indexed newAdminRole)",
            ],
            Self::Erc1967 => &[
                "event Upgraded(address indexed implementation)",
                "event AdminChanged(address previousAdmin, address newAdmin)",
                "event BeaconUpgraded(address indexed beacon)",
            ],
            Self::Safe => &[
                "event AddedOwner(address indexed owner)",
                "event AddedOwner(address owner)",
                "event RemovedOwner(address indexed owner)",
                "event RemovedOwner(address owner)",
                "event ChangedThreshold(uint256 threshold)",
                "event EnabledModule(address indexed module)",
                "event EnabledModule(address module)",
                "event DisabledModule(address indexed module)",
                "event DisabledModule(address module)",
                "event ChangedGuard(address indexed guard)",
                "event ChangedGuard(address guard)",
                "event ChangedFallbackHandler(address indexed handler)",
                "event ChangedFallbackHandler(address handler)",
                "event ChangedMasterCopy(address masterCopy)",
            ],
            Self::Pausable => &["event Paused(address account)", "event Unpaused(address account)"],
        }
    }

    /// Storage slots whose change is told even when no event speaks of it, with what they hold.
    pub fn slots(self) -> &'static [(&'static str, B256)] {
        // keccak256("eip1967.proxy.implementation") - 1, and so on: ERC-1967.
        const ERC1967: [(&str, B256); 3] = [
            (
                "implementation",
                alloy::primitives::b256!("0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"),
            ),
            (
                "admin",
                alloy::primitives::b256!("0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103"),
            ),
            (
                "beacon",
                alloy::primitives::b256!("0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"),
            ),
        ];
        match self {
            Self::Erc1967 => &ERC1967,
            _ => &[],
        }
    }
}

/// A compiled invariant contract that is put at an unused address for the time of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvariantContract {
    /// Creation code with its constructor's arguments: run once by `eth_call`, it answers the code.
    pub creation: Bytes,
    /// The functions that must not revert.
    pub functions: Vec<Function>,
    /// The errors that it declares: for words.
    pub errors: Vec<alloy::json_abi::Error>,
    /// Storage that it has: its own state variables, which no transaction ever set.
    pub storage: Vec<(U256, B256)>,
}

/// A condition over what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its text.
    pub text: String,
    /// Its program: a rule whose parameters are `fields`.
    pub program: Vec<u8>,
    /// The names of what it looks at, in the order of the program's parameters.
    pub fields: Vec<String>,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// A log.
    Event {
        /// The event.
        event: Event,
        /// Who emits it; anybody when empty.
        at: Vec<Address>,
    },
    /// A transaction that calls a function: the first call of the transaction, not the calls inside it.
    Call {
        /// The function.
        function: Function,
        /// The contract that is called; any when empty.
        at: Vec<Address>,
        /// How the transaction ended.
        status: Status,
    },
    /// A transaction.
    Transaction {
        /// Its senders; anybody when empty.
        from: Vec<Address>,
        /// Its receivers; anybody when empty.
        to: Vec<Address>,
        /// How it ended.
        status: Status,
    },
    /// A native balance that changes.
    Balance {
        /// The accounts.
        at: Vec<Address>,
    },
    /// A word of storage that changes.
    Storage {
        /// The contracts.
        at: Vec<Address>,
        /// The slot.
        slot: B256,
    },
    /// Code that changes.
    Code {
        /// The accounts.
        at: Vec<Address>,
    },
    /// Owners, roles and implementations that change.
    Changes {
        /// The contracts.
        at: Vec<Address>,
        /// What they are.
        standards: Vec<Standard>,
    },
    /// Functions of a team's own contract that begin to revert.
    Invariants(InvariantContract),
    /// A transaction that waits in the public mempool.
    Pending {
        /// Its senders; anybody when empty.
        from: Vec<Address>,
        /// Its receivers; anybody when empty.
        to: Vec<Address>,
        /// The function that it calls, when one is asked for.
        function: Option<Function>,
    },
}

impl WatchKind {
    /// The name as written in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Event { .. } => "event",
            Self::Call { .. } => "call",
            Self::Transaction { .. } => "transaction",
            Self::Balance { .. } => "balance",
            Self::Storage { .. } => "storage",
            Self::Code { .. } => "code",
            Self::Changes { .. } => "changes",
            Self::Invariants(_) => "invariants",
            Self::Pending { .. } => "pending",
        }
    }
}

impl fmt::Display for WatchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `[[watch]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Unique name.
    pub id: String,
    /// What is looked for.
    pub kind: WatchKind,
    /// What must be true of it; always when `None`.
    pub when: Option<Condition>,
    /// How bad it is.
    pub severity: Severity,
    /// When it is told.
    pub finality: Finality,
    /// Seconds of block time within which it is told once; what is found meanwhile is recorded only. 0 to tell all of it.
    pub cooldown: u32,
    /// Recorded, never told.
    pub shadow: bool,
    /// Channels that are told, whatever their severity; those that want the severity when empty.
    pub channels: Vec<String>,
}

/// A time in which what is found is recorded, and neither told nor acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Unix seconds at which it begins.
    pub from: u64,
    /// Unix seconds at which it is over.
    pub to: u64,
    /// Names of the watches that it is about; all when neither watches nor invariants are named.
    pub watches: Vec<String>,
    /// Names of the invariants that it is about; none unless named.
    pub invariants: Vec<String>,
    /// Why, for the record.
    pub reason: String,
}

impl Maintenance {
    /// Whether a watch is quiet at this time, in Unix seconds.
    pub fn covers(&self, watch: &str, at: u64) -> bool {
        let all = self.watches.is_empty() && self.invariants.is_empty();
        (self.from..self.to).contains(&at) && (all || self.watches.iter().any(|id| id == watch))
    }

    /// Whether it is about an invariant.
    pub fn names(&self, invariant: &str) -> bool {
        self.invariants.iter().any(|id| id == invariant)
    }
}
