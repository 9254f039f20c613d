//! Jobs whose runs end because the program does.

use crate::support::fake_ollama::{FakeOllama, Fault};
use crate::support::inside::Inside;
use nostr::Keys;
use vend::demo::online;
use vend::domain::command::Command;
use vend::domain::event::EventKind;
use vend::domain::id::RequestId;
use vend::domain::job::Status;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_interrupted_three_times_runs_again_and_alone() {
    let model = FakeOllama::start().await;
    model.set(Fault::StallsMidStream);
    let url = model.url();
    let mut shop = Inside::start(|relay| {
        format!(
            "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
             [text]\nmodel = \"gemma2:latest\"\nmax_tokens = 16\n\
             [payment]\nmode = \"after\"\n\
             [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
             [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{url}\"\nslots = 4\n"
        )
    })
    .await;
    online(&shop.engine).await.unwrap();
    let first = shop.ask(&Keys::generate());
    for run in 1..=3 {
        model.started(run).await;
        shop = shop.restart().await;
        online(&shop.engine).await.unwrap();
    }
    model.started(4).await;
    let second = shop.ask(&Keys::generate());
    shop.until(&second, |job, _| job.status == Status::Queued)
        .await;
    // The worker has looked at the queue, and left it as it is.
    shop.hear(|kind| {
        matches!(
            kind,
            EventKind::Queue {
                waiting: 1,
                running: 1
            }
        )
        .then_some(())
    })
    .await;
    assert_eq!(model.requests().len(), 4);
    let id = RequestId(first.id);
    shop.engine.ask(Command::Cancel { id }).await;
    model.started(5).await;
    let story = shop.json(&["jobs", "show", &first.id.to_hex()])["timeline"].to_string();
    for wait in [
        "next try in 1 s",
        "next try in 2 s",
        "next try in 4 s, alone",
    ] {
        assert!(story.contains(wait), "{story}");
    }
    shop.close().await;
}
