//! What each row of the table must reach.

/// A bound. Against anvil it is the same in the short form; absolute ones are wider there, since nothing is known of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// At least as good as anvil in the same run.
    Peer,
    /// At least so many.
    AtLeast { figure: f64, short: f64 },
    /// Less than so many.
    Below { figure: f64, short: f64 },
}

impl Target {
    /// Whether a figure reaches the target, given how many times as good as anvil's it is. What was not measured does not.
    pub(crate) fn is_met(self, ours: Option<f64>, ratio: Option<f64>, short: bool) -> bool {
        let Some(ours) = ours else { return false };
        match self {
            Self::Peer => ratio.is_some_and(|ratio| ratio >= 1.0),
            Self::AtLeast { .. } => ours >= self.bound(short),
            Self::Below { .. } => ours < self.bound(short),
        }
    }

    /// As the table says it.
    pub(crate) fn text(self, short: bool) -> String {
        match self {
            Self::Peer => "at least 1.0x".to_owned(),
            Self::AtLeast { .. } => format!("at least {}", self.bound(short)),
            Self::Below { .. } => format!("below {}", self.bound(short)),
        }
    }

    fn bound(self, in_short: bool) -> f64 {
        match self {
            Self::Peer => 1.0,
            Self::AtLeast { figure, short } | Self::Below { figure, short } => {
                if in_short {
                    short
                } else {
                    figure
                }
            }
        }
    }
}

/// How a verdict is written.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_missed() {
        for target in [
            Target::Peer,
            Target::AtLeast {
                figure: 1.0,
                short: 1.0,
            },
            Target::Below {
                figure: 1.0,
                short: 1.0,
            },
        ] {
            assert!(!target.is_met(None, None, false));
            assert!(!target.is_met(None, Some(9.0), true));
        }
        assert!(!Target::Peer.is_met(Some(9.0), None, false));
    }

    #[test]
    fn bounds_hold_on_their_side() {
        assert!(Target::Peer.is_met(Some(5.0), Some(1.0), true));
        assert!(!Target::Peer.is_met(Some(5.0), Some(0.99), true));
        let least = Target::AtLeast {
            figure: 3_000.0,
            short: 500.0,
        };
        assert!(!least.is_met(Some(2_999.0), None, false));
        assert!(least.is_met(Some(2_999.0), None, true) && !least.is_met(Some(499.0), None, true));
        let below = Target::Below {
            figure: 20.0,
            short: 100.0,
        };
        assert!(!below.is_met(Some(20.0), None, false));
        assert!(below.is_met(Some(20.0), None, true) && !below.is_met(Some(100.0), None, true));
    }
}
