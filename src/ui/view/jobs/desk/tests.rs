use crossterm::event::KeyCode;
use nostr::EventId;
use proptest::prelude::*;

use super::super::tests::{SIZES, keys, press, text};
use super::*;
use crate::domain::Hex32;
use crate::domain::command::{Command, Reply};
use crate::domain::desk::{CaseKind, Desk, Dispute, DisputeKind};
use crate::domain::event::EventKind;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::job::Status;
use crate::domain::msat::Msat;
use crate::domain::stats::DayStats;
use crate::domain::text::is_hostile;
use crate::ui::app::{Action, Input};
use crate::ui::sample::{NOON, busy, detail, job, tell};

fn case(number: u8, kind: CaseKind, text: &str, actions: &[DeskAction]) -> Case {
    let of = job(number, Status::Error);
    Case {
        id: of.id,
        kind,
        needs_you: kind.needs_you(),
        since: Time(NOON - 3_600_000 * i64::from(number)),
        text: text.to_owned(),
        actions: actions.to_vec(),
        buyer: of.buyer,
        status: Status::Error,
        model: "gemma2:latest".to_owned(),
        amount_msat: Some(Msat::from_sats(21)),
        paid_msat: Msat::from_sats(21),
        owed_to_buyer_msat: Msat::from_sats(21),
        payment_hash: Some(PaymentHash(Hex32([number; 32]))),
        invoice_made_at: Some(Time(NOON)),
        invoice_expires_at: Some(Time(NOON + 3_600_000)),
        paid_at: Some(Time(NOON + 60_000)),
        wallet: Some("lnd".to_owned()),
        wallet_identity: Some("02ab".repeat(16)),
        wallet_ref: None,
        wallet_said: (kind == CaseKind::Disputed).then(|| Dispute {
            kind: DisputeKind::Attention,
            words: "the wallet says paid, but only 20 sats of 21 sats came".to_owned(),
            first_at: Time(NOON),
            last_at: Time(NOON + 600_000),
            times: 41,
            decided: false,
        }),
        lost_invoices: 0,
        result_id: Some(EventId::from_byte_array([number; 32]).to_hex()),
        result_kept: true,
        accepted_by: vec!["wss://relay.one.example".to_owned()],
        error: Some("the model server is gone".to_owned()),
    }
}

fn full() -> Desk {
    use DeskAction::{Deliver, Refunded, Retry, Waive};
    let one = |number, kind, text, actions: &[DeskAction]| case(number, kind, text, actions);
    Desk {
        more: 0,
        cases: vec![
            one(
                1,
                CaseKind::Undelivered,
                "paid 21 sats, and nothing was delivered: the model server is gone",
                &[Retry, Refunded, Waive],
            ),
            one(
                2,
                CaseKind::Disputed,
                "delivered, 21 sats asked: the wallet says paid, but only 20 sats of 21 sats came",
                &[Retry, Deliver, Refunded, Waive],
            ),
            one(
                3,
                CaseKind::Late,
                "paid 21 sats 12 min after its invoice had expired; it is counted",
                &[Deliver, Refunded, Waive],
            ),
        ],
        history: vec![Decision {
            id: RequestId(EventId::from_byte_array([9; 32])),
            kind: CaseKind::Owed,
            action: DeskAction::Refunded,
            note: "paid back by zap".to_owned(),
            amount_msat: Msat::from_sats(10),
            at: Time(NOON - 86_400_000),
        }],
    }
}

/// The desk on the Jobs tab, with the engine's answer there.
fn at_desk(desk: Desk) -> App {
    let mut app = busy();
    keys(&mut app, "3d");
    assert_eq!(app.look(), Some(Command::Desk));
    assert_eq!(app.look(), None, "one question at a time");
    let desk = Box::new(desk);
    app.handle(Input::Looked(Reply::Desk { desk }));
    app
}

#[test]
fn the_desk_at_every_size() {
    for size in SIZES {
        let name = |what: &str| format!("{what}_{}x{}", size.0, size.1);
        let mut app = at_desk(full());
        keys(&mut app, "j");
        insta::assert_snapshot!(name("desk"), text(&mut app, size));
        keys(&mut app, "mby zap");
        insta::assert_snapshot!(name("desk_refund"), text(&mut app, size));
        let mut app = at_desk(Desk::default());
        insta::assert_snapshot!(name("desk_empty"), text(&mut app, size));
    }
}

#[test]
fn a_decision_takes_a_note_and_enter_and_is_about_the_case_that_was_seen() {
    let mut app = at_desk(full());
    keys(&mut app, "mpaid ");
    assert_eq!(app.handle(Input::Paste("by\u{1b} zap".to_owned())), []);
    let sent = app.handle(Input::Key(KeyCode::Enter.into()));
    let Action::Send(Command::Recover {
        id,
        case,
        action,
        note,
    }) = &sent[0]
    else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (*id, *case, *action),
        (
            full().cases[0].id,
            Some(CaseKind::Undelivered),
            DeskAction::Refunded
        )
    );
    assert_eq!(note, "paid by zap");
    assert!(app.ask.is_none());
    // Nothing happens by one key alone, and Esc changes nothing.
    keys(&mut app, "w");
    assert!(app.ask.is_some());
    press(&mut app, KeyCode::Esc);
    assert!(app.ask.is_none());
    keys(&mut app, "r");
    let sent = app.handle(Input::Key(KeyCode::Char('y').into()));
    assert!(matches!(
        &sent[0],
        Action::Send(Command::Recover {
            action: DeskAction::Retry,
            ..
        })
    ));
    keys(&mut app, "a");
    assert!(
        app.ask.is_none()
            && app
                .message
                .as_deref()
                .unwrap()
                .contains("retry, refunded, waive")
    );
}

#[test]
fn what_is_chosen_stays_chosen_when_others_come_and_esc_shows_the_jobs() {
    let mut app = at_desk(full());
    keys(&mut app, "j");
    let totals = Box::new(app.store.totals.clone());
    tell(&mut app, EventKind::Totals { totals });
    app.store.now = Time(NOON + 600_000);
    assert_eq!(app.look(), Some(Command::Desk));
    let mut more = full();
    let other = case(7, CaseKind::Owed, "owed", &[DeskAction::Waive]);
    more.cases.insert(0, other);
    app.handle(Input::Looked(Reply::Desk {
        desk: Box::new(more),
    }));
    let Some(Row::Case(chosen)) = app.cases.chosen() else {
        panic!("a case");
    };
    assert_eq!(chosen.kind, CaseKind::Disputed);
    press(&mut app, KeyCode::Esc);
    assert!(!app.cases.open);
    assert!(text(&mut app, (80, 24)).contains("jobs by time"));
    let detail = "no ledger".to_owned();
    keys(&mut app, "d");
    app.store.now = Time(NOON + 900_000);
    assert_eq!(app.look(), Some(Command::Desk));
    app.handle(Input::Looked(Reply::Refused { detail }));
    assert_eq!(app.message.as_deref(), Some("no ledger"));
    assert_eq!(app.look(), None, "not again before the next key");
}

#[test]
fn enter_opens_the_job_of_a_case_and_esc_leads_back_to_it() {
    let mut app = at_desk(full());
    let (before, id) = (app.jobs.chosen, full().cases[1].id);
    keys(&mut app, "j");
    press(&mut app, KeyCode::Enter);
    assert!(!app.cases.open && app.jobs.detail);
    // The job is an old one, which the screen does not know yet.
    app.store = crate::store::Store::new();
    let title = format!("job {} (Esc: back", id.short());
    let shown = text(&mut app, (80, 24));
    assert!(
        shown.contains(&title) && shown.contains("asking the ledger"),
        "{shown}"
    );
    assert_eq!(app.look(), Some(Command::Job { id }));
    let detail = Box::new(detail(job(2, Status::Error)));
    app.handle(Input::Looked(Reply::Job { detail }));
    let shown = text(&mut app, (80, 24));
    assert!(
        shown.contains(&title) && shown.contains(&job(2, Status::Error).model.unwrap()),
        "{shown}"
    );
    // What is done there is about this job, which has ended.
    keys(&mut app, "c");
    assert!(app.ask.is_none() && app.message.is_some());
    press(&mut app, KeyCode::Esc);
    assert!(app.cases.open && !app.jobs.detail);
    let Some(Row::Case(chosen)) = app.cases.chosen() else {
        panic!("a case");
    };
    assert_eq!(chosen.id, id);
    // The table has not moved.
    press(&mut app, KeyCode::Esc);
    assert!(!app.cases.open && app.jobs.visited().is_none());
    assert_eq!(app.jobs.chosen, before);
    // A decision leads to its job too.
    keys(&mut app, "dG");
    press(&mut app, KeyCode::Enter);
    assert_eq!(
        app.look(),
        Some(Command::Job {
            id: full().history[0].id
        })
    );
}

#[test]
fn the_sell_tab_says_that_cases_wait() {
    let mut app = busy();
    app.store.totals.cases = 2;
    for size in SIZES {
        let shown = text(&mut app, size);
        assert!(
            shown.contains("2 cases need you: d on the Jobs tab"),
            "{shown}"
        );
    }
}

#[test]
fn the_earnings_at_every_size() {
    let mut app = busy();
    let buyer = |number: u8| {
        crate::domain::id::Buyer(nostr::PublicKey::from_byte_array([0xb0 + number; 32]))
    };
    for (number, jobs) in [(1, 3), (2, 8)] {
        let stats = DayStats {
            jobs,
            revenue_msat: Msat::from_sats(jobs * 21),
        };
        app.store
            .totals
            .buyers
            .insert(buyer(number).to_string(), stats);
    }
    let model = app.store.totals.models.get_mut("gemma2:latest").unwrap();
    (model.busy_ms, model.energy_mj) = (1_800_000, 450_000_000);
    (model.cost, model.sats_per_hour) = (Some(0.04), Some(180.0));
    keys(&mut app, "3i");
    let shown = text(&mut app, (80, 24));
    let figures = "31.5    0.50    0.125    0.04     180        -";
    assert!(shown.contains(figures), "{shown}");
    for size in SIZES {
        let name = format!("earnings_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name, text(&mut app, size));
    }
    keys(&mut app, "jG");
    press(&mut app, KeyCode::Esc);
    assert!(app.earnings.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn nothing_hostile_reaches_the_desk(
        hostile in prop_oneof![any::<String>(), "[\u{1b}\u{7}\u{202e}\u{2066}\u{9b}a日]{0,90}"],
        width in 60_u16..130, height in 16_u16..50, down in 0_usize..4,
    ) {
        let mut desk = full();
        for case in &mut desk.cases {
            case.text.clone_from(&hostile);
            case.model.clone_from(&hostile);
            case.error = Some(hostile.clone());
            case.accepted_by = vec![hostile.clone()];
            case.wallet_identity = Some(hostile.clone());
            if let Some(said) = &mut case.wallet_said {
                said.words.clone_from(&hostile);
            }
        }
        desk.history[0].note.clone_from(&hostile);
        let mut app = at_desk(desk);
        app.store.totals.buyers.insert(hostile.clone(), DayStats::default());
        app.cases.at = down;
        for keys_pressed in ["", "m", "i"] {
            app.ask = None;
            keys(&mut app, keys_pressed);
            let shown = text(&mut app, (width, height));
            prop_assert!(shown.chars().all(|c| c == '\n' || !is_hostile(c)));
        }
    }
}
