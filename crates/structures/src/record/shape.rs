//! The shape of a record: the two words from which follows where everything in its block stands.

use std::alloc::Layout;
use std::marker::PhantomData;

use super::{MAX_INLINE_LEN, MAX_KEY_LEN};

pub(super) const HEADER_LEN: usize = 12;
const DEADLINE_LEN: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bytes = 0,
    Int = 1,
    Object = 2,
}

/// The two words that determine where everything stands.
pub(super) struct Shape<O> {
    pub(super) key_word: u32,
    pub(super) payload_word: u32,
    pub(super) object: PhantomData<O>,
}

impl<O> Clone for Shape<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Shape<O> {}

const LEN_MASK: u32 = (1 << 30) - 1;
const KIND_SHIFT: u32 = 30;
const OBJECT_SHIFT: u32 = 31;
pub(super) const DEADLINE_BIT: u32 = 1 << 31;
pub(super) const MARK_BIT: u32 = 1 << 30;

impl<O> Shape<O> {
    /// Alignment of every block.
    pub(super) const ALIGN: usize =
        if align_of::<O>() > align_of::<u32>() { align_of::<O>() } else { align_of::<u32>() };
    pub(super) const OBJECT_OFFSET: usize = HEADER_LEN.next_multiple_of(align_of::<O>());
    /// What an object and its padding put between the header and the rest.
    pub(super) const OBJECT_SPAN: usize = Self::OBJECT_OFFSET + size_of::<O>() - HEADER_LEN;

    pub(super) fn new(key_len: usize) -> Shape<O> {
        assert!(key_len <= MAX_KEY_LEN, "a key has at most {MAX_KEY_LEN} bytes");
        Shape { key_word: key_len as u32, payload_word: 0, object: PhantomData }
    }

    /// The same key and deadline with another payload, the mark cleared.
    pub(super) fn with_payload(self, kind: Kind, len: usize) -> Shape<O> {
        assert!(len <= MAX_INLINE_LEN, "a record holds at most {MAX_INLINE_LEN} bytes");
        let key_word = self.key_word & LEN_MASK | (kind as u32) << KIND_SHIFT;
        Shape { key_word, payload_word: self.payload_word & DEADLINE_BIT | len as u32, ..self }
    }

    pub(super) fn with_len(self, len: usize) -> Shape<O> {
        assert!(len <= MAX_INLINE_LEN, "a record holds at most {MAX_INLINE_LEN} bytes");
        Shape { payload_word: self.payload_word & !LEN_MASK | len as u32, ..self }
    }

    pub(super) fn with_key_len(self, len: usize) -> Shape<O> {
        Shape { key_word: self.key_word & !LEN_MASK | Shape::<O>::new(len).key_word, ..self }
    }

    #[inline(always)]
    pub(super) fn is_object(self) -> bool {
        self.key_word >> OBJECT_SHIFT != 0
    }

    #[inline(always)]
    pub(super) fn is(self, kind: Kind) -> bool {
        self.key_word >> KIND_SHIFT == kind as u32
    }

    #[inline(always)]
    pub(super) fn has_deadline(self) -> bool {
        self.payload_word & DEADLINE_BIT != 0
    }

    #[inline(always)]
    pub(super) fn key_len(self) -> usize {
        (self.key_word & LEN_MASK) as usize
    }

    #[inline(always)]
    pub(super) fn payload_len(self) -> usize {
        (self.payload_word & LEN_MASK) as usize
    }

    #[inline(always)]
    pub(super) fn deadline_offset(self) -> usize {
        HEADER_LEN + (self.key_word >> OBJECT_SHIFT) as usize * Self::OBJECT_SPAN
    }

    #[inline(always)]
    pub(super) fn key_offset(self) -> usize {
        self.deadline_offset() + (self.payload_word >> 31) as usize * DEADLINE_LEN
    }

    #[inline(always)]
    pub(super) fn payload_offset(self) -> usize {
        self.key_offset() + self.key_len()
    }

    #[inline(always)]
    pub(super) fn size(self) -> usize {
        self.payload_offset() + self.payload_len()
    }

    #[inline(always)]
    pub(super) fn layout(self) -> Layout {
        debug_assert!(Layout::from_size_align(self.size(), Self::ALIGN).is_ok());
        // SAFETY: the alignment is that of a type; the size is below 2^31 plus the size of one object, whose sum the
        // assertions on lengths keep far from isize::MAX.
        unsafe { Layout::from_size_align_unchecked(self.size(), Self::ALIGN) }
    }
}
