use proptest::prelude::*;

use super::*;
use crate::ledger::Ledger;

const RELAYS_OF_TEST: [&str; 3] = ["wss://a", "wss://b", "wss://c"];

fn draft(number: u16, relays: &[&str], not_after: Time) -> SignedDraft {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    SignedDraft {
        role: Role::Error,
        event_id: EventId::from_byte_array(id),
        json: format!("{{\"number\":{number}}}"),
        not_after,
        relays: relays.iter().map(|&relay| relay.to_owned()).collect(),
    }
}

async fn put(ledger: &Ledger, draft: SignedDraft) {
    let id = draft.event_id;
    let new = ledger.refuse(id, "busy", Time(0), Some(draft)).await;
    assert!(new.unwrap());
}

/// (event, tries, ended connections, bytes) of what is due, as the file says it.
fn in_the_file(ledger: &Ledger, relay: &str, now: Time) -> Vec<(i64, u32, u32, String)> {
    let file = Connection::open(ledger.path()).unwrap();
    let mut due = file
        .prepare(
            "SELECT d.out_id, d.attempts, d.ends, t.event_json FROM delivery d JOIN outbox o ON o.out_id = d.out_id
             JOIN event_texts t ON t.out_id = d.out_id
             WHERE d.state = 'due' AND d.relay = ?1 AND d.next_at <= ?2 AND o.not_after > ?2
             ORDER BY d.next_at, d.out_id",
        )
        .unwrap();
    let rows = due.query_map(params![relay, now.0], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

async fn in_memory(ledger: &Ledger, relay: &str, now: Time) -> Vec<(i64, u32, u32, String)> {
    let due = ledger.due_at(relay, now, 1_000).await.unwrap();
    let told = |due: Due| (due.out_id, due.attempts, due.ends, due.json);
    due.into_iter().map(told).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<bool>, i64),
    Says(usize, Settled, bool),
    Back(usize),
    Past,
    Reopen,
    Write,
}

fn settled() -> impl Strategy<Value = Settled> {
    let later = || (1..50_i64).prop_map(Time);
    prop_oneof![
        Just(Settled::Ok),
        Just(Settled::Refused),
        Just(Settled::GaveUp),
        later().prop_map(Settled::Again),
        later().prop_map(Settled::Offline),
        later().prop_map(Settled::Ended),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop::collection::vec(any::<bool>(), 3), 10..80_i64)
            .prop_map(|(at, end)| Op::Put(at, end)),
        6 => (0..3_usize, settled(), any::<bool>()).prop_map(|(at, word, soon)| Op::Says(at, word, soon)),
        1 => (0..3_usize).prop_map(Op::Back),
        1 => Just(Op::Past),
        1 => Just(Op::Reopen),
        1 => Just(Op::Write),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_due_in_memory_is_what_is_due_in_the_file(
        ops in prop::collection::vec((op(), 0..60_i64), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vend.db");
        runtime.block_on(async move {
            let mut ledger = Ledger::open(&path).unwrap();
            for (number, (op, now)) in ops.into_iter().enumerate() {
                let now = Time(now);
                match op {
                    Op::Put(at, end) => {
                        let at = RELAYS_OF_TEST.iter().zip(at).filter(|(_, yes)| *yes);
                        let at: Vec<&str> = at.map(|(relay, _)| *relay).collect();
                        let number = u16::try_from(number).unwrap();
                        put(&ledger, draft(number, &at, Time(end))).await;
                    }
                    Op::Says(at, word, soon) => {
                        let relay = RELAYS_OF_TEST[at];
                        let due = ledger.due_at(relay, now, 1).await.unwrap();
                        let Some(due) = due.first() else { continue };
                        let (id, relay) = (due.out_id, relay.to_owned());
                        if soon {
                            ledger.settle_soon(id, relay, word, String::new()).await.unwrap();
                        } else {
                            ledger.settle(id, relay, word, String::new()).await.unwrap();
                        }
                    }
                    Op::Back(at) => ledger.hurry(RELAYS_OF_TEST[at].to_owned()).await.unwrap(),
                    Op::Past => drop(ledger.give_up(now, false).await.unwrap()),
                    Op::Reopen => {
                        ledger.close().await;
                        ledger = Ledger::open(&path).unwrap();
                    }
                    Op::Write => ledger.write_words().await.unwrap(),
                }
                let mut memory = Vec::new();
                for relay in RELAYS_OF_TEST {
                    memory.push(in_memory(&ledger, relay, now).await);
                }
                let dues = ledger.due_relays(now).await.unwrap();
                // With what waited to be written.
                ledger.write_words().await.unwrap();
                assert!(!ledger.has_words());
                for (relay, memory) in RELAYS_OF_TEST.iter().zip(memory) {
                    assert_eq!(memory, in_the_file(&ledger, relay, now));
                    let due = dues.iter().any(|(at, when)| at == relay && *when <= now);
                    assert_eq!(due, !memory.is_empty(), "{relay}");
                }
            }
        });
    }
}

#[tokio::test]
async fn a_word_that_waits_goes_with_the_next_commit_or_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.db");
    let ledger = Ledger::open(&path).unwrap();
    for (number, end) in [(1, true), (2, false)] {
        put(&ledger, draft(number, &["wss://a"], Time(100))).await;
        let due = in_memory(&ledger, "wss://a", Time(1)).await;
        let soon = ledger.settle_soon(due[0].0, "wss://a".to_owned(), Settled::Ok, String::new());
        soon.await.unwrap();
        assert!(in_memory(&ledger, "wss://a", Time(1)).await.is_empty());
        assert_eq!(in_the_file(&ledger, "wss://a", Time(1)).len(), 1);
        if end {
            put(&ledger, draft(9, &[], Time(100))).await;
            assert!(in_the_file(&ledger, "wss://a", Time(1)).is_empty());
        }
    }
    ledger.close().await;
    let ledger = Ledger::open(&path).unwrap();
    assert!(in_memory(&ledger, "wss://a", Time(1)).await.is_empty());
}

#[tokio::test]
async fn what_finds_no_room_in_memory_is_sent_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
    let all = OF_A_RELAY as usize + 40;
    ledger.due_relays(Time(0)).await.unwrap();
    for number in 0..all {
        let number = u16::try_from(number).unwrap();
        put(&ledger, draft(number, &["wss://a"], Time(100_000))).await;
    }
    let (mut sent, mut now) = (Vec::new(), Time(1_000));
    while sent.len() < all {
        let relays = ledger.due_relays(now).await.unwrap();
        assert_eq!(relays.len(), 1, "{} of {all} were sent", sent.len());
        now = now.max(relays[0].1);
        for due in ledger.due_at("wss://a", now, 32).await.unwrap() {
            sent.push(due.json);
            let soon = ledger.settle_soon(due.out_id, due.relay, Settled::Ok, String::new());
            soon.await.unwrap();
        }
    }
    let order: Vec<String> = (0..all)
        .map(|number| format!("{{\"number\":{number}}}"))
        .collect();
    assert_eq!(sent, order);
    assert!(ledger.due_relays(now).await.unwrap().is_empty());
    assert!(ledger.outbox_empty(now).await.is_ok());
}
