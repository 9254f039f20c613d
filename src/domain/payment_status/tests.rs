use std::time::Duration;

use nostr::EventId;
use proptest::prelude::*;

use super::*;
use crate::domain::Hex32;
use crate::domain::hold::{Duty, duty};
use crate::domain::id::{BootId, PaymentHash};
use crate::domain::invoice::next_poll;
use crate::domain::job::{Answer, MadeBy, State};
use crate::domain::reply::Role;
use crate::domain::transition;

const START: Time = Time(1_800_000_000_000);
const EXPIRY: u64 = 600;
const AMOUNT: Msat = Msat(10_000);
const SECRET: Preimage = Preimage(Hex32([8; 32]));

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A signed invoice for the secret, with LND's delta.
fn bolt11() -> String {
    use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
    use nostr::hashes::{Hash, sha256};
    use nostr::secp256k1::{Secp256k1, SecretKey};
    let key = SecretKey::from_slice(&[7; 32]).unwrap();
    InvoiceBuilder::new(Currency::Regtest)
        .description(String::new())
        .payment_hash(sha256::Hash::from_byte_array(SECRET.hash().0.0))
        .payment_secret(PaymentSecret([1; 32]))
        .duration_since_epoch(secs(START.secs()))
        .min_final_cltv_expiry_delta(80)
        .expiry_time(secs(EXPIRY))
        .amount_milli_satoshis(AMOUNT.0)
        .build_signed(|message| Secp256k1::new().sign_ecdsa_recoverable(message, &key))
        .unwrap()
        .to_string()
}

fn job(order: PayOrder) -> Job {
    let mut job = transition::tests::job(order);
    let mut inputs = vec![JobEvent::InvoiceMade {
        bolt11: bolt11(),
        payment_hash: SECRET.hash(),
        backend_ref: None,
        made_at: START,
        expires_at: START.plus(secs(EXPIRY)),
        made_by: MadeBy::default(),
    }];
    if order == PayOrder::After {
        inputs.insert(0, answered());
        inputs.insert(0, started());
        inputs.push(accepted());
    }
    for input in inputs {
        job = transition::transition(&job, input, START).unwrap().job;
    }
    job
}

fn started() -> JobEvent {
    JobEvent::Start {
        boot: BootId(Hex32([1; 32])),
    }
}

fn answered() -> JobEvent {
    JobEvent::Answered(Answer {
        text: "text".to_owned(),
        prompt_tokens: 5,
        completion_tokens: 5,
        estimated: false,
        cut: false,
        elapsed_ms: 1,
        endpoint: "e".to_owned(),
    })
}

fn accepted() -> JobEvent {
    JobEvent::Accepted {
        role: Role::Result,
        relay: "r".to_owned(),
    }
}

fn run_failed() -> JobEvent {
    JobEvent::RunFailed {
        code: "processing.rejected",
        message: "m".to_owned(),
        sentence: None,
        again: false,
    }
}

/// Where the money really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Unpaid,
    Held,
    Paid,
    Canceled,
}

/// What a look shows: what is true, or anything but an invented payment.
#[derive(Clone, Debug)]
enum Shown {
    True,
    Nonsense(PaymentStatus),
    Error,
}

#[derive(Clone, Debug)]
enum Event {
    /// Time goes by.
    Pass(u64),
    /// A payment that began before the expiry arrives, perhaps long after.
    Pay,
    /// The wallet, or the route, gives a held payment back.
    FallBack,
    /// The seller looks, as its duty is: settles or cancels first where that was decided.
    Poll(Shown),
    /// The shop works.
    Work(JobEvent),
}

fn shown() -> impl Strategy<Value = Shown> {
    let nonsense = prop_oneof![
        Just(PaymentStatus::Pending),
        Just(PaymentStatus::Held { amount: None }),
        Just(PaymentStatus::Held {
            amount: Some(Msat(9_999))
        }),
        Just(PaymentStatus::Expired),
        Just(PaymentStatus::Canceled),
        Just(PaymentStatus::Unknown),
        Just(PaymentStatus::Attention("strange".to_owned())),
        // Less than was asked for, and a proof of another payment.
        Just(PaymentStatus::Paid {
            amount: Some(Msat(9_999)),
            at: None,
            preimage: None,
            fee: None
        }),
        Just(PaymentStatus::Paid {
            amount: Some(AMOUNT),
            at: None,
            preimage: Some(Preimage(Hex32([9; 32]))),
            fee: None
        }),
    ];
    prop_oneof![
        3 => Just(Shown::True),
        2 => nonsense.prop_map(Shown::Nonsense),
        1 => Just(Shown::Error),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let work = prop_oneof![
        Just(started()),
        Just(answered()),
        Just(accepted()),
        Just(run_failed()),
        Just(JobEvent::Interrupted),
        Just(JobEvent::GaveUp { role: Role::Result }),
        any::<bool>().prop_map(|by_buyer| JobEvent::Cancel {
            by_buyer,
            tokens: 7
        }),
    ];
    prop_oneof![
        2 => (1_u64..400).prop_map(Event::Pass),
        1 => Just(Event::Pay),
        1 => Just(Event::FallBack),
        4 => shown().prop_map(Event::Poll),
        3 => work.prop_map(Event::Work),
    ]
}

/// A wallet, and a seller who knows of it only what looks show.
struct World {
    now: Time,
    truth: Truth,
    job: Job,
    unheld_at: Option<Time>,
}

impl World {
    fn new(order: PayOrder) -> Self {
        Self {
            now: START,
            truth: Truth::Unpaid,
            job: job(order),
            unheld_at: None,
        }
    }

    fn invoice(&self) -> &Invoice {
        self.job.invoice.as_ref().unwrap()
    }

    fn pay(&mut self) {
        if self.truth == Truth::Unpaid {
            self.truth = match self.job.terms.order {
                PayOrder::Hold => Truth::Held,
                _ => Truth::Paid,
            };
        }
    }

    fn honest(&self) -> PaymentStatus {
        match self.truth {
            Truth::Unpaid if self.now >= self.invoice().expires_at.unwrap() => {
                PaymentStatus::Expired
            }
            Truth::Unpaid => PaymentStatus::Pending,
            Truth::Held => PaymentStatus::Held {
                amount: Some(AMOUNT),
            },
            Truth::Canceled => PaymentStatus::Canceled,
            Truth::Paid => PaymentStatus::Paid {
                amount: Some(AMOUNT),
                at: None,
                preimage: Some(SECRET),
                fee: None,
            },
        }
    }

    fn step(&mut self, input: JobEvent) {
        if let Ok(step) = transition::transition(&self.job, input, self.now) {
            self.job = step.job;
            if step.drafts.iter().any(|draft| draft.role == Role::Result) {
                self.job.result_id = Some(EventId::from_byte_array([3; 32]));
            }
        }
    }

    fn look(&mut self, shown: Shown) -> Result<(), TestCaseError> {
        let mut canceled = false;
        match duty(&self.job, self.now) {
            Some(Duty::Ends) => self.step(JobEvent::HoldEnds),
            Some(Duty::Take) if self.truth == Truth::Held && self.invoice().preimage.is_some() => {
                self.truth = Truth::Paid;
            }
            Some(Duty::GiveBack) if self.truth != Truth::Paid => {
                canceled = true;
                self.truth = Truth::Canceled;
            }
            _ => {}
        }
        let before = self.job.clone();
        let is_error = matches!(shown, Shown::Error);
        let seen = match shown {
            Shown::True => Ok(self.honest()),
            Shown::Nonsense(seen) => Ok(seen),
            Shown::Error => Err("gone"),
        };
        // Where that was not so, the late looks still find what is held.
        let closed = seen == Ok(PaymentStatus::Canceled) && before.terms.order == PayOrder::Hold;
        let look = Poll {
            began: self.now,
            invoice_time: self.now,
            unheld_at: self.unheld_at,
            canceled,
        };
        if seen == Ok(PaymentStatus::Pending) {
            self.unheld_at = Some(self.now);
        }
        if let Transition(input) = assess(&self.job, seen, &look) {
            self.step(input);
        }
        prop_assert!(!is_error || before == self.job, "an error changes nothing");
        let was = before.invoice.as_ref().unwrap().state;
        if self.invoice().state == InvoiceState::Expired && was != InvoiceState::Expired {
            let expires_at = self.invoice().expires_at.unwrap();
            prop_assert!(
                closed || self.now >= expires_at.plus(secs(60)),
                "unpaid only by a look a minute after expiry, or where the wallet closed it"
            );
        }
        Ok(())
    }

    /// From now on everybody does what they should, until nothing is left to do.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..5_000 {
            let invoice = self.invoice();
            let next = match invoice.state {
                InvoiceState::Paid => return Ok(()),
                InvoiceState::Open | InvoiceState::Expired | InvoiceState::GivenBack => next_poll(
                    START,
                    invoice.expires_at.unwrap(),
                    self.now,
                    invoice.late_polls,
                    secs(60),
                ),
                _ => Some(self.now.plus(secs(30))),
            };
            let Some(next) = next else { return Ok(()) };
            self.now = self.now.max(next);
            self.look(Shown::True)?;
        }
        prop_assert!(false, "it never ends: {:?}", self.job);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn whatever_a_wallet_shows_the_books_end_as_the_money_does(
        order in prop_oneof![Just(PayOrder::After), Just(PayOrder::Before), Just(PayOrder::Hold)],
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut world = World::new(order);
        for event in events {
            let (paid, state) = (world.job.paid, world.job.state);
            match event {
                Event::Pass(by) => world.now = world.now.plus(secs(by)),
                Event::Pay => world.pay(),
                Event::FallBack if world.truth == Truth::Held => world.truth = Truth::Canceled,
                Event::FallBack => {}
                Event::Poll(shown) => world.look(shown)?,
                Event::Work(input) => world.step(input),
            }
            prop_assert!(world.job.paid >= paid, "paid never goes back");
            prop_assert!(world.job.paid.is_zero() || world.truth == Truth::Paid, "nothing is invented");
            prop_assert!(state != State::Paid || world.job.state == State::Paid);
        }
        world.settle()?;
        let revenue = if world.truth == Truth::Paid { AMOUNT } else { Msat::ZERO };
        prop_assert_eq!(world.job.paid, revenue, "{:?}", world.job);
        let taken_for_nothing = !world.job.paid.is_zero()
            && order == PayOrder::Hold
            && !world.job.delivered
            && world.job.owed.is_zero();
        prop_assert!(!taken_for_nothing, "{:?}", world.job);
        if order == PayOrder::Hold && matches!(world.job.state, State::Error | State::Cancelled) {
            prop_assert!(world.truth != Truth::Held, "what failed holds nobody's payment");
        }
    }
}

fn looked(job: &Job, seen: PaymentStatus, at: u64, canceled: bool) -> Finding {
    let look = Poll {
        began: START.plus(secs(at)),
        invoice_time: START.plus(secs(at)),
        unheld_at: None,
        canceled,
    };
    assess(job, Ok::<_, &str>(seen), &look)
}

fn held(job: &Job) -> Job {
    let Transition(input) = looked(job, PaymentStatus::Held { amount: None }, 10, false) else {
        panic!("held");
    };
    transition::transition(job, input, START).unwrap().job
}

#[test]
fn a_payment_is_held_from_the_last_look_that_did_not_show_it() {
    let mut job = job(PayOrder::Hold);
    let look = |unheld_at| Poll {
        began: START.plus(secs(500)),
        invoice_time: START.plus(secs(500)),
        unheld_at,
        canceled: false,
    };
    let until = |unheld_at| {
        let seen = Ok::<_, &str>(PaymentStatus::Held { amount: None });
        match assess(&job, seen, &look(unheld_at)) {
            Transition(JobEvent::Held { until, .. }) => until,
            other => panic!("{other:?}"),
        }
    };
    // An hour, the work's minute and the two to settle: less than 68 blocks of four minutes.
    assert_eq!(until(None), START.plus(secs(3_600 + 60 + 120)));
    let later = START.plus(secs(480));
    assert_eq!(until(Some(later)), later.plus(secs(3_780)));
    // A look by a clock that was ahead, or a wallet whose clock is: it came before this look all the same.
    let ahead = START.plus(secs(9_000));
    let now = START.plus(secs(500));
    assert_eq!(until(Some(ahead)), now.plus(secs(3_780)));
    job.invoice.as_mut().unwrap().made_at = Some(ahead);
    let seen = Ok::<_, &str>(PaymentStatus::Held { amount: None });
    assert!(
        matches!(assess(&job, seen, &look(None)), Transition(JobEvent::Held { until, .. }) if until == now.plus(secs(3_780)))
    );
}

#[test]
fn less_than_asked_is_not_worked_for() {
    let job = job(PayOrder::Hold);
    let amount = Some(Msat(9_999));
    assert!(matches!(
        looked(&job, PaymentStatus::Held { amount }, 10, false),
        Alarm(_)
    ));
}

#[test]
fn an_ordinary_invoice_that_is_held_is_only_on_its_way() {
    let job = job(PayOrder::After);
    let seen = PaymentStatus::Held {
        amount: Some(AMOUNT),
    };
    assert_eq!(looked(&job, seen, 10, false), Nothing);
}

#[test]
fn a_wallet_that_calls_a_held_payment_expired_by_the_clock_is_asked_again() {
    let mut taking = held(&job(PayOrder::Hold));
    for input in [started(), answered(), accepted()] {
        taking = transition::transition(&taking, input, START).unwrap().job;
    }
    assert_eq!(looked(&taking, PaymentStatus::Expired, 700, false), Nothing);
    let lost = Transition(JobEvent::NotHeld {
        was: InvoiceState::Taking,
        unknown: false,
    });
    assert_eq!(looked(&taking, PaymentStatus::Expired, 9_000, false), lost);
    assert_eq!(looked(&taking, PaymentStatus::Canceled, 20, false), lost);
}

#[test]
fn given_back_is_what_the_wallet_canceled() {
    let job = held(&job(PayOrder::Hold));
    let back = transition::transition(
        &job,
        JobEvent::Cancel {
            by_buyer: true,
            tokens: 0,
        },
        START,
    )
    .unwrap();
    let gone = Transition(JobEvent::NotHeld {
        was: InvoiceState::GivingBack,
        unknown: false,
    });
    assert_eq!(looked(&back.job, PaymentStatus::Canceled, 20, false), gone);
    assert_eq!(looked(&back.job, PaymentStatus::Unknown, 20, true), gone);
    assert_eq!(looked(&back.job, PaymentStatus::Expired, 20, true), gone);
    assert_eq!(
        looked(&back.job, PaymentStatus::Expired, 20, false),
        Nothing
    );
    assert!(matches!(
        looked(&back.job, PaymentStatus::Unknown, 20, false),
        Note(_)
    ));
    assert_eq!(
        looked(&back.job, PaymentStatus::Held { amount: None }, 20, true),
        Nothing
    );
}

#[test]
fn a_payment_hash_that_the_secret_does_not_open_is_no_proof() {
    let mut other = job(PayOrder::After);
    other.invoice.as_mut().unwrap().payment_hash = Some(PaymentHash(Hex32([1; 32])));
    let seen = PaymentStatus::Paid {
        amount: Some(AMOUNT),
        at: None,
        preimage: Some(SECRET),
        fee: None,
    };
    assert!(matches!(looked(&other, seen, 10, false), Alarm(_)));
}
