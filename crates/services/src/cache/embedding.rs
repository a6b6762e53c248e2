//! Embeddings: numbers of one type in one shape, kept as the bytes they are.
//!
//! ```text
//! f32;2,3\n………………………………
//! │   │     └ the numbers, row by row, little-endian
//! │   └ shape, joined by commas; nothing for a single number
//! └ type: f16, f32 or f64
//! ```
//!
//! As JSON a vector would come back several times as long, and an `f32` as another number's text. What does not have
//! this form, or not as many numbers as its shape says, is refused when it is read.

use super::Body;
use crate::error::{Error, Result};

/// Most numbers of a shape.
const DIMENSIONS_MAX: usize = 32;

/// Type of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 half precision; as bytes only.
    F16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
}

/// Numbers of one type in one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedding {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Dtype {
    const ALL: [(Self, &'static str, usize); 3] = [(Self::F16, "f16", 2), (Self::F32, "f32", 4), (Self::F64, "f64", 8)];

    /// Returns how many bytes a number takes.
    pub fn bytes(self) -> usize {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, usize) {
        Self::ALL.into_iter().find(|row| row.0 == self).expect("the table has all of them")
    }
}

impl Embedding {
    /// Takes little-endian bytes, row by row, as many as the shape needs.
    pub fn new(dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Self> {
        if shape.len() > DIMENSIONS_MAX {
            return Err(Error::invalid("shape", format_args!("more than {DIMENSIONS_MAX} dimensions")));
        }
        let len = shape.iter().try_fold(dtype.bytes(), |len, dimension| len.checked_mul(*dimension));
        if len != Some(bytes.len()) {
            return Err(Error::invalid("shape", format_args!("{shape:?} does not take {} bytes", bytes.len())));
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// Takes one vector.
    pub fn of_f32(numbers: &[f32]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: vec![numbers.len()], bytes }
    }

    /// Takes one vector.
    pub fn of_f64(numbers: &[f64]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { dtype: Dtype::F64, shape: vec![numbers.len()], bytes }
    }

    /// Returns the type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns the shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the numbers' bytes, little-endian, row by row.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the numbers, if they are of this type.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let (numbers, _) = self.bytes.as_chunks::<4>();
        (self.dtype == Dtype::F32).then(|| numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Returns the numbers, if they are of this type.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let (numbers, _) = self.bytes.as_chunks::<8>();
        (self.dtype == Dtype::F64).then(|| numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
    }
}

impl From<&Embedding> for Body {
    fn from(embedding: &Embedding) -> Self {
        let shape: Vec<String> = embedding.shape.iter().map(ToString::to_string).collect();
        let head = format!("{};{}\n", embedding.dtype.row().1, shape.join(","));
        Self::from([head.as_bytes(), &embedding.bytes].concat())
    }
}

impl TryFrom<&Body> for Embedding {
    type Error = Error;

    fn try_from(body: &Body) -> Result<Self> {
        let foreign = || Error::invalid("value", "is no embedding");
        let Body::Bytes(bytes) = body else { return Err(foreign()) };
        // A dimension has twenty digits at most.
        let len = bytes.iter().take(5 + DIMENSIONS_MAX * 21).position(|byte| *byte == b'\n').ok_or_else(foreign)?;
        let head = std::str::from_utf8(&bytes[..len]).map_err(|_| foreign())?;
        let (name, shape) = head.split_once(';').ok_or_else(foreign)?;
        let (dtype, ..) = Dtype::ALL.into_iter().find(|row| row.1 == name).ok_or_else(foreign)?;
        let shape = shape.split(',').filter(|dimension| !dimension.is_empty());
        let shape = shape.map(|dimension| dimension.parse().map_err(|_| foreign())).collect::<Result<_>>()?;
        Self::new(dtype, shape, bytes[len + 1..].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_shape_and_every_bit_come_back() {
        let numbers = [0.1_f32, -0.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 2.0, 1.0];
        let matrix = Embedding::new(Dtype::F32, vec![2, 3], Embedding::of_f32(&numbers).bytes().to_vec()).unwrap();
        let half = Embedding::new(Dtype::F16, vec![3], vec![0, 0x3c, 0, 0xbc, 0x0a, 0x0a]).unwrap();
        let single = Embedding::new(Dtype::F64, vec![], 0.1_f64.to_le_bytes().to_vec()).unwrap();
        for embedding in [matrix.clone(), half, single.clone(), Embedding::of_f64(&[]), Embedding::of_f32(&[1.5; 1536])]
        {
            assert_eq!(Embedding::try_from(&Body::from(&embedding)).unwrap(), embedding);
        }
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&matrix.to_f32().unwrap()), bits(&numbers));
        assert_eq!((matrix.shape(), matrix.to_f64(), single.to_f64()), (&[2, 3][..], None, Some(vec![0.1])));
    }

    #[test]
    fn what_is_no_embedding() {
        assert!(Embedding::new(Dtype::F32, vec![2], vec![0; 4]).is_err());
        assert!(Embedding::new(Dtype::F32, vec![usize::MAX, usize::MAX], vec![]).is_err());
        assert!(Embedding::new(Dtype::F32, vec![1; 33], vec![0; 4]).is_err());
        for text in ["", "f32", "f32;1", "f32;1\n", "f32;1\n12345", "f8;1\n1", "f32;x\n1234", "f32;-1\n1234", "f16;1"] {
            assert!(Embedding::try_from(&Body::from(text.as_bytes())).is_err(), "{text:?}");
        }
        assert!(Embedding::try_from(&Body::from(serde_json::json!([0.5]))).is_err());
    }
}
