//! The words of the Spark wallet (BIP-39): twelve to twenty-four of them are the wallet. They are kept in a file of their
//! own beside the helper's folder, so that throwing that folder away loses nothing.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bip39::{Language, Mnemonic};
use rand::TryRngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::config::atomic::{self, OTHERS};

/// The largest file, bytes; 24 words are below 250.
const FILE_MAX: u64 = 1_024;

/// 128 bits are twelve words (BIP-39).
const ENTROPY_BYTES: usize = 16;

/// Why there are no words. `Display` names the fix and holds no word.
#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    /// There are none yet.
    #[error(
        "the Spark wallet has no words at {path}: run `vend spark create`, or `vend spark restore`"
    )]
    Missing {
        /// The file.
        path: String,
    },
    /// There are some already.
    #[error(
        "there is a Spark wallet at {path} already; with --force its words are put aside, not erased"
    )]
    Exists {
        /// The file.
        path: String,
    },
    /// Others may read them.
    #[error("{path} can be read by other users: run `chmod 600 {path}`")]
    Open {
        /// The file.
        path: String,
    },
    /// The file holds something else.
    #[error("{path} holds no words: {why}; put the right file there, or move it away")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong; no part of the file.
        why: &'static str,
    },
    /// What was given is no set of words.
    #[error("these are not the words of a wallet: {0}")]
    Wrong(&'static str),
    /// The file can't be used.
    #[error("{path} can't be used: {cause}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl WordsError {
    /// The command that mends it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "vend spark create",
            Self::Open { .. } => "chmod 600 on that file",
            _ => "vend spark restore",
        }
    }
}

/// New words, from the system's randomness.
///
/// # Errors
/// [`WordsError::Random`].
pub fn generate() -> Result<Zeroizing<String>, WordsError> {
    let mut entropy = Zeroizing::new([0_u8; ENTROPY_BYTES]);
    OsRng
        .try_fill_bytes(&mut *entropy)
        .map_err(|error| WordsError::Random(error.to_string()))?;
    let words = Mnemonic::from_entropy_in(Language::English, &*entropy)
        .map_err(|error| WordsError::Random(error.to_string()))?;
    Ok(joined(words.words()))
}

/// What a person typed, as it is kept: English words of BIP-39 with their checksum, in any case, with any white space.
///
/// # Errors
/// [`WordsError::Wrong`], which says what is wrong and repeats no word.
pub fn parse(text: &str) -> Result<Zeroizing<String>, WordsError> {
    let lower = Zeroizing::new(text.to_lowercase());
    let text = joined(lower.split_whitespace());
    match Mnemonic::parse_in_normalized(Language::English, &text) {
        Ok(_) => Ok(text),
        Err(bip39::Error::BadWordCount(_)) => {
            Err(WordsError::Wrong("there are 12, 15, 18, 21 or 24 of them"))
        }
        Err(bip39::Error::UnknownWord(_)) => Err(WordsError::Wrong(
            "one of them is not in the list of BIP-39; look for a slip of the pen",
        )),
        Err(_) => Err(WordsError::Wrong(
            "they don't fit together; one is wrong, or two have changed places",
        )),
    }
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Zeroizing<String> {
    // 24 words of at most eight letters; with room from the start, so that growing leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(256));
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// Reads the words.
///
/// # Errors
/// No file, one that others may read, or one that holds something else.
pub fn read(path: &Path) -> Result<Zeroizing<String>, WordsError> {
    let shown = || path.display().to_string();
    let io = |cause: std::io::Error| match cause.kind() {
        ErrorKind::NotFound => WordsError::Missing { path: shown() },
        _ => WordsError::Io {
            path: shown(),
            cause,
        },
    };
    let file = File::open(path).map_err(io)?;
    // Of the open file, so that it is the one that is read.
    if file.metadata().map_err(io)?.mode() & OTHERS != 0 {
        return Err(WordsError::Open { path: shown() });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1_025));
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let damaged = |why| WordsError::Damaged { path: shown(), why };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text"))?;
    parse(text).map_err(|error| match error {
        WordsError::Wrong(why) => damaged(why),
        other => other,
    })
}

/// Keeps words, 0600. Where there are some already, `force` puts those aside first, beside the new ones; it returns where.
///
/// # Errors
/// [`WordsError::Exists`] without `force`; what the system says.
pub fn keep(path: &Path, words: &str, force: bool) -> Result<Option<PathBuf>, WordsError> {
    let shown = || path.display().to_string();
    let io = |cause| WordsError::Io {
        path: shown(),
        cause,
    };
    let aside = if path.symlink_metadata().is_err() {
        None
    } else if force {
        Some(put_aside(path).map_err(io)?)
    } else {
        return Err(WordsError::Exists { path: shown() });
    };
    let text = Zeroizing::new(format!("{words}\n"));
    match atomic::create(path, text.as_bytes()) {
        Ok(()) => Ok(aside),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(WordsError::Exists { path: shown() })
        }
        Err(cause) => Err(io(cause)),
    }
}

/// Money may be behind the old words: they get the first free number, and nothing is ever written over.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    for number in 1..10_000 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let aside = PathBuf::from(name);
        if aside.symlink_metadata().is_err() {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(std::io::Error::other("too many old ones lie beside it"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn new_words_are_twelve_that_fit_and_never_the_same() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.split(' ').count(), 12);
        assert_eq!(*parse(&one).unwrap(), *one);
        assert_ne!(*one, *other);
    }

    #[test]
    fn words_are_taken_as_people_type_them() {
        let typed = format!("  {}\n", ABOUT.to_uppercase().replace(' ', "\t "));
        assert_eq!(&**parse(&typed).unwrap(), ABOUT);
    }

    #[test]
    fn wrong_words_are_refused_and_none_is_repeated() {
        let swapped = ABOUT.replace("about", "zebra");
        let unknown = ABOUT.replace("about", "goatee");
        for (text, why) in [
            ("", "12, 15, 18"),
            ("zebra", "12, 15, 18"),
            (swapped.as_str(), "don't fit together"),
            (unknown.as_str(), "list of BIP-39"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(
                !error.contains("abandon") && !error.contains("zebra") && !error.contains("goatee"),
                "{error}"
            );
        }
    }

    #[test]
    fn words_are_private_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spark.words");
        assert!(matches!(read(&path), Err(WordsError::Missing { .. })));
        assert_eq!(keep(&path, ABOUT, false).unwrap(), None);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(&**read(&path).unwrap(), ABOUT);

        let new = generate().unwrap();
        assert!(matches!(
            keep(&path, &new, false),
            Err(WordsError::Exists { .. })
        ));
        assert_eq!(&**read(&path).unwrap(), ABOUT);

        for number in 1..3 {
            let aside = keep(&path, &generate().unwrap(), true).unwrap().unwrap();
            assert_eq!(aside, dir.path().join(format!("spark.words.{number}")));
            assert_eq!(std::fs::metadata(&aside).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(&**read(&dir.path().join("spark.words.1")).unwrap(), ABOUT);
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_words_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spark.words");
        keep(&path, ABOUT, false).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");

        for text in [&b""[..], b"\xff\xfe", b"zebra", &[b'a'; 5_000]] {
            let path = dir.path().join("other");
            atomic::replace(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, WordsError::Damaged { .. }), "{error}");
            assert!(!error.to_string().contains("zebra"));
        }
    }
}
