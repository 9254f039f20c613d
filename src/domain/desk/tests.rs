use proptest::prelude::*;

use super::*;
use crate::domain::Hex32;
use crate::domain::job::{Invoice, PayOrder, Usage};
use crate::domain::transition::tests::job as fresh;

const NOW: Time = Time(1_900_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn sats(sats: u64) -> Msat {
    Msat::from_sats(sats)
}

fn facts(job: Job) -> Facts {
    Facts {
        job,
        dispute: None,
        asked: None,
        result_kept: false,
        accepted_by: Vec::new(),
        due_at: 0,
        decisions: Vec::new(),
    }
}

fn invoice(state: InvoiceState) -> Invoice {
    let made = NOW.minus(2 * HOUR);
    let paid = state == InvoiceState::Paid;
    Invoice {
        label: "vend:1".to_owned(),
        state,
        amount: sats(10),
        wallet: "lnd".to_owned(),
        wallet_key: None,
        wallet_identity: Some("02ab".to_owned()),
        network: None,
        preimage: None,
        hold_until: None,
        payment_hash: Some(PaymentHash(Hex32([3; 32]))),
        bolt11: Some("lnbcrt".to_owned()),
        backend_ref: None,
        made_at: Some(made),
        expires_at: Some(made.plus(HOUR)),
        paid: if paid { sats(10) } else { Msat::ZERO },
        paid_at: paid.then(|| made.plus(Duration::from_secs(60))),
        polls: 0,
        late_polls: 0,
        next_poll_at: None,
    }
}

/// Pay first, paid; the rest as told.
fn paid_first(state: State) -> Facts {
    let mut job = fresh(PayOrder::Before);
    job.state = state;
    job.paid = sats(10);
    job.invoice = Some(invoice(InvoiceState::Paid));
    job.updated_at = NOW.minus(HOUR);
    facts(job)
}

fn failed() -> Facts {
    let mut one = paid_first(State::Error);
    one.job.owed = sats(10);
    one.job.error = Some("the model server is gone".to_owned());
    one
}

fn delivered(state: InvoiceState) -> Facts {
    let mut job = fresh(PayOrder::After);
    job.state = match state {
        InvoiceState::Paid => State::Paid,
        InvoiceState::Expired => State::Unpaid,
        _ => State::PendingPayment,
    };
    job.delivered = true;
    job.answer = Some(Usage {
        prompt_tokens: 1,
        completion_tokens: 1,
        estimated: false,
        cut: false,
        elapsed_ms: 1,
        endpoint: "e".to_owned(),
    });
    job.invoice = Some(invoice(state));
    if state == InvoiceState::Paid {
        job.paid = sats(10);
    }
    facts(job)
}

fn dispute(kind: DisputeKind, times: u32) -> Dispute {
    Dispute {
        kind,
        words: "FAILED".to_owned(),
        first_at: NOW.minus(HOUR),
        last_at: NOW,
        times,
        decided: false,
    }
}

fn of(facts: &Facts) -> Option<(CaseKind, Vec<DeskAction>)> {
    case(facts, NOW).map(|case| (case.kind, case.actions))
}

use DeskAction::{Deliver, Redeliver, Refunded, Retry, Waive};

#[test]
fn what_is_well_is_no_case() {
    for state in [
        InvoiceState::Open,
        InvoiceState::Paid,
        InvoiceState::Expired,
    ] {
        assert_eq!(of(&delivered(state)), None);
    }
    let mut at_work = paid_first(State::Running);
    at_work.job.updated_at = NOW.minus(Duration::from_secs(60));
    assert_eq!(of(&at_work), None);
    assert_eq!(of(&facts(fresh(PayOrder::After))), None);
}

#[test]
fn paid_and_failed_is_tried_again_while_its_text_is_kept_and_owed_after() {
    let mut one = failed();
    assert_eq!(
        of(&one),
        Some((CaseKind::Undelivered, vec![Retry, Refunded, Waive]))
    );
    let text = case(&one, NOW).unwrap().text;
    assert!(
        text.contains("10 sats") && text.contains("server is gone"),
        "{text}"
    );
    one.job.has_texts = false;
    assert_eq!(of(&one), Some((CaseKind::Owed, vec![Refunded, Waive])));
}

#[test]
fn a_signed_result_that_no_relay_took_is_sent_and_never_made_anew() {
    let mut one = failed();
    one.job.result_id = Some(nostr::EventId::from_byte_array([9; 32]));
    one.result_kept = true;
    assert_eq!(
        of(&one),
        Some((
            CaseKind::Undelivered,
            vec![Deliver, Redeliver, Refunded, Waive]
        ))
    );
    let why = plan(&one, None, Retry, "", NOW).unwrap_err().to_string();
    assert!(
        why.contains("signed already") && why.contains("deliver"),
        "{why}"
    );
}

#[test]
fn a_paid_job_that_is_stuck_can_be_sent_but_not_given_up_while_it_runs() {
    let mut one = paid_first(State::Publishing);
    one.result_kept = true;
    assert_eq!(of(&one), Some((CaseKind::Undelivered, vec![Deliver])));
    let why = plan(&one, None, Refunded, "", NOW).unwrap_err().to_string();
    assert!(why.contains("cancel it first"), "{why}");
}

#[test]
fn the_wallet_s_strange_words_make_a_case_of_an_invoice_that_is_not_paid() {
    for (kind, times, is_case) in [
        (DisputeKind::Attention, 1, true),
        (DisputeKind::OtherWallet, 1, true),
        (DisputeKind::Unknown, 2, false),
        (DisputeKind::Unknown, 3, true),
    ] {
        let mut one = delivered(InvoiceState::Open);
        one.dispute = Some(dispute(kind, times));
        assert_eq!(of(&one).is_some(), is_case, "{kind:?} {times}");
        if is_case {
            assert_eq!(
                of(&one),
                Some((CaseKind::Disputed, vec![Retry, Refunded, Waive]))
            );
            assert_eq!(plan(&one, None, Retry, "", NOW), Ok(Plan::Poll));
        }
        let mut paid = delivered(InvoiceState::Paid);
        paid.dispute = Some(dispute(kind, times));
        assert_eq!(of(&paid), None, "the money is here");
    }
}

#[test]
fn late_money_and_invoices_that_nobody_saw_are_told_and_ask_for_nothing() {
    let mut late = delivered(InvoiceState::Paid);
    let invoice = late.job.invoice.as_mut().unwrap();
    invoice.paid_at = Some(invoice.expires_at.unwrap().plus(Duration::from_secs(61)));
    let told = case(&late, NOW).unwrap();
    assert_eq!((told.kind, told.needs_you), (CaseKind::Late, false));
    let long_after = NOW.plus(LATE_TOLD);
    assert_eq!(case(&late, long_after), None, "not for ever");

    let mut orphan = facts(fresh(PayOrder::After));
    orphan.job.state = State::Cancelled;
    orphan.asked = Some(Asked {
        wallet: "lnd".to_owned(),
        lost: 0,
        open: true,
        words: "the wallet did not answer within 15 s".to_owned(),
        payment_hash: None,
        at: NOW.minus(HOUR),
        decided: false,
    });
    let told = case(&orphan, NOW).unwrap();
    assert_eq!((told.kind, told.needs_you), (CaseKind::Orphan, false));
    assert_eq!(told.actions, [Waive]);
    orphan.job.state = State::Inferred;
    assert_eq!(of(&orphan), None, "it is being asked for");
    orphan.asked.as_mut().unwrap().lost = 1;
    assert_eq!(case(&orphan, NOW).unwrap().lost_invoices, 1);
    assert_eq!(case(&orphan, NOW.plus(48 * HOUR)), None, "it has expired");
}

/// Does what a plan says, as the ledger would.
fn done(facts: &mut Facts, plan: Plan) {
    if let Plan::Mark { job, decision, .. } = plan {
        facts.job = *job;
        if let Some(dispute) = facts.dispute.as_mut() {
            dispute.decided |= decision.kind == CaseKind::Disputed;
        }
        if let Some(asked) = facts.asked.as_mut() {
            asked.decided |= decision.kind == CaseKind::Orphan;
        }
        facts.decisions.push(decision);
    }
}

#[test]
fn a_decision_closes_the_case_keeps_its_note_and_is_made_once() {
    let mut one = failed();
    let first = plan(&one, Some(CaseKind::Undelivered), Refunded, "by zap", NOW).unwrap();
    let Plan::Mark {
        job,
        decision,
        withdraw,
    } = first.clone()
    else {
        panic!("{first:?}");
    };
    assert!(withdraw && job.owed.is_zero() && job.paid == sats(10));
    assert_eq!(
        (decision.amount_msat, &*decision.note),
        (sats(10), "by zap")
    );
    done(&mut one, first);
    assert_eq!(of(&one), None);
    let again = plan(&one, Some(CaseKind::Undelivered), Refunded, "by zap", NOW);
    assert!(matches!(again, Ok(Plan::Already(_))), "{again:?}");
    let other = plan(&one, None, Waive, "", NOW).unwrap_err().to_string();
    assert!(other.contains("marked refunded"), "{other}");
}

#[test]
fn what_changed_since_it_was_looked_at_is_not_acted_on() {
    let mut one = failed();
    one.job.has_texts = false;
    let why = plan(&one, Some(CaseKind::Undelivered), Waive, "", NOW);
    assert_eq!(why, Err(NoPlan::Changed("owed")));
    let long = "x".repeat(NOTE_MAX + 1);
    assert_eq!(
        plan(&one, None, Waive, &long, NOW),
        Err(NoPlan::NoteTooLong(NOTE_MAX + 1))
    );
}

proptest! {
    /// Every action that is offered has a plan, no other has one, and one that closes does.
    #[test]
    fn what_is_offered_is_what_can_be_done(
        base in 0_u8..5, kept in any::<bool>(), prompt in any::<bool>(), signed in any::<bool>(),
        word in prop::option::of(0_u8..3), times in 0_u32..5, lost in 0_u32..3, order in 0_u8..2,
    ) {
        let mut one = match base {
            0 => failed(),
            1 => paid_first(State::Publishing),
            2 => delivered(InvoiceState::Open),
            3 => delivered(InvoiceState::Expired),
            _ => delivered(InvoiceState::Paid),
        };
        if order == 1 {
            one.job.terms.order = PayOrder::After;
        }
        one.result_kept = kept && signed;
        one.job.result_id = signed.then(|| nostr::EventId::from_byte_array([9; 32]));
        if !prompt {
            one.job.has_texts = false;
        }
        one.dispute = word.map(|word| {
            let kinds = [DisputeKind::Attention, DisputeKind::Unknown, DisputeKind::OtherWallet];
            dispute(kinds[usize::from(word)], times)
        });
        one.asked = (lost > 0).then(|| Asked {
            wallet: "lnd".to_owned(),
            lost,
            open: false,
            words: String::new(),
            payment_hash: None,
            at: NOW,
            decided: false,
        });
        let mut turns = 0;
        while let Some(case) = case(&one, NOW) {
            for action in DeskAction::ALL {
                let planned = plan(&one, Some(case.kind), action, "", NOW);
                let offered = case.actions.contains(&action);
                let already = matches!(planned, Ok(Plan::Already(_)));
                prop_assert_eq!(planned.is_ok() && !already, offered && !already, "{:?} {:?}", action, planned);
            }
            let closing = case.actions.iter().find(|action| action.closes());
            let Some(action) = closing else { break };
            let planned = plan(&one, Some(case.kind), *action, "", NOW).unwrap();
            done(&mut one, planned);
            prop_assert!(of(&one).is_none_or(|(kind, _)| kind > case.kind), "it is closed");
            turns += 1;
            prop_assert!(turns <= 5);
        }
        prop_assert!(one.job.owed.is_zero() || base == 1);
    }
}

#[test]
fn a_held_payment_that_is_taken_after_the_invoices_time_is_not_late() {
    let mut facts = paid_first(State::Paid);
    facts.job.delivered = true;
    let invoice = facts.job.invoice.as_mut().unwrap();
    invoice.paid_at = Some(invoice.expires_at.unwrap().plus(Duration::from_secs(600)));
    assert_eq!(case(&facts, NOW).unwrap().kind, CaseKind::Late);
    facts.job.terms.order = PayOrder::Hold;
    assert_eq!(case(&facts, NOW), None);
}
