//! A whole job sold through Alby's own wallet service class over a real relay: what vend's Nostr Wallet Connect client says
//! and reads is judged by a library that wallets use.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use nostr::secp256k1::SecretKey;
use serde_json::{Value, json};

use crate::fake_node::{Accounting, Invoice, Life, NewEntry, hex, now};
use crate::stage::{Buyer, PATIENCE, Place, Server, here, ready, request_of, tools};
use crate::{ANSWER, BUILTIN, QUESTION, bolt11, settled};

/// What a wallet does with an invoice that it is to pay: the proof of payment, hex.
pub type Pays = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The wallet: Alby's service in a process of its own, with books of ours.
pub struct Service {
    child: Child,
    pub uri: String,
    input: Arc<Mutex<ChildStdin>>,
    books: Arc<Mutex<Accounting>>,
    told: Receiver<Value>,
    looked: Receiver<()>,
}

impl Service {
    pub fn start(relay: &str, encryption: &str) -> Self {
        Self::launch(&["--relay", relay, "--encryption", encryption], None)
    }

    /// A buyer's wallet on this network.
    pub fn spending(relay: &str, network: &str, pays: Pays) -> Self {
        let spends = ["--relay", relay, "--spends", "yes", "--network", network];
        Self::launch(&spends, Some(pays))
    }

    /// Pays an invoice of these books from elsewhere.
    pub fn payer(&self) -> Pays {
        let books = self.books.clone();
        Arc::new(move |bolt11| {
            let mut books = books.lock().unwrap();
            books.pay(bolt11, 0, now()).unwrap();
            hex(&books.entry(bolt11).preimage.unwrap())
        })
    }

    fn launch(arguments: &[&str], pays: Option<Pays>) -> Self {
        let mut child = Command::new("node")
            .arg(here().join("wallet_service.mjs"))
            .args(arguments)
            .env("VEND_LIVE_TOOLS", tools())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = Arc::new(Mutex::new(child.stdin.take().unwrap()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let books = Arc::new(Mutex::new(Accounting::default()));
        let (tell, told) = channel();
        let (look, looked) = channel();
        let desk = Desk {
            node: SecretKey::from_slice(&rand::random::<[u8; 32]>()).unwrap(),
            books: books.clone(),
            input: input.clone(),
            tell,
            look,
            pays,
        };
        // Ends with the service's output.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                desk.hear(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            child,
            uri: first["uri"].as_str().unwrap().to_owned(),
            input,
            books,
            told,
            looked,
        }
    }

    /// Somebody pays; nobody tells.
    fn pay(&self, bolt11: &str) -> u64 {
        self.books.lock().unwrap().pay(bolt11, 0, now()).unwrap()
    }

    /// Tells of a payment, truly (`notify`) or not (`forge`), and returns when the relay has it.
    fn tell(&self, how: &str, hash: &str) {
        say(&self.input, &json!({how: hash}));
        assert_eq!(self.told.recv_timeout(PATIENCE).unwrap()["told"], hash);
    }

    /// Waits until the shop has looked so often from now on.
    fn wait_for_looks(&self, count: usize) {
        self.looked.try_iter().for_each(drop);
        for _ in 0..count {
            self.looked.recv_timeout(PATIENCE).unwrap();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended already where it failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(input: &Mutex<ChildStdin>, value: &Value) {
    writeln!(input.lock().unwrap(), "{value}").unwrap();
}

/// Answers the service's questions from the books.
struct Desk {
    node: SecretKey,
    books: Arc<Mutex<Accounting>>,
    input: Arc<Mutex<ChildStdin>>,
    tell: Sender<Value>,
    look: Sender<()>,
    pays: Option<Pays>,
}

impl Desk {
    fn hear(&self, line: Value) {
        let params = &line["params"];
        let result = match line["method"].as_str() {
            Some("make_invoice") => {
                let new = NewEntry {
                    memo: params["description"].as_str().unwrap().to_owned(),
                    amount_msat: params["amount"].as_u64().unwrap(),
                    expiry: params["expiry"].as_u64().unwrap(),
                    ..NewEntry::default()
                };
                show(&self.books.lock().unwrap().make(new, &self.node))
            }
            Some("lookup_invoice") => {
                let books = self.books.lock().unwrap();
                let mut all = books.all().iter();
                let found = all.find(|one| params["payment_hash"] == hex(&one.hash));
                let shown = show(found.unwrap());
                drop(books);
                // A test that has ended asks no more.
                let _ = self.look.send(());
                shown
            }
            Some("pay_invoice") => {
                let pays = self.pays.as_ref().expect("a wallet that spends");
                json!({"preimage": pays(params["invoice"].as_str().unwrap()), "fees_paid": 0})
            }
            _ => {
                let _ = self.tell.send(line);
                return;
            }
        };
        say(&self.input, &json!({"id": line["id"], "result": result}));
    }
}

/// As wallets of the library's users show it: no `state`, which is newer than most of them.
fn show(invoice: &Invoice) -> Value {
    let mut shown = json!({
        "type": "incoming",
        "invoice": invoice.bolt11,
        "payment_hash": hex(&invoice.hash),
        "amount": invoice.amount_msat,
        "created_at": invoice.made_at,
        "expires_at": invoice.expires_at,
    });
    if let Life::Paid { amount_msat, at } = invoice.life {
        shown["amount"] = json!(amount_msat);
        shown["settled_at"] = json!(at);
        shown["preimage"] = json!(invoice.preimage.map(|bytes| hex(&bytes)));
    }
    shown
}

fn sells(test: &str, encryption: &str) {
    if !ready(test, &["relay", "node"]) {
        return;
    }
    let relay = Server::start("relay", &[]).up();
    let wallet = Service::start(&relay.ws(), encryption);
    let settings = format!(
        "[wallet]\nbackend = \"nwc\"\nnetwork = \"regtest\"\nuri = {{ file = \"uri\" }}\n\n{BUILTIN}"
    );
    let place = Place::new(&relay.ws(), "credit", &settings);
    place.secret("uri", &format!("{}\n", wallet.uri));
    let doctor = place.vend(&["doctor", "--json"]);
    let sheet = doctor.json();
    let rows = sheet["checks"].as_array().unwrap();
    let rows: Vec<_> = rows.iter().filter(|row| row["check"] == "wallet").collect();
    assert!(
        rows.len() == 2 && rows.iter().all(|row| row["status"] == "ok"),
        "{sheet}"
    );

    let shop = place.open();
    // Nobody tells of the first payment: it is found by looking.
    let result = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "nip44").result();
    assert_eq!(result["content"], ANSWER);
    let paid = wallet.pay(bolt11(&result));
    settled(
        &place,
        &shop,
        &request_of(&result),
        &result["amount_msat"],
        paid,
    );

    // The second is told of before it is made, by those who are not the wallet and by the wallet itself: neither counts.
    let result = Buyer::ask(&relay.ws(), &place.npub(), QUESTION, "none").result();
    let id = request_of(&result);
    let job = place.job(&id);
    let hash = job["payment_hash"].as_str().unwrap();
    for how in ["forge", "notify"] {
        wallet.tell(how, hash);
        wallet.wait_for_looks(2);
        let job = place.job(&id);
        assert_eq!(job["status"], "pending_payment", "{how}: {job}");
        assert_eq!(job["paid_msat"], 0, "{how}: {job}");
    }
    let paid = wallet.pay(bolt11(&result));
    wallet.tell("notify", hash);
    settled(&place, &shop, &id, &result["amount_msat"], paid);
    shop.stop(&place);
}

#[test]
fn nwc_sells_through_albys_wallet_service_with_nip44() {
    sells("nwc_sells_through_albys_wallet_service_with_nip44", "nip44");
}

#[test]
fn nwc_sells_through_albys_wallet_service_with_nip04() {
    sells("nwc_sells_through_albys_wallet_service_with_nip04", "nip04");
}
