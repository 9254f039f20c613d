//! A seller with three offers: plain text, translations, and a model of its own under its own price. Each is announced, found by
//! its kind and model, told its own words, priced and counted by itself.

use crate::support::fake_ollama::FakeOllama;
use crate::support::inside::{Inside, LONGEST, status_of};
use crate::support::shop;
use nostr::{Event, EventBuilder, Keys, Kind, Tag};
use serde_json::Value;
use vend::domain::command::Command;
use vend::domain::event::EventKind;
use vend::domain::job::Status;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::SandboxPayer;

fn settings(relay: &str, model: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\n\
         [text]\nsystem = \"Be kind.\"\n[price]\nmin_price_sats = 10\n\
         [payment]\nmode = \"after\"\n\
         [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{model}\"\n\
         [[offer]]\nname = \"translate\"\nkind = 5002\nmin_price_sats = 5\nmax_tokens = 77\nabout = \"Into any language\"\n\
         [[offer]]\nname = \"law\"\nkind = 5050\nmodel = \"law:latest\"\nsystem = \"\"\nmin_price_sats = 50\n\
         template = \"As a lawyer: {{input}}\"\n"
    )
}

async fn shop() -> (Inside, FakeOllama) {
    let model = FakeOllama::start().await;
    model.set_models(&["gemma2:latest", "law:latest"]);
    let url = model.url();
    let mut shop = Inside::start(|relay| settings(relay, &url)).await;
    shop.engine.ask(Command::GoOnline).await;
    shop.hear(|kind| matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(()))
        .await;
    (shop, model)
}

fn ask(shop: &Inside, kind: u16, params: &[[&str; 2]]) -> Event {
    let mut tags = vec![
        Tag::parse(["i", "Good morning", "text"]).unwrap(),
        Tag::public_key(shop.home.seller.public_key()),
    ];
    tags.extend(
        params
            .iter()
            .map(|[name, value]| Tag::parse(["param", name, value]).unwrap()),
    );
    let request = EventBuilder::new(Kind::from_u16(kind), "").tags(tags);
    let request = request.sign_with_keys(&Keys::generate()).unwrap();
    shop.relay.inject(&request);
    request
}

/// Buys one; the job as it is told then.
async fn buy(shop: &mut Inside, kind: u16, params: &[[&str; 2]]) -> Value {
    let request = ask(shop, kind, params);
    let result = |event: &Event| event.kind.as_u16() == kind + 1000;
    let result = shop.answer(&request, result).await;
    let payer = SandboxPayer::open(&shop.home.data().join(SANDBOX_FOLDER)).unwrap();
    payer.pay(&shop::bolt11(&result).unwrap()).unwrap();
    shop.until(&request, |job, _| job.status == Status::Paid)
        .await;
    shop.json(&["jobs", "show", &request.id.to_hex()])
}

#[tokio::test]
async fn each_offer_is_told_priced_and_counted_by_itself() {
    let (mut shop, model) = shop().await;
    let translated = buy(&mut shop, 5002, &[["language", "fr"]]).await;
    let asked = buy(&mut shop, 5050, &[]).await;
    let law = buy(&mut shop, 5050, &[["model", "law"]]).await;
    let of = |job: &Value| {
        let price = job["price_msat"].as_u64();
        (job["offer"].clone(), price, job["model"].clone())
    };
    assert_eq!(
        of(&translated),
        ("translate".into(), Some(5_000), "gemma2:latest".into())
    );
    assert_eq!(
        of(&asked),
        ("text".into(), Some(10_000), "gemma2:latest".into())
    );
    assert_eq!(of(&law), ("law".into(), Some(50_000), "law:latest".into()));

    // What the model was told.
    let told: Vec<Value> = model
        .requests()
        .into_iter()
        .filter(|ask| ask["messages"].to_string().contains("Good morning"))
        .collect();
    let [translate, plain, law] = told.as_slice() else {
        panic!("{told:?}");
    };
    let last = |ask: &Value| ask["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    let words = last(translate).as_str().unwrap().to_owned();
    assert!(
        words.contains("into fr") && words.ends_with("Good morning"),
        "{words}"
    );
    assert_eq!(translate["messages"][0]["content"], "Be kind.");
    assert_eq!(translate["options"]["num_predict"], 77);
    assert_eq!(last(plain), "Good morning");
    assert_eq!(last(law), "As a lawyer: Good morning");
    assert_eq!(
        law["messages"].as_array().unwrap().len(),
        1,
        "it has no instructions"
    );

    let stats = shop.json(&["stats"]);
    for (offer, msat) in [("translate", 5_000), ("text", 10_000), ("law", 50_000)] {
        let of = &stats["offers"][offer];
        assert_eq!(
            (&of["jobs"], &of["revenue_msat"]),
            (&1.into(), &msat.into())
        );
    }
    let receipts: Value =
        serde_json::from_str(&shop.say(&["receipts", "--format", "json"])).unwrap();
    let offers: Vec<&Value> = receipts
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["offer"])
        .collect();
    assert_eq!(offers, ["translate", "text", "law"]);
    shop.close().await;
}

#[tokio::test]
async fn each_offer_has_an_announcement_of_its_own() {
    let (shop, _model) = shop().await;
    let seller = shop.home.seller.public_key();
    let newest = |kind: u16, d: &'static str| {
        let relay = shop.relay.clone();
        async move {
            let is = |event: &Event| {
                let mut names = event.tags.iter().map(Tag::as_slice);
                event.pubkey == seller
                    && event.kind.as_u16() == kind
                    && names.any(|tag| *tag == ["d", d])
            };
            relay.wait_for(is, LONGEST).await.unwrap()
        }
    };
    for (d, kind, name, min) in [
        ("vend", "5050", "gemma2:latest", 10_000),
        ("vend-translate", "5002", "gemma2:latest", 5_000),
        ("vend-law", "5050", "law:latest", 50_000),
    ] {
        let info = newest(31_990, d).await;
        let kinds: Vec<_> = info
            .tags
            .iter()
            .map(Tag::as_slice)
            .filter(|tag| tag[0] == "k")
            .collect();
        assert_eq!(kinds, [["k", kind]]);
        let said: Value = serde_json::from_str(&info.content).unwrap();
        assert_eq!(said["pricing"][name]["min_msat"], min, "{said}");
        assert_eq!(
            said["nip90Params"]["language"].is_object(),
            d == "vend-translate"
        );
        newest(11_998, d).await;
    }
    let translate = newest(31_990, "vend-translate").await;
    assert!(translate.content.contains("Into any language"));
    shop.close().await;
}

#[tokio::test]
async fn a_model_that_an_offer_does_not_have_is_refused() {
    let (shop, _model) = shop().await;
    let request = ask(&shop, 5002, &[["model", "gpt"]]);
    let refused = |event: &Event| status_of(event).as_deref() == Some("error");
    shop.answer(&request, refused).await;
    assert_eq!(shop.json(&["jobs"]), Value::Array(Vec::new()));
    shop.close().await;
}

#[tokio::test]
async fn a_price_is_told_for_each_offer() {
    let (shop, _model) = shop().await;
    let told = shop.json(&["price", "Good morning"]);
    let offers = told["offers"].as_array().unwrap();
    let of: Vec<_> = offers
        .iter()
        .map(|one| {
            (
                one["offer"].as_str().unwrap(),
                one["kind"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(of, [("text", 5050), ("translate", 5002), ("law", 5050)]);
    for one in offers {
        let number = |key: &str| one[key].as_u64().unwrap();
        assert!(
            number("prompt_tokens") > 0 && number("least_msat") <= number("most_msat"),
            "{one}"
        );
    }
    assert_eq!(offers[2]["least_msat"], 50_000);
    let one = |args: &[&str]| {
        let told = shop.json(&[&["price", "Good morning"], args].concat());
        told["offers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["offer"].to_string())
            .collect::<String>()
    };
    assert_eq!(one(&["--kind", "5002"]), "\"translate\"");
    assert_eq!(one(&["--model", "law"]), "\"law\"");
    assert_eq!(one(&["--kind", "5300"]), "");
    shop.close().await;
}
