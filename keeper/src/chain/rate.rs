//! Endpoints whose plan is small: how often they are asked, and who is asked instead.

use super::endpoint::Endpoint;
use super::rpc::Rpc;

/// The endpoints that one request may go to, in the order in which they are tried. Room for it is taken at each that is given out.
pub(super) struct Turns<'a> {
    rpc: &'a Rpc,
    order: std::vec::IntoIter<usize>,
    /// Those that had no room.
    full: Vec<usize>,
    /// What was passed over at any time.
    passed: Vec<usize>,
}

impl Rpc {
    /// Has each endpoint asked no more than so many requests in any second, in the order of [`Rpc::new`]; `None` for no limit. Transactions,
    /// and the comparison of the endpoints with each other, are never held back, but count.
    #[must_use]
    pub fn with_rates(self, rates: &[Option<u32>]) -> Self {
        for (endpoint, rate) in self.all_endpoints().zip(rates) {
            endpoint.set_rate(*rate);
        }
        self
    }

    pub(super) fn turns(&self) -> Turns<'_> {
        let order: Vec<usize> = self.in_turn().collect();
        Turns {
            rpc: self,
            order: order.into_iter(),
            full: Vec::new(),
            passed: Vec::new(),
        }
    }
}

impl<'a> Turns<'a> {
    fn endpoint(&self, index: usize) -> Option<&'a Endpoint> {
        self.rpc.all_endpoints().nth(index)
    }

    /// The next. One without room for a request is passed over for those behind it; it is waited for when none of them has answered.
    pub(super) async fn next(&mut self) -> Option<usize> {
        while let Some(index) = self.order.next() {
            let endpoint = self.endpoint(index)?;
            // One that has refused to be asked is the caller's to name.
            if endpoint.busy_for().is_some() || endpoint.take_room().is_ok() {
                return Some(index);
            }
            self.full.push(index);
            self.passed.push(index);
        }
        let soonest = |at: &usize| self.full.get(*at).and_then(|index| self.endpoint(*index)?.full_for());
        let at = (0..self.full.len()).min_by_key(soonest)?;
        let index = self.full.swap_remove(at);
        self.endpoint(index)?.wait_for_room().await;
        Some(index)
    }

    /// Whether an endpoint was passed over only because of its rate: it is the one to ask next time all the same.
    pub(super) fn has_passed(&self, index: usize) -> bool {
        self.passed.contains(&index)
    }
}
