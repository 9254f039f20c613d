use std::fs;
use std::path::PathBuf;

use super::*;
use crate::config::edit as file;

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
    form: Form,
}

impl Place {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        if !text.is_empty() {
            fs::write(&path, text).unwrap();
        }
        let mut place = Self {
            _dir: dir,
            path,
            form: Form::default(),
        };
        place.reload();
        place
    }

    fn reload(&mut self) {
        match read(&self.path) {
            Ok(read) => self.form.loaded(&read),
            Err(error) => self.form.unreadable(error),
        }
    }

    fn save(&mut self) -> String {
        match save(&self.path, &self.form.changes()) {
            Ok(read) => self.form.saved(&read),
            Err(error) => panic!("{error:?}"),
        }
        fs::read_to_string(&self.path).unwrap()
    }

    /// Types a text into the row that is chosen by its name.
    fn put(&mut self, name: &str, text: &str) {
        assert!(self.form.choose(name), "{name}");
        self.form.begin();
        self.typed(text);
    }

    fn typed(&mut self, text: &str) {
        let edit = self.form.edit.as_mut().unwrap();
        edit.line = text.into();
        assert!(self.form.keep(), "{:?}", self.form.edit);
    }

    fn value(&self, name: &str) -> Option<String> {
        let mut cells = self.form.cells.iter();
        cells
            .find(|cell| cell.field.name == name)
            .and_then(Cell::value)
    }

    fn entries(&self, name: &str) -> &[String] {
        let mut cells = self.form.cells.iter();
        cells
            .find(|cell| cell.field.name == name)
            .unwrap()
            .entries()
    }
}

#[test]
fn every_setting_has_a_row_that_says_what_it_is_for() {
    let place = Place::new(
        "[[price.model]]\nname = \"m\"\nprice_per_1k_input = 1\nprice_per_1k_output = 2\n\
         [[offer]]\nname = \"m\"\nkind = 5002\n",
    );
    for key in crate::config::keys::KEYS {
        let name = match key.section {
            Section::Keys => "keys.online".to_owned(),
            Section::PriceModel | Section::Offer => key.name().replace("NAME", "m"),
            _ => key.name().replace("NAME", "local"),
        };
        let cell = place.form.cells.iter().find(|cell| cell.field.name == name);
        let field = &cell.unwrap_or_else(|| panic!("{name}")).field;
        assert!(!field.help.is_empty() && !field.allowed().is_empty());
        assert!(!field.applies().is_empty());
    }
}

#[test]
fn a_masked_value_is_never_the_start_of_an_edit() {
    let mut place = Place::new(
        "[nostr]\nrelays = [\"wss://me:hunter2@relay.example\"]\n[wallet]\nbackend = \"nwc\"\nuri = \"nostr+walletconnect://abc?secret=hush\"\n",
    );
    place.form.choose("wallet.uri");
    place.form.begin();
    assert_eq!(place.form.edit.as_ref().unwrap().line.value(), "");
    assert!(place.form.keep(), "untouched, it is left as it was");
    assert!(place.form.changes().is_empty());
    place.form.choose("nostr.relays");
    place.form.at += 1;
    assert_eq!(place.form.copied().unwrap(), "wss://***@relay.example");
    place.form.begin();
    assert_eq!(place.form.edit.as_ref().unwrap().line.value(), "");
    place.form.edit = None;
    // Another entry can be added, and the password is still there afterwards.
    place.put("nostr.relays", "wss://nos.lol");
    let text = place.save();
    assert!(text.contains("wss://me:hunter2@relay.example"), "{text}");
    assert!(!format!("{:?}", place.form.cells).contains("hunter2"));
}

#[test]
fn entries_of_a_list_are_added_changed_and_removed() {
    let mut place = Place::new(
        "[nostr]\n# mine\nrelays = [\n  \"wss://a.example\", # first\n  \"wss://b.example\",\n]\n",
    );
    place.put("nostr.relays", "wss://c.example");
    assert_eq!(place.form.waiting(), 1);
    let Some(Row::Entry(_, 2)) = place.form.row() else {
        panic!("{:?}", place.form.row())
    };
    place.form.at -= 1;
    place.form.begin();
    place.typed("wss://d.example");
    place.form.at -= 1;
    place.form.remove();
    assert_eq!(
        place.entries("nostr.relays"),
        ["wss://d.example", "wss://c.example"]
    );
    let text = place.save();
    assert!(
        text.contains("# mine") && text.contains("# first"),
        "{text}"
    );
    assert!(!place.form.unsaved());
    place.form.choose("nostr.relays");
    place.form.begin();
    for (wrong, why) in [
        ("wss://d.example", "already"),
        ("nos.lol", "relay address"),
        ("", "empty"),
    ] {
        place.form.edit.as_mut().unwrap().line = wrong.into();
        place.form.check();
        let error = place.form.edit.as_ref().unwrap().error.clone().unwrap();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn a_server_is_added_named_filled_and_removed() {
    let mut place = Place::new("");
    place.form.choose("[[endpoint]]");
    place.form.begin();
    place.typed("gpu");
    place.put("endpoint.gpu.url", "http://10.0.0.9:11434");
    place.put("endpoint.gpu.name", "big");
    assert_eq!(place.value("endpoint.gpu.slots").as_deref(), Some("1"));
    let text = place.save();
    assert!(
        text.contains("name = \"local\"") && text.contains("name = \"big\""),
        "{text}"
    );
    assert!(text.contains("url = \"http://10.0.0.9:11434\""), "{text}");
    assert!(place.form.choose("endpoint.big"));
    place.form.remove();
    let text = place.save();
    assert!(!text.contains("big"), "{text}");
    place.form.choose("endpoint.local");
    place.form.remove();
    assert!(place.form.error.is_some() && !place.form.unsaved());
}

#[test]
fn the_price_of_a_model_begins_as_the_general_price() {
    let mut place = Place::new("[price]\nprice_per_1k_tokens = 7\n");
    place.form.choose("[[price.model]]");
    place.form.add();
    place.typed("llama3.1:70b");
    let text = place.save();
    assert!(text.contains("price_per_1k_input = 7"), "{text}");
    place.form.add();
    place.form.edit.as_mut().unwrap().line = "llama3.1:70b".into();
    assert!(!place.form.keep(), "the name is taken");
}

#[test]
fn undo_takes_back_one_change_after_the_other() {
    let mut place = Place::new("");
    place.put("limits.queue", "9");
    place.put("limits.queue", "10");
    place.form.undo();
    assert_eq!(place.value("limits.queue").as_deref(), Some("9"));
    place.form.undo();
    assert!(!place.form.unsaved());
    place.form.undo();
    assert!(place.form.note.is_some());
}

#[test]
fn what_is_as_it_was_is_no_change() {
    let mut place = Place::new("[limits]\nqueue = 9\n");
    place.put("limits.queue", "10");
    place.put("limits.queue", " 9 ");
    assert!(!place.form.unsaved());
    place.form.reset();
    assert_eq!(place.value("limits.queue").as_deref(), Some("32"));
    assert_eq!(place.save(), "[limits]\n");
}

#[test]
fn all_changes_go_into_the_file_at_once_or_none_does() {
    let mut place = Place::new("# top\n[limits]\nqueue = 9 # q\n");
    place.put("limits.queue", "10");
    place.put("text.max_tokens_limit", "5");
    let error = save(&place.path, &place.form.changes()).unwrap_err();
    assert_eq!(error.key.as_deref(), Some("text.max_tokens_limit"));
    assert!(error.text.contains("text.max_tokens_limit"));
    assert!(
        fs::read_to_string(&place.path)
            .unwrap()
            .contains("queue = 9 # q")
    );
    place.form.not_saved(error.key.as_deref(), error.text);
    assert_eq!(
        place.form.cell().unwrap().field.name,
        "text.max_tokens_limit"
    );
    assert_eq!(place.form.waiting(), 2);
    place.put("text.max_tokens_limit", "600");
    let text = place.save();
    assert!(
        text.contains("# top") && text.contains("queue = 10 # q"),
        "{text}"
    );
}

#[test]
fn another_wallet_and_what_it_needs_are_saved_together() {
    let mut place = Place::new("");
    assert!(!place.form.choose("wallet.url"), "spark has none");
    place.put("wallet.backend", "lnbits");
    place.put("wallet.url", "https://lnbits.example");
    place.put("wallet.invoice_key", "{ env = \"KEY\" }");
    let text = place.save();
    assert!(
        text.contains("backend = \"lnbits\"") && text.contains("{ env = \"KEY\" }"),
        "{text}"
    );
}

#[test]
fn words_to_choose_from_are_cycled() {
    let mut place = Place::new("");
    place.form.choose("payment.mode");
    place.form.begin();
    for wanted in ["hold", "after", "before", "credit", "hold"] {
        place.form.cycle(true);
        assert_eq!(place.form.edit.as_ref().unwrap().line.value(), wanted);
    }
    place.form.cycle(false);
    assert!(place.form.keep());
    assert!(!place.form.unsaved(), "round to where it was");
}

#[test]
fn a_key_that_means_two_things_is_told_while_it_is_typed() {
    let mut place = Place::new("");
    place.form.choose("keys.help");
    place.form.begin();
    place.form.edit.as_mut().unwrap().line = "o".into();
    assert!(!place.form.keep());
    let error = place.form.edit.as_ref().unwrap().error.clone().unwrap();
    assert!(error.contains("`online`"), "{error}");
    place.typed("h, f1");
    let text = place.save();
    assert!(text.contains("[keys]\nhelp = [\"h\", \"f1\"]"), "{text}");
    assert_eq!(place.value("keys.help").as_deref(), Some("h, f1"));
    place.form.reset();
    assert!(!place.save().contains("help"));
}

#[test]
fn a_change_by_somebody_else_shows_at_once_where_nothing_was_edited() {
    let mut place = Place::new("[limits]\nqueue = 9\n");
    place.put("limits.per_minute", "7");
    file::set(&place.path, "limits.queue", "11").unwrap();
    place.reload();
    assert!(place.form.conflict().is_none());
    assert_eq!(place.value("limits.queue").as_deref(), Some("11"));
    let text = place.save();
    assert!(
        text.contains("queue = 11") && text.contains("per_minute = 7"),
        "{text}"
    );
}

#[test]
fn a_field_changed_on_both_sides_is_for_the_person_to_decide() {
    for mine in [true, false] {
        let mut place =
            Place::new("[limits]\nqueue = 9\n[[endpoint]]\nname = \"local\"\napi_key = \"old\"\n");
        place.put("limits.queue", "10");
        place.put("endpoint.local.api_key", "mine");
        let theirs = "[limits]\nqueue = 11\n[[endpoint]]\nname = \"local\"\napi_key = \"theirs\"\n";
        fs::write(&place.path, theirs).unwrap();
        place.reload();
        let conflict = place.form.conflict().unwrap().clone();
        assert_eq!(
            (conflict.mine.as_str(), conflict.theirs.as_str()),
            ("10", "11")
        );
        place.form.settle(mine);
        let conflict = place.form.conflict().unwrap().clone();
        assert_eq!(
            (conflict.mine.as_str(), conflict.theirs.as_str()),
            ("***", "***")
        );
        place.form.settle(mine);
        assert!(place.form.conflict().is_none());
        let text = place.save();
        let (queue, key) = if mine { (10, "mine") } else { (11, "theirs") };
        assert!(text.contains(&format!("queue = {queue}")), "{text}");
        assert!(text.contains(&format!("api_key = \"{key}\"")), "{text}");
    }
    let mut place = Place::new("[limits]\nqueue = 9\n");
    place.put("limits.queue", "10");
    file::set(&place.path, "limits.queue", "10").unwrap();
    place.reload();
    assert!(place.form.conflict().is_none(), "both want the same");
    assert!(!place.form.unsaved());
}

#[test]
fn what_is_being_typed_is_asked_about_too() {
    let mut place = Place::new("[limits]\nqueue = 9\n");
    place.form.choose("limits.queue");
    place.form.begin();
    place.form.edit.as_mut().unwrap().line = "10".into();
    file::set(&place.path, "limits.queue", "11").unwrap();
    place.reload();
    assert_eq!(place.form.conflict().unwrap().theirs, "11");
    place.form.settle(false);
    assert!(place.form.edit.is_none());
    assert_eq!(place.value("limits.queue").as_deref(), Some("11"));
}

#[test]
fn a_server_removed_there_and_changed_here_can_be_kept() {
    let two = "[[endpoint]]\nname = \"one\"\n[[endpoint]]\nname = \"two\"\nslots = 2\n";
    for mine in [true, false] {
        let mut place = Place::new(two);
        place.put("endpoint.two.slots", "5");
        fs::write(&place.path, "[[endpoint]]\nname = \"one\"\n").unwrap();
        place.reload();
        assert_eq!(place.form.conflict().unwrap().theirs, "removed");
        place.form.settle(mine);
        assert_eq!(place.form.unsaved(), mine);
        if mine {
            let text = place.save();
            assert!(
                text.contains("name = \"two\"") && text.contains("slots = 5"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_file_that_became_invalid_loses_nothing_here() {
    let mut place = Place::new("[limits]\nqueue = 9\n");
    place.put("limits.queue", "10");
    fs::write(&place.path, "[limits\n").unwrap();
    place.reload();
    assert!(place.form.error.is_some());
    assert_eq!(place.form.waiting(), 1);
    assert!(save(&place.path, &place.form.changes()).is_err());
    fs::write(&place.path, "# mine\n").unwrap();
    place.reload();
    assert!(place.form.error.is_none());
    assert!(place.save().contains("queue = 10"));
}

#[test]
fn no_change_shows_what_was_typed_to_a_log() {
    let mut place = Place::new("");
    place.put("endpoint.local.api_key", "hush-hush");
    assert!(!format!("{:?}", place.form).contains("hush"));
    assert!(!format!("{:?}", place.form.changes()).contains("hush"));
}
