//! The wall clock is moved under the real binary: while it starts, between a request and its payment, and while a payment is
//! awaited. At no moment is it green and deaf; and when the clock is right again, everything is where it would have been.

#[path = "support/fake_cln.rs"]
mod fake_cln;
#[path = "support/fake_lnd.rs"]
mod fake_lnd;
#[path = "support/fake_node.rs"]
mod fake_node;
#[path = "support/fake_phoenixd.rs"]
mod fake_phoenixd;
#[path = "support/fake_relay.rs"]
mod fake_relay;
#[path = "support/fake_wallet.rs"]
mod fake_wallet;
#[path = "support/shop.rs"]
mod shop;
#[path = "crash/wallets.rs"]
#[allow(dead_code, reason = "two classes are enough here")]
mod wallets;

use std::time::Duration;

use fake_relay::FakeRelay;
use futures::StreamExt;
use nostr::{Event, Keys};
use serde_json::Value;
use shop::{Home, Running, answers, bolt11};
use vend::domain::job::Encryption;
use wallets::{Class, WalletHandle};

/// A bound for what should take seconds, on a machine that does other things as well.
const LONGEST: Duration = Duration::from_secs(60);
/// Shops at once.
const AT_ONCE: usize = 4;

const SEC: i64 = 1_000;
const MINUTE: i64 = 60 * SEC;
const HOUR: i64 = 60 * MINUTE;
const JUMPS: [i64; 7] = [
    3 * SEC,
    11 * MINUTE,
    2 * HOUR,
    24 * HOUR,
    -11 * MINUTE,
    -2 * HOUR,
    -24 * HOUR,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// The clock is wrong when the program starts.
    AtStart,
    /// It jumps when the buyer has the invoice; the buyer pays while it is wrong.
    BeforePayment,
    /// It jumps there and back while the buyer has the invoice, and the buyer pays then.
    WhileUnpaid,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    jump: i64,
    mode: &'static str,
    moment: Moment,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for jump in JUMPS {
        for moment in [Moment::AtStart, Moment::BeforePayment, Moment::WhileUnpaid] {
            for mode in ["after", "before", "hold"] {
                // The same for each moment would take long: one jump each way in hold mode.
                if mode != "hold" || jump.abs() == 2 * HOUR {
                    cases.push(Case { jump, mode, moment });
                }
            }
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_jump_of_the_clock_loses_a_sale_or_leaves_it_green_and_deaf() {
    let only = std::env::var("VEND_CLOCKS_ONLY").unwrap_or_default();
    let mut cases = cases();
    cases.retain(|case| format!("{case:?}").contains(&only));
    assert!(cases.len() >= 40 || !only.is_empty());
    let all = cases.len();
    let outcomes: Vec<_> = futures::stream::iter(cases)
        .map(|case| async move {
            let outcome = tokio::spawn(run(case)).await;
            (case, outcome.unwrap_or_else(|error| Err(error.to_string())))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let wrong: Vec<String> = outcomes
        .into_iter()
        .filter_map(|(case, outcome)| Some(format!("{case:?}: {}", outcome.err()?)))
        .collect();
    println!("{} of {all} schedules ended right", all - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct World {
    home: Home,
    relay: FakeRelay,
    handle: WalletHandle,
    shop: Running,
}

async fn run(case: Case) -> Result<(), String> {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let class = if case.mode == "hold" {
        Class::Lnd
    } else {
        Class::Lnbits
    };
    let (handle, wallet) = WalletHandle::start(class, &home);
    let builtin = "kind = \"builtin\"\n";
    home.configure_with(
        case.mode,
        relay.url().as_str(),
        &wallet,
        "vend-tiny",
        builtin,
    );
    let wrong_at_start = case.moment == Moment::AtStart;
    home.set_clock(if wrong_at_start { case.jump } else { 0 });
    let mut world = World {
        shop: home.run(None),
        home,
        relay,
        handle,
    };
    let online = |event: &Value| event["event"] == "state" && is_open(event);
    world.until("it is open", online).await?;
    let first = world.ask();
    if wrong_at_start {
        world.heard_or_said(&first).await?;
        world.home.set_clock(0);
    } else {
        let invoice = world.invoice(&first).await?;
        world.home.set_clock(case.jump);
        world.until("the jump is noticed", is_step).await?;
        if case.moment == Moment::WhileUnpaid {
            world.home.set_clock(0);
            world.until("the way back is noticed", is_step).await?;
        }
        world.handle.pay(&invoice)?;
        world.paid(&first).await?;
        world.home.set_clock(0);
    }
    if wrong_at_start {
        let invoice = world.invoice(&first).await?;
        world.handle.pay(&invoice)?;
        world.paid(&first).await?;
    }
    // And the shop hears what comes next.
    let next = world.ask();
    let invoice = world.invoice(&next).await?;
    world.handle.pay(&invoice)?;
    world.paid(&next).await?;
    world.shop.child.kill().await.map_err(|e| e.to_string())?;
    let jobs = world.home.jobs().await;
    let paid = jobs.iter().filter(|job| job["status"] == "paid").count();
    let books = world.handle.books();
    if paid == 2 && books.taken.len() == 2 && books.held == 0 {
        return Ok(());
    }
    Err(format!("{jobs:?}; the wallet {books:?}"))
}

fn is_open(event: &Value) -> bool {
    event["state"] == "online" || event["state"] == "degraded"
}

fn is_step(event: &Value) -> bool {
    event["event"] == "notice"
        && event["category"] == "clock"
        && event["message"]
            .as_str()
            .is_some_and(|m| m.contains("was set"))
}

/// The button is not green, and says that it is the clock.
fn blames_the_clock(event: &Value) -> bool {
    event["event"] == "state"
        && event["state"] == "degraded"
        && event["detail"]
            .as_str()
            .is_some_and(|d| d.contains("clock"))
}

impl World {
    fn ask(&self) -> Event {
        let request = self
            .home
            .request(&Keys::generate(), Encryption::Plain, "What is Nostr?");
        self.relay.inject(&request);
        request
    }

    async fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<(), String> {
        let reading = async {
            while let Ok(Some(line)) = self.shop.lines.next_line().await {
                if serde_json::from_str(&line).is_ok_and(|event| fits(&event)) {
                    return Ok(());
                }
            }
            Err(format!("it ended before {what}"))
        };
        let read = tokio::time::timeout(LONGEST, reading).await;
        read.unwrap_or_else(|_| Err(format!("not seen: {what}")))
    }

    fn is_invoice(request: &Event) -> impl Fn(&Event) -> bool {
        let id = request.id.to_hex();
        move |event| answers(event).as_deref() == Some(&id) && bolt11(event).is_some()
    }

    async fn invoice(&self, request: &Event) -> Result<String, String> {
        let event = self
            .relay
            .wait_for(Self::is_invoice(request), LONGEST)
            .await;
        event
            .and_then(|event| bolt11(&event))
            .ok_or_else(|| "no invoice came".to_owned())
    }

    /// The request is sold, or the button says why not.
    async fn heard_or_said(&mut self, request: &Event) -> Result<(), String> {
        let relay = self.relay.clone();
        tokio::select! {
            found = relay.wait_for(Self::is_invoice(request), LONGEST) => {
                found.map(drop).ok_or_else(|| "green and deaf".to_owned())
            }
            said = self.until("the clock is blamed", blames_the_clock) => said,
        }
    }

    async fn paid(&mut self, request: &Event) -> Result<(), String> {
        let id = request.id.to_hex();
        let is =
            |event: &Value| event["job"]["id"] == id.as_str() && event["job"]["status"] == "paid";
        self.until("it is paid", is).await?;
        let result =
            |event: &Event| event.kind.as_u16() == 6050 && answers(event).as_deref() == Some(&id);
        let found = self.relay.wait_for(result, LONGEST).await;
        found.map(drop).ok_or_else(|| "no result came".to_owned())
    }
}
