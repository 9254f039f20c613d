//! Every order of sending, showing, a relay's yes, cancels, crashes and a wallet that lets go: what a buyer could read was
//! paid for, and what could not be read was not paid for.

use proptest::prelude::*;

use super::tests::{START, answer, held, job, made, not_held, start};
use super::*;

/// What happens around a job. What can't happen at a moment does nothing.
#[derive(Clone, Copy, Debug)]
enum Act {
    Pay,
    Run,
    /// The outbox looks at the payment, and sends the result if it is held.
    Send,
    /// The outbox fetched the result as due a while ago, and sends it now, after its look.
    Show,
    /// The relay's yes to what it has.
    Ok,
    CancelByBuyer,
    CancelBySeller,
    Close,
    /// The program dies: what was under way and not written is lost.
    Crash,
    /// The wallet's word on what was decided.
    Wallet,
    /// A look from time to time.
    Poll,
    /// The node lets the payment go by itself.
    LetGo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Money {
    None,
    Held,
    Ours,
    Back,
}

#[allow(clippy::struct_excessive_bools)] // facts of a model, each by itself
struct World {
    job: Job,
    money: Money,
    /// The relay has the result and shows it.
    shown: bool,
    /// The relay was sent the result by this run of the program, and its answer is awaited.
    asked: bool,
    withdrawn: bool,
    /// The payment was let go by the node, not by us, when the result was out already.
    robbed: bool,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            job: job(PayOrder::Hold),
            money: Money::None,
            shown: false,
            asked: false,
            withdrawn: false,
            robbed: false,
        };
        world.apply(made());
        world
    }

    fn apply(&mut self, input: JobEvent) {
        if let Ok(step) = transition(&self.job, input, START.plus(Duration::from_secs(1))) {
            self.job = step.job;
            self.withdrawn |= step.withdraw;
            if step.drafts.iter().any(|draft| draft.role == Role::Result) {
                self.job.result_id = Some(nostr::EventId::from_byte_array([3; 32]));
            }
        }
    }

    fn invoice(&self) -> InvoiceState {
        self.job.invoice.as_ref().unwrap().state
    }

    fn look(&mut self) {
        match (self.invoice(), self.money) {
            (InvoiceState::Open, Money::Held) => self.apply(held(4_000)),
            (was @ InvoiceState::Held, Money::Back) => self.apply(not_held(was)),
            (_, Money::Ours) => self.apply(super::tests::paid()),
            (was @ (InvoiceState::GivingBack | InvoiceState::Taking), Money::Back) => {
                self.apply(not_held(was));
            }
            _ => {}
        }
    }

    fn due(&self) -> bool {
        self.job.result_id.is_some() && !self.withdrawn && !self.job.delivered
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Pay if self.money == Money::None && self.invoice() == InvoiceState::Open => {
                self.money = Money::Held;
                self.look();
            }
            Act::Run => {
                self.apply(start());
                self.apply(JobEvent::Answered(answer("text")));
            }
            Act::Send | Act::Show if self.due() => {
                self.look();
                if self.invoice() == InvoiceState::Held && self.due() {
                    self.shown = true;
                    self.asked = true;
                }
            }
            Act::Ok if self.asked && self.shown => {
                self.asked = false;
                self.apply(super::tests::accepted());
            }
            Act::CancelByBuyer => self.apply(JobEvent::Cancel {
                by_buyer: true,
                tokens: 0,
            }),
            Act::CancelBySeller => self.apply(JobEvent::Cancel {
                by_buyer: false,
                tokens: 0,
            }),
            Act::Close => self.apply(JobEvent::ShopCloses),
            Act::Crash => {
                self.asked = false;
                self.apply(JobEvent::Interrupted);
            }
            Act::Wallet => {
                match (self.invoice(), self.money) {
                    (InvoiceState::Taking, Money::Held) => self.money = Money::Ours,
                    (InvoiceState::GivingBack, Money::Held | Money::None) => {
                        self.money = Money::Back;
                    }
                    _ => {}
                }
                self.look();
            }
            Act::Poll => self.look(),
            Act::LetGo if self.money == Money::Held => {
                self.money = Money::Back;
                self.robbed = self.shown;
            }
            _ => {}
        }
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let any = prop_oneof![
        4 => Just(Act::Pay),
        4 => Just(Act::Run),
        3 => Just(Act::Send),
        2 => Just(Act::Show),
        3 => Just(Act::Ok),
        2 => Just(Act::CancelByBuyer),
        1 => Just(Act::CancelBySeller),
        1 => Just(Act::Close),
        2 => Just(Act::Crash),
        2 => Just(Act::Wallet),
        2 => Just(Act::Poll),
        1 => Just(Act::LetGo),
    ];
    proptest::collection::vec(any, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn no_order_of_send_show_ok_and_cancel_gives_an_answer_away(acts in acts()) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        // The program runs on, and wallet and relay answer.
        for _ in 0..3 {
            for act in [Act::Poll, Act::Run, Act::Send, Act::Ok, Act::Wallet, Act::Poll] {
                world.act(act);
            }
        }
        prop_assert!(
            !world.shown || world.money == Money::Ours || world.robbed,
            "an answer was free: {:?} {:?}", world.job.state, world.invoice()
        );
        prop_assert!(
            world.shown || world.money != Money::Ours,
            "a payment was kept for nothing"
        );
        prop_assert!(world.money != Money::Held, "a payment is held for ever");
    }
}

#[test]
fn a_cancel_of_a_result_that_may_have_left_changes_nothing() {
    for order in [
        PayOrder::Hold,
        PayOrder::Before,
        PayOrder::After,
        PayOrder::Free,
    ] {
        let mut job = job(order);
        let paid = match order {
            PayOrder::Hold => vec![made(), held(4_000)],
            PayOrder::Before => vec![made(), super::tests::paid()],
            _ => Vec::new(),
        };
        let rest = [start(), JobEvent::Answered(answer("text")), made()];
        for input in paid.into_iter().chain(rest) {
            if let Ok(step) = transition(&job, input, START) {
                job = step.job;
            }
        }
        assert_eq!(job.state, State::Publishing, "{order:?}");
        for by_buyer in [true, false] {
            let late = transition(
                &job,
                JobEvent::Cancel {
                    by_buyer,
                    tokens: 7,
                },
                START,
            );
            assert_eq!(late.unwrap_err(), TransitionError::MayHaveLeft);
        }
    }
}

#[test]
fn a_shop_that_closes_gives_back_what_waits_and_tells_its_buyer() {
    let mut world = World::new();
    world.act(Act::Pay);
    assert_eq!(
        (world.job.state, world.invoice()),
        (State::Queued, InvoiceState::Held)
    );
    let closed = transition(&world.job, JobEvent::ShopCloses, START).unwrap();
    assert_eq!(closed.job.invoice.unwrap().state, InvoiceState::GivingBack);
    assert_eq!(closed.drafts.len(), 1);
    assert_eq!(closed.drafts[0].role, Role::Error);
    // What runs is finished, and what is paid for good is worked for when the shop opens again.
    world.apply(start());
    assert!(transition(&world.job, JobEvent::ShopCloses, START).is_err());
}
