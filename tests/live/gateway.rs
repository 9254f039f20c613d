//! Programs that others wrote buy through the gateway: from `vend demo --gateway`, whose line works as it stands; from a shop of
//! ours over nostr-rs-relay, paid over NWC; and from a seller on nostrdvm.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::BUILTIN;
use crate::fake_wallet::FakeWallet;
use crate::nwc::{Pays, Service};
use crate::stage::{PATIENCE, Place, Server, Shop, here, ready, tools};

/// A program of ours, its first lines read; it ends with its test.
struct Started {
    child: Child,
    /// Up to the line that was waited for, that one included.
    line: String,
}

impl Started {
    fn until(command: &mut Command, fits: impl Fn(&str) -> bool) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| fits(line));
        // What it prints later is read, so that no full pipe holds it up.
        std::thread::spawn(move || lines.for_each(drop));
        let line = line.expect("it ended without the line");
        Self { child, line }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended already where it failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A buyer's machine with a gateway on it that pays over NWC.
struct Buyer {
    place: Place,
    _wallet: Service,
    gateway: Started,
    key: String,
}

impl Buyer {
    fn open(relay: &Server, network: &str, pays: Pays) -> Self {
        let wallet = Service::spending(&relay.ws(), network, pays);
        let settings = format!(
            "[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\n{BUILTIN}\n\
             [gateway]\nown_first = false\nnwc = {{ file = \"spending.nwc\" }}\n"
        );
        let place = Place::new(&relay.ws(), "credit", &settings);
        place.secret("spending.nwc", &wallet.uri);
        let mut command = place.command();
        command.args(["gateway", "--listen", "127.0.0.1:0"]);
        let gateway = Started::until(&mut command, |line| line.starts_with("http://"));
        let key = place.vend(&["gateway", "key"]).out.trim().to_owned();
        Self {
            place,
            _wallet: wallet,
            gateway,
            key,
        }
    }

    fn base(&self) -> &str {
        self.gateway.line.split_whitespace().next().unwrap()
    }

    fn purchases(&self) -> Vec<Value> {
        let all = self.place.vend(&["purchases", "--json"]).json();
        all.as_array().unwrap().clone()
    }

    /// Prices and usage are the same on both sides. How many were bought.
    fn agrees_with(&self, place: &Place, shop: &Shop) -> usize {
        let all = self.purchases();
        for bought in &all {
            assert_eq!(bought["status"], "delivered", "{bought}");
            let id = bought["request_id"].as_str().unwrap();
            if place.job(id)["status"] != "paid" {
                shop.paid(id);
            }
            let job = place.job(id);
            for field in [
                "paid_msat",
                "payment_hash",
                "prompt_tokens",
                "completion_tokens",
            ] {
                assert_eq!(bought[field], job[field], "{field}: {bought} {job}");
            }
            assert_ne!(bought["paid_msat"], 0, "{bought}");
        }
        all.len()
    }
}

fn client(program: &str, script: &str, arguments: &[&str]) -> Value {
    let output = Command::new(program)
        .arg(here().join(script))
        .args(arguments)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn judge(name: &str, seen: &Value) {
    let models = seen["models"].as_array().unwrap();
    assert!(models.contains(&json!("auto")), "{name}: {seen}");
    let plain = &seen["plain"];
    assert!(
        !plain["text"].as_str().unwrap().is_empty(),
        "{name}: {seen}"
    );
    assert_eq!(plain["reason"], "stop", "{name}: {seen}");
    assert_eq!(plain["sats"], 10, "{name}: {seen}");
    assert_eq!(plain["job"].as_str().unwrap().len(), 64);
    let usage = &plain["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum, "{name}: {seen}");
    assert!(
        !seen["stream"]["text"].as_str().unwrap().is_empty(),
        "{name}: {seen}"
    );
    assert_eq!(seen["stream"]["reasons"], json!(["stop"]), "{name}: {seen}");
    assert!(seen["stream"]["total_tokens"].as_u64().unwrap() > 0);
    assert!(
        !seen["completion"].as_str().unwrap().is_empty(),
        "{name}: {seen}"
    );
    let errors = &seen["errors"];
    assert_eq!(
        errors["model"],
        json!(["NotFoundError", 404, "model_not_found"])
    );
    assert_eq!(
        errors["n"],
        json!(["BadRequestError", 400, "unsupported_parameter"])
    );
    assert_eq!(
        errors["key"],
        json!(["AuthenticationError", 401, "invalid_api_key"])
    );
}

/// Both of OpenAI's own clients.
fn openai_clients(base: &str, key: &str) {
    let tools = tools().join("openai");
    let python = tools.join("bin/python");
    let python = client(python.to_str().unwrap(), "openai_client.py", &[base, key]);
    judge("python", &python);
    let node = [base, key, tools.to_str().unwrap()];
    judge("node", &client("node", "openai_client.mjs", &node));
}

#[test]
fn openai_s_own_clients_buy_through_the_demos_gateway() {
    if !ready(
        "openai_s_own_clients_buy_through_the_demos_gateway",
        &["openai"],
    ) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_vend"));
    demo.arg("--data-dir").arg(folder.path());
    demo.args(["demo", "--gateway"]).stdin(Stdio::null());
    let demo = Started::until(&mut demo, |line| line.starts_with("curl "));
    // As a person would paste it.
    let pasted = Command::new("sh").args(["-c", &demo.line]).output();
    let answer: Value = serde_json::from_slice(&pasted.unwrap().stdout).unwrap();
    assert_eq!(answer["object"], "chat.completion", "{answer}");
    let mut words = demo.line.split_whitespace();
    let url = words.clone().find(|word| word.starts_with("http://"));
    let base = url.unwrap().strip_suffix("/chat/completions").unwrap();
    let key = words.find(|word| word.starts_with("sk-vend-")).unwrap();
    openai_clients(base, key.trim_end_matches('\''));
}

/// A shop of ours over nostr-rs-relay, with a wallet behind NWC, and a buyer who pays over NWC.
fn street(relay: &Server) -> (Place, Shop, Service, Buyer) {
    let wallet = Service::start(&relay.ws(), "nip44");
    let settings = format!(
        "[wallet]\nbackend = \"nwc\"\nnetwork = \"regtest\"\nuri = {{ file = \"uri\" }}\n\n{BUILTIN}\
         [limits]\nper_buyer_per_minute = 1000\n"
    );
    let place = Place::new(&relay.ws(), "credit", &settings);
    place.announce();
    place.secret("uri", &format!("{}\n", wallet.uri));
    let shop = place.open();
    let buyer = Buyer::open(relay, "regtest", wallet.payer());
    (place, shop, wallet, buyer)
}

#[test]
fn openai_s_own_clients_buy_from_a_shop_and_pay_over_nwc() {
    let needs = ["openai", "relay", "node"];
    if !ready(
        "openai_s_own_clients_buy_from_a_shop_and_pay_over_nwc",
        &needs,
    ) {
        return;
    }
    let relay = Server::start("relay", &[]).up();
    let (place, shop, _wallet, buyer) = street(&relay);
    openai_clients(buyer.base(), &buyer.key);
    let bought = buyer.agrees_with(&place, &shop);
    assert_eq!(bought, 6, "a chat, a stream and a text of each client");
    shop.stop(&place);
}

#[test]
fn litellm_buys_from_a_shop_and_pays_over_nwc() {
    let needs = ["litellm", "relay", "node"];
    if !ready("litellm_buys_from_a_shop_and_pays_over_nwc", &needs) {
        return;
    }
    let relay = Server::start("relay", &[]).up();
    let (place, shop, _wallet, buyer) = street(&relay);
    let python = tools().join("litellm/bin/python");
    let arguments = [buyer.base(), &buyer.key];
    let seen = client(python.to_str().unwrap(), "litellm_client.py", &arguments);
    for how in ["plain", "stream"] {
        assert_ne!(seen[how]["text"], "", "{seen}");
        assert!(seen[how]["total_tokens"].as_u64().unwrap() > 0, "{seen}");
    }
    assert_eq!(seen["plain"]["reason"], "stop", "{seen}");
    assert_eq!(seen["error"], 404, "{seen}");
    assert_eq!(buyer.agrees_with(&place, &shop), 2);
    shop.stop(&place);
}

#[test]
fn the_llm_command_buys_from_a_shop_and_pays_over_nwc() {
    let needs = ["llm", "relay", "node"];
    if !ready("the_llm_command_buys_from_a_shop_and_pays_over_nwc", &needs) {
        return;
    }
    let relay = Server::start("relay", &[]).up();
    let (place, shop, _wallet, buyer) = street(&relay);
    let folder = tempfile::tempdir().unwrap();
    let models = format!(
        "- model_id: shop\n  model_name: auto\n  api_base: {}\n  api_key_name: vend\n",
        buyer.base()
    );
    std::fs::write(folder.path().join("extra-openai-models.yaml"), models).unwrap();
    let llm = |arguments: &[&str]| {
        let output = Command::new(tools().join("llm/bin/llm"))
            .args(arguments)
            .env("LLM_USER_PATH", folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {words}");
        String::from_utf8(output.stdout).unwrap()
    };
    llm(&["keys", "set", "vend", "--value", &buyer.key]);
    // As it comes, and whole.
    for more in [&[][..], &["--no-stream"]] {
        let ask = [&["-m", "shop", crate::QUESTION][..], more].concat();
        assert_eq!(llm(&ask).trim(), crate::ANSWER);
    }
    assert_eq!(buyer.agrees_with(&place, &shop), 2);
    shop.stop(&place);
}

#[test]
fn a_seller_on_nostrdvm_is_bought_from() {
    let needs = ["nostrdvm", "openai", "relay", "node"];
    if !ready("a_seller_on_nostrdvm_is_bought_from", &needs) {
        return;
    }
    let relay = Server::start("relay", &[]).up();
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("wallet.jsonl");
    // nostrdvm reads amounts of the main network's invoices alone.
    let wallet = FakeWallet::start_on(&record, lightning_invoice::Currency::Bitcoin);
    let (url, key) = (wallet.url(), wallet.invoice_key());
    let log = std::fs::File::create(folder.path().join("seller.log")).unwrap();
    let mut seller = Command::new(tools().join("nostrdvm/bin/python"));
    seller.arg(here().join("nostrdvm_seller.py"));
    seller.args([&relay.ws(), url.trim_end_matches('/'), &key, "10"]);
    seller
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(log);
    let seller = Started::until(&mut seller, |line| line.starts_with("npub1"));
    let pays: Pays = Arc::new(move |bolt11| {
        wallet.pay(bolt11).unwrap();
        wallet.preimage(bolt11)
    });
    let buyer = Buyer::open(&relay, "mainnet", pays);
    let announced = || {
        let sellers = ["gateway", "sellers", "--timeout", "3", "--json"];
        let found = buyer.place.vend(&sellers).json();
        let mut all = found.as_array().unwrap().iter();
        all.any(|one| one["npub"] == *seller.line && one["alive"] == true)
    };
    let end = Instant::now() + PATIENCE;
    while !announced() {
        assert!(Instant::now() < end, "it never announced itself");
        std::thread::sleep(Duration::from_millis(500));
    }
    let python = tools().join("openai/bin/python");
    let asked = [buyer.base(), &buyer.key, &seller.line];
    let seen = client(python.to_str().unwrap(), "openai_ask.py", &asked);
    // The conversation as one text, turned round.
    let turned: String = seen["text"].as_str().unwrap().chars().rev().collect();
    for said in ["Answer in one word.", "What is the capital of France?"] {
        assert!(turned.contains(said), "{seen}");
    }
    assert_eq!(seen["sats"], 10, "{seen}");
    let all = buyer.purchases();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["status"], "delivered", "{all:?}");
    assert_eq!(all[0]["paid_msat"], 10_000, "{all:?}");
}
