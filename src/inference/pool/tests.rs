use super::*;
use crate::domain::id::EndpointName;
use crate::domain::job::TextParams;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// An endpoint that does as it is told.
#[derive(Debug)]
struct Fake {
    name: &'static str,
    slots: u32,
    models: Mutex<Vec<&'static str>>,
    state: Mutex<&'static str>,
    outcomes: Mutex<VecDeque<Outcome>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
enum Outcome {
    Fails(InferenceError),
    Hangs(Arc<Notify>),
}

impl Fake {
    fn new(name: &'static str, slots: u32, models: &[&'static str]) -> Arc<Self> {
        Arc::new(Self {
            name,
            slots,
            models: Mutex::new(models.to_vec()),
            state: Mutex::new("up"),
            outcomes: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    fn then(&self, outcome: Outcome) {
        self.outcomes.lock().unwrap().push_back(outcome);
    }

    fn fails(&self, error: InferenceError) {
        self.then(Outcome::Fails(error));
    }

    fn set(&self, state: &'static str) {
        *self.state.lock().unwrap() = state;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Endpoint for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn slots(&self) -> u32 {
        self.slots
    }

    fn health(&self) -> BoxFuture<'_, EndpointHealth> {
        let state = *self.state.lock().unwrap();
        let models = if state == "up" {
            self.models.lock().unwrap().clone()
        } else {
            Vec::new()
        };
        async move {
            if state == "silent" {
                std::future::pending::<()>().await;
            }
            EndpointHealth {
                name: EndpointName(self.name.into()),
                kind: "fake".into(),
                url: String::new(),
                state: state.into(),
                health: HealthLevel::Ok,
                detail: String::new(),
                models: models.into_iter().map(str::to_owned).collect(),
                running: 0,
                slots: 0,
                tokens_per_second: None,
            }
        }
        .boxed()
    }

    fn answer(
        &self,
        ask: Ask,
        _progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Answer, InferenceError>> {
        self.asked.lock().unwrap().push(ask.model);
        let outcome = self.outcomes.lock().unwrap().pop_front();
        async move {
            match outcome {
                Some(Outcome::Fails(error)) => return Err(error),
                Some(Outcome::Hangs(notify)) => notify.notified().await,
                None => {}
            }
            Ok(Answer {
                text: "ok".into(),
                prompt_tokens: 1,
                completion_tokens: 10,
                estimated: false,
                cut: false,
                elapsed_ms: 1000,
                endpoint: self.name.into(),
            })
        }
        .boxed()
    }
}

fn ask(model: &str) -> Ask {
    Ask {
        model: model.into(),
        messages: vec![crate::domain::message::Message::user("hi")],
        params: TextParams {
            max_tokens: 8,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            frequency_penalty: 0.0,
            seed: None,
        },
        deadline: Duration::from_mins(1),
        attempt: 1,
        so_far: None,
    }
}

fn pool_of(fakes: &[&Arc<Fake>]) -> Pool {
    Pool::new(
        fakes
            .iter()
            .map(|fake| Arc::clone(fake) as Arc<dyn Endpoint>)
            .collect(),
    )
}

async fn fresh(fakes: &[&Arc<Fake>]) -> Pool {
    let pool = pool_of(fakes);
    pool.refresh().await;
    pool
}

async fn run(pool: &Pool, model: &str) -> Result<Answer, InferenceError> {
    let slot = pool
        .reserve(model)
        .ok_or_else(|| InferenceError::NoEndpoint {
            model: model.into(),
        })?;
    pool.answer(slot, ask(model), watch::Sender::default())
        .await
}

fn unreachable(endpoint: &str) -> InferenceError {
    InferenceError::Unreachable {
        endpoint: endpoint.into(),
        url: "http://x".into(),
        detail: "refused".into(),
    }
}

fn died(started: bool) -> InferenceError {
    InferenceError::Died {
        endpoint: "x".into(),
        detail: "gone".into(),
        started,
    }
}

#[tokio::test]
async fn nothing_is_reserved_before_the_first_look() {
    let pool = pool_of(&[&Fake::new("a", 1, &["m"])]);
    assert!(pool.reserve("m").is_none());
    assert_eq!(pool.health()[0].state, "unknown");
    assert!(!pool.has_model("m"));
}

#[tokio::test]
async fn names_match_with_and_without_latest_and_each_endpoint_hears_its_own() {
    let a = Fake::new("a", 1, &["Gemma2:latest", "z"]);
    let pool = fresh(&[&a]).await;
    assert!(pool.has_model("gemma2"));
    assert_eq!(pool.models(), ["Gemma2:latest", "z"]);
    run(&pool, "gemma2").await.unwrap();
    assert_eq!(a.asked(), ["Gemma2:latest"]);
}

#[tokio::test]
async fn the_least_loaded_endpoint_is_taken_first() {
    let (a, b) = (Fake::new("a", 1, &["m"]), Fake::new("b", 3, &["m"]));
    let pool = fresh(&[&a, &b]).await;
    assert_eq!(pool.free_slots("m"), 4);
    let slots: Vec<Slot> = std::iter::from_fn(|| pool.reserve("m")).collect();
    let order: Vec<&str> = slots.iter().map(Slot::endpoint).collect();
    assert_eq!(order, ["a", "b", "b", "b"]);
    assert_eq!(pool.free_slots("m"), 0);
    assert_eq!(pool.health()[1].running, 3);
    drop(slots);
    assert_eq!(pool.free_slots("m"), 4);
}

#[tokio::test]
async fn equally_loaded_endpoints_take_turns() {
    let (a, b) = (Fake::new("a", 1, &["m"]), Fake::new("b", 1, &["m"]));
    let pool = fresh(&[&a, &b]).await;
    for _ in 0..4 {
        run(&pool, "m").await.unwrap();
    }
    assert_eq!((a.asked().len(), b.asked().len()), (2, 2));
}

#[tokio::test]
async fn a_freed_slot_wakes_whoever_waits() {
    let pool = fresh(&[&Fake::new("a", 1, &["m"])]).await;
    let slot = pool.reserve("m").unwrap();
    let mut changed = pool.changed();
    assert!(!changed.has_changed().unwrap());
    drop(slot);
    changed.changed().await.unwrap();
    assert!(pool.reserve("m").is_some());
}

#[tokio::test]
async fn a_cancelled_job_frees_its_slot() {
    let a = Fake::new("a", 1, &["m"]);
    a.then(Outcome::Hangs(Arc::default()));
    let pool = fresh(&[&a]).await;
    let mut job = run(&pool, "m").boxed();
    assert!((&mut job).now_or_never().is_none());
    assert_eq!(pool.free_slots("m"), 0);
    drop(job);
    assert_eq!(pool.free_slots("m"), 1);
}

#[tokio::test]
async fn a_failure_before_the_first_token_is_repeated_once_elsewhere() {
    let busy = InferenceError::Busy {
        endpoint: "a".into(),
        detail: String::new(),
    };
    let stalled = InferenceError::Stalled {
        endpoint: "a".into(),
        after: Duration::ZERO,
        started: false,
    };
    for error in [unreachable("a"), busy, died(false), stalled] {
        let (a, b) = (Fake::new("a", 1, &["m"]), Fake::new("b", 1, &["M:latest"]));
        a.fails(error);
        let pool = fresh(&[&a, &b]).await;
        assert_eq!(run(&pool, "m").await.unwrap().endpoint, "b");
        assert_eq!(b.asked(), ["M:latest"]);
        assert_eq!(pool.health()[0].running, 0);
    }
}

#[tokio::test]
async fn a_third_endpoint_is_never_tried() {
    let fakes = ["a", "b", "c"].map(|name| Fake::new(name, 1, &["m"]));
    for fake in &fakes {
        fake.fails(died(false));
    }
    let pool = fresh(&fakes.each_ref()).await;
    assert_eq!(run(&pool, "m").await.unwrap_err(), died(false));
    assert!(fakes[2].asked().is_empty());
}

#[tokio::test]
async fn what_began_or_was_refused_is_never_repeated() {
    let text = String::new;
    for error in [
        died(true),
        InferenceError::Rejected {
            endpoint: text(),
            detail: text(),
        },
        InferenceError::TooLong {
            endpoint: text(),
            model: text(),
        },
        InferenceError::Empty { endpoint: text() },
    ] {
        let (a, b) = (Fake::new("a", 1, &["m"]), Fake::new("b", 1, &["m"]));
        a.fails(error.clone());
        let pool = fresh(&[&a, &b]).await;
        assert_eq!(run(&pool, "m").await.unwrap_err(), error);
        assert!(b.asked().is_empty());
    }
}

#[tokio::test]
async fn the_job_s_time_holds_for_both_runs() {
    let (a, b) = (Fake::new("a", 1, &["m"]), Fake::new("b", 1, &["m"]));
    a.fails(died(false));
    let pool = fresh(&[&a, &b]).await;
    let mut ask = ask("m");
    ask.deadline = Duration::ZERO;
    let slot = pool.reserve("m").unwrap();
    let error = pool
        .answer(slot, ask, watch::Sender::default())
        .await
        .unwrap_err();
    assert_eq!(error, died(false));
    assert!(b.asked().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_is_gone_rests_until_a_person_looks() {
    let a = Fake::new("a", 1, &["m"]);
    let pool = fresh(&[&a]).await;
    assert_eq!(pool.next_poll(), None);
    a.fails(unreachable("a"));
    run(&pool, "m").await.unwrap_err();
    let health = &pool.health()[0];
    assert_eq!(health.state, "resting");
    assert!(health.detail.contains("refused"), "{}", health.detail);
    assert!(pool.reserve("m").is_none());
    assert!(pool.has_model("m"), "it is still what the shop sells");
    assert_eq!(pool.refresh().await[0].state, "resting", "it is left alone");
    assert!(pool.next_poll().is_some());
    assert_eq!(pool.refresh_all().await[0].state, "up");
    assert_eq!(pool.next_poll(), None);
    run(&pool, "m").await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_refuses_to_work_is_closed_until_somebody_looks() {
    let a = Fake::new("a", 1, &["m"]);
    let pool = fresh(&[&a]).await;
    for error in [
        InferenceError::Unauthorized {
            endpoint: "a".into(),
            detail: "401".into(),
        },
        InferenceError::Refused {
            endpoint: "a".into(),
            detail: "402".into(),
            fix: "pay",
        },
    ] {
        assert_eq!(pool.closed("m"), None);
        a.fails(error.clone());
        run(&pool, "m").await.unwrap_err();
        pool.refresh().await;
        let health = &pool.health()[0];
        assert_eq!(
            (health.state.as_str(), health.health),
            ("needs_attention", HealthLevel::Down)
        );
        assert_eq!(
            pool.closed("m"),
            Some(format!("{error}; {}", member::UNTIL))
        );
        assert!(pool.reserve("m").is_none() && !pool.serves("m") && pool.has_model("m"));
        pool.reopen("a");
        run(&pool, "m").await.unwrap();
    }
}

#[tokio::test]
async fn a_job_that_one_endpoint_refuses_is_done_by_another() {
    let (a, b) = (Fake::new("a", 1, &["m"]), Fake::new("b", 1, &["m"]));
    let pool = fresh(&[&a, &b]).await;
    a.fails(InferenceError::Refused {
        endpoint: "a".into(),
        detail: "402".into(),
        fix: "pay",
    });
    assert_eq!(run(&pool, "m").await.unwrap().endpoint, "b");
    assert!(pool.serves("m") && pool.closed("m").is_none());
}

#[tokio::test]
async fn a_missing_model_is_out_until_a_look_lists_it_again() {
    let a = Fake::new("a", 1, &["m:latest", "other"]);
    let pool = fresh(&[&a]).await;
    a.fails(InferenceError::ModelMissing {
        endpoint: "a".into(),
        model: "m".into(),
        fix: String::new(),
    });
    run(&pool, "m").await.unwrap_err();
    assert!(!pool.has_model("m") && pool.reserve("m").is_none());
    assert_eq!(pool.models(), ["other"]);
    assert!(pool.reserve("other").is_some());
    pool.refresh().await;
    assert!(pool.has_model("m"));
}

#[tokio::test]
async fn a_silent_endpoint_delays_no_other() {
    let (a, b) = (Fake::new("a", 1, &["m"]), Fake::new("b", 1, &["m"]));
    a.set("silent");
    let pool = pool_of(&[&a, &b]);
    let mut changed = pool.changed();
    let looking = pool.refresh();
    tokio::pin!(looking);
    tokio::select! {
        biased;
        _ = &mut looking => panic!("the silent one can't be done"),
        found = changed.changed() => found.unwrap(),
    }
    assert_eq!(pool.reserve("m").unwrap().endpoint(), "b");
}

#[test]
fn a_silent_endpoint_is_down() {
    let health = silent(Member::new("a", 1).shown());
    assert_eq!(
        (health.state.as_str(), health.health),
        ("down", HealthLevel::Down)
    );
    assert!(health.detail.contains("no answer within 5 s"));
}

#[tokio::test]
async fn speed_is_smoothed_over_answers() {
    let a = Fake::new("a", 1, &["m"]);
    let pool = fresh(&[&a]).await;
    assert_eq!(pool.health()[0].tokens_per_second, None);
    run(&pool, "m").await.unwrap();
    let speed = pool.health()[0].tokens_per_second.unwrap();
    assert!((speed - 10.0).abs() < 1e-9, "{speed}");
}
