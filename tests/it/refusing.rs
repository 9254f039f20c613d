//! A server that refuses to work for the seller costs no paid job: what is paid waits, nothing more is taken, and the light
//! says why, until somebody has looked.

use crate::support::fake_wallet::FakeWallet;
use crate::support::inside::{Inside, is_result, status_of};
use nostr::{Event as Signed, Keys};
use serde_json::{Value, json};
use vend::demo::online;
use vend::domain::command::{Command, Probe};
use vend::domain::event::EventKind;
use vend::domain::health::HealthLevel;
use vend::domain::job::Status;
use wiremock::matchers::{body_partial_json, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn settings(relay: &str, model: &str, wallet: &FakeWallet) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n[text]\nmodel = \"m\"\nmax_tokens = 16\n\
         [price]\nprice_per_1k_tokens = 0\n[payment]\nmode = \"before\"\n[limits]\nper_minute = 600\n\
         [wallet]\nnetwork = \"regtest\"\nbackend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n\
         [[endpoint]]\nname = \"gpu\"\nkind = \"openai\"\nurl = \"{model}\"\n",
        wallet.url(),
        wallet.invoice_key()
    )
}

/// The list of models works, whatever the chat says.
async fn server() -> MockServer {
    let server = MockServer::start().await;
    list(&server).await;
    server
}

async fn list(server: &MockServer) {
    Mock::given(method("GET"))
        .and(path("/v1/models"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "data": [{ "id": "m" }] })))
        .mount(server)
        .await;
}

async fn refuse(server: &MockServer, status: u16, body: Value) {
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(status).set_body_json(body))
        .mount(server)
        .await;
}

async fn sell(server: &MockServer) {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Paris.\"},\"finish_reason\":\"stop\"}]}\n\n\
                  data: [DONE]\n\n";
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(stream, "text/event-stream"))
        .mount(server)
        .await;
}

async fn refusing(status: u16, body: Value) {
    let folder = tempfile::tempdir().unwrap();
    let wallet = FakeWallet::start(&folder.path().join("lnbits.jsonl"));
    let server = server().await;
    refuse(&server, status, body).await;
    let mut shop = Inside::start(|relay| settings(relay, &server.uri(), &wallet)).await;
    online(&shop.engine).await.unwrap();

    // Four have their invoices before anybody pays.
    let requests: Vec<Signed> = (0..4).map(|_| shop.ask(&Keys::generate())).collect();
    for request in &requests {
        let invoice = shop.invoice(request).await;
        wallet.pay(&invoice).unwrap();
    }
    let health = shop
        .hear(|kind| match kind {
            EventKind::Endpoint { endpoint } if endpoint.health == HealthLevel::Down => {
                Some(endpoint)
            }
            _ => None,
        })
        .await;
    assert_eq!(health.state, "needs_attention", "{}", health.detail);
    // Nothing more is taken, and whoever asks us alone hears so.
    let late = shop.ask(&Keys::generate());
    let said = shop.answer(&late, |event| status_of(event).is_some()).await;
    assert_eq!(status_of(&said).as_deref(), Some("error"));

    server.reset().await;
    list(&server).await;
    sell(&server).await;
    let what = Probe::Endpoint { name: "gpu".into() };
    shop.engine.ask(Command::Test { what }).await;
    for request in &requests {
        shop.answer(request, is_result).await;
        let is_paid = |job: &vend::domain::job::JobView| job.status == Status::Paid;
        let id = vend::domain::id::RequestId(request.id);
        let job = shop
            .engine
            .shop()
            .ledger
            .job(id)
            .await
            .unwrap()
            .unwrap()
            .view();
        if !is_paid(&job) {
            shop.until(request, |job, _| is_paid(job)).await;
        }
    }
    let stats = shop.json(&["stats"]);
    assert_eq!(
        (&stats["failed"], &stats["owed_msat"]),
        (&json!(0), &json!(0)),
        "{stats}"
    );
    assert_eq!(stats["drops"]["offline"], 1, "{stats}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_account_costs_no_paid_job() {
    refusing(
        402,
        json!({ "error": { "message": "more credits are needed", "code": 402 } }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_costs_no_paid_job() {
    let error =
        json!({ "message": "Budget has been exceeded", "type": "budget_exceeded", "code": "400" });
    refusing(400, json!({ "error": error })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_none_of_our_requests_costs_no_paid_job() {
    refusing(400, json!({ "error": "invalid request" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_parameter_is_left_out_and_the_job_is_sold() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = FakeWallet::start(&folder.path().join("lnbits.jsonl"));
    let server = server().await;
    sell(&server).await;
    for (field, words) in [
        (
            "frequency_penalty",
            "'frequency_penalty' is not supported with this model.",
        ),
        (
            "max_tokens",
            "'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
        ),
        ("top_k", "Unrecognized request argument supplied: top_k"),
        ("top_p", "top_p is deprecated for this model"),
        ("temperature", "Unsupported value: temperature"),
    ] {
        let error = json!({ "error": { "message": words, "param": field } });
        let value = match field {
            "max_tokens" => json!(16),
            "top_k" => json!(40),
            "top_p" => json!(0.9),
            "temperature" => json!(0.7),
            _ => json!(0.5),
        };
        Mock::given(body_partial_json(json!({ (field): value })))
            .respond_with(ResponseTemplate::new(400).set_body_json(error))
            .with_priority(1)
            .mount(&server)
            .await;
    }
    let shop = Inside::start(|relay| settings(relay, &server.uri(), &wallet)).await;
    online(&shop.engine).await.unwrap();
    for _ in 0..2 {
        let request = shop.ask(&Keys::generate());
        let invoice = shop.invoice(&request).await;
        wallet.pay(&invoice).unwrap();
        shop.answer(&request, is_result).await;
    }
    let seen = server.received_requests().await.unwrap();
    let chats = seen
        .iter()
        .filter(|one| one.method.as_str() == "POST")
        .count();
    assert_eq!(chats, 7, "five refusals, and each job once");
    shop.close().await;
}
