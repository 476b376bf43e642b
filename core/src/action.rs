//! What a guarded call does to the protocol's risk.

/// Class of a guarded call. The numbers are those of `ICordonGuard.Action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// New value comes in.
    Deposit = 0,
    /// Value goes out.
    Withdraw = 1,
    /// A swap.
    Trade = 2,
    /// More risk: open, borrow, mint, or take collateral out of an indebted account.
    Increase = 3,
    /// Less risk: close or reduce a position.
    Decrease = 4,
    /// Repayment or margin top-up. No level closes it.
    Repay = 5,
    /// Exercise or claim that is bound to an expiry.
    Settle = 6,
    /// Liquidation of somebody else's position.
    Liquidate = 7,
    /// Price push, accrual, funding.
    Sync = 8,
    /// Administration that only lowers risk.
    Tighten = 9,
    /// All other administration: upgrades, roles, oracle sources, higher limits.
    Loosen = 10,
}

impl Action {
    /// How many actions there are.
    pub const COUNT: u8 = 11;

    /// All actions in the order of their numbers.
    pub const ALL: [Action; 11] = [
        Action::Deposit,
        Action::Withdraw,
        Action::Trade,
        Action::Increase,
        Action::Decrease,
        Action::Repay,
        Action::Settle,
        Action::Liquidate,
        Action::Sync,
        Action::Tighten,
        Action::Loosen,
    ];

    /// The actions that are refused when a rule hooked to them is `Unknown`. The others (`Decrease`, `Repay`, `Settle`,
    /// `Liquidate`, `Sync`, `Tighten`) lower risk or keep the protocol's books, and pass.
    pub const RISK_INCREASING: ActionSet = ActionSet::EMPTY
        .with(Action::Deposit)
        .with(Action::Withdraw)
        .with(Action::Trade)
        .with(Action::Increase)
        .with(Action::Loosen);

    /// The action with this number, or `None` when there is none.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Action::Deposit,
            1 => Action::Withdraw,
            2 => Action::Trade,
            3 => Action::Increase,
            4 => Action::Decrease,
            5 => Action::Repay,
            6 => Action::Settle,
            7 => Action::Liquidate,
            8 => Action::Sync,
            9 => Action::Tighten,
            10 => Action::Loosen,
            _ => return None,
        })
    }

    /// Which way value goes in a guarded call of this class, as the context of a transaction counts it. A swap, a liquidation and the
    /// reduction of a position go both ways or neither, and are not counted.
    #[must_use]
    pub const fn flow(self) -> Option<Flow> {
        match self {
            Action::Deposit | Action::Repay => Some(Flow::In),
            Action::Withdraw | Action::Increase | Action::Settle => Some(Flow::Out),
            _ => None,
        }
    }

    /// The name used in `cordon.toml` and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Action::Deposit => "Deposit",
            Action::Withdraw => "Withdraw",
            Action::Trade => "Trade",
            Action::Increase => "Increase",
            Action::Decrease => "Decrease",
            Action::Repay => "Repay",
            Action::Settle => "Settle",
            Action::Liquidate => "Liquidate",
            Action::Sync => "Sync",
            Action::Tighten => "Tighten",
            Action::Loosen => "Loosen",
        }
    }

    /// The action of this exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// Which way value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Into the protocol.
    In,
    /// Out of it.
    Out,
}

/// A set of actions: bit `i` stands for the action numbered `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActionSet(u16);

impl ActionSet {
    /// No action.
    pub const EMPTY: ActionSet = ActionSet(0);

    /// Every action.
    pub const ALL: ActionSet = ActionSet((1 << Action::COUNT) - 1);

    /// The set with these bits, or `None` when a bit stands for no action.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 {
            Some(ActionSet(bits))
        } else {
            None
        }
    }

    /// The bits of the set.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set with `action` added.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        ActionSet(self.0 | 1 << action as u16)
    }

    /// Whether `action` is in the set.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        self.0 >> action as u16 & 1 == 1
    }

    /// Whether no action is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Actions that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        ActionSet(self.0 | other.0)
    }

    /// The actions of the set, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }
}

impl FromIterator<Action> for ActionSet {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_sets_agree() {
        for (number, action) in (0u8..).zip(Action::ALL) {
            assert_eq!(Action::from_u8(number), Some(action));
            assert_eq!(Action::from_name(action.name()), Some(action));
            assert_eq!(action as u8, number);
            assert!(ActionSet::ALL.contains(action));
            assert!(!ActionSet::EMPTY.contains(action));
        }
        assert_eq!(Action::from_u8(Action::COUNT), None);
        assert_eq!(ActionSet::from_bits(1 << 11), None);
        assert_eq!(ActionSet::ALL.iter().collect::<ActionSet>(), ActionSet::ALL);
    }

    #[test]
    fn repayment_and_settlement_pass_when_a_rule_is_unknown() {
        assert!(!Action::RISK_INCREASING.contains(Action::Repay));
        assert!(!Action::RISK_INCREASING.contains(Action::Settle));
        assert!(Action::RISK_INCREASING.contains(Action::Increase));
    }
}
