use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::Hex32;
use crate::domain::admission;
use crate::domain::credit::{self, Limits};
use crate::domain::id::{BootId, Buyer, PaymentHash, Preimage};
use crate::domain::job::{Answer, InvoiceState, MadeBy};
use crate::domain::reply::{Reply, Role};
use crate::domain::time::Time;
use crate::domain::transition::{self, JobEvent};

const START: Time = Time(1_800_000_000_000);

/// A job that asks for 2 sats each 1,000 tokens, of at most so many.
fn ask(order: PayOrder, input: u32, output: u32, balance: Msat) -> Job {
    let mut job = transition::tests::job(PayOrder::After);
    job.terms.order = order;
    job.terms.input_tokens_most = input;
    job.terms.input_tokens_likely = input / 2;
    job.terms.params.max_tokens = output;
    match order {
        PayOrder::Before => admission::quote(&mut job, None),
        PayOrder::Hold => admission::quote(&mut job, Some(Preimage(Hex32([8; 32])))),
        PayOrder::After | PayOrder::Free => {}
    }
    admission::use_balance(&mut job, balance);
    job
}

fn taken(job: &Job, input: JobEvent) -> transition::Transition {
    transition::transition(job, input, START).unwrap()
}

fn run(mut job: Job, inputs: impl IntoIterator<Item = JobEvent>) -> Job {
    for input in inputs {
        job = taken(&job, input).job;
    }
    job
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

fn made() -> JobEvent {
    JobEvent::InvoiceMade {
        bolt11: "lnbcrt1".to_owned(),
        payment_hash: PaymentHash(Hex32([9; 32])),
        backend_ref: None,
        made_at: START,
        expires_at: START.plus(Duration::from_secs(600)),
        made_by: MadeBy::default(),
    }
}

fn paid(sats: u64) -> JobEvent {
    JobEvent::Paid {
        amount: Msat::from_sats(sats),
        at: START,
    }
}

fn accepted() -> JobEvent {
    JobEvent::Accepted {
        role: Role::Result,
        relay: "r".to_owned(),
    }
}

fn failed() -> JobEvent {
    JobEvent::RunFailed {
        code: "processing.rejected",
        message: "m".to_owned(),
        sentence: None,
        again: false,
    }
}

fn sats(amount: Msat) -> u64 {
    assert_eq!(amount.0 % 1_000, 0, "{amount:?}");
    amount.0 / 1_000
}

#[test]
fn the_quote_is_for_what_is_likely_and_never_above_the_most() {
    // 1,000 input tokens are likely of 2,000 that it can be.
    let job = ask(PayOrder::Before, 2_000, 9_000, Msat::ZERO);
    assert_eq!(job.price.map(sats), Some(20));
    assert_eq!(sats(credit::most(&job)), 22);
}

#[test]
fn what_was_paid_above_the_price_is_the_buyer_s_balance() {
    let job = ask(PayOrder::Before, 2_000, 19_000, Msat::ZERO);
    let job = run(job, [made(), paid(40), start(), answered(500, 5_500)]);
    assert_eq!(job.price.map(sats), Some(12));
    assert_eq!(job.left, Msat::ZERO, "nothing is settled before delivery");
    let step = taken(&job, accepted());
    assert_eq!(sats(step.job.left), 28);
    assert_eq!(standing(&step.job), 28_000);
    let Reply::Success {
        balance: Some(spent),
        ..
    } = step.drafts[0].reply
    else {
        panic!("{:?}", step.drafts);
    };
    assert_eq!((spent.used, sats(spent.left)), (Msat::ZERO, 28));
}

#[test]
fn a_held_payment_is_taken_whole_and_its_rest_is_balance() {
    let held = JobEvent::Held {
        amount: None,
        until: START.plus(Duration::from_secs(4_000)),
    };
    let job = ask(PayOrder::Hold, 2_000, 19_000, Msat::ZERO);
    let job = run(
        job,
        [made(), held, start(), answered(500, 5_500), accepted()],
    );
    assert_eq!(job.left, Msat::ZERO, "the wallet has not confirmed it yet");
    let job = taken(&job, paid(40)).job;
    assert_eq!((job.state, sats(job.left)), (State::Paid, 28));
}

#[test]
fn a_balance_pays_first_and_an_invoice_asks_for_the_rest() {
    let job = ask(PayOrder::Before, 2_000, 19_000, Msat(28_500));
    assert_eq!(sats(job.balance_used), 28, "whole sats");
    let asked = job.invoice.as_ref().unwrap().amount;
    assert_eq!(sats(asked), 12);
    let job = run(
        job,
        [made(), paid(12), start(), answered(500, 5_500), accepted()],
    );
    assert_eq!((job.state, job.price.map(sats)), (State::Paid, Some(12)));
    assert_eq!((sats(job.balance_used), sats(job.left)), (12, 12));
}

#[test]
fn a_balance_that_covers_all_needs_no_invoice() {
    for order in [PayOrder::Before, PayOrder::Hold] {
        let job = ask(order, 2_000, 19_000, Msat::from_sats(100));
        assert_eq!((job.state, job.invoice.clone()), (State::Queued, None));
        assert_eq!(sats(job.balance_used), 40);
        let job = run(job, [start(), answered(500, 5_500), accepted()]);
        assert_eq!((job.state, job.paid), (State::Paid, Msat::ZERO));
        assert_eq!((sats(job.balance_used), job.left), (12, Msat::ZERO));
    }
}

#[test]
fn a_balance_pays_for_work_that_is_paid_after_it_too() {
    let job = ask(PayOrder::After, 2_000, 19_000, Msat::from_sats(7));
    assert_eq!(sats(job.debt.amount), 42 - 7);
    let done = run(job, [start(), answered(500, 5_500)]);
    assert_eq!(sats(done.invoice.as_ref().unwrap().amount), 12 - 7);
    let job = run(done, [made(), accepted(), paid(5)]);
    assert_eq!((job.state, sats(job.balance_used)), (State::Paid, 7));
    assert_eq!(job.left, Msat::ZERO);
    // All of it: nothing is asked, and nothing is owed.
    let job = ask(PayOrder::After, 2_000, 19_000, Msat::from_sats(90));
    let job = run(job, [start(), answered(500, 5_500), accepted()]);
    assert_eq!((job.state, sats(job.balance_used)), (State::Paid, 12));
    assert_eq!(job.debt.amount, Msat::ZERO);
}

#[test]
fn a_job_that_fails_gives_back_what_it_had_set_apart() {
    let job = ask(PayOrder::Before, 2_000, 19_000, Msat::from_sats(28));
    let job = run(job, [made(), paid(12), start(), failed()]);
    assert_eq!((job.balance_used, sats(job.owed)), (Msat::ZERO, 12));
    // The seller tries it again: no more is taken than was paid for it.
    let job = run(
        job,
        [
            JobEvent::Retry,
            start(),
            answered(1_000, 19_000),
            accepted(),
        ],
    );
    assert_eq!((job.price.map(sats), job.left), (Some(12), Msat::ZERO));
}

#[test]
fn work_that_is_taken_back_is_paid_from_what_was_set_apart() {
    let job = ask(PayOrder::Before, 2_000, 19_000, Msat::from_sats(100));
    let cancel = |by_buyer| JobEvent::Cancel {
        by_buyer,
        tokens: 8_000,
    };
    let running = taken(&job, start()).job;
    assert_eq!(sats(taken(&running, cancel(true)).job.balance_used), 20);
    assert_eq!(taken(&running, cancel(false)).job.balance_used, Msat::ZERO);
    assert_eq!(taken(&job, cancel(true)).job.balance_used, Msat::ZERO);
}

/// What happens in the shop of the property below; the first number says to which job.
#[derive(Clone, Debug)]
enum Act {
    Ask(u8, PayOrder, u32, u32, Option<u64>),
    Transition(usize, Box<JobEvent>),
    /// The invoice is paid, with so many msat on top; taken, where it was held.
    Pay(usize, u64),
    /// The program dies and starts again.
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let which = || 0_usize..16;
    let order = prop::sample::select(vec![
        PayOrder::After,
        PayOrder::Before,
        PayOrder::Hold,
        PayOrder::Free,
    ]);
    let held = || JobEvent::Held {
        amount: None,
        until: START.plus(Duration::from_secs(40_000)),
    };
    let input = prop_oneof![
        6 => Just(start()),
        6 => (0_u32..40_000, 0_u32..40_000).prop_map(|(p, c)| answered(p, c)),
        1 => Just(failed()),
        6 => Just(made()),
        6 => Just(accepted()),
        1 => Just(JobEvent::GaveUp { role: Role::Result }),
        4 => Just(held()),
        1 => prop::sample::select(vec![InvoiceState::Held, InvoiceState::Taking, InvoiceState::GivingBack])
            .prop_map(|was| JobEvent::NotHeld { was, unknown: false }),
        1 => (0_u64..9_000).prop_map(|secs| JobEvent::NotPaid {
            unknown: false,
            began: START.plus(Duration::from_secs(secs)),
        }),
        1 => Just(JobEvent::InvoiceRefused { code: "payment.rejected", message: String::new(), sentence: None }),
        2 => (any::<bool>(), 0_u32..40_000).prop_map(|(by_buyer, tokens)| JobEvent::Cancel { by_buyer, tokens }),
        1 => Just(JobEvent::HoldEnds),
        1 => Just(JobEvent::ShopCloses),
        1 => Just(JobEvent::NotExpired),
        2 => Just(JobEvent::Retry),
    ];
    let any = prop_oneof![
        4 => (0_u8..2, order, 0_u32..30_000, 1_u32..20_000, prop::option::of(10_u64..60))
            .prop_map(|(who, order, input, output, bid)| Act::Ask(who, order, input, output, bid)),
        16 => (which(), input).prop_map(|(n, input)| Act::Transition(n, Box::new(input))),
        6 => (which(), prop_oneof![4 => Just(0_u64), 1 => 0_u64..9_000]).prop_map(|(n, more)| Act::Pay(n, more)),
        1 => Just(Act::Crash),
    ];
    prop::collection::vec(any, 1..120)
}

/// The ledger's part on lists: what a commit writes of a job, and of its buyer's balance.
#[derive(Default)]
struct EngineContext {
    jobs: Vec<Job>,
    balances: std::collections::HashMap<Buyer, i64>,
    /// What the wallet confirmed.
    confirmed: u64,
}

impl EngineContext {
    fn commit(&mut self, before: Option<&Job>, after: &Job) -> Result<(), TestCaseError> {
        let balance = self.balances.entry(after.buyer).or_default();
        *balance += standing(after) - before.map_or(0, standing);
        prop_assert!(*balance >= 0, "a balance is never below zero");
        Ok(())
    }

    fn ask(&mut self, buyer: Buyer, act: &Act) -> Result<(), TestCaseError> {
        let Act::Ask(_, order, input, output, bid) = *act else {
            return Ok(());
        };
        let balance = Msat(
            self.balances
                .get(&buyer)
                .map_or(0, |sum| u64::try_from(*sum).unwrap()),
        );
        let mut job = transition::tests::job(PayOrder::After);
        job.buyer = buyer;
        job.terms.order = order;
        job.terms.bid_msat = bid.map(Msat::from_sats);
        job.terms.input_tokens_most = input;
        job.terms.input_tokens_likely = input / 3;
        job.terms.params.max_tokens = output;
        match order {
            PayOrder::Before => admission::quote(&mut job, None),
            PayOrder::Hold => admission::quote(&mut job, Some(Preimage(Hex32([8; 32])))),
            PayOrder::After | PayOrder::Free => {}
        }
        admission::use_balance(&mut job, balance);
        let limits = Limits {
            each: Msat::from_sats(60),
            all: Msat::from_sats(60),
        };
        if order == PayOrder::After && !limits.allow(Msat::ZERO, Msat::ZERO, credit::reserved(&job))
        {
            admission::pay_first(&mut job, balance);
        }
        prop_assert!(job.balance_used <= balance);
        self.commit(None, &job)?;
        self.jobs.push(job);
        Ok(())
    }

    fn input(&mut self, n: usize, input: JobEvent) -> Result<(), TestCaseError> {
        let count = self.jobs.len().max(1);
        let Some(before) = self.jobs.get(n % count).cloned() else {
            return Ok(());
        };
        // Hold invoices are paid by what is held alone.
        let Ok(step) = transition::transition(
            &before,
            input,
            START.plus(Duration::from_secs(n as u64 * 90)),
        ) else {
            return Ok(());
        };
        let mut after = step.job;
        if step.drafts.iter().any(|draft| draft.role == Role::Result) {
            after.result_id = Some(nostr::EventId::from_byte_array([3; 32]));
        }
        self.confirmed += after.paid.0 - before.paid.0;
        self.commit(Some(&before), &after)?;
        self.jobs[n % count] = after;
        Ok(())
    }

    fn act(&mut self, act: &Act, buyers: &[Buyer]) -> Result<(), TestCaseError> {
        match act {
            Act::Ask(who, ..) => self.ask(buyers[usize::from(*who)], act),
            Act::Transition(n, input) => self.input(*n, (**input).clone()),
            Act::Pay(n, more) => {
                let job = self.jobs.get(n % self.jobs.len().max(1));
                let Some(invoice) = job.and_then(|job| job.invoice.as_ref()) else {
                    return Ok(());
                };
                let amount = Msat(invoice.amount.0 + more);
                self.input(*n, JobEvent::Paid { amount, at: START })
            }
            Act::Crash => {
                (0..self.jobs.len()).try_for_each(|n| self.input(n, JobEvent::Interrupted))
            }
        }
    }

    /// Reckoned anew from what was paid and what was charged, without the sums that the steps keep.
    fn books_balance(&self, buyers: &[Buyer]) -> Result<(), TestCaseError> {
        let (mut charged_of_all, mut other) = (0_u64, 0_u64);
        for buyer in buyers {
            let (mut paid, mut used) = (0_i128, 0_i128);
            for job in self.jobs.iter().filter(|job| job.buyer == *buyer) {
                let price = job.price.unwrap_or(Msat::ZERO);
                let ended = job.state.is_final() || job.delivered;
                let charged = match (job.delivered, job.state) {
                    (true, _) => price.min(Msat(job.paid.0 + job.balance_used.0)),
                    (_, State::Error | State::Unpaid) => Msat::ZERO,
                    // Taken back, or at work: what is set apart is not the buyer's to spend.
                    _ => job.balance_used,
                };
                let kept = if job.delivered { job.paid } else { Msat::ZERO };
                paid += i128::from(kept.0);
                used += i128::from(charged.0);
                charged_of_all += charged.0;
                if !job.delivered {
                    other += job.paid.0;
                    prop_assert!(!ended || job.owed == job.paid, "owed back, and no balance");
                }
                let tokens = job.answer.as_ref();
                if let (true, Some(usage)) = (job.delivered, tokens) {
                    let real = job.terms.price.price_under(
                        usage.prompt_tokens,
                        usage.completion_tokens,
                        job.terms.bid_msat,
                    );
                    prop_assert!(price <= real, "never above the real price");
                }
            }
            let balance = self.balances.get(buyer).copied().unwrap_or_default();
            prop_assert_eq!(paid - used, i128::from(balance), "paid - used = balance");
        }
        let liabilities: i64 = self.balances.values().sum();
        let sum = charged_of_all + other + u64::try_from(liabilities).unwrap();
        prop_assert_eq!(
            self.confirmed,
            sum,
            "earned, at work or owed back, and balances"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn paid_less_used_is_the_balance_and_the_books_balance(acts in acts()) {
        let buyers: Vec<Buyer> = (0..2).map(|_| transition::tests::job(PayOrder::Free).buyer).collect();
        let mut shop = EngineContext::default();
        for act in &acts {
            shop.act(act, &buyers)?;
            shop.books_balance(&buyers)?;
        }
    }
}
