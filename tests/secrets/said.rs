//! Everything that was said and written, and the looking through it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Everything that was said or written, with where that was.
#[derive(Default)]
pub struct Said(Vec<(String, Vec<u8>)>);

impl Said {
    pub fn add(&mut self, place: &str, bytes: &[u8]) {
        self.0.push((place.to_owned(), bytes.to_vec()));
    }

    /// Every file below a folder.
    pub fn add_files(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add_files(&path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                self.add(&path.display().to_string(), &bytes);
            }
        }
    }

    /// Leaves out a place.
    pub fn forget(&mut self, name: &str) {
        self.0.retain(|(place, _)| place != name);
    }

    /// How many bytes are in places of this name.
    pub fn size(&self, name: &str) -> usize {
        let places = self.0.iter().filter(|(place, _)| place.contains(name));
        places.map(|(_, bytes)| bytes.len()).sum()
    }

    /// None of it holds this, as text, as bytes, or in base64.
    pub fn holds_no(&self, what: &str, secret: &str) {
        assert!(secret.len() >= 16, "{what} is too short to be looked for");
        let mut forms = vec![
            secret.as_bytes().to_vec(),
            STANDARD.encode(secret).into_bytes(),
        ];
        if let Some(bytes) = unhex(secret) {
            forms.push(STANDARD.encode(&bytes).into_bytes());
            forms.push(bytes);
        }
        for (place, said) in &self.0 {
            for form in &forms {
                let at = said.windows(form.len()).position(|part| part == form);
                assert!(at.is_none(), "{what} is in {place}");
            }
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

/// The scan finds what it looks for: else it would prove nothing.
#[test]
fn a_secret_in_any_form_is_found() {
    let secret = "00112233445566778899aabbccddeeff";
    let bytes = unhex(secret).unwrap();
    for form in [
        secret.as_bytes().to_vec(),
        bytes.clone(),
        STANDARD.encode(&bytes).into_bytes(),
        STANDARD.encode(secret).into_bytes(),
    ] {
        let mut said = Said::default();
        said.add("somewhere", &[b"before ", &form[..], b" after"].concat());
        let found = std::panic::catch_unwind(|| said.holds_no("it", secret));
        assert!(found.is_err(), "{form:?}");
    }
}
