mod hold;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::domain::invoice::{Expected, Verdict, check, judge};

const NOW: Time = Time(1_795_000_000_000);

fn folder() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("sandbox");
    (temp, dir)
}

fn wallet(dir: &Path) -> SandboxWallet {
    SandboxWallet::open(dir, Network::Regtest).unwrap()
}

fn ask(label: &str) -> NewInvoice {
    NewInvoice {
        amount: Msat(21_500),
        memo: "a job".to_owned(),
        expiry: Duration::from_mins(10),
        label: label.to_owned(),
        hold_hash: None,
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_network_but_regtest_is_refused_with_the_fix() {
    let (_temp, dir) = folder();
    for network in [Network::Bitcoin, Network::Testnet, Network::Signet] {
        let error = SandboxWallet::open(&dir, network).unwrap_err();
        assert!(error.to_string().contains("set wallet.network to regtest"));
    }
    assert!(!dir.exists(), "a refused sandbox leaves nothing behind");
}

#[tokio::test]
async fn an_invoice_passes_the_check_and_is_pending_until_paid() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    let issued = wallet.create(ask("vend:1")).await.unwrap();
    let expected = Expected {
        amount: Msat(21_500),
        network: Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: Duration::from_mins(10),
    };
    let checked = check(&issued.bolt11, &expected, Time::now()).unwrap();
    assert_eq!(Some(checked.payee), wallet.health().await.identity);
    assert!(
        issued
            .bolt11
            .parse::<lightning_invoice::Bolt11Invoice>()
            .is_ok(),
        "strict readers take it too"
    );
    assert_eq!(
        wallet.lookup(issued.clone()).await.unwrap(),
        PaymentStatus::Pending
    );

    let payment = SandboxPayer::open(&dir)
        .unwrap()
        .pay(&issued.bolt11)
        .unwrap();
    assert!(payment.preimage.unwrap().opens(&issued.payment_hash));
    assert_eq!(payment.amount, Msat(21_500));
    let PaymentStatus::Paid {
        amount,
        at,
        preimage,
        ..
    } = wallet.lookup(issued.clone()).await.unwrap()
    else {
        panic!("paid");
    };
    assert!(at.is_some());
    let verdict = judge(
        &issued.payment_hash,
        Msat(21_500),
        amount,
        preimage.as_ref(),
    );
    assert_eq!(
        verdict,
        Verdict::Paid {
            amount: Msat(21_500),
            named: true
        }
    );
}

#[tokio::test]
async fn a_second_invoice_under_a_label_is_the_first_even_after_a_restart() {
    let (_temp, dir) = folder();
    let first = wallet(&dir).create(ask("vend:1")).await.unwrap();
    let again = wallet(&dir);
    assert_eq!(again.create(ask("vend:1")).await.unwrap(), first);
    assert_eq!(
        again.find_by_label("vend:1".to_owned()).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(
        again.find_by_label("vend:2".to_owned()).await.unwrap(),
        None
    );
    assert_ne!(again.create(ask("vend:2")).await.unwrap(), first);
}

#[tokio::test]
async fn many_asks_under_one_label_at_once_make_one_invoice() {
    let (_temp, dir) = folder();
    let (one, two) = (wallet(&dir), wallet(&dir));
    let asks = (0..16).map(|i| if i % 2 == 0 { &one } else { &two }.create(ask("vend:1")));
    let made: Vec<_> = futures::future::join_all(asks)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(made.iter().all(|issued| *issued == made[0]));
    let files = std::fs::read_dir(&dir).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "json")
    });
    assert_eq!(files.count(), 1);
}

#[tokio::test]
async fn paying_twice_pays_once() {
    let (_temp, dir) = folder();
    let issued = wallet(&dir).create(ask("vend:1")).await.unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let payer = SandboxPayer::open(&dir).unwrap();
            let bolt11 = issued.bolt11.clone();
            std::thread::spawn(move || payer.pay(&bolt11))
        })
        .collect();
    let outcomes: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(PayError::AlreadyPaid)));
    assert_eq!(refused.count(), 7);
}

#[tokio::test]
async fn a_payment_in_this_process_is_hinted_to_every_open_wallet() {
    let (_temp, dir) = folder();
    let (one, two) = (wallet(&dir), wallet(&dir));
    let issued = one.create(ask("vend:1")).await.unwrap();
    SandboxPayer::open(&dir)
        .unwrap()
        .pay(&issued.bolt11)
        .unwrap();
    assert_eq!(one.next_hint().await, Some(issued.payment_hash));
    assert_eq!(two.next_hint().await, Some(issued.payment_hash));
}

#[tokio::test]
async fn a_hint_wakes_a_wallet_that_waits() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    let issued = wallet.create(ask("vend:1")).await.unwrap();
    let payer = SandboxPayer::open(&dir).unwrap();
    let pay = async {
        payer
            .pay(&issued.bolt11)
            .map(|payment| payment.payment_hash)
    };
    let (hint, paid) = tokio::join!(wallet.next_hint(), pay);
    assert_eq!(hint, Some(paid.unwrap()));
}

#[tokio::test]
async fn too_many_hints_become_one_look_at_all() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    let hash = |n: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        PaymentHash(crate::domain::Hex32(bytes))
    };
    for n in 0..300 {
        hints::tell(&dir.canonicalize().unwrap(), hash(n));
    }
    assert_eq!(wallet.next_hint().await, None);
    // The same one twice is one look.
    hints::tell(&dir.canonicalize().unwrap(), hash(300));
    hints::tell(&dir.canonicalize().unwrap(), hash(300));
    hints::tell(&dir.canonicalize().unwrap(), hash(301));
    assert_eq!(wallet.next_hint().await, Some(hash(300)));
    assert_eq!(wallet.next_hint().await, Some(hash(301)));
}

#[tokio::test]
async fn a_payment_by_another_process_is_found_by_looking() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    let issued = wallet.create(ask("vend:1")).await.unwrap();
    // The books alone, with no hint, are what another process shares with us.
    Book::open(&dir)
        .unwrap()
        .pay(&issued.bolt11, Time::now())
        .unwrap();
    assert!(matches!(
        wallet.lookup(issued).await.unwrap(),
        PaymentStatus::Paid { .. }
    ));
}

#[test]
fn an_expired_invoice_is_expired_and_takes_no_money_but_a_paid_one_stays_paid() {
    let (_temp, dir) = folder();
    let book = Book::open(&dir).unwrap();
    let late = NOW.plus(Duration::from_mins(10));
    let one = book.issue(&ask("vend:1"), NOW).unwrap();
    let two = book.issue(&ask("vend:2"), NOW).unwrap();
    book.pay(&one.bolt11, late.minus(Duration::from_millis(1)))
        .unwrap();
    assert!(matches!(
        book.look(&one.payment_hash, late).unwrap(),
        Entry::Paid { .. }
    ));
    assert!(matches!(
        book.look(&two.payment_hash, late).unwrap(),
        Entry::Expired
    ));
    assert!(matches!(
        book.pay(&two.bolt11, late),
        Err(PayError::Expired)
    ));
}

#[test]
fn a_label_whose_invoice_expired_unpaid_is_free_again_and_a_paid_one_is_not() {
    let (_temp, dir) = folder();
    let book = Book::open(&dir).unwrap();
    let late = NOW.plus(Duration::from_mins(10));
    let unpaid = book.issue(&ask("vend:1"), NOW).unwrap();
    let paid = book.issue(&ask("vend:2"), NOW).unwrap();
    book.pay(&paid.bolt11, NOW).unwrap();
    assert!(book.find("vend:1", late).unwrap().is_none());
    assert_ne!(
        book.issue(&ask("vend:1"), late).unwrap().bolt11,
        unpaid.bolt11
    );
    assert_eq!(
        book.issue(&ask("vend:2"), late).unwrap().bolt11,
        paid.bolt11
    );
}

#[test]
fn another_sandboxs_invoice_and_other_text_are_not_paid() {
    let ((_a, here), (_b, there)) = (folder(), folder());
    let other = Book::open(&there)
        .unwrap()
        .issue(&ask("vend:1"), NOW)
        .unwrap();
    let payer = SandboxPayer::open(&here).unwrap();
    assert!(matches!(
        payer.pay(&other.bolt11),
        Err(PayError::NotOurs(_))
    ));
    assert!(matches!(payer.pay("lnbc1"), Err(PayError::BadInvoice(_))));
}

#[tokio::test]
async fn an_invoice_for_nothing_for_too_much_or_for_no_time_is_refused() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    for new in [
        NewInvoice {
            amount: Msat::ZERO,
            ..ask("a")
        },
        NewInvoice {
            amount: Msat(u64::MAX),
            ..ask("b")
        },
        NewInvoice {
            expiry: Duration::ZERO,
            ..ask("c")
        },
    ] {
        assert!(matches!(
            wallet.create(new).await,
            Err(WalletError::Rejected(_))
        ));
    }
    let long = NewInvoice {
        memo: "é".repeat(1_000),
        ..ask("d")
    };
    assert!(wallet.create(long).await.is_ok(), "a long memo is cut");
}

#[tokio::test]
async fn an_invoice_that_is_not_in_the_books_is_unknown() {
    let (_temp, dir) = folder();
    let (_other, elsewhere) = folder();
    let foreign = wallet(&elsewhere).create(ask("vend:1")).await.unwrap();
    assert_eq!(
        wallet(&dir).lookup(foreign).await.unwrap(),
        PaymentStatus::Unknown
    );
}

#[tokio::test]
async fn its_files_are_private_and_its_key_is_kept() {
    let (_temp, dir) = folder();
    let first = wallet(&dir);
    first.create(ask("vend:1")).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    for entry in std::fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    let id = first.health().await.identity;
    assert_eq!(wallet(&dir).health().await.identity, id);
}

#[test]
fn a_key_whose_writing_was_cut_off_is_made_anew_and_a_damaged_one_is_named() {
    let (_temp, dir) = folder();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("node-key"), "abcd").unwrap();
    assert!(SandboxWallet::open(&dir, Network::Regtest).is_ok());
    std::fs::write(dir.join("node-key"), "z".repeat(64)).unwrap();
    let error = SandboxWallet::open(&dir, Network::Regtest).unwrap_err();
    assert!(matches!(error, SandboxError::DamagedKey(_)));
}

#[tokio::test]
async fn its_health_says_play_money_and_a_lost_folder_is_down() {
    let (temp, dir) = folder();
    let wallet = wallet(&dir);
    let health = wallet.health().await;
    assert!(health.sandbox);
    assert_eq!(health.health, HealthLevel::Ok);
    assert_eq!(health.detail, "play money: no real sats move");
    assert_eq!(health.network.as_deref(), Some("regtest"));
    drop(temp);
    assert_eq!(wallet.health().await.health, HealthLevel::Down);
}

#[test]
fn no_debug_shows_a_key_or_a_preimage() {
    let (_temp, dir) = folder();
    let book = Book::open(&dir).unwrap();
    let record = book.issue(&ask("vend:1"), NOW).unwrap();
    let key = std::fs::read_to_string(dir.join("node-key")).unwrap();
    let shown = format!("{book:?} {record:?}");
    assert!(!shown.contains(&key) && !shown.contains(&record.preimage().unwrap().0.to_string()));
}
