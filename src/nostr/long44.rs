//! NIP-44 v2 with texts of 65,536 bytes and more: the length is then two zero bytes and four bytes of its own (nips #1907).
//! The library reads the short form alone. Only read here: few clients would understand such an answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use nostr::hashes::hmac::{Hmac, HmacEngine};
use nostr::hashes::{Hash, HashEngine, sha256};
use nostr::nips::nip44::v2::ConversationKey;
use nostr::{PublicKey, SecretKey};

/// The longest text that is read, bytes: what a prompt may have at most.
const LONGEST: usize = 1 << 20;
const VERSION: u8 = 2;
const NONCE: usize = 32;
const MAC: usize = 32;
/// Two zero bytes and the length.
const PREFIX: usize = 6;

/// The text of a long payload; none where it is not one, or not for this key.
#[must_use]
pub fn decrypt(key: &SecretKey, from: &PublicKey, payload: &str) -> Option<String> {
    if payload.len() > 2 * LONGEST {
        return None;
    }
    let payload = STANDARD.decode(payload.trim()).ok()?;
    let (version, rest) = payload.split_first()?;
    if *version != VERSION || rest.len() < NONCE + PREFIX + MAC {
        return None;
    }
    let (nonce, rest) = rest.split_at(NONCE);
    let (sealed, mac) = rest.split_at(rest.len() - MAC);
    let conversation = ConversationKey::derive(key, from).ok()?;
    let keys = expanded(conversation.as_bytes(), nonce);
    let (cipher, rest) = keys.split_at(32);
    let (iv, auth) = rest.split_at(12);
    if !same(&hmac(&auth[..32], &[nonce, sealed]), mac) {
        return None;
    }
    let mut text = sealed.to_vec();
    ChaCha20::new(cipher.into(), iv.into()).apply_keystream(&mut text);
    unpadded(&text)
}

/// HKDF's second half (RFC 5869): three blocks of it, of which NIP-44 uses 76 bytes.
fn expanded(key: &[u8], info: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(96);
    for block in 1..=3_u8 {
        let last = out.len().saturating_sub(32);
        let next = hmac(key, &[&out[last..], info, &[block]]);
        out.extend_from_slice(&next);
    }
    out
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut engine: HmacEngine<sha256::Hash> = HmacEngine::new(key);
    for part in parts {
        engine.input(part);
    }
    Hmac::from_engine(engine).to_byte_array()
}

/// In the same time wherever they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differ == 0
}

fn unpadded(text: &[u8]) -> Option<String> {
    let (prefix, rest) = text.split_at_checked(PREFIX)?;
    let length: [u8; 4] = prefix[2..].try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if prefix[..2] != [0, 0] || !(65_536..=LONGEST).contains(&length) {
        return None;
    }
    // The padding's size follows from the length, as in the short form.
    let chunk = length.next_power_of_two() / 8;
    let (text, zeros) = rest.split_at_checked(length)?;
    if rest.len() != length.div_ceil(chunk) * chunk || zeros.iter().any(|byte| *byte != 0) {
        return None;
    }
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nostr::Keys;

    fn encrypt(from: &Keys, to: &PublicKey, text: &str) -> String {
        let (nonce, conversation) = ([7; NONCE], ConversationKey::derive(from.secret_key(), to));
        let keys = expanded(conversation.unwrap().as_bytes(), &nonce);
        let length = text.len();
        let chunk = length.next_power_of_two() / 8;
        let mut padded = vec![0, 0];
        padded.extend(u32::try_from(length).unwrap().to_be_bytes());
        padded.extend(text.as_bytes());
        padded.resize(PREFIX + length.div_ceil(chunk) * chunk, 0);
        ChaCha20::new(keys[..32].into(), keys[32..44].into()).apply_keystream(&mut padded);
        let mac = hmac(&keys[44..76], &[&nonce, &padded]);
        STANDARD.encode([&[VERSION], &nonce[..], &padded, &mac].concat())
    }

    #[test]
    fn a_long_text_is_read_and_a_spoilt_one_is_not() {
        let (buyer, seller) = (Keys::generate(), Keys::generate());
        for length in [65_536, 65_537, 100_000, LONGEST] {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let sealed = encrypt(&buyer, &seller.public_key(), &text);
            let read = |sealed: &str| decrypt(seller.secret_key(), &buyer.public_key(), sealed);
            assert_eq!(read(&sealed), Some(text));
            assert_eq!(read(&sealed.replacen('B', "C", 1)), None);
            assert_eq!(read(&sealed[..sealed.len() - 4]), None);
            assert_eq!(
                decrypt(seller.secret_key(), &seller.public_key(), &sealed),
                None
            );
        }
    }

    #[test]
    fn the_keys_are_those_of_the_short_form() {
        // A short payload of the library's has the same keys, so its authentication holds; only its length is another's.
        let (buyer, seller) = (Keys::generate(), Keys::generate());
        let short = nostr::nips::nip44::encrypt(
            buyer.secret_key(),
            &seller.public_key(),
            "x".repeat(300),
            nostr::nips::nip44::Version::V2,
        );
        let payload = STANDARD.decode(short.unwrap()).unwrap();
        let (nonce, rest) = payload[1..].split_at(NONCE);
        let (sealed, mac) = rest.split_at(rest.len() - MAC);
        let key = ConversationKey::derive(seller.secret_key(), &buyer.public_key()).unwrap();
        let keys = expanded(key.as_bytes(), nonce);
        assert_eq!(hmac(&keys[44..76], &[nonce, sealed]), *mac);
        let mut text = sealed.to_vec();
        ChaCha20::new(keys[..32].into(), keys[32..44].into()).apply_keystream(&mut text);
        assert_eq!(text[..2], 300_u16.to_be_bytes());
        assert_eq!(text[2..302], *"x".repeat(300).as_bytes());
    }
}
