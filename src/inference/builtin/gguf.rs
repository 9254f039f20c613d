//! A reader of GGUF v3, total on any bytes: each read is checked against the end of the file, no size found in the
//! file is trusted for an allocation, and whatever does not fit is a [`ModelError`]. It knows only what the built-in
//! model needs: flat arrays, tensors of `F32` and `Q8_0`, and the usual alignment.

use std::collections::HashMap;

use super::ModelError;

/// Bounds of a file that this reader accepts; the built-in model has 25 values and 47 tensors of up to 2 dimensions.
const MAX_ENTRIES: usize = 4096;
const MAX_DIMS: u32 = 4;
const ALIGNMENT: usize = 32;

/// Weights in one `Q8_0` block, and the block's bytes: an f16 scale, then one i8 each.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 2 + BLOCK;

/// Numbers of GGUF value types.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The parsed head of a file; it borrows all data from the file's bytes.
pub struct Gguf<'a> {
    values: HashMap<&'a str, Value<'a>>,
    tensors: HashMap<&'a str, Tensor>,
    /// What follows the head.
    data: &'a [u8],
}

/// The elements of an array; a single value is an array of one.
enum Value<'a> {
    Texts(Vec<&'a str>),
    /// Numbers of this type, as their little-endian bytes.
    Numbers(u32, &'a [u8]),
}

struct Tensor {
    /// Innermost first, as GGUF has it: a matrix is `[columns, rows]`.
    dims: Vec<usize>,
    quantised: bool,
    /// Bytes from the end of the head.
    offset: usize,
}

impl<'a> Gguf<'a> {
    /// Reads the head and checks that every tensor lies in the file.
    pub fn parse(file: &'a [u8]) -> Result<Self, ModelError> {
        let mut reader = Reader { rest: file };
        if reader.take(4)? != b"GGUF" {
            return Err(ModelError::Malformed("not a GGUF file"));
        }
        if reader.u32()? != 3 {
            return Err(ModelError::Unsupported("GGUF version"));
        }
        let (tensor_count, value_count) = (reader.size()?, reader.size()?);
        if tensor_count.max(value_count) > MAX_ENTRIES {
            return Err(ModelError::Malformed("too many entries"));
        }
        let mut values = HashMap::new();
        for _ in 0..value_count {
            values.insert(reader.text()?, reader.value()?);
        }
        if values.contains_key("general.alignment") {
            return Err(ModelError::Unsupported("alignment"));
        }
        let (mut tensors, mut end) = (HashMap::new(), 0usize);
        for _ in 0..tensor_count {
            let (name, tensor) = (reader.text()?, reader.tensor()?);
            // Tensors that share bytes would let a small file ask for much memory.
            if Some(tensor.offset) != end.checked_next_multiple_of(ALIGNMENT) {
                return Err(ModelError::Malformed("tensors are not one after the other"));
            }
            let after = tensor
                .byte_len()
                .and_then(|len| tensor.offset.checked_add(len));
            end = after.ok_or(ModelError::Malformed("tensor size"))?;
            tensors.insert(name, tensor);
        }
        let start = (file.len() - reader.rest.len()).next_multiple_of(ALIGNMENT);
        let data = file.get(start..).filter(|data| data.len() >= end);
        let data = data.ok_or(ModelError::Malformed("tensors exceed the file"))?;
        Ok(Self {
            values,
            tensors,
            data,
        })
    }

    fn value(&self, key: &'static str) -> Result<&Value<'a>, ModelError> {
        self.values.get(key).ok_or(ModelError::Missing(key))
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Result<&[&'a str], ModelError> {
        match self.value(key)? {
            Value::Texts(texts) => Ok(texts),
            Value::Numbers(..) => Err(ModelError::Malformed(key)),
        }
    }

    fn words<T>(
        &self,
        key: &'static str,
        kind: u32,
        read: fn([u8; 4]) -> T,
    ) -> Result<Vec<T>, ModelError> {
        match self.value(key)? {
            Value::Numbers(found, bytes) if *found == kind => {
                Ok(le_words(bytes).map(read).collect())
            }
            _ => Err(ModelError::Malformed(key)),
        }
    }

    /// A list of f32.
    pub fn floats(&self, key: &'static str) -> Result<Vec<f32>, ModelError> {
        self.words(key, F32, f32::from_le_bytes)
    }

    /// A list of i32.
    pub fn ints(&self, key: &'static str) -> Result<Vec<i32>, ModelError> {
        self.words(key, I32, i32::from_le_bytes)
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Result<&'a str, ModelError> {
        only(key, self.texts(key)?)
    }

    /// An f32.
    pub fn float(&self, key: &'static str) -> Result<f32, ModelError> {
        only(key, &self.floats(key)?)
    }

    /// A u32.
    pub fn uint(&self, key: &'static str) -> Result<u32, ModelError> {
        only(key, &self.words(key, U32, u32::from_le_bytes)?)
    }

    /// The weights of a tensor that must have exactly this shape (innermost first), as f32.
    pub fn weights(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self
            .tensors
            .get(name)
            .ok_or(ModelError::Missing("tensor"))?;
        let bytes = self.data.get(tensor.offset..).zip(tensor.byte_len());
        let bytes = bytes.and_then(|(data, len)| data.get(..len));
        match bytes.filter(|_| tensor.dims == dims) {
            Some(bytes) if tensor.quantised => Ok(dequantised(bytes)),
            Some(bytes) => Ok(le_words(bytes).map(f32::from_le_bytes).collect()),
            None => Err(ModelError::Malformed("tensor shape")),
        }
    }
}

impl Tensor {
    fn byte_len(&self) -> Option<usize> {
        let count = self
            .dims
            .iter()
            .try_fold(1usize, |product, &dim| product.checked_mul(dim))?;
        if !self.quantised {
            return count.checked_mul(4);
        }
        // Each row is whole blocks.
        let whole = self.dims.first().is_some_and(|row| row % BLOCK == 0);
        (count / BLOCK).checked_mul(BLOCK_BYTES).filter(|_| whole)
    }
}

fn only<T: Copy>(key: &'static str, list: &[T]) -> Result<T, ModelError> {
    if let [value] = list {
        Ok(*value)
    } else {
        Err(ModelError::Malformed(key))
    }
}

fn le_words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks().0.iter().copied()
}

fn dequantised(blocks: &[u8]) -> Vec<f32> {
    let mut all = Vec::with_capacity(blocks.len() / BLOCK_BYTES * BLOCK);
    for [low, high, weights @ ..] in blocks.as_chunks::<BLOCK_BYTES>().0 {
        let scale = f16_to_f32(u16::from_le_bytes([*low, *high]));
        all.extend(
            weights
                .iter()
                .map(|weight| scale * f32::from(weight.cast_signed())),
        );
    }
    all
}

/// IEEE half precision; std's own `f16` is not stable yet.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(bits & 0x3ff);
    let size = match i32::from((bits >> 10) & 0x1f) {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    sign * size
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ModelError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(ModelError::Malformed("cut short"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        self.take(N)?
            .try_into()
            .map_err(|_| ModelError::Malformed("cut short"))
    }

    fn u32(&mut self) -> Result<u32, ModelError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A count, a length or an offset; one that does not fit this machine can't lie in the file either.
    fn size(&mut self) -> Result<usize, ModelError> {
        usize::try_from(u64::from_le_bytes(self.array()?))
            .map_err(|_| ModelError::Malformed("size"))
    }

    fn text(&mut self) -> Result<&'a str, ModelError> {
        let len = self.size()?;
        str::from_utf8(self.take(len)?).map_err(|_| ModelError::Malformed("text is not UTF-8"))
    }

    fn value(&mut self) -> Result<Value<'a>, ModelError> {
        let (kind, count) = match self.u32()? {
            ARRAY => (self.u32()?, self.size()?),
            kind => (kind, 1),
        };
        let width = match kind {
            // Each text takes 8 bytes of the file at least, so a false count ends at the first one missing.
            STRING => {
                return (0..count)
                    .map(|_| self.text())
                    .collect::<Result<_, _>>()
                    .map(Value::Texts);
            }
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            U32 | I32 | F32 => 4,
            10..=12 => 8,
            // Arrays in arrays too.
            _ => return Err(ModelError::Unsupported("value type")),
        };
        let len = count
            .checked_mul(width)
            .ok_or(ModelError::Malformed("size"))?;
        Ok(Value::Numbers(kind, self.take(len)?))
    }

    fn tensor(&mut self) -> Result<Tensor, ModelError> {
        let count = self.u32()?;
        if count > MAX_DIMS {
            return Err(ModelError::Malformed("too many dimensions"));
        }
        let dims = (0..count).map(|_| self.size()).collect::<Result<_, _>>()?;
        let quantised = match self.u32()? {
            0 => false,
            8 => true,
            _ => return Err(ModelError::Unsupported("tensor type")),
        };
        Ok(Tensor {
            dims,
            quantised,
            offset: self.size()?,
        })
    }
}
