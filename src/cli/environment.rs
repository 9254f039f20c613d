//! What the environment says of the terminal.

/// A variable that is set to something.
fn set(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.into_string().ok()?;
    (!value.is_empty()).then_some(value)
}

/// Why the dashboard can't be drawn on this terminal; none where it can.
pub fn undrawable() -> Option<String> {
    undrawable_on(set("TERM").as_deref())
}

fn undrawable_on(term: Option<&str>) -> Option<String> {
    let what = match term {
        None => "TERM is not set".to_owned(),
        Some("dumb" | "unknown") => format!("TERM is `{}`", term.unwrap_or_default()),
        Some(_) => return None,
    };
    Some(format!(
        "{what}, so no screen can be drawn here: set TERM to what the terminal is (`TERM=xterm-256color vend`)"
    ))
}

/// Does the locale say that characters beyond ASCII arrive?
#[cfg(any(test, feature = "tui"))]
pub fn is_utf8() -> bool {
    is_utf8_by(set)
}

#[cfg(any(test, feature = "tui"))]
fn is_utf8_by(get: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(get);
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Does the terminal say that its ground is light (`COLORFGBG`)?
#[cfg(any(test, feature = "tui"))]
pub fn is_light() -> bool {
    is_light_by(set("COLORFGBG").as_deref())
}

/// The last number is the ground: seven dark colours, then white, the grey of a dark ground, and seven light ones.
#[cfg(any(test, feature = "tui"))]
fn is_light_by(value: Option<&str>) -> bool {
    let ground = value.and_then(|value| value.rsplit(';').next()?.parse::<u8>().ok());
    matches!(ground, Some(7 | 9..=15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_can_draw_nothing_is_refused_with_what_to_do() {
        for term in [None, Some("dumb"), Some("unknown")] {
            let why = undrawable_on(term).expect("refused");
            assert!(why.contains("TERM=xterm-256color"), "{why}");
        }
        assert_eq!(undrawable_on(Some("linux")), None);
    }

    #[test]
    fn the_first_locale_that_is_set_decides() {
        let by = |pairs: &[(&str, &str)]| {
            is_utf8_by(|name| {
                let found = pairs.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(!by(&[]));
        assert!(!by(&[("LANG", "C")]));
        assert!(!by(&[("LC_ALL", "POSIX"), ("LANG", "en_US.UTF-8")]));
        assert!(!by(&[("LC_CTYPE", "de_DE@euro"), ("LANG", "en_US.UTF-8")]));
        assert!(by(&[("LANG", "en_US.UTF-8")]));
        assert!(by(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
    }

    #[test]
    fn the_ground_is_the_last_number() {
        for (value, health) in [
            (None, false),
            (Some("15;0"), false),
            (Some("0;15"), true),
            (Some("0;default;15"), true),
            (Some("0;7"), true),
            (Some("12;8"), false),
            (Some("15;default"), false),
            (Some("junk"), false),
        ] {
            assert_eq!(is_light_by(value), health, "{value:?}");
        }
    }
}
