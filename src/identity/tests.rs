use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

const NSEC: &str = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
const HEX: &str = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa";
const NPUB: &str = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";

/// NIP-49's own example: this key under the passphrase "nostr".
const NCRYPTSEC: &str = "ncryptsec1qgg9947rlpvqu76pj5ecreduf9jxhselq2nae2kghhvd5g7dgjtcxfqtd67p9m0w57lspw8gsq6yphnm8623nsl8xn9j4jdzz84zm3frztj3z7s35vpzmqf6ksu8r89qk5z2zxfmu5gv8th8wclt0h4p";
const NIP49_HEX: &str = "3501454135014541350145413501453fefb02227e449e57cf4d3a3ce05378683";

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    (dir, path)
}

fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_first_start_makes_a_private_identity_that_stays() {
    let (_dir, path) = place();
    let first = load_or_create(&path, None).unwrap();
    let second = load_or_create(&path, None).unwrap();
    assert_eq!(first.public_key(), second.public_key());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!needs_passphrase(&path).unwrap());
}

#[test]
fn an_identity_is_never_overwritten() {
    let (_dir, path) = place();
    let first = generate(&path, None).unwrap();
    for again in [
        generate(&path, None),
        import(&path, &secret(NSEC), None, None),
    ] {
        let error = again.unwrap_err();
        assert!(matches!(error, IdentityError::Exists { .. }), "{error}");
    }
    assert_eq!(load(&path, None).unwrap().npub(), first.npub());
}

#[test]
fn nsec_and_hex_are_the_same_key() {
    for text in [NSEC, HEX, &format!("  {NSEC}\n")] {
        let (_dir, path) = place();
        let identity = import(&path, &secret(text), None, None).unwrap();
        assert_eq!(identity.npub(), NPUB);
        let out = export(&load(&path, None).unwrap(), None).unwrap();
        assert_eq!(out.expose_secret(), NSEC);
    }
}

#[test]
fn the_example_of_nip_49_can_be_imported() {
    let (_dir, path) = place();
    let mut ask = || Ok(secret("nostr"));
    let identity = import(&path, &secret(NCRYPTSEC), Some(&mut ask), None).unwrap();
    assert_eq!(identity.keys().secret_key().to_secret_hex(), NIP49_HEX);
}

#[test]
fn under_a_passphrase_only_the_passphrase_opens_it() {
    let (_dir, path) = place();
    let made = generate(&path, Some(&secret("correct horse"))).unwrap();
    let summary = summary(&path).unwrap();
    assert!(summary.needs_passphrase);
    assert_eq!(summary.public_key, Some(made.public_key()));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("ncryptsec1") && !text.contains("nsec1v"));
    let mut right = || Ok(secret("correct horse"));
    assert_eq!(load(&path, Some(&mut right)).unwrap().npub(), made.npub());
    let mut wrong = || Ok(secret("battery"));
    let error = load(&path, Some(&mut wrong)).unwrap_err();
    assert!(matches!(error, IdentityError::WrongPassphrase), "{error}");
    let error = load_or_create(&path, None).unwrap_err();
    assert!(error.to_string().contains("VEND_PASSPHRASE"), "{error}");
    let mut gone = || Err("the prompt was left".to_owned());
    let error = load(&path, Some(&mut gone)).unwrap_err().to_string();
    assert!(error.ends_with("the prompt was left"), "{error}");
}

#[test]
fn an_exported_key_under_a_passphrase_comes_back() {
    let (_dir, path) = place();
    let identity = import(&path, &secret(NSEC), None, None).unwrap();
    let out = export(&identity, Some(&secret("x"))).unwrap();
    let (_other_dir, other) = place();
    let mut ask = || Ok(secret("x"));
    let back = import(&other, &out, Some(&mut ask), None).unwrap();
    assert_eq!(back.npub(), NPUB);
}

#[test]
fn no_passphrase_is_asked_for_without_need() {
    let (_dir, path) = place();
    generate(&path, None).unwrap();
    let mut ask = || -> Result<SecretString, String> { panic!("asked") };
    load(&path, Some(&mut ask)).unwrap();
}

#[test]
fn an_empty_passphrase_is_refused() {
    let (_dir, path) = place();
    let error = generate(&path, Some(&secret(""))).unwrap_err();
    assert!(matches!(error, IdentityError::EmptyPassphrase), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_file_others_can_read_is_refused_with_the_fix() {
    let (_dir, path) = place();
    generate(&path, None).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = load_or_create(&path, None).unwrap_err().to_string();
        let fix = format!("run `chmod 600 {}`", path.display());
        assert!(error.ends_with(&fix), "{error}");
    }
}

#[test]
fn a_bare_key_in_the_file_is_taken() {
    for text in [NSEC, HEX] {
        let (_dir, path) = place();
        put(&path, &format!("{text}\n"));
        assert_eq!(load(&path, None).unwrap().npub(), NPUB);
    }
}

#[test]
fn a_damaged_file_is_never_replaced_and_never_shown() {
    let whole = Stored::text(NPUB, NSEC);
    let other = Stored::text(NPUB, NIP49_HEX);
    for text in [
        "",
        "{",
        &whole[..whole.len() - 9],
        "hello",
        &other,
        &NSEC[..40],
    ] {
        let (_dir, path) = place();
        put(&path, text);
        let error = load_or_create(&path, None).unwrap_err();
        assert!(
            matches!(error, IdentityError::Damaged { .. }),
            "{text}: {error}"
        );
        assert!(!error.to_string().contains("nsec1v"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn what_is_no_secret_key_is_not_imported() {
    let (_dir, path) = place();
    for text in ["", "hello", &HEX[1..], &"0".repeat(64), "ncryptsec1x"] {
        let error = import(&path, &secret(text), None, None).unwrap_err();
        assert!(matches!(error, IdentityError::NoKey), "{text}: {error}");
    }
    let error = import(&path, &secret(NPUB), None, None).unwrap_err();
    assert!(matches!(error, IdentityError::PublicKey), "{error}");
    assert!(!path.exists());
}

#[test]
fn debug_shows_the_npub_alone() {
    let (_dir, path) = place();
    let identity = import(&path, &secret(NSEC), None, None).unwrap();
    assert_eq!(format!("{identity:?}"), format!("Identity({NPUB})"));
    assert_eq!(identity.to_string(), NPUB);
}
