use nostr::{EventId, Keys};
use proptest::prelude::*;

use super::*;
use crate::domain::Hex32;
use crate::domain::credit::Debt;
use crate::domain::id::{Buyer, RequestId};
use crate::domain::job::{Encryption, Terms, TextParams};
use crate::domain::price::PriceRule;

pub(super) const START: Time = Time(1_800_000_000_000);

pub fn job(order: PayOrder) -> Job {
    let mut job = Job {
        id: RequestId(EventId::from_byte_array([7; 32])),
        buyer: Buyer(Keys::generate().public_key()),
        kind: 5050,
        state: State::Queued,
        rev: 0,
        encryption: Encryption::Plain,
        addressed: true,
        terms: Terms {
            offer: None,
            model: "m".to_owned(),
            substituted: None,
            params: TextParams {
                max_tokens: 10,
                temperature: 0.0,
                top_k: 1,
                top_p: 1.0,
                frequency_penalty: 0.0,
                seed: None,
            },
            price: PriceRule {
                min_sats: 10,
                per_1k_input: 2,
                per_1k_output: 2,
            },
            priority_percent: 0,
            order,
            bid_msat: None,
            input_tokens_most: 69,
            input_tokens_likely: 69,
            invoice_expiry_secs: 600,
            job_timeout_secs: 60,
            check_every_secs: 60,
            relays: Vec::new(),
            seen_on: String::new(),
            stream: false,
        },
        has_texts: true,
        answer: None,
        price: None,
        paid: Msat::ZERO,
        owed: Msat::ZERO,
        balance_used: Msat::ZERO,
        left: Msat::ZERO,
        debt: Debt::NONE,
        attempts: 0,
        interrupts: 0,
        wallet_tries: 0,
        next_at: None,
        boot: None,
        error_code: None,
        error: None,
        invoice: None,
        result_id: None,
        delivered: false,
        created_at: START,
        updated_at: START,
    };
    if matches!(order, PayOrder::Before | PayOrder::Hold) {
        job.state = State::Quoting;
        job.price = Some(Msat::from_sats(10));
        job.invoice = Some(Invoice {
            preimage: (order == PayOrder::Hold).then_some(Preimage(Hex32([8; 32]))),
            ..intent(&job, Msat::from_sats(10))
        });
    }
    job
}

pub(super) fn answer(text: &str) -> Answer {
    Answer {
        text: text.to_owned(),
        prompt_tokens: 5,
        completion_tokens: 5,
        estimated: false,
        cut: false,
        elapsed_ms: 1,
        endpoint: "e".to_owned(),
    }
}

pub(super) fn made() -> JobEvent {
    JobEvent::InvoiceMade {
        bolt11: "lnbcrt1".to_owned(),
        payment_hash: PaymentHash(Hex32([9; 32])),
        backend_ref: None,
        made_at: START,
        expires_at: START.plus(Duration::from_secs(600)),
        made_by: MadeBy {
            backend: "sandbox".to_owned(),
            ..MadeBy::default()
        },
    }
}

pub(super) fn paid() -> JobEvent {
    JobEvent::Paid {
        amount: Msat::from_sats(10),
        at: START,
    }
}

/// Held for `secs` from the start on.
pub(super) fn held(secs: u64) -> JobEvent {
    JobEvent::Held {
        amount: None,
        until: START.plus(Duration::from_secs(secs)),
    }
}

pub(super) fn not_held(was: InvoiceState) -> JobEvent {
    JobEvent::NotHeld {
        was,
        unknown: false,
    }
}

fn not_paid(at: Time) -> JobEvent {
    JobEvent::NotPaid {
        unknown: false,
        began: at,
    }
}

pub(super) fn accepted() -> JobEvent {
    JobEvent::Accepted {
        role: Role::Result,
        relay: "r".to_owned(),
    }
}

fn any_input() -> impl Strategy<Value = JobEvent> {
    prop_oneof![
        Just(JobEvent::Start {
            boot: BootId(Hex32([1; 32]))
        }),
        Just(JobEvent::Interrupted),
        Just(JobEvent::Answered(answer("text"))),
        Just(JobEvent::Answered(answer(" "))),
        any::<bool>().prop_map(|again| JobEvent::RunFailed {
            code: "processing.died",
            message: "m".to_owned(),
            sentence: Some("s"),
            again
        }),
        Just(made()),
        Just(JobEvent::InvoiceDelayed {
            message: "m".to_owned(),
            until: START,
            fresh: None,
        }),
        Just(JobEvent::InvoiceRefused {
            code: "payment.rejected",
            message: "m".to_owned(),
            sentence: None
        }),
        Just(accepted()),
        Just(JobEvent::GaveUp { role: Role::Result }),
        Just(paid()),
        (any::<bool>(), 0_u64..9_000).prop_map(|(unknown, secs)| JobEvent::NotPaid {
            unknown,
            began: START.plus(Duration::from_secs(secs)),
        }),
        (0_u64..9_000).prop_map(held),
        Just(JobEvent::HoldEnds),
        (any::<bool>(), 0_usize..3).prop_map(|(unknown, was)| JobEvent::NotHeld {
            was: [
                InvoiceState::Held,
                InvoiceState::Taking,
                InvoiceState::GivingBack
            ][was],
            unknown
        }),
        any::<bool>().prop_map(|by_buyer| JobEvent::Cancel {
            by_buyer,
            tokens: 7
        }),
        Just(JobEvent::ShopCloses),
        Just(JobEvent::NotExpired),
        Just(JobEvent::Retry),
    ]
}

/// What the ledger and the wire would hold after the steps so far.
#[derive(Default)]
struct Seen {
    results: u32,
    invoices: u32,
    payments: u32,
}

fn follow(job: &mut Job, input: JobEvent, now: Time, seen: &mut Seen) -> Result<(), TestCaseError> {
    let before = job.clone();
    let Ok(step) = transition(job, input, now) else {
        return Ok(());
    };
    let mut next = step.job;
    prop_assert_eq!(next.rev, before.rev + 1);
    for draft in &step.drafts {
        if draft.role == Role::Result {
            seen.results += 1;
            next.result_id = Some(EventId::from_byte_array([3; 32]));
        }
    }
    let had = before.invoice.as_ref().and_then(|i| i.bolt11.clone());
    let has = next.invoice.as_ref().and_then(|i| i.bolt11.clone());
    seen.invoices += u32::from(had.is_none() && has.is_some());
    prop_assert!(
        had.is_none() || had == has,
        "an invoice that a buyer may hold is never forgotten"
    );
    seen.payments += u32::from(before.paid.is_zero() && !next.paid.is_zero());
    prop_assert!(next.paid >= before.paid, "paid never goes back");
    prop_assert!(before.state != State::Paid || next.state == State::Paid);
    prop_assert!(next.owed <= next.paid, "no more is owed than was paid");
    let failed = matches!(next.state, State::Error | State::Cancelled);
    prop_assert!(
        !failed || next.owed == next.paid || next.delivered,
        "what failed is owed back"
    );
    prop_assert!(next.state != State::Paid || (next.delivered && !next.paid.is_zero()));
    prop_assert!(next.left <= next.paid, "no more is left than was paid");
    if next.terms.order == PayOrder::Hold {
        hold_is_right(&before, &next)?;
    }
    *job = next;
    Ok(())
}

fn hold_is_right(before: &Job, next: &Job) -> Result<(), TestCaseError> {
    let of = |job: &Job| job.invoice.as_ref().map(|invoice| invoice.state);
    let (was, is) = (of(before), of(next));
    let ended = matches!(next.state, State::Error | State::Cancelled);
    prop_assert!(
        is != Some(InvoiceState::Taking) || next.delivered,
        "nothing is taken before the result is delivered"
    );
    prop_assert!(
        next.state != State::Running || matches!(is, Some(InvoiceState::Held | InvoiceState::Paid)),
        "nothing runs without its payment"
    );
    prop_assert!(
        !ended || !matches!(is, Some(InvoiceState::Held | InvoiceState::Open)),
        "a job that has ended holds nobody's payment"
    );
    prop_assert!(
        was != Some(InvoiceState::GivingBack) || is != Some(InvoiceState::Taking),
        "what goes back is never taken"
    );
    let secret = |job: &Job| job.invoice.as_ref().and_then(|invoice| invoice.preimage);
    prop_assert!(
        secret(before) == secret(next) || is == Some(InvoiceState::GivenBack) || is.is_none(),
        "the secret stays until the payment went back"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whatever_happens_in_any_order_money_is_right(
        order in prop_oneof![Just(PayOrder::After), Just(PayOrder::Before), Just(PayOrder::Free), Just(PayOrder::Hold)],
        inputs in proptest::collection::vec((any_input(), 0_u64..2_000), 1..60),
    ) {
        let mut job = job(order);
        let mut now = START;
        let mut seen = Seen::default();
        for (input, secs) in inputs {
            now = now.plus(Duration::from_secs(secs));
            follow(&mut job, input, now, &mut seen)?;
        }
        prop_assert!(seen.results <= 1, "at most one result");
        prop_assert!(seen.invoices <= 1, "at most one invoice");
        prop_assert!(seen.payments <= 1, "a payment counts once");
    }
}

pub(super) fn run(order: PayOrder, inputs: Vec<JobEvent>) -> Job {
    let mut job = job(order);
    for input in inputs {
        job = transition(&job, input, START.plus(Duration::from_secs(1)))
            .unwrap()
            .job;
    }
    job
}

pub(super) fn start() -> JobEvent {
    JobEvent::Start {
        boot: BootId(Hex32([1; 32])),
    }
}

#[test]
fn payment_after_ends_paid() {
    let answered = JobEvent::Answered(answer("text"));
    let job = run(
        PayOrder::After,
        vec![start(), answered, made(), accepted(), paid()],
    );
    assert_eq!((job.state, job.paid), (State::Paid, Msat::from_sats(10)));
}

#[test]
fn payment_before_runs_only_when_paid() {
    let job = run(PayOrder::Before, vec![made()]);
    assert_eq!(job.state, State::AwaitingPayment);
    assert!(transition(&job, start(), START).is_err());
    let job = run(
        PayOrder::Before,
        vec![
            made(),
            paid(),
            start(),
            JobEvent::Answered(answer("text")),
            accepted(),
        ],
    );
    assert_eq!((job.state, job.owed), (State::Paid, Msat::ZERO));
}

#[test]
fn paid_and_failed_is_owed_back() {
    let failed = JobEvent::RunFailed {
        code: "processing.rejected",
        message: "m".to_owned(),
        sentence: None,
        again: false,
    };
    let job = run(PayOrder::Before, vec![made(), paid(), start(), failed]);
    assert_eq!((job.state, job.owed), (State::Error, Msat::from_sats(10)));
}

#[test]
fn a_paid_job_waits_out_trouble_of_the_seller_s_own() {
    let put_back = || JobEvent::PutBack {
        message: "refuses the key".to_owned(),
        until: START,
    };
    let mut inputs = vec![made(), paid()];
    for _ in 0..=MAX_ATTEMPTS {
        inputs.extend([start(), put_back()]);
    }
    let job = run(PayOrder::Before, inputs);
    assert_eq!(
        (job.state, job.attempts, job.owed),
        (State::Queued, 0, Msat::ZERO)
    );
}

#[test]
fn an_expired_invoice_is_unpaid_until_money_comes_late() {
    let answered = JobEvent::Answered(answer("text"));
    let mut job = run(PayOrder::After, vec![start(), answered, made(), accepted()]);
    let late = START.plus(Duration::from_secs(700));
    let mut now = late;
    while job.state == State::PendingPayment {
        job = transition(&job, not_paid(now), now).unwrap().job;
        now = now.plus(Duration::from_secs(60));
        assert!(
            now < late.plus(Duration::from_secs(3_600)),
            "it is called unpaid"
        );
    }
    assert_eq!(job.state, State::Unpaid);
    let after = transition(&job, paid(), now).unwrap();
    assert!(after.late);
    assert_eq!(after.job.state, State::Paid);
}

#[test]
fn an_interrupted_job_is_tried_again_without_end() {
    for order in [PayOrder::After, PayOrder::Before] {
        let (mut job, mut now) = (job(order), START);
        if order == PayOrder::Before {
            for input in [made(), paid()] {
                job = transition(&job, input, now).unwrap().job;
            }
        }
        let mut waits = Vec::new();
        for _ in 0..50 {
            job = transition(&job, start(), now).unwrap().job;
            job = transition(&job, JobEvent::Interrupted, now).unwrap().job;
            assert_eq!((job.state, job.attempts), (State::Queued, 0));
            waits.push(job.next_at.unwrap().since(now).as_secs());
            now = now.plus(Duration::from_secs(601));
        }
        assert_eq!(waits[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        assert!(waits[11..].iter().all(|secs| *secs == 600));
        // Only a run that fails by itself counts.
        for _ in 0..2 {
            job = transition(&job, start(), now).unwrap().job;
            job = transition(&job, died(), now).unwrap().job;
            assert_eq!(job.state, State::Queued);
            now = now.plus(Duration::from_secs(60));
        }
        job = transition(&job, start(), now).unwrap().job;
        let last = transition(&job, died(), now).unwrap();
        assert_eq!(last.job.state, State::Error);
        assert_eq!(last.drafts[0].role, Role::Error);
    }
}

#[test]
fn a_job_runs_alone_from_its_third_interruption_on() {
    let mut job = job(PayOrder::After);
    let mut alone = Vec::new();
    for _ in 0..4 {
        alone.push(job.runs_alone());
        job = transition(&job, start(), START).unwrap().job;
        job = transition(&job, JobEvent::Interrupted, START).unwrap().job;
    }
    assert_eq!(alone, [false, false, false, true]);
}

fn died() -> JobEvent {
    JobEvent::RunFailed {
        code: "processing.died",
        message: "m".to_owned(),
        sentence: Some("The work could not be completed. You were not charged."),
        again: true,
    }
}

pub(super) fn invoice(job: &Job) -> InvoiceState {
    job.invoice.as_ref().unwrap().state
}

pub(super) fn failed() -> JobEvent {
    JobEvent::RunFailed {
        code: "processing.rejected",
        message: "m".to_owned(),
        sentence: None,
        again: false,
    }
}

#[test]
fn a_held_payment_is_taken_once_the_result_is_delivered() {
    let job = run(PayOrder::Hold, vec![made()]);
    assert_eq!(job.state, State::AwaitingPayment);
    assert!(transition(&job, start(), START).is_err(), "not paid yet");
    let answered = JobEvent::Answered(answer("text"));
    let inputs = vec![made(), held(4_000), start(), answered, accepted()];
    let job = run(PayOrder::Hold, inputs);
    assert_eq!(
        (job.state, invoice(&job)),
        (State::PendingPayment, InvoiceState::Taking)
    );
    assert_eq!(job.paid, Msat::ZERO, "not before the wallet says so");
    let job = transition(&job, paid(), START).unwrap().job;
    assert_eq!((job.state, job.paid), (State::Paid, Msat::from_sats(10)));
}

#[test]
fn a_held_payment_goes_back_when_the_work_fails_or_is_cancelled() {
    let cancel = JobEvent::Cancel {
        by_buyer: true,
        tokens: 0,
    };
    let ends = [
        vec![made(), held(4_000), start(), failed()],
        vec![made(), held(4_000), start(), cancel.clone()],
        vec![made(), held(4_000), JobEvent::HoldEnds],
        vec![made(), cancel],
    ];
    for inputs in ends {
        let job = run(PayOrder::Hold, inputs);
        assert_eq!(invoice(&job), InvoiceState::GivingBack);
        let gone = transition(&job, not_held(InvoiceState::GivingBack), START).unwrap();
        assert_eq!(invoice(&gone.job), InvoiceState::GivenBack);
        assert_eq!(gone.job.invoice.unwrap().preimage, None);
        assert_eq!((gone.job.paid, gone.job.owed), (Msat::ZERO, Msat::ZERO));
    }
}

#[test]
fn nothing_runs_that_could_outlast_its_payment() {
    // 60 s of work and 120 s to settle.
    let late = START.plus(Duration::from_secs(20));
    for (secs, may) in [(200, false), (201, true)] {
        let job = run(PayOrder::Hold, vec![made(), held(secs)]);
        assert_eq!(transition(&job, start(), late).is_ok(), may, "{secs}");
    }
    let job = run(PayOrder::Hold, vec![made(), held(170)]);
    assert_eq!(
        (job.state, invoice(&job)),
        (State::Error, InvoiceState::GivingBack)
    );
}

#[test]
fn a_payment_that_was_lost_before_it_was_taken_is_no_revenue() {
    let answered = JobEvent::Answered(answer("text"));
    let taking = vec![made(), held(4_000), start(), answered, accepted()];
    let lost = not_held(InvoiceState::Taking);
    let job = run(PayOrder::Hold, [taking, vec![lost]].concat());
    assert_eq!((job.state, job.paid), (State::Unpaid, Msat::ZERO));
    assert!(job.delivered && job.error.is_some());
    let lost = not_held(InvoiceState::Held);
    // Lost while it ran: the work stops, and the wallet is told to cancel for certain.
    let job = run(PayOrder::Hold, vec![made(), held(4_000), start(), lost]);
    assert_eq!(
        (job.state, invoice(&job)),
        (State::Error, InvoiceState::GivingBack)
    );
}

#[test]
fn a_payment_that_comes_when_the_job_has_ended_goes_back() {
    let job = run(PayOrder::Hold, vec![made()]);
    let over = START.plus(Duration::from_secs(700));
    let job = transition(&job, not_paid(over), over).unwrap().job;
    assert_eq!(job.state, State::Unpaid);
    let back = transition(&job, held(4_000), over).unwrap().job;
    assert_eq!(
        back.state,
        State::Queued,
        "late, but in time to be worked for"
    );
    let job = run(
        PayOrder::Hold,
        vec![
            made(),
            JobEvent::Cancel {
                by_buyer: false,
                tokens: 0,
            },
        ],
    );
    let gone = transition(&job, not_held(InvoiceState::GivingBack), START).unwrap();
    let job = transition(&gone.job, held(4_000), START).unwrap().job;
    assert_eq!(
        (job.state, invoice(&job)),
        (State::Cancelled, InvoiceState::GivingBack)
    );
}

#[test]
fn a_look_at_a_held_payment_says_nothing_of_one_that_is_to_be_taken_by_now() {
    let answered = JobEvent::Answered(answer("text"));
    let inputs = vec![made(), held(4_000), start(), answered, accepted()];
    let job = run(PayOrder::Hold, inputs);
    let stale = transition(&job, not_held(InvoiceState::Held), START);
    assert_eq!(stale.unwrap_err(), TransitionError::Already);
}

#[test]
fn a_hold_invoice_that_was_cancelled_at_the_wallet_ends_unpaid() {
    use crate::domain::payment_status::{Finding, PaymentStatus, Poll, assess};

    let job = run(PayOrder::Hold, vec![made()]);
    let look = Poll::at(START);
    let seen: Result<_, String> = Ok(PaymentStatus::Canceled);
    let Finding::Transition(event) = assess(&job, seen.clone(), &look) else {
        panic!("nothing follows");
    };
    let closed = transition(&job, event, START).unwrap().job;
    assert_eq!(
        (closed.state, invoice(&closed)),
        (State::Unpaid, InvoiceState::Expired)
    );
    // Of an ordinary invoice that word may mean a clock.
    let job = run(PayOrder::Before, vec![made()]);
    assert_eq!(assess(&job, seen, &look), Finding::Nothing);
}

#[test]
fn a_copy_without_its_secret_gives_the_payment_back_and_says_why() {
    let mut job = run(PayOrder::Hold, vec![made()]);
    job.invoice.as_mut().unwrap().preimage = None;
    let back = transition(&job, held(4_000), START).unwrap().job;
    assert_eq!(
        (back.state, invoice(&back)),
        (State::Error, InvoiceState::GivingBack)
    );
    assert!(back.error.unwrap().contains("not in this ledger"));
}

#[test]
fn a_hold_job_that_was_paid_and_failed_can_be_tried_again() {
    let job = run(
        PayOrder::Hold,
        vec![made(), held(4_000), start(), paid(), failed()],
    );
    assert_eq!((job.state, job.owed), (State::Error, Msat::from_sats(10)));
    let mut job = transition(&job, JobEvent::Retry, START).unwrap().job;
    assert_eq!((job.state, job.owed), (State::Queued, Msat::ZERO));
    for input in [start(), JobEvent::Answered(answer("text")), accepted()] {
        job = transition(&job, input, START).unwrap().job;
    }
    assert_eq!((job.state, job.paid), (State::Paid, Msat::from_sats(10)));
    assert_eq!(invoice(&job), InvoiceState::Paid, "nothing is taken twice");
}
