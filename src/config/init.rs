//! The file that `vend config init` makes: every setting with its default and what it is for.

use std::fmt::Write;

use super::keys::{self, Key, Section};
use super::schema::Settings;

/// The text of the file. Keys that have no default are there as comments.
#[must_use]
pub fn text() -> String {
    let mut out = String::from(
        "# The settings of vend. Everything here is the default; a line that is taken out means the same.\n\
         # `vend config check` says whether the file is right. A secret is a text, { env = \"NAME\" } or { file = \"PATH\" }.\n",
    );
    for section in Section::ALL {
        out.push('\n');
        section_text(section, &mut out);
    }
    out
}

fn section_text(section: Section, out: &mut String) {
    // No table of prices, offers or keys is there by default, so all of it is a comment.
    let none = matches!(section, Section::PriceModel | Section::Offer);
    let off = if none || section.free() { "# " } else { "" };
    if section != Section::Root {
        // Writing to a String never fails.
        let _ = writeln!(out, "# {}\n{off}{}", section.about(), section.header());
    }
    for key in keys::of(section) {
        let _ = writeln!(out, "{}", line(key, off));
    }
}

fn line(key: &Key, off: &str) -> String {
    let document = toml_edit::ser::to_document(&Settings::default()).unwrap_or_default();
    let name = key.section.repeated().then_some("local");
    let (off, value) = match key.value_in(document.as_table(), name) {
        Some(value) => (off, value.to_string().trim().to_owned()),
        None => ("# ", key.example.to_owned()),
    };
    let field = if key.section.free() {
        "online"
    } else {
        key.field
    };
    format!("# {}\n{off}{field} = {value}", key.help)
}
