//! The process dies at every named point, in every mode, with every class of wallet, and is started again: one published
//! invoice, one result, no payment lost, none invented, none taken without its work, none kept that should go back.

#[path = "../support/fake_cln.rs"]
mod fake_cln;
#[path = "../support/fake_lnd.rs"]
mod fake_lnd;
#[path = "../support/fake_node.rs"]
mod fake_node;
#[path = "../support/fake_ollama.rs"]
mod fake_ollama;
#[path = "../support/fake_phoenixd.rs"]
mod fake_phoenixd;
#[path = "../support/fake_relay.rs"]
mod fake_relay;
#[path = "../support/fake_wallet.rs"]
mod fake_wallet;
#[path = "../support/shop.rs"]
mod shop;
mod wallets;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use fake_ollama::{FakeOllama, Fault};
use fake_relay::FakeRelay;
use futures::StreamExt;
use nostr::Keys;
use serde_json::Value;
use shop::{Home, Running, answers, bolt11};
use vend::domain::job::Encryption;
use vend::engine::crash::POINTS;
use wallets::{Class, WalletHandle};

/// A bound for what should take a second or two, on a machine that does other things as well.
const LONGEST: Duration = Duration::from_secs(60);
/// Shops at once.
const AT_ONCE: usize = 6;
const SIGABRT: i32 = 6;

/// Points that only a held payment passes, and of those the ones that only one that goes back does.
const OF_HOLDS: [&str; 8] = [
    "held.before",
    "held.after",
    "hold.before_settle",
    "hold.after_settle",
    "hold.before_cancel",
    "hold.after_cancel",
    "given_back.before",
    "given_back.after",
];
const OF_RETURNS: [&str; 4] = [
    "hold.before_cancel",
    "hold.after_cancel",
    "given_back.before",
    "given_back.after",
];
/// What a job whose work fails passes as well.
const BEFORE_FAILURE: [&str; 10] = [
    "admit.before",
    "admit.after",
    "wallet.before_create",
    "wallet.after_create",
    "invoiced.before",
    "invoiced.after",
    "held.before",
    "held.after",
    "started.before",
    "started.after",
];

#[derive(Clone, Copy, Debug)]
struct Case {
    point: &'static str,
    mode: &'static str,
    class: Class,
    scheme: Encryption,
    /// Does the work fail, so that the payment goes back?
    fails: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = |point, mode, class, fails| Case {
        point,
        mode,
        class,
        scheme: Encryption::Plain,
        fails,
    };
    let of_all = POINTS.iter().filter(|point| !OF_HOLDS.contains(point));
    for point in of_all {
        for mode in ["after", "before", "credit"] {
            for scheme in [Encryption::Plain, Encryption::Nip04, Encryption::Nip44] {
                let class = Class::Lnbits;
                cases.push(Case {
                    scheme,
                    ..plain(*point, mode, class, false)
                });
            }
            for class in [Class::Phoenixd, Class::Cln, Class::Sandbox, Class::Lnd] {
                cases.push(plain(*point, mode, class, false));
            }
        }
    }
    for class in [Class::Sandbox, Class::Lnd] {
        for point in POINTS.iter().filter(|point| !OF_RETURNS.contains(point)) {
            cases.push(plain(*point, "hold", class, false));
        }
        for point in OF_RETURNS.iter().chain(&BEFORE_FAILURE) {
            cases.push(plain(*point, "hold", class, true));
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_loses_nothing_and_doubles_nothing() {
    let only = std::env::var("VEND_CRASH_ONLY").unwrap_or_default();
    let mut cases = cases();
    cases.retain(|case| format!("{case:?}").contains(&only));
    let all = cases.len();
    let outcomes: Vec<_> = futures::stream::iter(cases)
        .map(|case| async move {
            let outcome = tokio::spawn(run(case)).await;
            let outcome = outcome.unwrap_or_else(|error| Err(error.to_string()));
            (case, outcome)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut reached: BTreeMap<&str, u32> = POINTS.iter().map(|point| (*point, 0)).collect();
    let mut wrong = Vec::new();
    for (case, outcome) in outcomes {
        match outcome {
            Ok(()) => *reached.entry(case.point).or_default() += 1,
            Err(why) => wrong.push(format!("{case:?}: {why}")),
        }
    }
    println!(
        "{} of {all} crashes resumed; reached: {reached:?}",
        all - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let everywhere = reached.values().all(|count| *count > 0);
    assert!(everywhere || !only.is_empty(), "{reached:?}");
}

/// The parts that outlive the shop.
struct World {
    case: Case,
    home: Home,
    relay: FakeRelay,
    handle: WalletHandle,
    request: String,
    _model: FakeOllama,
}

async fn world(case: Case) -> World {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let (handle, wallet) = WalletHandle::start(case.class, &home);
    let model = FakeOllama::start().await;
    let (name, endpoint) = if case.fails {
        model.set(Fault::TooLong);
        let url = model.url();
        (
            "gemma2:latest",
            format!("kind = \"ollama\"\nurl = \"{url}\"\n"),
        )
    } else {
        ("vend-tiny", "kind = \"builtin\"\n".to_owned())
    };
    home.configure_with(case.mode, relay.url().as_str(), &wallet, name, &endpoint);
    let request = home.request(&Keys::generate(), case.scheme, "What is Nostr?");
    relay.inject(&request);
    World {
        case,
        home,
        relay,
        handle,
        request: request.id.to_hex(),
        _model: model,
    }
}

async fn run(case: Case) -> Result<(), String> {
    let world = world(case).await;
    let first = world.home.run(Some(case.point));
    let died = async {
        let Running {
            mut child,
            mut lines,
        } = first;
        // Read to the end, so that a full pipe never holds the shop up.
        while let Ok(Some(_)) = lines.next_line().await {}
        child.wait().await
    };
    let paying = world.pay_when_asked();
    tokio::pin!(paying);
    let mut paid = None;
    // A buyer who pays at once makes the relay's yes old news: the payment shows already that the result has arrived.
    let waits = case.point.starts_with("accepted") && ["after", "credit"].contains(&case.mode);
    let bound = tokio::time::sleep(LONGEST);
    tokio::pin!(died, bound);
    let status = loop {
        tokio::select! {
            status = &mut died => break status.map_err(|e| e.to_string())?,
            outcome = &mut paying, if paid.is_none() && !waits => paid = Some(outcome?),
            () = &mut bound => return Err("the point was never reached".to_owned()),
        }
    };
    if status.signal() != Some(SIGABRT) {
        return Err(format!(
            "it ended by {status} instead of dying at the point"
        ));
    }

    let mut second = world.home.run(None);
    let settled = async {
        if paid.is_none() {
            paying.await?;
        }
        world.until_settled(&mut second).await
    };
    let settled = tokio::time::timeout(LONGEST, settled).await;
    settled.map_err(|_| "the second run did not settle the job".to_owned())??;
    second.child.kill().await.map_err(|e| e.to_string())?;
    world.audit().await
}

impl World {
    /// The buyer: pays the first invoice that reaches the relay, once.
    async fn pay_when_asked(&self) -> Result<(), String> {
        let event = self
            .relay
            .wait_for(|event| bolt11(event).is_some(), LONGEST * 2)
            .await
            .ok_or("no invoice reached the relay")?;
        let invoice = bolt11(&event).ok_or("the invoice is gone")?;
        self.handle.pay(&invoice)
    }

    /// Looks at the ledger at the start and whenever the shop tells something.
    async fn until_settled(&self, running: &mut Running) -> Result<(), String> {
        loop {
            let settled = if self.case.fails {
                self.was_given_back().await
            } else {
                let jobs = self.home.jobs().await;
                jobs.iter().any(|job| job["status"] == "paid")
            };
            if settled {
                return Ok(());
            }
            match running.lines.next_line().await {
                Ok(Some(_)) => {}
                _ => return Err("the second run ended".to_owned()),
            }
        }
    }

    async fn was_given_back(&self) -> bool {
        // Not admitted yet: there is nothing to show.
        let Some(shown) = self.home.show(&self.request).await else {
            return false;
        };
        let lines = shown["timeline"].as_array();
        lines.is_some_and(|lines| lines.iter().any(|line| line["what"] == "given_back"))
    }

    async fn audit(&self) -> Result<(), String> {
        let case = self.case;
        let seller = self.home.seller.public_key();
        let of_ours: Vec<_> = self
            .relay
            .events()
            .into_iter()
            .filter(|event| {
                event.pubkey == seller && answers(event).as_deref() == Some(&self.request)
            })
            .collect();
        let results: BTreeSet<_> = of_ours
            .iter()
            .filter(|event| event.kind.as_u16() == 6050)
            .map(|event| event.id)
            .collect();
        let invoices: BTreeSet<_> = of_ours.iter().filter_map(bolt11).collect();
        let books = self.handle.books();
        let jobs = self.home.jobs().await;
        let sum = |key: &str| -> Vec<u64> {
            let said = jobs.iter().filter_map(|job: &Value| job[key].as_u64());
            said.filter(|msat| *msat > 0).collect()
        };
        let (said, owed) = (sum("paid_msat"), sum("owed_to_buyer_msat"));
        let wanted = usize::from(!case.fails);
        // Only a wallet that keeps neither labels nor hashes may have an invoice left over that nobody ever saw.
        let orphans = case.class == Class::Lnd && case.mode != "hold";
        let right = jobs.len() == 1
            && results.len() == wanted
            && invoices.len() == 1
            && (books.made == 1 || orphans)
            && books.taken == said
            && said.len() == wanted
            && owed.is_empty()
            && books.held == 0;
        if right {
            return Ok(());
        }
        Err(format!(
            "{} jobs, {} results, {} published invoices; the wallet {books:?}, the ledger says {said:?} paid, {owed:?} owed",
            jobs.len(),
            results.len(),
            invoices.len()
        ))
    }
}

/// What is left of a first payment is used by a second request, in the middle of which the process dies.
async fn run_with_balance(point: &str, mode: &str) -> Result<(), String> {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let class = Class::Sandbox;
    let (handle, wallet) = WalletHandle::start(class, &home);
    let builtin = "kind = \"builtin\"\n";
    home.configure_with(mode, relay.url().as_str(), &wallet, "vend-tiny", builtin);
    // A sat for each token: what is asked is more than what is used.
    let text = std::fs::read_to_string(home.config()).map_err(|e| e.to_string())?;
    home.write_config(&format!(
        "{text}[price]\nmin_price_sats = 1\nprice_per_1k_tokens = 1000\n"
    ));
    let buyer = Keys::generate();
    let mut said = Vec::new();
    for crash_at in [None, Some(point)] {
        // Two requests of one second are two.
        let prompt = format!("What is Nostr? {}", said.len());
        let request = home.request(&buyer, Encryption::Plain, &prompt);
        let id = request.id.to_hex();
        let mut shop = home.run(crash_at);
        relay.inject(&request);
        let pays = async {
            let is = |event: &nostr::Event| {
                answers(event).as_deref() == Some(&id) && bolt11(event).is_some()
            };
            let asked = relay.wait_for(is, LONGEST * 2).await;
            let invoice = asked.and_then(|event| bolt11(&event));
            handle.pay(&invoice.ok_or("no invoice reached the relay")?)
        };
        tokio::pin!(pays);
        let mut paid = false;
        if crash_at.is_some() {
            let status = {
                let died = async {
                    while let Ok(Some(_)) = shop.lines.next_line().await {}
                    shop.child.wait().await
                };
                tokio::pin!(died);
                let bound = tokio::time::sleep(LONGEST);
                tokio::pin!(bound);
                loop {
                    tokio::select! {
                        status = &mut died => break status.map_err(|e| e.to_string())?,
                        outcome = &mut pays, if !paid => { outcome?; paid = true; }
                        () = &mut bound => return Err("the point was never reached".to_owned()),
                    }
                }
            };
            if status.signal() != Some(SIGABRT) {
                return Err(format!("it ended by {status}"));
            }
            shop = home.run(None);
        }
        let settled = async {
            if !paid {
                pays.await?;
            }
            loop {
                let shown = home.show(&id).await.unwrap_or_default();
                if shown["status"] == "paid" {
                    return Ok(shown);
                }
                if !matches!(shop.lines.next_line().await, Ok(Some(_))) {
                    return Err("the shop ended".to_owned());
                }
            }
        };
        let job = tokio::time::timeout(LONGEST, settled).await;
        said.push(job.map_err(|_| "the job was not settled".to_owned())??);
        shop.child.kill().await.map_err(|e| e.to_string())?;
    }
    let sum = |key: &str| -> u64 { said.iter().filter_map(|job| job[key].as_u64()).sum() };
    let (paid, price) = (sum("paid_msat"), sum("price_msat"));
    let balance = home.balance_of(&buyer.public_key()).await;
    let books = handle.books();
    let used = said[1]["balance_used_msat"].as_u64().unwrap_or(0);
    let right = books.taken.iter().sum::<u64>() == paid
        && books.taken.len() == 2
        && books.held == 0
        && used > 0
        && balance == Some(paid - price);
    if right {
        return Ok(());
    }
    Err(format!(
        "paid {paid}, price {price}, used {used}, balance {balance:?}; the wallet {books:?}"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_a_balance_is_used_keeps_what_is_left() {
    let mut cases = Vec::new();
    for point in POINTS.iter().filter(|point| !OF_HOLDS.contains(point)) {
        cases.push((*point, "before"));
    }
    for point in POINTS.iter().filter(|point| !OF_RETURNS.contains(point)) {
        cases.push((*point, "hold"));
    }
    let all = cases.len();
    let outcomes: Vec<_> = futures::stream::iter(cases)
        .map(|(point, mode)| async move {
            let outcome = tokio::spawn(run_with_balance(point, mode)).await;
            let outcome = outcome.unwrap_or_else(|error| Err(error.to_string()));
            outcome.map_err(|why| format!("{point} in mode {mode}: {why}"))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    println!("{} of {all} crashes kept the balance", all - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
