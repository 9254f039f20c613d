//! The built-in demo model: `vend-tiny`, a very small llama-style transformer that lives inside the program, so that a
//! whole sale can be shown and tested without any other program. See README.md beside the weights.
//!
//! It runs this one shape of model, on one core and without `unsafe`; real models run in real servers.

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use super::gguf::Gguf;
use super::model::{self, Network, Session};
use super::sampler::Sampler;
use super::tokenizer::{Decoder, Tokenizer};

/// Why the model can't be loaded or can't answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The file is damaged; the text names the part.
    #[error("the model file is damaged: {0}")]
    Malformed(&'static str),
    /// The file lacks this value.
    #[error("the model file has no {0}")]
    Missing(&'static str),
    /// The file is a model, but not of the one kind that runs here.
    #[error("the model file has an unsupported {0}")]
    Unsupported(&'static str),
    /// The prompt leaves no room for an answer. Nothing is ever cut off a prompt.
    #[error("the prompt has {tokens} tokens, but prompt and answer together must fit {context}")]
    PromptTooLong {
        /// Tokens of the prompt, with its frame and BOS.
        tokens: usize,
        /// Tokens that fit.
        context: usize,
    },
}

/// How the next token is chosen. Any value is accepted: those outside a range act like its nearer end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 (or less, or NaN) always takes the best token; 1 draws by the model's own probabilities; more is wilder.
    pub temperature: f32,
    /// Draws among this many best tokens; 0 sets no such limit.
    pub top_k: u32,
    /// Draws among the best tokens that together have this probability (0 to 1); 1 or NaN sets no such limit.
    pub top_p: f32,
    /// Taken off a token's score for each time that the answer already has it (-2 to 2); 0 or NaN is off.
    pub frequency_penalty: f32,
    /// Equal seeds give equal answers to equal calls (of one build on one kind of machine). Unused at temperature 0.
    pub seed: u64,
}

impl Default for Sampling {
    /// Always the best token.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

/// What one call of [`TinyModel::generate`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Tokens of the prompt, with its frame and BOS.
    pub prompt_tokens: u32,
    /// Tokens chosen, counted as llama.cpp's server does: EOS and the tokens of a stop text are counted too.
    pub completion_tokens: u32,
    /// Why the answer ended.
    pub finish: Finish,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop text came up.
    Stop,
    /// It reached `max_tokens` or filled the context.
    Length,
    /// The caller cancelled it.
    Cancelled,
}

/// A loaded model. It holds no state of any answer, so threads can share it.
pub struct TinyModel {
    tokenizer: Tokenizer,
    network: Network,
}

impl TinyModel {
    /// The model inside the program, loaded at the first call (about two milliseconds) and then shared.
    ///
    /// # Errors
    ///
    /// As [`TinyModel::from_bytes`]; only a damaged build can have one.
    pub fn embedded() -> Result<&'static Self, ModelError> {
        static MODEL: OnceLock<Result<TinyModel, ModelError>> = OnceLock::new();
        MODEL
            .get_or_init(|| Self::from_bytes(model::EMBEDDED))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Loads a model of this kind from a GGUF file's bytes. Any bytes are safe to pass, and memory use stays in
    /// proportion to their length.
    ///
    /// # Errors
    ///
    /// [`ModelError::Malformed`], [`ModelError::Missing`] or [`ModelError::Unsupported`] if the bytes are not a whole
    /// GGUF v3 file of the llama architecture with `F32` and `Q8_0` tensors and a `SentencePiece` BPE vocabulary.
    pub fn from_bytes(file: &[u8]) -> Result<Self, ModelError> {
        let gguf = Gguf::parse(file)?;
        let tokenizer = Tokenizer::load(&gguf)?;
        let network = Network::load(&gguf, tokenizer.len())?;
        Ok(Self { tokenizer, network })
    }

    /// How many tokens a prompt takes: those of `Q: {prompt}\nA:` and BOS. Memory use is some 50 bytes
    /// for each character, so the caller bounds the length.
    #[must_use]
    pub fn count_prompt_tokens(&self, prompt: &str) -> usize {
        self.encode(prompt).len()
    }

    /// How many tokens fit, prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.network.context
    }

    fn encode(&self, prompt: &str) -> Vec<u32> {
        self.tokenizer.encode(&format!("Q: {prompt}\nA:"))
    }

    /// Answers a prompt. This blocks the thread and keeps a core busy, so an async caller runs it on a thread for
    /// blocking work.
    ///
    /// The answer's leading space is left out, and so is a stop text with all that follows; empty stop texts are
    /// ignored. The answer ends at EOS, at a stop text, after `max_tokens` tokens (0 gives no text), or when prompt and
    /// answer fill the context.
    ///
    /// `emit` is called once for each token, except EOS, and once more if text was held back to the end. It receives
    /// the text that is ready: whole characters, or an empty text while a character or a possible stop text is not yet
    /// complete. When it returns false, the answer ends there. The prompt is read before the first call; that takes
    /// less time than as many tokens of an answer.
    ///
    /// # Errors
    ///
    /// [`ModelError::PromptTooLong`] if the prompt leaves no room for one token; `emit` was not called then.
    pub fn generate(
        &self,
        prompt: &str,
        max_tokens: u32,
        sampling: &Sampling,
        stop: &[String],
        emit: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Generated, ModelError> {
        let (tokens, context) = (self.encode(prompt), self.context());
        let too_long = ModelError::PromptTooLong {
            tokens: tokens.len(),
            context,
        };
        let room = context
            .checked_sub(tokens.len())
            .and_then(|room| u32::try_from(room).ok());
        let limit = room
            .filter(|&room| room > 0)
            .ok_or(too_long)?
            .min(max_tokens);
        let mut answer = Answer::new(stop);
        let (completion_tokens, ended) = self.write(&tokens, limit, *sampling, &mut answer, emit);
        let rest = answer.finish();
        let cancelled = ended == Finish::Cancelled || (!rest.is_empty() && !emit(&rest));
        Ok(Generated {
            prompt_tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
            completion_tokens,
            finish: if cancelled { Finish::Cancelled } else { ended },
        })
    }

    /// Writes up to `limit` tokens; returns how many there were and what ended them.
    fn write(
        &self,
        prompt: &[u32],
        limit: u32,
        sampling: Sampling,
        answer: &mut Answer,
        emit: &mut dyn FnMut(&str) -> bool,
    ) -> (u32, Finish) {
        let mut session = Session::new(&self.network);
        let mut sampler = Sampler::new(sampling);
        let mut token = Vec::new();
        for count in 1..=limit {
            let unread = if token.is_empty() { prompt } else { &token };
            let id = sampler.pick(session.read(unread));
            if id == self.tokenizer.eos {
                return (count, Finish::Stop);
            }
            let ready = answer.push(self.tokenizer.bytes(id));
            if !emit(&ready) {
                return (count, Finish::Cancelled);
            }
            if answer.stopped {
                return (count, Finish::Stop);
            }
            token = vec![id];
        }
        (limit, Finish::Length)
    }
}

/// The answer's text on its way out: strips the leading space and holds back what may become a stop text.
struct Answer<'a> {
    decoder: Decoder,
    stops: Vec<&'a str>,
    held: String,
    /// No text has come yet, so a space would be the leading one.
    fresh: bool,
    stopped: bool,
}

impl<'a> Answer<'a> {
    fn new(stop: &'a [String]) -> Self {
        let stops = stop
            .iter()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect();
        Self {
            decoder: Decoder::default(),
            stops,
            held: String::new(),
            fresh: true,
            stopped: false,
        }
    }

    /// Adds a token's bytes and returns the text that is ready.
    fn push(&mut self, bytes: &[u8]) -> String {
        let text = self.decoder.push(bytes);
        self.add(&text)
    }

    fn add(&mut self, text: &str) -> String {
        let leading = self.fresh && text.starts_with(' ');
        self.fresh &= text.is_empty();
        self.held
            .push_str(text.get(usize::from(leading)..).unwrap_or_default());
        if let Some(at) = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop))
            .min()
        {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or_default();
        let held = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, held)
    }

    /// What was held back, once the answer is over.
    fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        let rest = self.decoder.finish();
        let ready = self.add(&rest);
        ready + &std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that are the beginning of `stop`, but not all of it. Both are UTF-8 and the beginning
/// starts with a whole character, so the cut falls between characters.
fn overlap(text: &str, stop: &str) -> usize {
    let (text, stop) = (text.as_bytes(), stop.as_bytes());
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&len| stop.get(..len).is_some_and(|start| text.ends_with(start)))
        .unwrap_or_default()
}
