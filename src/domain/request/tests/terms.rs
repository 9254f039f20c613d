use super::*;
use DropReason::{BidTooLow, PromptTooLong, UnsupportedModel};

fn served(name: &str) -> Option<String> {
    ["gemma2:latest", "llama3:70b"]
        .into_iter()
        .find(|have| have.split(':').next() == name.split(':').next())
        .map(str::to_owned)
}

fn with(params: &[&[&str]]) -> Request {
    let all = [&[&["i", "hi"] as &[&str]], params].concat();
    understood(&ask(&all, "")).unwrap()
}

#[test]
fn our_model_is_ours_in_any_spelling() {
    for name in ["gemma2", "Gemma2:LATEST", "gemma2:latest", " gemma2 "] {
        let agreed = agree(
            &with(&[&["param", "model", name]]),
            &offer(&[], &served, &price),
        );
        let agreed = agreed.unwrap();
        assert_eq!(
            (agreed.model.as_str(), agreed.substituted),
            ("gemma2:latest", None)
        );
    }
    assert_eq!(
        agree(&with(&[]), &offer(&[], &served, &price))
            .unwrap()
            .model,
        "gemma2:latest"
    );
}

#[test]
fn another_model_is_declined_or_said_to_be_substituted() {
    let asked = with(&[&["param", "model", "LLaMA-2"]]);
    let mut offer = offer(&[], &served, &price);
    assert_eq!(agree(&asked, &offer), Err(UnsupportedModel));
    offer.substitute = true;
    let agreed = agree(&asked, &offer).unwrap();
    assert_eq!(agreed.model, "gemma2:latest");
    assert_eq!(agreed.substituted.as_deref(), Some("LLaMA-2"));
    assert_eq!(
        agreed.notes,
        ["model LLaMA-2 is not offered: gemma2:latest stands in for it"]
    );
}

#[test]
fn only_models_that_may_be_named_are_given() {
    let asked = with(&[&["param", "model", "LLAMA3:70b"]]);
    assert_eq!(
        agree(&asked, &offer(&[], &served, &price)),
        Err(UnsupportedModel)
    );
    let allowed = ["llama3:70b".to_owned(), "gone".to_owned()];
    let offer = offer(&allowed, &served, &price);
    assert_eq!(agree(&asked, &offer).unwrap().model, "llama3:70b");
    let gone = with(&[&["param", "model", "gone"]]);
    assert_eq!(agree(&gone, &offer), Err(UnsupportedModel));
}

#[test]
fn parameters_are_held_within_limits_and_the_timeline_knows() {
    let wild = with(&[
        &["param", "max_tokens", "100000"],
        &["param", "temperature", "9"],
        &["param", "top-k", "5000"],
        &["param", "top-p", "0"],
        &["param", "frequency_penalty", "-1e300"],
    ]);
    let agreed = agree(&wild, &offer(&[], &served, &price)).unwrap();
    let expected = TextParams {
        max_tokens: 1_024,
        temperature: 2.0,
        top_k: 1_000,
        top_p: 0.01,
        frequency_penalty: -2.0,
        seed: None,
    };
    assert_eq!(agreed.params, expected);
    assert_eq!(agreed.notes.len(), 5);
    assert!(
        agreed
            .notes
            .contains(&"max_tokens 100000 is out of bounds: 1024 is used".to_owned())
    );
    assert!(agreed.notes.iter().all(|note| note.chars().count() <= 160));
}

#[test]
fn what_the_request_does_not_say_is_ours() {
    let offer = offer(&[], &served, &price);
    let agreed = agree(&with(&[&["param", "seed", "7"]]), &offer).unwrap();
    let expected = TextParams {
        seed: Some(7),
        ..offer.defaults
    };
    assert_eq!(agreed.params, expected);
    assert!(agreed.notes.is_empty());
}

#[test]
fn long_prompts_count_the_blank_lines_between_their_parts() {
    let (long, rest) = ("a".repeat(900), "b".repeat(98));
    let fits = understood(&ask(&[&["i", &long], &["i", &rest]], "")).unwrap();
    let mut offer = offer(&[], &served, &price);
    assert!(agree(&fits, &offer).is_ok());
    offer.prompt_bytes = 999;
    assert_eq!(agree(&fits, &offer), Err(PromptTooLong));
    let many: Vec<&[&str]> = vec![&["i", "x"]; 9];
    assert_eq!(
        agree(&understood(&ask(&many, "")).unwrap(), &offer),
        Err(PromptTooLong)
    );
}

#[test]
fn a_bid_below_the_minimum_is_too_low() {
    let offer = offer(&[], &served, &price);
    assert_eq!(agree(&with(&[&["bid", "9999"]]), &offer), Err(BidTooLow));
    assert!(agree(&with(&[&["bid", "10000"]]), &offer).is_ok());
    assert!(agree(&with(&[&["bid", "ten sats"]]), &offer).is_ok());
}

#[test]
fn terms_are_judged_in_the_order_of_admission() {
    let long = "a".repeat(2_000);
    let all: [&[&str]; 3] = [&["i", &long], &["bid", "1"], &["param", "model", "LLaMA-2"]];
    let offer = offer(&[], &served, &price);
    let judged = |tags: &[&[&str]]| agree(&understood(&ask(tags, "")).unwrap(), &offer);
    assert_eq!(judged(&all), Err(UnsupportedModel));
    assert_eq!(judged(&all[..2]), Err(PromptTooLong));
}

#[test]
fn parts_are_joined_by_a_blank_line_in_order() {
    let parts = ["one".to_owned(), " ".to_owned(), "two".to_owned()];
    assert_eq!(prompt(&parts), "one\n\ntwo");
}
