use nostr::hashes::{Hash, sha256};

use super::*;
use crate::domain::Hex32;

/// A preimage, and a hold invoice for it.
async fn hold(wallet: &SandboxWallet, label: &str) -> (Preimage, Issued) {
    let preimage = Preimage(Hex32(rand::random()));
    let hash = sha256::Hash::hash(&preimage.0.0).to_byte_array();
    let new = NewInvoice {
        hold_hash: Some(PaymentHash(Hex32(hash))),
        ..ask(label)
    };
    let issued = wallet.create(new).await.unwrap();
    (preimage, issued)
}

#[tokio::test]
async fn a_held_payment_is_the_sellers_only_once_it_is_settled() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    let (preimage, issued) = hold(&wallet, "vend:1").await;
    assert!(preimage.opens(&issued.payment_hash));
    let early = wallet.settle(preimage).await;
    assert!(matches!(early, Err(WalletError::Rejected(_))), "{early:?}");

    let payer = SandboxPayer::open(&dir).unwrap();
    assert_eq!(payer.pay(&issued.bolt11).unwrap().preimage, None);
    let amount = Some(Msat(21_500));
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Held { amount })
    );
    let twice = payer.pay(&issued.bolt11);
    assert!(matches!(twice, Err(PayError::AlreadyPaid)), "{twice:?}");

    // Twice, as after a crash.
    wallet.settle(preimage).await.unwrap();
    wallet.settle(preimage).await.unwrap();
    let Ok(PaymentStatus::Paid {
        preimage: proof, ..
    }) = wallet.lookup(issued.clone()).await
    else {
        panic!("paid");
    };
    assert_eq!(proof, Some(preimage));
    let late = wallet.cancel(issued).await;
    assert!(matches!(late, Err(WalletError::Rejected(_))), "{late:?}");
}

#[tokio::test]
async fn what_is_canceled_can_be_neither_paid_nor_settled() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    let payer = SandboxPayer::open(&dir).unwrap();
    let (preimage, held) = hold(&wallet, "vend:1").await;
    payer.pay(&held.bolt11).unwrap();
    let (_, open) = hold(&wallet, "vend:2").await;
    for issued in [held, open] {
        wallet.cancel(issued.clone()).await.unwrap();
        wallet.cancel(issued.clone()).await.unwrap();
        assert_eq!(
            wallet.lookup(issued.clone()).await,
            Ok(PaymentStatus::Canceled)
        );
        let paid = payer.pay(&issued.bolt11);
        assert!(matches!(paid, Err(PayError::Canceled)), "{paid:?}");
    }
    assert!(wallet.settle(preimage).await.is_err());
    assert_eq!(wallet.find_by_label("vend:1".to_owned()).await, Ok(None));
}

#[tokio::test]
async fn one_payment_hash_has_one_hold_invoice() {
    let (_temp, dir) = folder();
    let wallet = wallet(&dir);
    let (_, first) = hold(&wallet, "vend:1").await;
    let again = NewInvoice {
        hold_hash: Some(first.payment_hash),
        ..ask("vend:1")
    };
    assert_eq!(wallet.create(again).await, Ok(first.clone()));
    let other = NewInvoice {
        hold_hash: Some(first.payment_hash),
        ..ask("vend:2")
    };
    let another = NewInvoice {
        hold_hash: Some(PaymentHash(Hex32([7; 32]))),
        ..ask("vend:1")
    };
    for new in [other, another] {
        let refused = wallet.create(new).await;
        assert!(
            matches!(refused, Err(WalletError::Rejected(_))),
            "{refused:?}"
        );
    }
}
