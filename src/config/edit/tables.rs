//! Whole tables of a list, `[[endpoint]]` and `[[price.model]]`: added and taken out, with every comment around them kept.

use std::path::Path;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::put::{comment, raw};
use crate::config::keys::{self, Section};
use crate::config::problem::SettingsError;

/// Adds a table with its name. The endpoint that is there by default is written down beside it: it would be gone otherwise.
pub(super) fn add(
    document: &mut DocumentMut,
    path: &Path,
    section: Section,
    name: &str,
) -> Result<(), SettingsError> {
    let refuse = || refused(path, section, name, "something else than a list of tables");
    let (last, parents) = section.path().split_last().ok_or_else(refuse)?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for word in parents {
        let implicit = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        let item = table.entry(word).or_insert_with(implicit);
        table = item.as_table_like_mut().ok_or_else(refuse)?;
    }
    if !table.contains_key(last) {
        let mut tables = ArrayOfTables::new();
        if section == Section::Endpoint {
            tables.push(fresh("local"));
        }
        table.insert(last, Item::ArrayOfTables(tables));
    }
    match table.get_mut(last) {
        Some(Item::ArrayOfTables(tables)) => tables.push(fresh(name)),
        Some(item) => item.as_array_mut().ok_or_else(refuse)?.push(inline(name)),
        None => return Err(refuse()),
    }
    Ok(())
}

fn fresh(name: &str) -> Table {
    let mut table = Table::new();
    table.insert("name", toml_edit::value(name));
    table.decor_mut().set_prefix("\n");
    table
}

fn inline(name: &str) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("name", name.into());
    table
}

/// Takes a table out. What was written above its header stays: it may be about what stands before it.
pub(super) fn remove(
    document: &mut DocumentMut,
    path: &Path,
    section: Section,
    name: &str,
) -> Result<(), SettingsError> {
    let absent = || refused(path, section, name, "no such table");
    let (last, parents) = section.path().split_last().ok_or_else(absent)?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for word in parents {
        let item = table.get_mut(word).ok_or_else(absent)?;
        table = item.as_table_like_mut().ok_or_else(absent)?;
    }
    let item = table.get_mut(last).ok_or_else(absent)?;
    let all = keys::tables(item);
    let at = all.iter().position(|one| keys::is_named(*one, Some(name)));
    let at = at.ok_or_else(absent)?;
    let only = all.len() == 1;
    if only && section == Section::Endpoint {
        let found = "the only one";
        return Err(refused(path, section, name, found));
    }
    let above = match item {
        Item::ArrayOfTables(tables) => take(tables, at),
        item => {
            if let Some(list) = item.as_array_mut() {
                cut(list, at);
            }
            None
        }
    };
    if only {
        table.remove(last);
    }
    if let Some((position, text)) = above {
        hand_on(document, position, &text);
    }
    Ok(())
}

/// Removes a table; gives its place in the file and the comments above it, where there are any.
fn take(tables: &mut ArrayOfTables, at: usize) -> Option<(isize, String)> {
    let table = tables.get(at)?;
    let position = table.position().unwrap_or(isize::MAX);
    let text = comment(raw(table.decor().prefix()));
    tables.remove(at);
    (!text.is_empty()).then_some((position, text))
}

fn cut(list: &mut Array, at: usize) {
    // Counts the tables alone, as the look for the name did.
    let index = list
        .iter()
        .enumerate()
        .filter(|(_, value)| matches!(value, Value::InlineTable(_)))
        .map(|(index, _)| index)
        .nth(at);
    if let Some(index) = index {
        list.remove(index);
    }
}

/// Puts comments above the table that follows in the file, or at its end.
fn hand_on(document: &mut DocumentMut, position: isize, text: &str) {
    let mut next = None;
    visit(document.as_table_mut(), &mut |table| {
        if let Some(at) = table.position().filter(|at| *at > position) {
            next = Some(next.map_or(at, |held: isize| held.min(at)));
        }
    });
    let Some(next) = next else {
        let trailing = format!("{text}\n{}", raw(Some(document.trailing())));
        document.set_trailing(trailing);
        return;
    };
    visit(document.as_table_mut(), &mut |table| {
        if table.position() == Some(next) {
            let own = raw(table.decor().prefix()).to_owned();
            let gap = if own.starts_with('\n') { "" } else { "\n" };
            table.decor_mut().set_prefix(format!("{text}{gap}{own}"));
        }
    });
}

/// Every table that has a header.
fn visit(table: &mut Table, see: &mut dyn FnMut(&mut Table)) {
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => {
                if !inner.is_implicit() && !inner.is_dotted() {
                    see(inner);
                }
                visit(inner, see);
            }
            Item::ArrayOfTables(inners) => {
                for inner in inners.iter_mut() {
                    see(inner);
                    visit(inner, see);
                }
            }
            Item::None | Item::Value(_) => {}
        }
    }
}

fn refused(path: &Path, section: Section, name: &str, found: &str) -> SettingsError {
    let key = format!("{}.{name}", section.path().join("."));
    SettingsError {
        key: Some(crate::config::problem::masked(&key)),
        ..SettingsError::of_file(path, found, &format!("{} tables", section.header()))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::edit::{Change, apply};
    use crate::config::keys::Section::{Endpoint, PriceModel};
    use crate::config::load::load;

    const TEXT: &str = "# head\n[price] # sats\nmin_price_sats = 5\n\n# dear ones\n[[price.model]]\nname = \"a\"\nprice_per_1k_input = 1 # in\nprice_per_1k_output = 2\n\n# about b\n[[price.model]]\nname = \"b\"\nprice_per_1k_input = 3\nprice_per_1k_output = 4\n\n# servers\n[[endpoint]]\nname = \"one\"\n# second\n[[endpoint]]\nname = \"two\"\n# the end\n";

    fn after(text: &str, changes: &[Change<'_>]) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        if !text.is_empty() {
            std::fs::write(&path, text).unwrap();
        }
        let settings = apply(&path, changes, &|_| Ok(())).map_err(|error| error.to_string())?;
        assert_eq!(load(&path).unwrap(), settings);
        Ok(std::fs::read_to_string(&path).unwrap())
    }

    #[test]
    fn a_new_server_stands_beside_the_one_that_is_there_by_default() {
        let set = |key, text| Change::Set {
            key,
            text: Some(text),
        };
        let add = Change::Add {
            section: Endpoint,
            name: "gpu",
        };
        let text = after("", &[add, set("endpoint.gpu.slots", "4")]).unwrap();
        assert_eq!(
            text.trim_start(),
            "[[endpoint]]\nname = \"local\"\n\n[[endpoint]]\nname = \"gpu\"\nslots = 4\n"
        );
        let text = after("endpoint = [{ name = \"x\" }] # mine\n", &[add]).unwrap();
        assert_eq!(
            text,
            "endpoint = [{ name = \"x\" }, { name = \"gpu\" }] # mine\n"
        );
    }

    #[test]
    fn what_is_removed_leaves_every_comment_around_it() {
        for (section, name) in [
            (PriceModel, "a"),
            (PriceModel, "b"),
            (Endpoint, "one"),
            (Endpoint, "two"),
        ] {
            let text = after(TEXT, &[Change::Remove { section, name }]).unwrap();
            for comment in [
                "head",
                "sats",
                "dear ones",
                "about b",
                "servers",
                "second",
                "the end",
            ] {
                assert!(
                    text.contains(&format!("# {comment}\n")),
                    "{name}: {comment}: {text}"
                );
            }
            assert!(!text.contains(&format!("name = \"{name}\"")), "{text}");
        }
        let both = ["a", "b"].map(|name| Change::Remove {
            section: PriceModel,
            name,
        });
        let text = after(TEXT, &both).unwrap();
        assert!(
            !text.contains("price.model") && text.contains("# about b"),
            "{text}"
        );
    }

    #[test]
    fn a_shop_keeps_one_server_and_no_stranger_is_removed() {
        let remove = |name| Change::Remove {
            section: Endpoint,
            name,
        };
        let error = after(TEXT, &[remove("one"), remove("two")]).unwrap_err();
        assert!(
            error.contains("endpoint.two: found the only one"),
            "{error}"
        );
        assert!(
            after(TEXT, &[remove("three")])
                .unwrap_err()
                .contains("no such table")
        );
        let twin = Change::Add {
            section: Endpoint,
            name: "two",
        };
        assert!(after(TEXT, &[twin]).unwrap_err().contains("a second time"));
        let bare = Change::Add {
            section: PriceModel,
            name: "c",
        };
        assert!(
            after("", &[bare])
                .unwrap_err()
                .contains("price_per_1k_input")
        );
    }
}
