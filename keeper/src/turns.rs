//! Turns at what only one can have at a time: what stands between a breach and the transaction against it goes first, and nothing waits
//! for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How much hurry there is. What comes first goes first; among those of the same hurry, who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Urgency {
    /// It stands between a breach and the transaction against it: the blocks, each of which waits for the one before, and what closes
    /// something: its plan, its sending, its end, after which the next one for the scope begins, and the fallbacks' rungs.
    Breach,
    /// Others wait for it: the same of anything else that is sent, as an account sends the next one after it, and alarms, which those who
    /// raise or clear them wait for.
    Sending,
    /// It can wait: how playbooks and notices go on, what people do, what is forgotten.
    Rest,
}

/// How often in a row who has waited longest is passed over.
const PATIENCE: u32 = 16;

/// The turns. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    line: Arc<Mutex<Line>>,
    /// How long a turn lasts at most if somebody waits for the next; `None` for one that lasts until it is given back.
    most: Option<Duration>,
}

/// Who waits, and who has the turn.
#[derive(Debug, Default)]
struct Line {
    held: Option<Held>,
    /// Number of the last turn that was given.
    last: u64,
    /// In the order in which they came.
    waiting: VecDeque<(Urgency, oneshot::Sender<Turn>)>,
    /// How often the first of them was passed over in a row.
    passed: u32,
}

/// The turn that somebody has.
#[derive(Debug, Clone, Copy)]
struct Held {
    number: u64,
    since: Instant,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<(Turns, u64)>);

impl Turns {
    /// Turns that are taken from whoever has had one for this long while others wait. Something else has to keep two from doing at once
    /// what only one may: it still does what it had begun.
    pub(crate) fn of_at_most(most: Duration) -> Self {
        Self {
            most: Some(most),
            ..Self::default()
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. Who gives up waiting is not waited for.
    pub(crate) async fn take(&self, urgency: Urgency) -> Turn {
        let mut given = {
            let mut line = self.line();
            if line.held.is_none() {
                return Turn(Some((self.clone(), line.hold())));
            }
            let (give, given) = oneshot::channel();
            line.waiting.push_back((urgency, give));
            given
        };
        loop {
            tokio::select! {
                // Nobody is left out: only a turn empties the line, and each is handed on.
                turn = &mut given => return turn.unwrap_or(Turn(None)),
                () = self.overdue() => self.take_away(),
            }
        }
    }

    /// Waits until the present turn, if it is not given back before, has lasted too long.
    async fn overdue(&self) {
        let over = self.line().held.zip(self.most).map(|(held, most)| held.since + most);
        match over {
            Some(over) => tokio::time::sleep_until(over.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Hands the turn on if it has lasted too long; it may be another one by now.
    fn take_away(&self) {
        let overdue = {
            let line = self.line();
            let held = line.held.zip(self.most);
            held.filter(|(held, most)| held.since.elapsed() >= *most)
        };
        if let Some((held, most)) = overdue {
            tracing::warn!(
                "what writes has not ended within {} ms: the next one goes on",
                most.as_millis()
            );
            self.hand_on(held.number);
        }
    }

    /// Gives the turn to the next one, if it is still this one.
    fn hand_on(&self, mut number: u64) {
        loop {
            // The line is free again before anybody is woken.
            let Some((next, give)) = self.line().next(number) else {
                return;
            };
            match give.send(Turn(Some((self.clone(), next)))) {
                Ok(()) => return,
                // It has given up just now: this turn is over too, without a next one of its own.
                Err(mut turn) => turn.0 = None,
            }
            number = next;
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.line().waiting.len()
    }
}

impl Line {
    /// A new turn's number.
    fn hold(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.held = Some(Held {
            number: self.last,
            since: Instant::now(),
        });
        self.last
    }

    /// Ends the turn `number`: the next one, out of the line, with the number of its turn. Nobody has the turn when there is none, and
    /// nothing is done when it is another's already.
    fn next(&mut self, number: u64) -> Option<(u64, oneshot::Sender<Turn>)> {
        self.held.take_if(|held| held.number == number)?;
        // Who has given up does not count, neither as the next nor as the one who has waited longest.
        self.waiting.retain(|(_, give)| !give.is_closed());
        let urgent = (0..).zip(&self.waiting).min_by_key(|(_, (urgency, _))| *urgency);
        let at: usize = match urgent {
            Some((at, _)) if self.passed < PATIENCE => at,
            _ => 0,
        };
        self.passed = if at == 0 { 0 } else { self.passed.saturating_add(1) };
        let (_, give) = self.waiting.remove(at)?;
        Some((self.hold(), give))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((turns, number)) = self.0.take() {
            turns.hand_on(number);
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
        assert!(turns.line().held.is_none());
    }

    #[tokio::test]
    async fn who_has_it_for_too_long_loses_it_to_the_one_in_most_hurry() {
        let most = Duration::from_millis(100);
        let (turns, order) = (Turns::of_at_most(most), Order::default());
        let begun = Instant::now();
        let stuck = turns.take(Urgency::Rest).await;
        let rest = waits(&turns, Urgency::Rest, 0, &order).await;
        let breach = waits(&turns, Urgency::Breach, 1, &order).await;
        let both = async { (breach.await, rest.await) };
        let both = tokio::time::timeout(Duration::from_secs(10), both).await;
        assert!(both.is_ok(), "nobody waits for ever");
        assert!(begun.elapsed() >= most, "it had its time");
        assert_eq!(*order.lock().unwrap(), [1, 0]);
        // What is given back late is another's by now.
        let other = turns.take(Urgency::Rest).await;
        drop(stuck);
        assert!(turns.line().held.is_some());
        drop(other);
        assert!(turns.line().held.is_none());
    }
}
