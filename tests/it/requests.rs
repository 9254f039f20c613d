//! Requests as buyers in the field send them (tests/cases/requests.json), each read by the real intake.

use std::borrow::Cow;

use nostr::nips::nip44;
use nostr::{Event, EventBuilder, Keys, Kind, PublicKey, Tag, TagKind};
use serde_json::Value;
use vend::domain::job::{Encryption, TextParams};
use vend::domain::message::{Message, Role};
use vend::domain::price::PriceRule;
use vend::domain::refusal::DropReason;
use vend::domain::request::{self, Offer, Part};

/// Text, or `{"repeat": text, "times": n}`.
fn text(value: &Value) -> String {
    let times = usize::try_from(value["times"].as_u64().unwrap_or(1)).unwrap();
    let word = value.as_str().or_else(|| value["repeat"].as_str());
    word.unwrap().repeat(times)
}

fn event(case: &Value, seller: &Keys, buyer: &Keys) -> Event {
    let tags = case["tags"].as_array().unwrap().iter().map(|tag| {
        let mut words = tag.as_array().unwrap().iter().map(|word| {
            text(word)
                .replace("SELLER", &seller.public_key().to_hex())
                .replace("EVENT_ID", &"ab".repeat(32))
        });
        let name = TagKind::Custom(Cow::Owned(words.next().unwrap()));
        Tag::custom(name, words.collect::<Vec<_>>())
    });
    let mut content = case["content"].as_str().unwrap().to_owned();
    if case["encrypt"] == "nip44" {
        let (key, to) = (buyer.secret_key(), seller.public_key());
        content = nip44::encrypt(key, &to, content, nip44::Version::V2).unwrap();
    }
    let kind = u16::try_from(case["kind"].as_u64().unwrap()).unwrap();
    EventBuilder::new(Kind::from_u16(kind), content)
        .tags(tags)
        .sign_with_keys(buyer)
        .unwrap()
}

/// What the model gets, or why nothing is taken.
fn taken(event: &Event, seller: &Keys) -> Result<Vec<Message>, DropReason> {
    let decrypt = |scheme, from: &PublicKey, sealed: &str| {
        assert_eq!(scheme, Encryption::Nip44);
        nip44::decrypt(seller.secret_key(), from, sealed).map_err(drop)
    };
    let request = request::read(event, &seller.public_key(), &decrypt)?;
    let offer = Offer {
        model: "m",
        allow_models: &[],
        available: &|name| Some(name.to_owned()),
        substitute: false,
        defaults: TextParams {
            max_tokens: 512,
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            frequency_penalty: 0.5,
            seed: None,
        },
        token_ceiling: 512,
        prompt_bytes: 32_768,
        price_of: &|_| PriceRule {
            min_sats: 10,
            per_1k_input: 2,
            per_1k_output: 2,
        },
        priority_percent: 0,
    };
    request::agree(&request, &offer)?;
    let texts = request.prompt_parts.iter().map(|part| match part {
        Part::Text(text) => text.clone(),
        Part::Event { .. } => String::new(),
    });
    Ok(request.messages(texts.collect()))
}

#[test]
fn every_request_of_the_cases_is_understood_or_declined_as_it_should() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../cases/requests.json")).unwrap();
    let (seller, buyer) = (Keys::generate(), Keys::generate());
    let mut tried = 0;
    for case in &cases {
        let got = || taken(&event(case, &seller, &buyer), &seller);
        let expected = match case["expect"].as_str().unwrap() {
            "model_gets" => Ok(vec![Message::user(case["prompt"].as_str().unwrap())]),
            "model_gets_messages" => {
                let messages = case["messages"].as_array().unwrap().iter();
                Ok(messages
                    .map(|pair| Message {
                        role: Role::parse(pair[0].as_str().unwrap()).unwrap(),
                        content: pair[1].as_str().unwrap().to_owned(),
                    })
                    .collect())
            }
            "declined" | "served_or_counted" => {
                Err(DropReason::parse(case["reason"].as_str().unwrap()).unwrap())
            }
            // How a relay or another request fares is for other tests.
            _ => continue,
        };
        assert_eq!(got(), expected, "{}", case["name"]);
        tried += 1;
    }
    assert!(tried >= 8, "{tried} cases were tried");
}
