//! One value in the place of another, with every comment around it kept.

use toml_edit::{Array, Item, RawString, TableLike, Value};

/// Puts the value in the place of the old one, with what was written around it.
pub(super) fn put(table: &mut dyn TableLike, field: &str, mut value: Value) {
    let Some(item) = table.get_mut(field) else {
        table.insert(field, Item::Value(value));
        return;
    };
    if let Some(old) = item.as_value_mut() {
        if let (Some(list), Some(wanted)) = (old.as_array_mut(), value.as_array()) {
            merge(list, wanted);
            return;
        }
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

/// Makes a list hold what is wanted by taking out and adding at the end, so that what is written between its entries stays.
fn merge(list: &mut Array, wanted: &Array) {
    let goal: Vec<String> = wanted.iter().map(plain).collect();
    let kept = take_out(list, &goal);
    for value in wanted.iter().skip(kept) {
        add(list, value);
    }
}

fn plain(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Removes what does not stand where it is wanted, and gives how many entries stay. A comment before a removed one goes to
/// what follows: it may be about the entry above.
fn take_out(list: &mut Array, goal: &[String]) -> usize {
    let mut index = 0;
    let mut carried = String::new();
    while let Some(value) = list.get_mut(index) {
        let decor = value.decor_mut();
        let prefix = format!("{carried}{}", raw(decor.prefix()));
        if goal.get(index) == Some(&plain(value)) {
            if !carried.is_empty() {
                value.decor_mut().set_prefix(prefix);
            }
            carried.clear();
            index += 1;
        } else {
            carried = comment(&prefix);
            carried += &comment(raw(value.decor().suffix()));
            list.remove(index);
        }
    }
    if !carried.is_empty() {
        let trailing = format!("{carried}{}", raw(Some(list.trailing())));
        list.set_trailing(trailing);
    }
    index
}

/// The text up to the end of its last comment; nothing where there is none.
pub(super) fn comment(text: &str) -> String {
    match text.rfind('#') {
        Some(at) => {
            let end = text[at..].find('\n').map_or(text.len(), |len| at + len);
            text[..end].to_owned()
        }
        None => String::new(),
    }
}

/// Adds an entry at the end, on a line of its own where the last one is.
fn add(list: &mut Array, value: &Value) {
    let mut value = value.clone();
    value.decor_mut().clear();
    let before = list.iter().last().map(|entry| raw(entry.decor().prefix()));
    let Some(indent) = before.and_then(|prefix| Some(prefix.rsplit_once('\n')?.1.to_owned()))
    else {
        // One line: a comment can only stand behind the bracket.
        if list
            .trailing()
            .as_str()
            .is_some_and(|text| text.contains('#'))
        {
            let trailing = raw(Some(list.trailing())).trim_end().to_owned();
            list.set_trailing("\n");
            list.push_formatted(value.decorated(format!("{trailing}\n"), ""));
        } else {
            list.push(value);
        }
        return;
    };
    let trailing = comment(raw(Some(list.trailing())));
    if !trailing.is_empty() {
        list.set_trailing("\n");
    }
    list.push_formatted(value.decorated(format!("{trailing}\n{indent}"), ""));
}

pub(super) fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use toml_edit::DocumentMut;

    use super::*;

    fn after(text: &str, value: &str) -> String {
        let mut document: DocumentMut = text.parse().unwrap();
        put(document.as_table_mut(), "a", value.parse().unwrap());
        let text = document.to_string();
        let again: DocumentMut = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
        let wanted: Value = value.parse().unwrap();
        let entries = |value: &Value| value.as_array().unwrap().iter().map(plain).collect();
        let (left, right): (Vec<_>, Vec<_>) =
            (entries(again["a"].as_value().unwrap()), entries(&wanted));
        assert_eq!(left, right, "{text}");
        text
    }

    const LIST: &str = "# above\na = [ # open\n  \"x\", # the x\n  # about y\n  \"y\", # the y\n  # end\n] # after\n";

    #[test]
    fn an_added_entry_leaves_every_comment() {
        let text = after(LIST, r#"["x", "y", "z"]"#);
        assert_eq!(
            text,
            "# above\na = [ # open\n  \"x\", # the x\n  # about y\n  \"y\", # the y\n  # end\n  \"z\",\n] # after\n"
        );
    }

    #[test]
    fn a_removed_entry_leaves_every_comment() {
        for goal in [r#"["x"]"#, r#"["y"]"#, "[]", r#"["x", "z"]"#] {
            let text = after(LIST, goal);
            for comment in ["above", "open", "the x", "about y", "the y", "end", "after"] {
                assert!(text.contains(comment), "{goal}: {comment}: {text}");
            }
        }
    }

    #[test]
    fn lists_on_one_line_stay_on_one_line() {
        assert_eq!(
            after("a = [\"x\", \"y\"] # c\n", r#"["x", "y", "z"]"#),
            "a = [\"x\", \"y\", \"z\"] # c\n"
        );
        assert_eq!(after("a = []\n", r#"["z"]"#), "a = [\"z\"]\n");
        assert_eq!(
            after("a = [ # c\n]\n", r#"["z"]"#).matches("# c").count(),
            1
        );
        after("a = [\"x\" # c\n]\n", r#"["x", "z"]"#);
        after("a = [\n  \"x\" # c\n]\n", r#"["x", "z"]"#);
    }

    #[test]
    fn another_order_is_what_is_asked_for() {
        for goal in [r#"["y", "x"]"#, r#"["z", "x"]"#] {
            let text = after(LIST, goal);
            for comment in ["above", "open", "the x", "about y", "the y", "end", "after"] {
                assert!(text.contains(comment), "{goal}: {comment}: {text}");
            }
        }
    }
}
