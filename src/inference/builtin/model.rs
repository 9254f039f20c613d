//! The forward pass: a llama-style transformer, one token at a time, with a cache of keys and values.
//!
//! The `Q8_0` weights are expanded to f32 at load time (2.6 MB): on the baseline x86-64 instruction set that is faster
//! than converting them at each use.

// Positions and widths are far below 2^24, so their f32 values are exact.
#![allow(clippy::cast_precision_loss)]

use super::{ModelError, gguf::Gguf};

/// The model's file.
pub const EMBEDDED: &[u8] = include_bytes!("vend-tiny.gguf");

/// The longest context accepted from a file, in tokens; it bounds the tables and the cache.
const MAX_CONTEXT: usize = 4096;
/// The widest attention head accepted from a file; it too bounds the tables.
const MAX_HEAD: usize = 256;

/// Partial sums of a dot product: enough for the compiler to fill vector registers of any width.
const LANES: usize = 16;

/// The weights and their shape.
pub struct Network {
    /// Tokens that fit.
    pub context: usize,
    /// Elements of one attention head, an even number.
    head: usize,
    eps: f32,
    /// Token embeddings, also the output matrix.
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// Cosine and sine for each position and pair of a head's elements.
    rope: Vec<(f32, f32)>,
}

struct Layer {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    ffn_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

struct Matrix {
    /// Elements of a row, never 0.
    columns: usize,
    weights: Vec<f32>,
}

impl Matrix {
    fn load(gguf: &Gguf, name: &str, columns: usize, rows: usize) -> Result<Self, ModelError> {
        let weights = gguf.weights(name, &[columns, rows])?;
        Ok(Self { columns, weights })
    }

    fn row(&self, index: usize) -> &[f32] {
        self.weights
            .chunks_exact(self.columns)
            .nth(index)
            .unwrap_or_default()
    }

    /// This matrix times a vector.
    fn times(&self, vector: &[f32]) -> Vec<f32> {
        self.weights
            .chunks_exact(self.columns)
            .map(|row| dot(row, vector))
            .collect()
    }
}

impl Layer {
    fn load(gguf: &Gguf, index: u32, dim: usize, inner: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let matrix = |part, columns, rows| Matrix::load(gguf, &name(part), columns, rows);
        Ok(Self {
            attention_norm: gguf.weights(&name("attn_norm"), &[dim])?,
            query: matrix("attn_q", dim, dim)?,
            key: matrix("attn_k", dim, dim)?,
            value: matrix("attn_v", dim, dim)?,
            output: matrix("attn_output", dim, dim)?,
            ffn_norm: gguf.weights(&name("ffn_norm"), &[dim])?,
            gate: matrix("ffn_gate", dim, inner)?,
            up: matrix("ffn_up", dim, inner)?,
            down: matrix("ffn_down", inner, dim)?,
        })
    }
}

impl Network {
    /// Takes the weights for a vocabulary of this size out of the file; every shape is checked here, once.
    pub fn load(gguf: &Gguf, vocabulary: usize) -> Result<Self, ModelError> {
        if gguf.text("general.architecture")? != "llama" {
            return Err(ModelError::Unsupported("architecture"));
        }
        let width = |key| gguf.uint(key).map(|width| width as usize);
        let (dim, inner) = (
            width("llama.embedding_length")?,
            width("llama.feed_forward_length")?,
        );
        let heads = width("llama.attention.head_count")?;
        let head = dim.checked_div(heads).unwrap_or_default();
        if !(2..=MAX_HEAD).contains(&head) || head % 2 != 0 || head * heads != dim || inner == 0 {
            return Err(ModelError::Malformed("widths"));
        }
        let context = width("llama.context_length")?;
        if !(1..=MAX_CONTEXT).contains(&context) {
            return Err(ModelError::Unsupported("context length"));
        }
        if width("llama.attention.head_count_kv")? != heads
            || width("llama.rope.dimension_count")? != head
        {
            return Err(ModelError::Unsupported("attention form"));
        }
        let layers = gguf.uint("llama.block_count")?;
        Ok(Self {
            embedding: Matrix::load(gguf, "token_embd.weight", dim, vocabulary)?,
            layers: (0..layers)
                .map(|index| Layer::load(gguf, index, dim, inner))
                .collect::<Result<_, _>>()?,
            norm: gguf.weights("output_norm.weight", &[dim])?,
            rope: rope_table(context, head, gguf.float("llama.rope.freq_base")?),
            eps: gguf.float("llama.attention.layer_norm_rms_epsilon")?,
            context,
            head,
        })
    }
}

fn rope_table(context: usize, head: usize, base: f32) -> Vec<(f32, f32)> {
    let speed = |pair| base.powf(-((2 * pair) as f32) / head as f32);
    let angle = |position| (0..head / 2).map(move |pair| position as f32 * speed(pair));
    (0..context)
        .flat_map(angle)
        .map(|angle| (angle.cos(), angle.sin()))
        .collect()
}

/// One text in progress: the keys and values of all its tokens so far.
pub struct Session<'a> {
    network: &'a Network,
    position: usize,
    caches: Vec<Cache>,
}

/// Rows of `dim` elements, one for each position, of one layer.
#[derive(Default)]
struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl<'a> Session<'a> {
    pub fn new(network: &'a Network) -> Self {
        let caches = network.layers.iter().map(|_| Cache::default()).collect();
        Self {
            network,
            position: 0,
            caches,
        }
    }

    /// Reads all tokens and returns the scores of what may follow the last one; empty for no tokens. The caller keeps
    /// the sum of all tokens within the context: past it the positions are no longer told apart.
    pub fn read(&mut self, tokens: &[u32]) -> Vec<f32> {
        let network = self.network;
        let last = tokens
            .iter()
            .fold(Vec::new(), |_, &token| self.advance(token));
        if last.is_empty() {
            last
        } else {
            network
                .embedding
                .times(&rms_norm(&last, &network.norm, network.eps))
        }
    }

    /// Reads one token and returns the last layer's state.
    fn advance(&mut self, token: u32) -> Vec<f32> {
        let network = self.network;
        let turns = network
            .rope
            .chunks_exact(network.head / 2)
            .nth(self.position)
            .unwrap_or_default();
        let mut state = network.embedding.row(token as usize).to_vec();
        for (layer, cache) in network.layers.iter().zip(&mut self.caches) {
            let input = rms_norm(&state, &layer.attention_norm, network.eps);
            cache.values.extend(layer.value.times(&input));
            cache.keys.extend(turned(layer.key.times(&input), turns));
            let mixed = cache.attend(&turned(layer.query.times(&input), turns), network.head);
            add(&mut state, &layer.output.times(&mixed));

            let input = rms_norm(&state, &layer.ffn_norm, network.eps);
            let mut inner = layer.gate.times(&input);
            for (gate, up) in inner.iter_mut().zip(layer.up.times(&input)) {
                *gate *= up / (1.0 + (-*gate).exp());
            }
            add(&mut state, &layer.down.times(&inner));
        }
        self.position += 1;
        state
    }
}

impl Cache {
    /// For each head: the values of all positions, weighted by how well their keys match the query.
    fn attend(&self, query: &[f32], head: usize) -> Vec<f32> {
        let heads = query.len() / head;
        let scale = 1.0 / (head as f32).sqrt();
        let mut mixed = vec![0.0; query.len()];
        for (index, (query, mixed)) in query
            .chunks_exact(head)
            .zip(mixed.chunks_exact_mut(head))
            .enumerate()
        {
            let keys = self.keys.chunks_exact(head).skip(index).step_by(heads);
            let values = self.values.chunks_exact(head).skip(index).step_by(heads);
            let mut weights: Vec<f32> = keys.map(|key| dot(query, key) * scale).collect();
            let total = exponentials(&mut weights);
            for (weight, value) in weights.iter().zip(values) {
                mixed
                    .iter_mut()
                    .zip(value)
                    .for_each(|(sum, value)| *sum += weight / total * value);
            }
        }
        mixed
    }
}

/// Replaces each score by its exponential, scaled so that the best gives 1, and returns their sum.
pub fn exponentials(scores: &mut [f32]) -> f32 {
    let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = (*score - best).exp();
    }
    scores.iter().sum()
}

/// Turns neighbouring elements of each head by the angles of one position (interleaved `RoPE`).
fn turned(mut vector: Vec<f32>, turns: &[(f32, f32)]) -> Vec<f32> {
    for ([a, b], (cos, sin)) in vector
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip(turns.iter().cycle())
    {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
    vector
}

fn rms_norm(vector: &[f32], weights: &[f32], eps: f32) -> Vec<f32> {
    let scale = 1.0 / (dot(vector, vector) / vector.len() as f32 + eps).sqrt();
    vector
        .iter()
        .zip(weights)
        .map(|(x, weight)| x * scale * weight)
        .collect()
}

fn add(sum: &mut [f32], other: &[f32]) {
    sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut()
            .zip(a.iter().zip(b))
            .for_each(|(sum, (a, b))| *sum += a * b);
    }
    // Halves are added to halves, because one long chain of additions would cost more than the products.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = sums.split_at_mut(width);
        add(low, high);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums[0] + rest
}
