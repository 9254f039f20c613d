use proptest::prelude::*;

use super::*;
use crate::domain::Hex32;
use crate::domain::id::{BootId, Buyer, PaymentHash};
use crate::domain::job::{Answer, MadeBy};
use crate::domain::reply::Role;
use crate::domain::transition::{self, JobEvent};

const START: Time = Time(1_800_000_000_000);
const HOUR: u64 = 3_600;

fn job(order: PayOrder) -> Job {
    let mut job = transition::tests::job(order);
    job.terms.input_tokens_most = 1_000;
    job.terms.params.max_tokens = 20_000;
    job.debt = of_new(&job);
    job
}

fn taken(job: &Job, input: JobEvent, now: Time) -> Job {
    transition::transition(job, input, now).unwrap().job
}

fn start() -> JobEvent {
    JobEvent::Start {
        boot: BootId(Hex32([1; 32])),
    }
}

fn answered(prompt_tokens: u32, completion_tokens: u32) -> JobEvent {
    JobEvent::Answered(Answer {
        text: "text".to_owned(),
        prompt_tokens,
        completion_tokens,
        estimated: false,
        cut: false,
        elapsed_ms: 1,
        endpoint: "e".to_owned(),
    })
}

fn made(now: Time) -> JobEvent {
    JobEvent::InvoiceMade {
        bolt11: "lnbcrt1".to_owned(),
        payment_hash: PaymentHash(Hex32([9; 32])),
        backend_ref: None,
        made_at: now,
        expires_at: now.plus(Duration::from_secs(600)),
        made_by: MadeBy::default(),
    }
}

fn accepted() -> JobEvent {
    JobEvent::Accepted {
        role: Role::Result,
        relay: "r".to_owned(),
    }
}

/// To the result that a relay has, for 2 sats each 1,000 tokens.
fn delivered(prompt_tokens: u32, completion_tokens: u32) -> Job {
    let mut job = job(PayOrder::After);
    for input in [
        start(),
        answered(prompt_tokens, completion_tokens),
        made(START),
        accepted(),
    ] {
        job = taken(&job, input, START);
    }
    job
}

#[test]
fn an_open_job_counts_at_the_most_it_may_cost() {
    let job = job(PayOrder::After);
    assert_eq!(job.debt, Debt::open(Msat::from_sats(42)));
    assert_eq!(taken(&job, start(), START).debt, job.debt);
}

#[test]
fn a_delivered_job_counts_at_its_price() {
    assert_eq!(delivered(500, 9_500).debt, Debt::open(Msat::from_sats(20)));
}

#[test]
fn a_server_that_counts_too_much_makes_no_price_above_what_was_reserved() {
    let job = delivered(90_000, 90_000);
    assert_eq!(job.price, Some(Msat::from_sats(42)));
}

#[test]
fn what_is_left_unpaid_counts_for_a_day_after_its_expiry() {
    let mut job = delivered(500, 9_500);
    let mut now = START.plus(Duration::from_secs(600));
    while job.state == State::PendingPayment {
        now = now.plus(Duration::from_secs(60));
        let look = JobEvent::NotPaid {
            unknown: false,
            began: now,
        };
        if let Ok(step) = transition::transition(&job, look, now) {
            job = step.job;
        }
    }
    assert_eq!(job.state, State::Unpaid);
    let owed = |after: u64| job.debt.at(START.plus(Duration::from_secs(after)));
    assert_eq!(owed(600 + 24 * HOUR - 1), Msat::from_sats(20));
    assert_eq!(owed(600 + 24 * HOUR), Msat::ZERO);
    let paid = JobEvent::Paid {
        amount: Msat::from_sats(20),
        at: now,
    };
    assert_eq!(taken(&job, paid, now).debt, Debt::NONE);
}

#[test]
fn work_that_is_taken_back_counts_at_its_tokens_price() {
    let queued = job(PayOrder::After);
    let cancel = |tokens| JobEvent::Cancel {
        by_buyer: true,
        tokens,
    };
    assert_eq!(taken(&queued, cancel(0), START).debt, Debt::NONE);
    let running = taken(&queued, start(), START);
    let owed = |job: &Job| job.debt.at(START.plus(Duration::from_secs(23 * HOUR)));
    assert_eq!(
        owed(&taken(&running, cancel(9_000), START)),
        Msat::from_sats(20)
    );
    assert_eq!(
        owed(&taken(&running, cancel(u32::MAX), START)),
        Msat::from_sats(42)
    );
    let done = taken(&running, answered(500, 14_500), START);
    assert_eq!(owed(&taken(&done, cancel(0), START)), Msat::from_sats(30));
    let by_seller = JobEvent::Cancel {
        by_buyer: false,
        tokens: 9_000,
    };
    assert_eq!(taken(&running, by_seller, START).debt, Debt::NONE);
}

#[test]
fn a_held_payment_that_goes_back_after_work_leaves_a_debt() {
    let mut job = job(PayOrder::Hold);
    let held = JobEvent::Held {
        amount: None,
        until: START.plus(Duration::from_secs(4_000)),
    };
    for input in [made(START), held, start()] {
        job = taken(&job, input, START);
    }
    assert_eq!(job.debt, Debt::NONE);
    let job = taken(
        &job,
        JobEvent::Cancel {
            by_buyer: true,
            tokens: 9_000,
        },
        START,
    );
    assert_eq!(
        job.debt.at(START),
        Msat::from_sats(10),
        "never above what was asked"
    );
}

#[test]
fn who_pays_first_owes_nothing() {
    let mut job = job(PayOrder::Before);
    let paid = JobEvent::Paid {
        amount: Msat::from_sats(10),
        at: START,
    };
    for input in [made(START), paid, start(), answered(5, 5), accepted()] {
        assert_eq!(job.debt, Debt::NONE);
        job = taken(&job, input, START);
    }
    assert_eq!(job.debt, Debt::NONE);
}

/// What happens to the shop of the property below.
#[derive(Clone, Debug)]
enum Act {
    /// A buyer asks: who, the most input, the most output, a bid in sats.
    Ask(u8, u32, u32, Option<u64>),
    /// One of the jobs runs.
    Start(usize),
    Answer(usize, u32, u32),
    Fail(usize),
    Invoice(usize),
    Deliver(usize),
    GiveUp(usize),
    Pay(usize),
    Poll(usize),
    Cancel(usize, u32),
    /// The program dies and starts again.
    Crash,
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let which = || 0_usize..64;
    let tokens = || 0_u32..40_000;
    let any = prop_oneof![
        8 => (0_u8..4, 0_u32..30_000, 1_u32..20_000, proptest::option::of(10_u64..60))
            .prop_map(|(who, input, output, bid)| Act::Ask(who, input, output, bid)),
        8 => which().prop_map(Act::Start),
        8 => (which(), tokens(), tokens()).prop_map(|(n, p, c)| Act::Answer(n, p, c)),
        1 => which().prop_map(Act::Fail),
        8 => which().prop_map(Act::Invoice),
        8 => which().prop_map(Act::Deliver),
        1 => which().prop_map(Act::GiveUp),
        3 => which().prop_map(Act::Pay),
        8 => which().prop_map(Act::Poll),
        3 => (which(), tokens()).prop_map(|(n, tokens)| Act::Cancel(n, tokens)),
        1 => Just(Act::Crash),
        6 => (1_u64..40_000).prop_map(Act::Wait),
    ];
    proptest::collection::vec(any, 1..160)
}

/// The ledger's part of admission, on a list: the sums, the decision and the new job in one.
struct World {
    jobs: Vec<Job>,
    limits: Limits,
    now: Time,
    /// Price and moment of all work that was given and not paid.
    given: Vec<(usize, Time, Msat)>,
}

impl World {
    fn owed(&self, buyer: Option<Buyer>) -> Msat {
        let of = self
            .jobs
            .iter()
            .filter(|job| buyer.is_none_or(|buyer| job.buyer == buyer));
        of.map(|job| job.debt.at(self.now)).sum()
    }

    fn ask(&mut self, buyer: Buyer, input: u32, output: u32, bid: Option<u64>) {
        let mut job = transition::tests::job(PayOrder::After);
        job.buyer = buyer;
        job.terms.input_tokens_most = input;
        job.terms.params.max_tokens = output;
        job.terms.bid_msat = bid.map(Msat::from_sats);
        let (mine, all) = (self.owed(Some(buyer)), self.owed(None));
        if self.limits.allow(mine, all, most(&job)) {
            job.debt = of_new(&job);
            self.jobs.push(job);
        }
    }

    fn input(&mut self, n: usize, input: JobEvent) {
        let count = self.jobs.len().max(1);
        let Some(job) = self.jobs.get_mut(n % count) else {
            return;
        };
        let before = job.state;
        if let Ok(step) = transition::transition(job, input, self.now) {
            let result = step.drafts.iter().any(|draft| draft.role == Role::Result);
            *job = step.job;
            if result {
                job.result_id = Some(nostr::EventId::from_byte_array([3; 32]));
            }
            if before != job.state && job.state == State::PendingPayment {
                self.given.push((n % count, self.now, job.price.unwrap()));
            }
        }
    }

    fn act(&mut self, act: &Act, buyers: &[Buyer]) {
        let now = self.now;
        match *act {
            Act::Ask(who, input, output, bid) => {
                self.ask(buyers[usize::from(who)], input, output, bid);
            }
            Act::Start(n) => self.input(n, start()),
            Act::Answer(n, prompt, completion) => self.input(n, answered(prompt, completion)),
            Act::Fail(n) => self.input(
                n,
                JobEvent::RunFailed {
                    code: "processing.died",
                    message: String::new(),
                    sentence: None,
                    again: true,
                },
            ),
            Act::Invoice(n) => self.input(n, made(now)),
            Act::Deliver(n) => {
                // No relay is asked to take a result whose invoice can't be paid any more.
                let job = self.jobs.get(n % self.jobs.len().max(1));
                let invoice = job.and_then(|job| job.invoice.as_ref());
                let expires = invoice.and_then(|invoice| invoice.expires_at);
                if expires.is_some_and(|expires| now < expires) {
                    self.input(n, accepted());
                }
            }
            Act::GiveUp(n) => self.input(n, JobEvent::GaveUp { role: Role::Result }),
            Act::Pay(n) => {
                let count = self.jobs.len().max(1);
                let price = self.jobs.get(n % count).and_then(|job| job.price);
                self.input(
                    n,
                    JobEvent::Paid {
                        amount: price.unwrap_or(Msat::ZERO),
                        at: now,
                    },
                );
            }
            Act::Poll(n) => self.input(
                n,
                JobEvent::NotPaid {
                    unknown: false,
                    began: now,
                },
            ),
            Act::Cancel(n, tokens) => self.input(
                n,
                JobEvent::Cancel {
                    by_buyer: true,
                    tokens,
                },
            ),
            Act::Crash => (0..self.jobs.len()).for_each(|n| self.input(n, JobEvent::Interrupted)),
            Act::Wait(secs) => self.now = now.plus(Duration::from_secs(secs)),
        }
    }

    /// The most that was given unpaid within any 24 hours.
    fn free_in_a_day(&self) -> Msat {
        let unpaid = |n: &usize| self.jobs[*n].paid.is_zero();
        let day = |from: Time| {
            let until = from.plus(REMEMBERED);
            let within = self
                .given
                .iter()
                .filter(|(n, at, _)| unpaid(n) && *at >= from && *at < until);
            within.map(|(_, _, price)| *price).sum::<Msat>()
        };
        self.given
            .iter()
            .map(|(_, at, _)| day(*at))
            .max()
            .unwrap_or(Msat::ZERO)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn at_no_moment_is_more_owed_than_the_limits_allow(acts in acts(), each in 0_u64..150, all in 0_u64..300) {
        let buyers: Vec<Buyer> = (0..4).map(|_| transition::tests::job(PayOrder::Free).buyer).collect();
        let limits = Limits { each: Msat::from_sats(each), all: Msat::from_sats(all) };
        let mut world = World { jobs: Vec::new(), limits, now: START, given: Vec::new() };
        for act in acts {
            world.act(&act, &buyers);
            prop_assert!(world.owed(None) <= limits.all);
            for buyer in &buyers {
                prop_assert!(world.owed(Some(*buyer)) <= limits.each);
            }
        }
        prop_assert!(world.free_in_a_day() <= limits.all);
    }
}
