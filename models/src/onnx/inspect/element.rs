//! The types of a tensor's values.

/// A type of values: `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// As manifests write it.
    pub(super) name: &'static str,
    /// How many bits a value has; none where values differ in length.
    bits: Option<u64>,
}

/// By their numbers.
const ELEMENTS: [(&str, u64); 29] = [
    ("", 0),
    ("f32", 32),
    ("u8", 8),
    ("i8", 8),
    ("u16", 16),
    ("i16", 16),
    ("i32", 32),
    ("i64", 64),
    ("string", 0),
    ("bool", 8),
    ("f16", 16),
    ("f64", 64),
    ("u32", 32),
    ("u64", 64),
    ("complex64", 64),
    ("complex128", 128),
    ("bf16", 16),
    ("f8e4m3fn", 8),
    ("f8e4m3fnuz", 8),
    ("f8e5m2", 8),
    ("f8e5m2fnuz", 8),
    ("u4", 4),
    ("i4", 4),
    ("f4e2m1", 4),
    ("f8e8m0", 8),
    ("u2", 2),
    ("i2", 2),
    ("f6e2m3", 6),
    ("f6e3m2", 6),
];

impl Element {
    pub(super) fn of(number: i32) -> Option<Self> {
        let (name, bits) = *ELEMENTS.get(usize::try_from(number).ok()?).filter(|(name, _)| !name.is_empty())?;
        Some(Self { name, bits: (bits > 0).then_some(bits) })
    }

    /// How many bytes `elements` values take; of text, at least.
    pub(super) fn bytes(self, elements: u64) -> Option<u64> {
        Some(elements.checked_mul(self.bits.unwrap_or(8))?.div_ceil(8))
    }

    /// The fewest numbers in the fields of a tensor that hold `elements` values: those of less than a byte share one.
    pub(super) fn packed(self, elements: u64) -> u64 {
        match self.bits {
            Some(bits) if bits < 8 => elements.div_ceil(8 / bits),
            _ => elements,
        }
    }
}
