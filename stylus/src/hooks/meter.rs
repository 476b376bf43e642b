//! Ink of a running program.

use super::Stop;

/// Ink left and its price. Running short takes all that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    ink: u64,
    price: u64,
}

impl Meter {
    /// A meter for `gas` at `price` ink per gas (at least 1).
    pub fn new(gas: u64, price: u32) -> Self {
        let price = u64::from(price.max(1));
        Self {
            ink: gas.saturating_mul(price),
            price,
        }
    }

    /// Ink left.
    pub const fn ink(&self) -> u64 {
        self.ink
    }

    /// Sets the ink left to what the engine counted.
    pub(crate) const fn set_ink(&mut self, ink: u64) {
        self.ink = ink;
    }

    /// Ink per gas.
    pub const fn price(&self) -> u64 {
        self.price
    }

    /// Whole gas left.
    pub fn gas(&self) -> u64 {
        self.ink.checked_div(self.price).unwrap_or_default()
    }

    /// Takes ink.
    pub(crate) fn charge(&mut self, ink: u64) -> Result<(), Stop> {
        match self.ink.checked_sub(ink) {
            Some(left) => {
                self.ink = left;
                Ok(())
            }
            None => Err(self.exhaust()),
        }
    }

    /// Takes gas.
    pub(crate) fn charge_gas(&mut self, gas: u64) -> Result<(), Stop> {
        self.charge(gas.saturating_mul(self.price))
    }

    /// Fails unless this much gas is there; takes nothing.
    pub(crate) fn require_gas(&mut self, gas: u64) -> Result<(), Stop> {
        if self.ink < gas.saturating_mul(self.price) {
            Err(self.exhaust())
        } else {
            Ok(())
        }
    }

    /// Takes everything.
    pub(crate) const fn exhaust(&mut self) -> Stop {
        self.ink = 0;
        Stop::OutOfInk
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn running_short_takes_everything() {
        let mut meter = Meter::new(3, 10_000);
        meter.charge(9_999).unwrap();
        assert_eq!((meter.ink(), meter.gas()), (20_001, 2));
        meter.require_gas(2).unwrap();
        assert_eq!(meter.require_gas(3), Err(Stop::OutOfInk));
        assert_eq!(meter.ink(), 0);
        meter.charge(0).unwrap();
    }

    #[test]
    fn huge_amounts_saturate() {
        let mut meter = Meter::new(u64::MAX, 10_000);
        assert_eq!(meter.ink(), u64::MAX);
        assert_eq!(Meter::new(1, 0).price(), 1);
        meter.charge_gas(u64::MAX).unwrap();
        assert_eq!(meter.ink(), 0);
    }
}
