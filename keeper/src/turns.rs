//! Turns at what only one can have at a time: what stands between a breach and the transaction against it goes first, and nothing waits
//! for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How much hurry there is. What comes first goes first; among those of the same hurry, who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Urgency {
    /// It stands between a breach and the transaction against it: the blocks, each of which waits for the one before, and the sending of
    /// what closes something.
    Breach,
    /// It keeps an account from sending the next: the sending of anything else.
    Sending,
    /// It can wait: how actions ended, upkeep, alarms, notices, what people do, what is forgotten.
    Rest,
}

/// How often in a row who has waited longest is passed over.
const PATIENCE: u32 = 16;

/// The turns. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Line>>);

/// Who waits.
#[derive(Debug, Default)]
struct Line {
    is_taken: bool,
    /// In the order in which they came.
    waiting: VecDeque<(Urgency, oneshot::Sender<Turn>)>,
    /// How often the first of them was passed over in a row.
    passed: u32,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Turns>);

impl Turns {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. Who gives up waiting is not waited for.
    pub(crate) async fn take(&self, urgency: Urgency) -> Turn {
        let turn = {
            let mut line = self.line();
            if !line.is_taken {
                line.is_taken = true;
                return Turn(Some(self.clone()));
            }
            let (give, turn) = oneshot::channel();
            line.waiting.push_back((urgency, give));
            turn
        };
        // Nobody is left out: only a turn empties the line, and each is handed on.
        turn.await.unwrap_or(Turn(None))
    }
}

impl Line {
    /// The next one, out of the line; nobody has the turn when there is none.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        // Who has given up does not count, neither as the next nor as the one who has waited longest.
        self.waiting.retain(|(_, give)| !give.is_closed());
        let urgent = (0..).zip(&self.waiting).min_by_key(|(_, (urgency, _))| *urgency);
        let at: usize = match urgent {
            Some((at, _)) if self.passed < PATIENCE => at,
            _ => 0,
        };
        self.passed = if at == 0 { 0 } else { self.passed.saturating_add(1) };
        let next = self.waiting.remove(at);
        self.is_taken = next.is_some();
        next.map(|(_, give)| give)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            // The line is free again before anybody is woken.
            let Some(next) = turns.line().next() else { return };
            match next.send(Turn(Some(turns.clone()))) {
                Ok(()) => return,
                // It has given up just now: this turn is over too, without a next one of its own.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use tokio::task::JoinHandle;

    type Order = Arc<Mutex<Vec<u32>>>;

    /// One that waits for a turn, and says when it had it. It is in the line when this answers.
    async fn waits(turns: &Turns, urgency: Urgency, number: u32, order: &Order) -> JoinHandle<()> {
        let before = turns.line().waiting.len();
        let (own, order) = (turns.clone(), Arc::clone(order));
        let task = tokio::spawn(async move {
            let _turn = own.take(urgency).await;
            order.lock().unwrap().push(number);
        });
        while turns.line().waiting.len() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn what_is_urgent_goes_first_and_the_others_in_the_order_in_which_they_came() {
        let (turns, order) = (Turns::default(), Order::default());
        let first = turns.take(Urgency::Rest).await;
        let mut tasks = Vec::new();
        for (number, urgency) in [
            (0, Urgency::Rest),
            (1, Urgency::Sending),
            (2, Urgency::Rest),
            (3, Urgency::Breach),
            (4, Urgency::Sending),
            (5, Urgency::Breach),
        ] {
            tasks.push(waits(&turns, urgency, number, &order).await);
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [3, 5, 1, 4, 0, 2]);
        let nobody = tokio::time::timeout(std::time::Duration::from_secs(5), turns.take(Urgency::Rest));
        assert!(nobody.await.is_ok(), "the last one has given it back");
    }

    #[tokio::test]
    async fn nobody_is_passed_over_for_ever() {
        let (turns, order) = (Turns::default(), Order::default());
        let first = turns.take(Urgency::Breach).await;
        let mut tasks = vec![waits(&turns, Urgency::Rest, 1_000, &order).await];
        tasks.push(waits(&turns, Urgency::Rest, 1_001, &order).await);
        for number in 0..3 * PATIENCE {
            tasks.push(waits(&turns, Urgency::Breach, number, &order).await);
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        let order = order.lock().unwrap();
        let place = |number: u32| order.iter().position(|held| *held == number);
        let patience = usize::try_from(PATIENCE).unwrap();
        assert_eq!(place(1_000), Some(patience));
        assert_eq!(place(1_001), Some(2 * patience + 1));
    }

    #[tokio::test]
    async fn who_has_given_up_is_not_waited_for() {
        let (turns, order) = (Turns::default(), Order::default());
        let first = turns.take(Urgency::Rest).await;
        let gone = waits(&turns, Urgency::Breach, 0, &order).await;
        let rest = waits(&turns, Urgency::Rest, 1, &order).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        drop(first);
        rest.await.unwrap();
        assert_eq!(*order.lock().unwrap(), [1]);
        assert!(!turns.line().is_taken);
    }
}
