use nostr::{Keys, PublicKey, SecretKey};
use proptest::prelude::*;

use super::*;

const RATES: Rates = Rates { all: 60, each: 6 };

fn buyer(n: u64) -> Buyer {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    let key: PublicKey = Keys::new(SecretKey::from_slice(&bytes).unwrap()).public_key();
    Buyer(key)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn one_buyer_alone_may_use_every_place() {
    for buyers in [0, 1] {
        let standing = Standing {
            paid_before: false,
            anybody_paid: false,
            mine: 31,
            buyers,
        };
        assert_eq!(kept_free(32, standing), 0);
    }
}

#[test]
fn places_are_kept_only_for_those_above() {
    let kept = |paid_before, mine| {
        let standing = Standing {
            paid_before,
            anybody_paid: true,
            mine,
            buyers: 6,
        };
        kept_free(60, standing)
    };
    assert_eq!([kept(true, 0), kept(true, 5), kept(true, 50)], [0, 15, 15]);
    assert_eq!([kept(false, 0), kept(false, 50)], [20, 40]);
}

#[test]
fn one_buyer_gets_six_at_once_and_one_every_ten_seconds() {
    let mut gate = Gate::default();
    let mut ask = |at| gate.pass(buyer(1), false, false, RATES, secs(at));
    assert_eq!((0..9).filter(|_| ask(0)).count(), 6);
    assert!(!ask(9));
    assert!(ask(10) && !ask(10));
    assert_eq!((0..9).filter(|_| ask(200)).count(), 6);
}

#[test]
fn all_buyers_together_get_what_the_setting_says() {
    let mut gate = Gate::default();
    let mut n = 0;
    let mut ask = |at| {
        n += 1;
        gate.pass(buyer(n), false, false, RATES, secs(at))
    };
    assert_eq!((0..100).filter(|_| ask(0)).count(), 60);
    assert_eq!((0..100).filter(|_| ask(30)).count(), 30);
}

#[test]
fn a_changed_limit_holds_from_the_next_request() {
    let mut gate = Gate::default();
    assert!(gate.pass(buyer(1), false, false, Rates { all: 1, each: 1 }, secs(0)));
    assert!(!gate.pass(buyer(1), false, false, Rates { all: 1, each: 1 }, secs(1)));
    assert!(!gate.pass(buyer(2), false, false, Rates { all: 1, each: 1 }, secs(1)));
    assert!(gate.pass(buyer(2), false, false, Rates { all: 60, each: 6 }, secs(2)));
}

#[test]
fn a_flood_of_fresh_keys_leaves_those_who_paid_whole() {
    let mut gate = Gate::default();
    let (mut served, mut let_in) = (0, 0);
    for tick in 0_u64..1_200 {
        // A hundred fresh keys a second, and one sale to a known buyer every six.
        let at = Duration::from_millis(tick * 100);
        for n in 0..10 {
            let_in += u32::from(gate.pass(buyer(1_000 + tick * 10 + n), false, true, RATES, at));
        }
        if tick % 60 == 59 {
            served += u32::from(gate.pass(buyer(tick % 7), true, true, RATES, at));
        }
    }
    assert_eq!(served, 20);
    // The flood gets what is left of two minutes and the first moment's stock.
    assert!((120..=160).contains(&let_in), "{let_in}");
    assert!(gate.young.len() <= MOST_BUYERS && gate.old.len() <= MOST_BUYERS);
}

#[test]
fn who_asks_little_is_served_beside_who_asks_much() {
    let mut gate = Gate::default();
    let mut served = 0;
    for second in 0_u64..600 {
        // Eleven keys ask for 62 jobs a minute, and one that nobody knows asks for one.
        gate.pass(buyer(100 + second % 11), false, false, RATES, secs(second));
        if second % 30 == 0 {
            gate.pass(buyer(100), false, false, RATES, secs(second));
        }
        if second % 60 == 59 {
            let fresh = buyer(10_000 + second);
            served += u32::from(gate.pass(fresh, false, false, RATES, secs(second)));
        }
    }
    assert_eq!(served, 10);
}

#[test]
fn a_burst_of_junk_before_ten_honest_orders_takes_none_of_them() {
    let mut gate = Gate::default();
    for n in 0_u64..62 {
        gate.pass(buyer(n % 11), false, false, RATES, secs(0));
    }
    let honest = (0..10).filter(|n| gate.pass(buyer(100 + n), false, false, RATES, secs(1)));
    assert_eq!(honest.count(), 10);
}

#[test]
fn a_burst_of_junk_takes_no_order_of_strangers_where_somebody_paid_before() {
    for key_by_key in [false, true] {
        let mut gate = Gate::default();
        for n in 0_u64..66 {
            let key = if key_by_key { n / 6 } else { n % 11 };
            gate.pass(buyer(key), false, true, RATES, secs(0));
        }
        let honest = (0..10).filter(|n| gate.pass(buyer(100 + n), false, true, RATES, secs(0)));
        assert_eq!(honest.count(), 10, "key by key: {key_by_key}");
    }
}

proptest! {
    #[test]
    fn never_more_than_the_limits_in_any_minute(asks in prop::collection::vec((0_u64..30, any::<bool>(), 0_u64..4_000), 1..400)) {
        let mut gate = Gate::default();
        let mut at = 0;
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (who, paid, wait) in asks {
            at += wait;
            if gate.pass(buyer(who), paid, true, RATES, Duration::from_millis(at)) {
                passed.push((who, at));
            }
        }
        // A stock and what came back meanwhile.
        for (n, (_, first)) in passed.iter().enumerate() {
            let within: Vec<_> = passed[n..].iter().filter(|(_, at)| at - first < 60_000).collect();
            prop_assert!(within.len() <= 120);
            for who in 0..30 {
                prop_assert!(within.iter().filter(|(id, _)| *id == who).count() <= 12);
            }
        }
    }
}
