//! The settings file: what is wrong with it is said exactly, and an edit keeps what the user wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use proptest::prelude::*;
use vend::config::edit::{self, EditError};
use vend::config::keys::{self, Key, Rule, Section, Shape};
use vend::config::load::{load, problems};
use vend::config::{Settings, SettingsError, check};

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> Place {
    let place = nowhere();
    fs::write(&place.path, text).unwrap();
    place
}

fn nowhere() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    Place { _dir: dir, path }
}

fn error(text: &str) -> SettingsError {
    let place = file(text);
    let error = load(&place.path).unwrap_err();
    assert_eq!(*error.file, *place.path);
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    error
}

/// The error's line without the folder of the test.
fn line(text: &str) -> String {
    let text = error(text).to_string();
    let at = text.find("config.toml").unwrap();
    text[at..].to_owned()
}

#[test]
fn no_file_means_the_defaults() {
    assert_eq!(load(&nowhere().path).unwrap(), Settings::default());
    assert_eq!(load(&file("# mine\n").path).unwrap(), Settings::default());
}

#[test]
fn the_file_overlays_the_defaults() {
    let text = "start_online = true\n[price]\nmin_price_sats = 21\n[[endpoint]]\nname = \"gpu\"\nslots = 4\n";
    let settings = load(&file(text).path).unwrap();
    let mut expected = Settings {
        start_online: true,
        ..Settings::default()
    };
    expected.price.min_price_sats = 21;
    "gpu".clone_into(&mut expected.endpoints.0[0].name);
    expected.endpoints.0[0].slots = 4;
    assert_eq!(settings, expected);
}

#[test]
fn a_wrong_type_names_file_line_key_what_was_found_and_what_is_allowed() {
    assert_eq!(
        line("# my shop\n[price]\nprice_per_1k_tokens = 3\nmin_price_sats = \"ten\"\n"),
        "config.toml:4: price.min_price_sats: found \"ten\"; allowed: a whole number of sats from 0 to 100000000"
    );
    assert_eq!(
        line("start_online = 1"),
        "config.toml:1: start_online: found 1; allowed: true or false"
    );
    assert_eq!(
        line("[text]\ntop_k = 40.5"),
        "config.toml:2: text.top_k: found 40.5; allowed: a whole number from 0 to 1000"
    );
    assert_eq!(
        line("[nostr]\nrelays = \"wss://nos.lol\""),
        "config.toml:2: nostr.relays: found \"wss://nos.lol\"; allowed: a list, each entry a relay address as \
         wss://relay.example or ws://127.0.0.1:7777; write it in brackets: [ … ]"
    );
    assert_eq!(
        line("price = 3"),
        "config.toml:1: price: found 3; allowed: [price]"
    );
    assert_eq!(
        line("[endpoint]\nname = \"x\""),
        "config.toml:1: endpoint: found a table; allowed: [[endpoint]]"
    );
    assert_eq!(
        line("endpoint = [1]"),
        "config.toml:1: endpoint: found a list; allowed: [[endpoint]]"
    );
}

#[test]
fn out_of_range_names_the_range() {
    for (text, allowed) in [
        (
            "[nostr]\nkinds = [5050, 6000]",
            "a list of whole numbers from 5000 to 5999",
        ),
        ("[text]\ntemperature = 2.1", "a number from 0 to 2"),
        ("[text]\ntemperature = nan", "a number from 0 to 2"),
        ("[text]\ntop_p = 0", "a number above 0, up to 1"),
        ("[text]\ntop_k = 1001", "a whole number from 0 to 1000"),
        ("[text]\nfrequency_penalty = -3", "a number from -2 to 2"),
        (
            "[text]\nmax_tokens = 1000001",
            "a whole number of tokens from 1 to 1000000",
        ),
        (
            "[price]\nmin_price_sats = -1",
            "a whole number of sats from 0 to 100000000",
        ),
        (
            "[payment]\ncheck_every_secs = 0",
            "a whole number of seconds from 1 to 86400",
        ),
        (
            "[[endpoint]]\nslots = 65",
            "a whole number of jobs from 1 to 64",
        ),
        (
            "[limits]\nqueue = 0",
            "a whole number of jobs from 1 to 100000",
        ),
        (
            "[limits]\njob_timeout_secs = 0",
            "a whole number of seconds from 1 to 86400",
        ),
        (
            "[wallet]\naccount = -1",
            "a whole number from 0 to 2147483647",
        ),
    ] {
        let error = error(text);
        assert_eq!(
            (error.allowed.as_str(), error.line),
            (allowed, Some(2)),
            "{text}"
        );
    }
}

#[test]
fn an_unknown_word_lists_the_known_ones() {
    assert_eq!(
        line("[payment]\nmode = \"befor\""),
        "config.toml:2: payment.mode: found \"befor\"; allowed: after, before, credit, hold; did you mean `before`?"
    );
    assert!(line("[wallet]\nbackend = \"paypal\"").ends_with(
        "wallet.backend: found \"paypal\"; allowed: spark, nwc, lnbits, lnd, cln, phoenixd, sandbox"
    ));
}

#[test]
fn an_unknown_key_asks_whether_another_was_meant() {
    assert_eq!(
        line("[price]\n\nmin_price_sat = 3\n"),
        "config.toml:3: price.min_price_sat: found an unknown key; allowed: min_price_sats, price_per_1k_tokens, priority_percent, \
         model; did you mean `min_price_sats`?"
    );
    assert_eq!(
        &*error("[prices]\nmin_price_sats = 3").hint,
        "did you mean `price`?"
    );
    assert_eq!(
        &*error("[text]\nqueue = 3").hint,
        "`queue` belongs in [limits]"
    );
    assert_eq!(
        error("[[endpoint]]\nname = \"gpu\"\nslot = 3").line,
        Some(3)
    );
    assert_eq!(
        error("[[endpoint]]\nname = \"gpu\"\nslot = 3")
            .key
            .as_deref(),
        Some("endpoint.gpu.slot")
    );
}

#[test]
fn an_entry_of_a_list_has_its_own_line() {
    let text = "[nostr]\nrelays = [\n  \"wss://nos.lol\",\n  \"http://nos.lol\",\n]\n";
    let error = error(text);
    assert_eq!(
        (error.line, error.found.as_str()),
        (Some(4), "\"http://nos.lol\"")
    );
    assert_eq!(error.key.as_deref(), Some("nostr.relays"));
}

#[test]
fn text_that_is_no_toml_names_the_line_and_not_the_secret() {
    let error = error("[wallet]\nbackend = \"nwc\"\nuri = \"nostr+walletconnect://hunter2\n");
    assert_eq!(error.line, Some(3));
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let twice = line("start_online = true\nstart_online = false\n");
    assert!(twice.starts_with("config.toml:2: "), "{twice}");
}

#[test]
fn a_file_that_is_no_text_is_an_error() {
    let place = nowhere();
    fs::write(&place.path, b"start_online = true\n# \xff\n").unwrap();
    let error = load(&place.path).unwrap_err();
    assert_eq!(
        (error.line, error.found.as_str()),
        (Some(2), "bytes that are no text")
    );
    fs::write(&place.path, vec![b'#'; 2_000_000]).unwrap();
    assert_eq!(
        load(&place.path).unwrap_err().allowed,
        "at most 1048576 bytes"
    );
    fs::remove_file(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    load(&place.path).unwrap_err();
}

#[test]
fn all_that_is_wrong_is_listed_from_top_to_bottom() {
    let text = "[price]\nmin_price_sats = -1\n[text]\ntopk = 4\ntop_p = 0\n";
    let lines: Vec<_> = problems(&file(text).path)
        .iter()
        .map(|one| one.line)
        .collect();
    assert_eq!(lines, [Some(2), Some(4), Some(5)]);
}

#[test]
fn what_does_not_go_together_has_a_line_too() {
    for (text, key, at, part) in [
        (
            "[wallet]\nbackend = \"lnbits\"\nurl = \"http://x\"",
            "wallet.invoice_key",
            1,
            "lnbits needs wallet.invoice_key",
        ),
        (
            "[wallet]\nurl = \"http://x\"",
            "wallet.url",
            2,
            "a key of lnbits, lnd, cln, phoenixd",
        ),
        (
            "[wallet]\nbackend = \"sandbox\"",
            "wallet.network",
            1,
            "regtest while wallet.backend is sandbox",
        ),
        (
            "[wallet]\nnetwork = \"signet\"",
            "wallet.network",
            2,
            "Spark has no other networks",
        ),
        (
            "[nostr]\nrelays = []",
            "nostr.relays",
            2,
            "at least one relay",
        ),
        ("endpoint = []", "endpoint", 1, "at least one [[endpoint]]"),
        (
            "[[endpoint]]\n[[endpoint]]",
            "endpoint.2.name",
            2,
            "a second time",
        ),
        (
            "[[endpoint]]\nname = \"a\"\nkind = \"openai\"",
            "endpoint.a.url",
            1,
            "found nothing",
        ),
        (
            "[[endpoint]]\nname = \"a\"\nkind = \"openai\"\nurl = \"gpu\"",
            "endpoint.a.url",
            4,
            "a whole address",
        ),
        (
            "[[price.model]]\nname = \"m\"\nprice_per_1k_input = 1",
            "price.model.m.price_per_1k_output",
            1,
            "found nothing",
        ),
        (
            "[[offer]]\nname = \"t\"",
            "offer.t.kind",
            1,
            "found nothing",
        ),
        (
            "[[offer]]\nname = \"t\"\nkind = 5002\ntemplate = \"To {languge}: {input}\"",
            "offer.t.template",
            4,
            "did you mean {language}?",
        ),
        (
            "[[offer]]\nname = \"t\"\nkind = 5002\ntemplate = \"To {language\"",
            "offer.t.template",
            4,
            "a brace without its other one",
        ),
        (
            "[[offer]]\nname = \"text\"\nkind = 5050",
            "offer.text.name",
            2,
            "another name",
        ),
    ] {
        let error = error(text);
        assert_eq!(
            (error.key.as_deref(), error.line),
            (Some(key), Some(at)),
            "{text}: {error}"
        );
        assert!(error.to_string().contains(part), "{error}");
    }
}

const SECRETS: &str = r#"
[wallet]
backend = "lnbits"
url = "https://me:hunter1@lnbits.example"
invoice_key = "hunter2"

[[endpoint]]
name = "cloud"
kind = "openai"
url = "https://api.example"
api_key = "hunter3"

[[endpoint]]
name = "other"
kind = "openai"
url = "https://api2.example"
api_key = { env = "OTHER_KEY" }
"#;

#[test]
fn show_and_get_never_show_a_secret() {
    let place = file(SECRETS);
    let shown = edit::show(&place.path).unwrap();
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("invoice_key = \"***\""), "{shown}");
    assert!(
        shown.contains("OTHER_KEY"),
        "where a secret is, is no secret"
    );
    assert!(
        shown.contains("min_price_sats = 10"),
        "defaults are shown too"
    );
    let get = |key| edit::get(&place.path, key).unwrap().unwrap();
    assert_eq!(get("wallet.invoice_key"), "***");
    assert_eq!(get("wallet.url"), "https://***@lnbits.example");
    assert_eq!(get("endpoint.cloud.api_key"), "***");
    assert_eq!(get("endpoint.other.api_key"), "{ env = \"OTHER_KEY\" }");
    let debug = format!("{:?}", load(&place.path).unwrap());
    assert!(
        !debug.contains("hunter2") && !debug.contains("hunter3"),
        "{debug}"
    );
}

#[test]
fn no_error_holds_a_secret() {
    for text in [
        "[wallet]\nbackend = \"lnbits\"\ninvoice_kei = \"hunter2\"",
        "[wallet]\ninvoice_key = \"hunter2\"",
        "[wallet]\nbackend = \"nwc\"\nuri = \"hunter2\"",
        "[wallet]\nbackend = \"nwc\"\nuri = { secret = \"hunter2\" }",
        "[wallet]\nbackend = \"lnbits\"\ninvoice_key = [\"hunter2\"]",
        "[wallet]\nbackend = \"nostr+walletconnect://hunter2\"",
        "[limits]\nallow = [\"nsec1hunter2\"]",
        "[wallet]\nurl = \"ftp://me:hunter2@x\"",
    ] {
        let error = error(text);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

const COMMENTED: &str = r#"# My shop.

start_online = false # not yet

# What it costs
[price]
# cheap on purpose
min_price_sats = 10   # sats
price_per_1k_tokens = 2

[nostr] # relays
relays = [
    "wss://nos.lol", # mine
    # slow
    "wss://nostr.mom",
]

# the end
"#;

#[test]
fn an_edit_keeps_comments_and_order() {
    let place = file(COMMENTED);
    edit::set(&place.path, "price.min_price_sats", "21").unwrap();
    let expected = COMMENTED.replace("= 10 ", "= 21 ");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), expected);
    edit::set(
        &place.path,
        "nostr.relays",
        "wss://nos.lol, wss://nostr.mom, wss://x.example",
    )
    .unwrap();
    let expected = expected.replace(
        "    \"wss://nostr.mom\",\n",
        "    \"wss://nostr.mom\",\n    \"wss://x.example\",\n",
    );
    assert_eq!(fs::read_to_string(&place.path).unwrap(), expected);
    let settings = edit::set(&place.path, "limits.queue", "5").unwrap();
    let text = fs::read_to_string(&place.path).unwrap();
    assert!(
        text.starts_with(expected.trim_end_matches("# the end\n").trim_end()),
        "{text}"
    );
    assert!(
        text.contains("[limits]\nqueue = 5\n") && text.contains("# the end"),
        "{text}"
    );
    assert_eq!(load(&place.path).unwrap(), settings);
}

#[test]
fn an_edit_that_would_not_be_valid_changes_nothing() {
    let place = file(COMMENTED);
    for (key, value) in [
        ("price.min_price_sats", "ten"),
        ("price.min_price_sat", "10"),
        ("text.max_tokens_limit", "1"),
        ("wallet.backend", "lnbits"),
        ("wallet.url", "http://x"),
        ("endpoint.gpu.slots", "2"),
        ("endpoint", "x"),
        ("nostr.relays", ""),
        ("price.model.llama3:70b.min_price_sats", "2"),
    ] {
        let error = edit::set(&place.path, key, value).unwrap_err();
        assert!(matches!(error, EditError::Settings(_)), "{key}: {error}");
        assert_eq!(error.to_string().lines().count(), 1);
        assert_eq!(fs::read_to_string(&place.path).unwrap(), COMMENTED, "{key}");
    }
}

#[test]
fn an_unknown_key_of_an_edit_asks_whether_another_was_meant() {
    let error = edit::set(&nowhere().path, "price.min_price", "1").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("did you mean `price.min_price_sats`?"),
        "{error}"
    );
    let error = edit::get(&nowhere().path, "endpoint.gpu.url")
        .unwrap_err()
        .to_string();
    assert!(error.contains("the names that are there: local"), "{error}");
}

#[test]
fn what_only_goes_together_is_set_together() {
    let place = file("# mine\n");
    let settings = edit::set_all(
        &place.path,
        &[
            ("wallet.backend", Some("lnbits")),
            ("wallet.url", Some("https://lnbits.example")),
            ("wallet.invoice_key", Some("{ file = \"key\" }")),
        ],
    )
    .unwrap();
    assert_eq!(settings.wallet.backend.as_str(), "lnbits");
    edit::set_all(
        &place.path,
        &[
            ("wallet.backend", Some("spark")),
            ("wallet.url", None),
            ("wallet.invoice_key", Some("")),
        ],
    )
    .unwrap();
    assert_eq!(load(&place.path).unwrap(), Settings::default());
}

#[test]
fn tables_of_a_list_are_edited_by_name() {
    let place = file(
        "[[endpoint]]\nname = \"a.b\" # first\n\n[[endpoint]]\nname = \"c\"\n\n[[price.model]]\nname = \"llama3.1:70b\"\nprice_per_1k_input = 1\nprice_per_1k_output = 2\n",
    );
    edit::set(&place.path, "endpoint.c.slots", "3").unwrap();
    edit::set(&place.path, "endpoint.a.b.url", "gpu:11434").unwrap();
    edit::set(&place.path, "price.model.llama3.1:70b.min_price_sats", "9").unwrap();
    edit::set(&place.path, "price.min_price_sats", "8").unwrap();
    let settings = load(&place.path).unwrap();
    assert_eq!(settings.endpoints.0[0].url, "gpu:11434");
    assert_eq!(settings.endpoints.0[1].slots, 3);
    assert_eq!(settings.price.models[0].min_price_sats, Some(9));
    assert_eq!(settings.price.min_price_sats, 8);
    edit::unset(&place.path, "price.model.llama3.1:70b.min_price_sats").unwrap();
    assert_eq!(
        load(&place.path).unwrap().price.models[0].min_price_sats,
        None
    );
}

#[test]
fn the_endpoint_that_is_there_by_default_can_be_edited() {
    let place = nowhere();
    edit::set(&place.path, "endpoint.local.slots", "2").unwrap();
    let mut expected = Settings::default();
    expected.endpoints.0[0].slots = 2;
    assert_eq!(load(&place.path).unwrap(), expected);
    edit::unset(&place.path, "endpoint.local.slots").unwrap();
    assert_eq!(load(&place.path).unwrap(), Settings::default());
}

#[test]
fn inline_and_dotted_tables_are_edited_too() {
    let place =
        file("price = { min_price_sats = 3 } # p\ntext.top_k = 3\nendpoint = [{ name = \"x\" }]\n");
    edit::set(&place.path, "price.price_per_1k_tokens", "4").unwrap();
    edit::set(&place.path, "text.top_p", "0.5").unwrap();
    edit::set(&place.path, "endpoint.x.slots", "5").unwrap();
    let settings = load(&place.path).unwrap();
    assert_eq!(settings.price.price_per_1k_tokens, 4);
    assert!((settings.text.top_p - 0.5).abs() < f64::EPSILON);
    assert_eq!(settings.endpoints.0[0].slots, 5);
    assert!(fs::read_to_string(&place.path).unwrap().contains("# p"));
}

#[test]
fn a_broken_file_is_never_edited() {
    let place = file("[price\n");
    let error = edit::set(&place.path, "price.min_price_sats", "1").unwrap_err();
    assert!(error.to_string().contains("config.toml:1: "), "{error}");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "[price\n");
}

#[test]
fn a_new_file_is_private_and_an_old_one_keeps_its_mode() {
    let place = nowhere();
    let deep = place.path.with_file_name("a").join("config.toml");
    edit::set(&deep, "start_online", "true").unwrap();
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&deep), 0o600);
    assert_eq!(mode(&deep.parent().unwrap().to_owned()), 0o700);
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o640)).unwrap();
    edit::set(&deep, "start_online", "false").unwrap();
    assert_eq!(mode(&deep), 0o640);
}

#[test]
fn init_writes_the_defaults_once() {
    let place = nowhere();
    edit::init(&place.path).unwrap();
    assert_eq!(load(&place.path).unwrap(), Settings::default());
    let text = fs::read_to_string(&place.path).unwrap();
    for key in keys::KEYS {
        assert!(text.contains(key.help), "{}", key.name());
        let named = text.contains(&format!("{} = ", key.field));
        assert!(named || key.section.free(), "{}", key.name());
    }
    let error = edit::init(&place.path).unwrap_err();
    assert!(matches!(error, EditError::Exists { .. }), "{error}");
}

#[test]
fn every_example_in_the_new_file_can_be_switched_on() {
    let place = nowhere();
    edit::init(&place.path).unwrap();
    let text = fs::read_to_string(&place.path).unwrap();
    let on: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || rest.split_whitespace().nth(1) == Some("=") => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    // All backends' keys at once are the one thing that does not go together.
    let found = problems(&file(&on).path);
    assert!(!found.is_empty());
    for one in found {
        assert!(
            one.allowed.contains("while wallet.backend is spark"),
            "{one}\n{on}"
        );
    }
}

#[test]
fn effective_settings_written_out_are_read_back_the_same() {
    let shown = edit::show(&nowhere().path).unwrap();
    assert_eq!(load(&file(&shown).path).unwrap(), Settings::default());
    let shown = edit::show(&file(COMMENTED).path).unwrap();
    assert_eq!(
        load(&file(&shown).path).unwrap(),
        load(&file(COMMENTED).path).unwrap()
    );
}

#[test]
fn a_value_can_be_checked_while_it_is_typed() {
    assert_eq!(edit::check_value("text.top_p", "0.5"), Ok(()));
    assert_eq!(edit::check_value("text.max_tokens_limit", ""), Ok(()));
    let error = edit::check_value("endpoint.local.slots", "0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "endpoint.local.slots: found 0; allowed: a whole number of jobs from 1 to 64"
    );
}

/// Any value of a key, as a person would type it.
fn typed(key: &'static Key) -> BoxedStrategy<String> {
    let rule = |rule: Rule| -> BoxedStrategy<String> {
        match rule {
            Rule::Line | Rule::Path | Rule::Name => {
                "[!-~\u{e4}\u{20ac}]([ -~\u{e4}\u{20ac}]{0,20}[!-~])?".boxed()
            }
            Rule::Prose | Rule::Stop => "[!-~]([ -~\n\u{e4}]{0,20}[!-~])?".boxed(),
            Rule::Relay => {
                "wss?://[a-z]{1,9}(\\.[a-z]{2,5}){1,2}(:[1-9][0-9]{1,3})?(/[a-z]{1,5})?".boxed()
            }
            Rule::Server | Rule::Http => "https?://[a-z]{1,9}(:[1-9][0-9]{1,3})?".boxed(),
            Rule::LightningAddress => "([a-z0-9]{1,9}@[a-z]{1,9}\\.com)?".boxed(),
            Rule::Listen => "(127\\.0\\.0\\.1:[1-9][0-9]{1,3})?".boxed(),
            Rule::Currency => "[A-Z]{3,5}".boxed(),
            Rule::Hours => {
                let days = prop::sample::select(vec!["mon", "mon-fri", "sat,sun", "fri-mon"]);
                (days, 0..24_u8, 0..60_u8)
                    .prop_map(|(days, hour, minute)| format!("{days} {hour:02}:{minute:02}-24:00"))
                    .boxed()
            }
            Rule::Person => any::<[u8; 32]>()
                .prop_filter_map("a key", |bytes| nostr::SecretKey::from_slice(&bytes).ok())
                .prop_map(|secret| nostr::Keys::new(secret).public_key().to_hex())
                .boxed(),
        }
    };
    match key.shape {
        Shape::Flag => any::<bool>().prop_map(|flag| flag.to_string()).boxed(),
        Shape::Word(words) => prop::sample::select(words).prop_map(str::to_owned).boxed(),
        Shape::Whole { min, max, .. } => (min..=max).prop_map(|number| number.to_string()).boxed(),
        Shape::Number { min, max, .. } => (min..=max).prop_map(|number| number.to_string()).boxed(),
        Shape::Text(one) => rule(one),
        Shape::Secret => prop_oneof![
            Just("{ env = \"KEY\" }".to_owned()),
            Just("{ file = \"some/where\" }".to_owned()),
            "[a-z]{1,20}",
        ]
        .boxed(),
        Shape::Texts(one) => prop::collection::vec(rule(one), 1..5)
            .prop_map(|entries| {
                let entries: toml_edit::Array = entries.into_iter().collect();
                entries.to_string()
            })
            .boxed(),
        Shape::Wholes { min, max } => prop::collection::vec(min..=max, 1..5)
            .prop_map(|entries| format!("{entries:?}"))
            .boxed(),
        // A secret that is in the table itself is not shown, so it can't be set again from what is.
        Shape::Secrets => {
            let one = "{ X-Key = { env = \"KEY\" }, other = { file = \"some/where\" } }";
            Just(one.to_owned()).boxed()
        }
        Shape::Table => {
            // In the order in which it is shown.
            let one = "{ b = [true, \"x\"], logit_bias = { a = -1 }, min_p = 0.05 }";
            Just(one.to_owned()).boxed()
        }
        Shape::Presses => {
            prop_oneof!["[!-+--~]", "ctrl-[d-h]", Just("y, ctrl-y".to_owned())].boxed()
        }
    }
}

/// A change of one of the keys that stand alone, so that any value of it makes a valid file.
fn change() -> impl Strategy<Value = (String, String)> {
    let alone: Vec<&'static Key> = keys::KEYS
        .iter()
        .filter(|key| ![Section::PriceModel, Section::Offer].contains(&key.section))
        .filter(|key| key.section != Section::Wallet || key.field == "account")
        .filter(|key| !["max_tokens", "max_tokens_limit", "kind"].contains(&key.field))
        .filter(|key| !(key.section == Section::Endpoint && key.field == "name"))
        .collect();
    prop::sample::select(alone).prop_flat_map(|key| {
        let name = key.name().replace("NAME", "local");
        typed(key).prop_map(move |value| (name.clone(), value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn any_valid_value_that_is_set_is_then_loaded(changes in prop::collection::vec(change(), 1..6)) {
        let place = file(COMMENTED);
        for (key, value) in changes {
            let settings = edit::set(&place.path, &key, &value).unwrap();
            prop_assert_eq!(&load(&place.path).unwrap(), &settings);
            prop_assert_eq!(check::check(&settings), Ok(()));
            // What is shown of it can be set again, and then says the same.
            let (known, name) = keys::find(&key).unwrap();
            let shown = known.text_in(&settings, name).unwrap();
            if shown != "***" {
                let parsed = known.shape.parse(&value).unwrap();
                prop_assert_eq!(&shown, &known.shape.text(&parsed));
                prop_assert_eq!(&edit::set(&place.path, &key, &shown).unwrap(), &settings);
            }
        }
        let text = fs::read_to_string(&place.path).unwrap();
        for comment in ["# My shop.", "# not yet", "# What it costs", "# cheap on purpose", "# sats", "# relays", "# mine", "# slow", "# the end"] {
            prop_assert!(text.contains(comment), "{}: {}", comment, text);
        }
    }

    #[test]
    fn no_file_makes_it_panic_or_speak_in_lines(text in "[a-z\\[\\]=\"{}.,#\\n 0-9]{0,80}") {
        if let Err(error) = load(&file(&text).path) {
            prop_assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}
