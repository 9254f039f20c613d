use super::*;

/// llama.cpp's own answers on the same file; see README.md.
const GOLDEN: &str = include_str!("../golden.json");

/// Bytes before the tensors' data.
const HEAD: usize = 25_664;

fn model() -> &'static TinyModel {
    TinyModel::embedded().expect("the embedded model loads")
}

fn golden() -> Vec<serde_json::Value> {
    serde_json::from_str(GOLDEN).expect("golden.json is JSON")
}

fn field<'a>(case: &'a serde_json::Value, name: &str) -> &'a str {
    case[name].as_str().expect("a text")
}

/// All pieces of an answer, and what it came to.
fn pieces(
    prompt: &str,
    max_tokens: u32,
    sampling: Sampling,
    stop: &[&str],
) -> (Vec<String>, Generated) {
    let stop: Vec<String> = stop.iter().map(ToString::to_string).collect();
    let mut pieces = Vec::new();
    let generated = model().generate(prompt, max_tokens, &sampling, &stop, &mut |piece| {
        pieces.push(piece.to_owned());
        true
    });
    (pieces, generated.expect("the prompt fits"))
}

fn text(prompt: &str, max_tokens: u32, sampling: Sampling, stop: &[&str]) -> (String, Generated) {
    let (pieces, generated) = pieces(prompt, max_tokens, sampling, stop);
    (pieces.concat(), generated)
}

const FRANCE: &str = "What is the capital of France?";
const GREEDY: Sampling = Sampling {
    temperature: 0.0,
    top_k: 0,
    top_p: 1.0,
    frequency_penalty: 0.0,
    seed: 0,
};
const WILD: Sampling = Sampling {
    temperature: 1.2,
    top_k: 40,
    top_p: 0.95,
    frequency_penalty: 0.1,
    seed: 7,
};

#[test]
fn token_ids_equal_llama_cpp() {
    let cases = golden();
    assert_eq!(cases.len(), 23);
    for case in cases {
        let prompt = field(&case, "prompt");
        let wanted: Vec<u64> = serde_json::from_value(case["token_ids"].clone()).expect("ids");
        let ids: Vec<u64> = model().encode(prompt).into_iter().map(u64::from).collect();
        assert_eq!(ids, wanted, "{prompt}");
        assert_eq!(model().count_prompt_tokens(prompt), wanted.len());
    }
}

/// The rule as it reads: of all neighbours that make a piece, join the best (the leftmost among equals), and again.
fn merge_slowly(text: &str) -> Vec<String> {
    let pieces = &model().tokenizer.pieces;
    let text = format!("▁{}", text.replace(' ', "▁"));
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let rank = |at: &usize| {
            pieces
                .get(&parts[*at..*at + 2].concat())
                .map(|(_, rank)| *rank)
        };
        let joinable = (0..parts.len() - 1).rev().filter(|at| rank(at).is_some());
        let Some(at) = joinable.max_by_key(rank) else {
            return parts;
        };
        let right = parts.remove(at + 1);
        parts[at] += &right;
    }
}

#[test]
fn merging_follows_the_rule() {
    let corpus = include_str!("../train/corpus.py");
    let odd = [
        "",
        " ",
        "aaaaaaaaaaaa",
        "the the thethethe  the",
        "  \n\n  ",
        "ünïcödé wörds",
        "sssss eeeee nnnn tttt",
    ];
    for text in corpus.lines().chain(odd) {
        let text: String = text.chars().take(300).collect();
        let tokenizer = &model().tokenizer;
        let slow: Vec<u32> = merge_slowly(&text)
            .iter()
            .flat_map(|part| match tokenizer.pieces.get(part) {
                Some((id, _)) => vec![*id],
                None => part
                    .bytes()
                    .map(|byte| tokenizer.byte_ids[usize::from(byte)])
                    .collect(),
            })
            .collect();
        assert_eq!(tokenizer.encode(&text)[1..], slow, "{text}");
    }
}

/// Marked stable in golden.json, but it is not: after "A:" the scores of "The" and "Slow" differ by 0.0007, in f64 too,
/// and llama.cpp, which rounds the activations to 8 bits, falls to the other side. The next test covers it.
const NEAR_TIE: &str = "Write a haiku about the lighthouse.";

#[test]
fn greedy_answers_equal_llama_cpp() {
    let stable =
        |case: &&serde_json::Value| case["stable"] == true && field(case, "prompt") != NEAR_TIE;
    let cases = golden();
    assert_eq!(cases.iter().filter(stable).count(), 18);
    for case in cases.iter().filter(stable) {
        let prompt = field(case, "prompt");
        let (answer, generated) = text(prompt, 200, GREEDY, &[]);
        assert_eq!(answer, field(case, "answer"), "{prompt}");
        assert_eq!(
            u64::from(generated.completion_tokens),
            case["completion_tokens"],
            "{prompt}"
        );
        assert_eq!(field(case, "finish"), "stop");
        assert_eq!(generated.finish, Finish::Stop, "{prompt}");
        assert_eq!(
            generated.prompt_tokens as usize,
            model().count_prompt_tokens(prompt)
        );
    }
}

#[test]
fn each_token_of_llama_cpp_is_the_best_or_in_a_near_tie() {
    let mut checked = 0;
    for case in golden() {
        let (prompt, answer) = (field(&case, "prompt"), field(&case, "answer"));
        let start = model().encode(prompt);
        let whole = model()
            .tokenizer
            .encode(&format!("Q: {prompt}\nA: {answer}"));
        // Where the answer does not begin with a space, the text alone does not give its tokens.
        let Some(chosen) = whole
            .strip_prefix(start.as_slice())
            .filter(|_| !answer.starts_with('?'))
        else {
            continue;
        };
        let mut session = Session::new(&model().network);
        let mut scores = session.read(&start);
        for &id in chosen.iter().chain([&model().tokenizer.eos]) {
            let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let gap = best - scores[id as usize];
            assert!(gap < 0.05, "{prompt}: token {id} is {gap} below the best");
            scores = session.read(&[id]);
        }
        checked += 1;
    }
    assert_eq!(checked, 22);
}

#[test]
fn emit_is_called_for_each_token_but_eos() {
    let (pieces, generated) = pieces(FRANCE, 200, GREEDY, &[]);
    assert_eq!(pieces.len() + 1, generated.completion_tokens as usize);
    assert_eq!(pieces.first().map(String::as_str), Some("The"));
    assert_eq!(pieces.concat(), "The capital of France is Paris.");
}

#[test]
fn max_tokens_ends_with_length() {
    let (answer, generated) = text(FRANCE, 3, GREEDY, &[]);
    assert!("The capital of France is Paris.".starts_with(&answer) && !answer.is_empty());
    assert_eq!(
        (generated.completion_tokens, generated.finish),
        (3, Finish::Length)
    );
    // EOS as the last token allowed is still an end of the model's own.
    assert_eq!(text(FRANCE, 13, GREEDY, &[]).1.finish, Finish::Stop);
    assert_eq!(text(FRANCE, 12, GREEDY, &[]).1.finish, Finish::Length);
    let (answer, generated) = text(FRANCE, 0, GREEDY, &[]);
    assert_eq!(
        (
            answer.as_str(),
            generated.completion_tokens,
            generated.finish
        ),
        ("", 0, Finish::Length)
    );
}

#[test]
fn the_context_is_a_hard_limit() {
    let model = model();
    let fixed = model.count_prompt_tokens("");
    // Each further byte that no piece covers is one token.
    let bytes = |count: usize| "\u{1}".repeat(count);
    let fits = bytes(model.context() - fixed - 1);
    assert_eq!(model.count_prompt_tokens(&fits), 255);
    let (_, generated) = text(&fits, 50, WILD, &[]);
    assert_eq!(
        (generated.prompt_tokens, generated.completion_tokens),
        (255, 1)
    );
    let too_long = bytes(model.context() - fixed);
    let result = model.generate(&too_long, 1, &GREEDY, &[], &mut |_| {
        panic!("no text before the error")
    });
    assert_eq!(
        result,
        Err(ModelError::PromptTooLong {
            tokens: 256,
            context: 256
        })
    );
    let huge = model.generate(&"long ".repeat(100_000), 1, &GREEDY, &[], &mut |_| true);
    assert!(matches!(huge, Err(ModelError::PromptTooLong { tokens, .. }) if tokens > 100_000));
}

#[test]
fn stop_texts_end_the_answer_and_are_left_out() {
    for (stop, wanted) in [
        (vec![" is"], "The capital of France"),
        (vec!["is Paris", "nce"], "The capital of Fra"),
        (vec!["The"], ""),
        (
            vec!["capital of Germany", "Paris!"],
            "The capital of France is Paris.",
        ),
        (vec![""], "The capital of France is Paris."),
        (vec!["."], "The capital of France is Paris"),
    ] {
        let (answer, generated) = text(FRANCE, 200, GREEDY, &stop);
        assert_eq!(
            (answer.as_str(), generated.finish),
            (wanted, Finish::Stop),
            "{stop:?}"
        );
    }
    let (_, stopped) = text(FRANCE, 200, GREEDY, &["The"]);
    assert_eq!(stopped.completion_tokens, 1);
    // Held back as the start of a stop text, then released by the limit.
    let (answer, generated) = text(FRANCE, 1, GREEDY, &["The capital"]);
    assert_eq!((answer.as_str(), generated.finish), ("The", Finish::Length));
}

#[test]
fn cancel_stops_at_once() {
    for wanted in 1..5 {
        let mut calls = 0;
        let generated = model().generate(FRANCE, 200, &GREEDY, &[], &mut |_| {
            calls += 1;
            calls < wanted
        });
        let generated = generated.expect("the prompt fits");
        assert_eq!(
            (calls, generated.completion_tokens, generated.finish),
            (wanted, wanted, Finish::Cancelled)
        );
    }
}

#[test]
fn cancel_is_seen_while_text_is_held_back() {
    let stop = ["The capital of France is Rome.".to_owned()];
    let generated = model().generate(FRANCE, 200, &GREEDY, &stop, &mut |piece| {
        assert_eq!(piece, "");
        false
    });
    assert_eq!(
        generated.map(|done| (done.completion_tokens, done.finish)),
        Ok((1, Finish::Cancelled))
    );
}

#[test]
fn a_seed_gives_one_answer_and_seeds_differ() {
    let prompt = "Tell me a story about a robot and a lamp.";
    let answer = |seed| text(prompt, 100, Sampling { seed, ..WILD }, &[]);
    assert_eq!(answer(1), answer(1));
    let answers: std::collections::HashSet<String> = (0..8).map(|seed| answer(seed).0).collect();
    assert!(answers.len() > 4, "{answers:?}");
}

#[test]
fn narrow_sampling_is_greedy() {
    let narrow = [
        Sampling {
            temperature: 1.0,
            top_k: 1,
            ..WILD
        },
        Sampling {
            temperature: 1.0,
            top_p: 0.0,
            top_k: 0,
            ..WILD
        },
        Sampling {
            temperature: 1e-30,
            top_k: 0,
            top_p: 1.0,
            ..WILD
        },
        Sampling {
            temperature: f32::NAN,
            ..WILD
        },
        Sampling {
            temperature: -1.0,
            ..WILD
        },
    ];
    for sampling in narrow {
        let sampling = Sampling {
            frequency_penalty: 0.0,
            ..sampling
        };
        assert_eq!(
            text(FRANCE, 200, sampling, &[]).0,
            "The capital of France is Paris.",
            "{sampling:?}"
        );
    }
}

#[test]
fn odd_settings_are_harmless() {
    for odd in [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        0.0,
    ] {
        let sampling = Sampling {
            temperature: 1.0,
            top_k: u32::MAX,
            top_p: odd,
            frequency_penalty: odd,
            seed: u64::MAX,
        };
        text(FRANCE, 20, sampling, &[]);
        text(
            FRANCE,
            20,
            Sampling {
                temperature: odd,
                ..sampling
            },
            &[],
        );
    }
}

#[test]
fn frequency_penalty_lowers_repeats() {
    let prompt = "Tell me a story about a curious fox.";
    let spread = |frequency_penalty| {
        let (answer, _) = text(
            prompt,
            60,
            Sampling {
                frequency_penalty,
                ..GREEDY
            },
            &[],
        );
        let words: Vec<&str> = answer.split_whitespace().collect();
        words.len() - words.iter().collect::<std::collections::HashSet<_>>().len()
    };
    assert!(spread(2.0) < spread(0.0));
}

#[test]
fn any_text_comes_back_from_its_tokens() {
    let texts = [
        "",
        " ",
        "plain",
        "Grüße 🙂 你好",
        "👩‍👩‍👧‍👦 family",
        "\u{0}\u{1}\t\r\n",
        "a  b   c ",
        "<s></s><unk><0x41>",
        "é\u{301}",
    ];
    for sample in texts {
        let ids = model().tokenizer.encode(sample);
        let mut decoder = Decoder::default();
        let mut back: String = ids
            .iter()
            .map(|&id| decoder.push(model().tokenizer.bytes(id)))
            .collect();
        back += &decoder.finish();
        assert_eq!(back, format!(" {sample}"));
        // No prompt can spell a control token.
        assert!(ids.iter().skip(1).all(|id| *id > 2), "{sample}");
    }
}

#[test]
fn the_decoder_holds_back_cut_characters() {
    let mut decoder = Decoder::default();
    let [a, b, c, d] = [0xf0, 0x9f, 0x99, 0x82];
    assert_eq!(
        [a, b, c, d].map(|byte| decoder.push(&[byte])),
        ["", "", "", "🙂"]
    );
    assert_eq!(decoder.push(b"x\xc3"), "x");
    assert_eq!(decoder.push(b"\xbc\xff y"), "ü\u{fffd} y");
    assert_eq!(decoder.push(&[a, b, b'!', c]), "\u{fffd}!\u{fffd}");
    assert_eq!(
        (decoder.push(&[a, b]).as_str(), decoder.finish().as_str()),
        ("", "\u{fffd}")
    );
    assert_eq!(decoder.finish(), "");
}

#[test]
fn answers_of_byte_pieces_stay_whole() {
    // Hot enough to draw byte pieces, so that cut and wrong characters occur.
    for seed in 0..20 {
        let hot = Sampling {
            temperature: 50.0,
            seed,
            ..GREEDY
        };
        let (pieces, generated) = pieces("Grüße 🙂", 120, hot, &["🙂", "stop here"]);
        assert!(pieces.len() <= generated.completion_tokens as usize + 1);
        assert!(generated.prompt_tokens + generated.completion_tokens <= 256);
    }
}

#[test]
fn every_cut_file_is_refused() {
    let lengths = (0..HEAD)
        .step_by(23)
        .chain((HEAD..model::EMBEDDED.len()).step_by(4099));
    for len in lengths.chain([HEAD - 1, HEAD, model::EMBEDDED.len() - 1]) {
        assert!(
            TinyModel::from_bytes(&model::EMBEDDED[..len]).is_err(),
            "{len} bytes"
        );
    }
}

#[test]
fn flipped_bits_never_panic() {
    let mut file = model::EMBEDDED.to_vec();
    for at in 0..HEAD {
        let bit = 1 << (at % 8);
        file[at] ^= bit;
        let _ = Gguf::parse(&file);
        file[at] ^= bit;
    }
    // The keys, some pieces, the tensors' names and shapes, some weights; whatever loads must also run.
    let spots = (0..1100)
        .step_by(5)
        .chain((1100..HEAD - 3000).step_by(997))
        .chain((HEAD - 3000..HEAD).step_by(13));
    for at in spots.chain((HEAD..file.len()).step_by(90_001)) {
        let bit = 0x80 >> (at % 8);
        file[at] ^= bit;
        if let Ok(model) = TinyModel::from_bytes(&file) {
            let _ = model.generate("Hi", 2, &WILD, &[], &mut |_| true);
        }
        file[at] ^= bit;
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 1u64;
    for len in 0..2000 {
        let mut file: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56).to_le_bytes()[0]
        })
        .take(len)
        .collect();
        assert!(TinyModel::from_bytes(&file).is_err());
        // Past the magic and the version, with few entries, the values themselves are read.
        let head = [
            b"GGUF".as_slice(),
            &3u32.to_le_bytes(),
            &2u64.to_le_bytes(),
            &2u64.to_le_bytes(),
        ]
        .concat();
        file.splice(..0, head);
        assert!(TinyModel::from_bytes(&file).is_err());
    }
}

#[test]
fn errors_name_the_cause() {
    assert_eq!(
        TinyModel::from_bytes(b"nonsense").err(),
        Some(ModelError::Malformed("not a GGUF file"))
    );
    let mut file = model::EMBEDDED.to_vec();
    file[4] = 2;
    assert_eq!(
        TinyModel::from_bytes(&file).err(),
        Some(ModelError::Unsupported("GGUF version"))
    );
    let error = ModelError::PromptTooLong {
        tokens: 300,
        context: 256,
    };
    assert_eq!(
        error.to_string(),
        "the prompt has 300 tokens, but prompt and answer together must fit 256"
    );
}
