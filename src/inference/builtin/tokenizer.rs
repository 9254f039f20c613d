//! `SentencePiece` BPE as llama.cpp does it, and the way back from pieces to text.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::{ModelError, gguf::Gguf};

/// Stands for a space inside pieces.
const SPACE: &str = "▁";

/// The vocabulary, ready to encode and to decode.
pub struct Tokenizer {
    /// Id and rank of the ordinary pieces; control pieces are left out, so that no prompt can spell one.
    pub(super) pieces: HashMap<String, (u32, i32)>,
    /// What each id adds to the answer; nothing for control pieces.
    bytes: Vec<Vec<u8>>,
    /// The id for each byte that no ordinary piece covers.
    pub(super) byte_ids: [u32; 256],
    bos: u32,
    /// Ends an answer.
    pub eos: u32,
}

impl Tokenizer {
    pub fn load(gguf: &Gguf) -> Result<Self, ModelError> {
        if gguf.text("tokenizer.ggml.model")? != "llama" {
            return Err(ModelError::Unsupported("tokenizer"));
        }
        let pieces = gguf.texts("tokenizer.ggml.tokens")?;
        let scores = gguf.floats("tokenizer.ggml.scores")?;
        let types = gguf.ints("tokenizer.ggml.token_type")?;
        if scores.len() != pieces.len() || types.len() != pieces.len() {
            return Err(ModelError::Malformed("vocabulary lists differ in length"));
        }
        let special = |key| {
            let id = gguf.uint(key)?;
            pieces
                .get(id as usize)
                .map(|_| id)
                .ok_or(ModelError::Malformed(key))
        };
        let mut tokenizer = Self {
            pieces: HashMap::new(),
            bytes: Vec::new(),
            byte_ids: [special("tokenizer.ggml.unknown_token_id")?; 256],
            bos: special("tokenizer.ggml.bos_token_id")?,
            eos: special("tokenizer.ggml.eos_token_id")?,
        };
        for (id, ((piece, score), kind)) in (0..).zip(pieces.iter().zip(scores).zip(types)) {
            let bytes = tokenizer.add(id, piece, score, kind)?;
            tokenizer.bytes.push(bytes);
        }
        Ok(tokenizer)
    }

    /// Notes a piece and returns what it adds to the answer.
    fn add(&mut self, id: u32, piece: &str, score: f32, kind: i32) -> Result<Vec<u8>, ModelError> {
        const NORMAL: i32 = 1;
        const BYTE: i32 = 6;
        match kind {
            NORMAL => {
                self.pieces.insert(piece.to_owned(), (id, rank(score)));
                Ok(piece.replace(SPACE, " ").into_bytes())
            }
            BYTE => {
                let byte = byte_of(piece).ok_or(ModelError::Malformed("byte piece"))?;
                if let Some(slot) = self.byte_ids.get_mut(usize::from(byte)) {
                    *slot = id;
                }
                Ok(vec![byte])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What an id adds to the text: perhaps a part of a character, perhaps nothing.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// The ids of a text, BOS first. Time grows with n·log n, for a buyer chooses the text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let text = format!("{SPACE}{}", text.replace(' ', SPACE));
        let mut ids = vec![self.bos];
        for part in Merger::new(self, &text).run() {
            match self.pieces.get(part) {
                Some((id, _)) => ids.push(*id),
                None => ids.extend(
                    part.bytes()
                        .filter_map(|byte| self.byte_ids.get(usize::from(byte))),
                ),
            }
        }
        ids
    }
}

/// The byte of a piece such as `<0x0A>`.
fn byte_of(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(hex, 16).ok()
}

/// An integer that orders as the score does, as in [`f32::total_cmp`].
fn rank(score: f32) -> i32 {
    let bits = score.to_bits().cast_signed();
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// A span of the text, linked to its neighbours by index. One that its left neighbour took has no `next`.
struct Symbol {
    start: usize,
    end: usize,
    prev: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that make a piece: its rank, the left one (leftmost first among equals), the right one and its end.
/// It is out of date once the right one no longer follows the left or no longer ends there.
type Pair = (i32, Reverse<usize>, usize, usize);

/// Merges the best pair of neighbours until none is left.
struct Merger<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
}

impl<'a> Merger<'a> {
    fn new(tokenizer: &'a Tokenizer, text: &'a str) -> Self {
        let mut symbols: Vec<Symbol> = Vec::new();
        for (index, (start, char)) in text.char_indices().enumerate() {
            let (prev, end) = (index.checked_sub(1), start + char.len_utf8());
            let next = (end < text.len()).then_some(index + 1);
            symbols.push(Symbol {
                start,
                end,
                prev,
                next,
            });
        }
        Self {
            tokenizer,
            text,
            symbols,
            pairs: BinaryHeap::new(),
        }
    }

    fn run(mut self) -> impl Iterator<Item = &'a str> {
        for left in 0..self.symbols.len() {
            self.offer(Some(left));
        }
        while let Some(pair) = self.pairs.pop() {
            self.merge(pair);
        }
        let mut at = Some(0);
        std::iter::from_fn(move || {
            let symbol = self.symbols.get(at?)?;
            at = symbol.next;
            self.text.get(symbol.start..symbol.end)
        })
    }

    /// Notes the pair of this symbol and the next one, if together they make a piece.
    fn offer(&mut self, left: Option<usize>) {
        let pair = left.and_then(|left| {
            let symbol = self.symbols.get(left)?;
            let right = symbol.next?;
            let end = self.symbols.get(right)?.end;
            let (_, rank) = self
                .tokenizer
                .pieces
                .get(self.text.get(symbol.start..end)?)?;
            Some((*rank, Reverse(left), right, end))
        });
        self.pairs.extend(pair);
    }

    fn merge(&mut self, (_, Reverse(left), right, end): Pair) {
        let Ok([symbol, taken]) = self.symbols.get_disjoint_mut([left, right]) else {
            return;
        };
        if symbol.next != Some(right) || taken.end != end {
            return;
        }
        (symbol.end, symbol.next) = (end, taken.next.take());
        let (prev, next) = (symbol.prev, symbol.next);
        if let Some(next) = next.and_then(|next| self.symbols.get_mut(next)) {
            next.prev = Some(left);
        }
        self.offer(prev);
        self.offer(Some(left));
    }
}

/// Joins the bytes of pieces into text and holds back a character whose bytes are not all there.
#[derive(Default)]
pub struct Decoder {
    held: Vec<u8>,
}

impl Decoder {
    /// Adds bytes and returns the characters that they complete; bytes that can't become UTF-8 give U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let (mut text, mut tail) = (String::new(), Vec::new());
        let mut chunks = self.held.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            if chunks.peek().is_none() && is_cut_char(chunk.invalid()) {
                tail = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.held = tail;
        text
    }

    /// What is left at the end: U+FFFD for a character that was never completed.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// Whether more bytes could make this a character.
fn is_cut_char(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
