//! Items in quarantine: whatever guardians and incidents do, every item is due in the end. All reachable states within small bounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use cordon_core::quarantine::{HOLD, Item, ItemError, MAX_DELAY, MAX_HOLD, NAMED, Payee, STALE};
use cordon_core::scope::RELEASE_DELAY;
use stateright::{Checker, Model, Property};

const START: u64 = 1_700_000_000;
const DAY: u32 = 86_400;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: u64,
    item: Item,
    contained: bool,
    takes: Takes,
    paid: Option<To>,
}

/// Who can be paid, and stays so: a payee that takes sooner or later is no harder than one that always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Takes {
    recipient: bool,
    protocol: bool,
    /// The native asset, which the protocol can be made to take.
    native: bool,
}

impl Takes {
    fn all() -> impl Iterator<Item = Takes> {
        (0..8u8).map(|bits| Takes {
            recipient: bits & 1 != 0,
            protocol: bits & 2 != 0,
            native: bits & 4 != 0,
        })
    }

    /// Whom a payment reaches; `named` when somebody has been named besides.
    fn reached(self, payee: Payee, named: bool) -> Option<To> {
        match payee {
            _ if self.recipient => Some(To::Recipient),
            Payee::Recipient => None,
            Payee::RecipientElseProtocol if self.protocol => Some(To::Protocol),
            Payee::RecipientElseProtocol if named => Some(To::Named),
            Payee::RecipientElseProtocol => self.native.then_some(To::Protocol),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum To {
    Recipient,
    Protocol,
    Named,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Wait(u32),
    Incident(bool),
    Hold,
    Release,
    ReleaseEarly,
    GiveBack,
    PayInstead,
}

struct Quarantine {
    delay: u32,
}

impl Model for Quarantine {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let world = |takes| World {
            now: START,
            item: Item::queued(START, self.delay),
            contained: false,
            takes,
            paid: None,
        };
        Takes::all().map(world).collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.extend([
            Step::Wait(900),
            Step::Wait(DAY / 2),
            Step::Wait(10 * DAY),
            Step::Wait(STALE),
            Step::Incident(!world.contained),
        ]);
        if world.paid.is_none() {
            steps.extend([
                Step::Hold,
                Step::Release,
                Step::ReleaseEarly,
                Step::GiveBack,
                Step::PayInstead,
            ]);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        let (now, contained) = (last.now, last.contained);
        match step {
            Step::Wait(seconds) => world.now += u64::from(seconds),
            Step::Incident(contained) => world.contained = contained,
            Step::Hold => {
                world.item = last.item.hold(now, contained).ok()?;
                assert!(world.item.release_at > last.item.release_at && world.item.release_at <= now + u64::from(HOLD));
            }
            Step::Release => {
                let payee = last.item.release(now).ok()?;
                world.paid = Some(last.takes.reached(payee, false)?);
            }
            Step::ReleaseEarly => {
                last.item.release_early(now, contained).ok()?;
                assert!(!contained || now >= last.item.release_at);
                assert!(now >= last.item.release_at || now >= START + u64::from(RELEASE_DELAY));
                world.paid = Some(last.takes.reached(Payee::Recipient, false)?);
            }
            Step::GiveBack => {
                last.item.give_back(contained).ok()?;
                assert!(contained);
                world.paid = (last.takes.protocol || last.takes.native).then_some(To::Protocol);
                world.paid?;
            }
            Step::PayInstead => {
                last.item.pay_instead(now).ok()?;
                assert!(now >= last.item.release_at + u64::from(NAMED));
                world.paid = Some(last.takes.reached(Payee::RecipientElseProtocol, true)?);
            }
        }
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.now <= START + u64::from(self.delay) + u64::from(MAX_HOLD) + u64::from(STALE + 2 * DAY)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("an item is due by the end of holds", |model, world| {
                let end = START + u64::from(model.delay) + u64::from(MAX_HOLD);
                world.item.release_at <= end && world.item.release(end).is_ok()
            }),
            Property::<Self>::always("whoever takes nothing, it is paid at the end", |model, world| {
                let end = START + u64::from(model.delay) + u64::from(MAX_HOLD) + u64::from(STALE);
                let by_anyone = world
                    .item
                    .release(end)
                    .ok()
                    .and_then(|payee| world.takes.reached(payee, false));
                let alone = world.takes.recipient || world.takes.protocol || world.takes.native;
                world.item.pay_instead(end).is_ok() && by_anyone.is_some() == alone
            }),
            Property::<Self>::always("nobody is named while somebody takes it", |_, world| {
                let taken = world.takes.recipient || world.takes.protocol;
                world.paid != Some(To::Named) || !taken && world.now >= world.item.release_at + u64::from(NAMED)
            }),
            Property::<Self>::always("no incident keeps what is due", |_, world| {
                world.now < world.item.release_at || world.item.release(world.now).is_ok()
            }),
            Property::<Self>::sometimes("held", |model, world| {
                world.item.release_at > START + u64::from(model.delay)
            }),
            Property::<Self>::sometimes("given back", |_, world| {
                world.paid == Some(To::Protocol) && world.now < world.item.release_at
            }),
            Property::<Self>::sometimes("paid before it is due", |_, world| {
                world.paid == Some(To::Recipient) && world.now < world.item.release_at
            }),
            Property::<Self>::sometimes("paid to who was named", |_, world| world.paid == Some(To::Named)),
            Property::<Self>::sometimes("forced", |_, world| {
                let takes = world.takes;
                world.paid == Some(To::Protocol) && !takes.protocol && !takes.recipient
            }),
        ]
    }
}

#[test]
fn nothing_is_stuck_in_any_reachable_state() {
    for delay in [3600, DAY, MAX_DELAY] {
        let checker = Quarantine { delay }.checker().target_max_depth(12).spawn_bfs().join();
        println!("delay {delay} s: {} states", checker.unique_state_count());
        checker.assert_properties();
    }
}

#[test]
fn a_recipient_that_cannot_be_paid_does_not_keep_it_for_ever() {
    let item = Item::queued(START, DAY);
    let due = START + u64::from(DAY);
    assert_eq!(item.release(due - 1), Err(ItemError::TooEarly { until: due }));
    assert_eq!(item.release(due), Ok(Payee::Recipient));
    assert_eq!(item.release(due + u64::from(STALE) - 1), Ok(Payee::Recipient));
    assert_eq!(item.release(due + u64::from(STALE)), Ok(Payee::RecipientElseProtocol));
    assert_eq!(item.release(u64::MAX), Ok(Payee::RecipientElseProtocol));
}

#[test]
fn delays_are_capped() {
    assert_eq!(Item::queued(START, u32::MAX), Item::queued(START, MAX_DELAY));
    let end_of_time = Item::queued(u64::MAX, MAX_DELAY);
    assert!(end_of_time.release(u64::MAX).is_ok());
    assert_eq!(
        end_of_time.hold(u64::MAX, true),
        Err(ItemError::HeldTooLong {
            until: end_of_time.release_at
        })
    );
}
