//! Intset: sorted integers in one flat allocation, byte for byte Redis's.
//!
//! Invariants, established by `parse` and kept by every `&mut self` method:
//!   1. the header states a width of 2, 4 or 8, and how many elements follow;
//!   2. elements are strictly increasing;
//!   3. the bytes are the header and `count * width` more.

use crate::base::rng;
use crate::ds::thin::ThinBytes;

const HEADER: usize = 8;

/// Why bytes are not an intset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// Shorter than a header.
    #[error("intset is truncated")]
    Truncated,
    /// No such width.
    #[error("intset says its elements have {0} bytes")]
    Width(u32),
    /// The header states another number of elements.
    #[error("intset of {actual} bytes should have {expected}")]
    Length {
        /// What the header says.
        expected: usize,
        /// What there is.
        actual: usize,
    },
    /// The element at this index is not larger than the one before.
    #[error("intset is not sorted at element {at}")]
    Unsorted {
        /// The element's index.
        at: usize,
    },
}

/// A set of integers: one pointer.
#[derive(Clone, Debug)]
pub struct Intset {
    bytes: ThinBytes,
}

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

impl Intset {
    /// Asks the processor for the first bytes.
    pub fn prefetch(&self) {
        self.bytes.prefetch();
    }

    /// An empty set.
    pub fn new() -> Intset {
        Intset { bytes: ThinBytes::new(&[&[2, 0, 0, 0, 0, 0, 0, 0]]) }
    }

    /// Validates bytes from outside and copies them.
    pub fn parse(bytes: &[u8]) -> Result<Intset, Corrupt> {
        let (width, rest) = bytes.split_first_chunk::<4>().ok_or(Corrupt::Truncated)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(Corrupt::Truncated)?;
        let width = u32::from_le_bytes(*width);
        let count = u32::from_le_bytes(*count) as usize;
        if !matches!(width, 2 | 4 | 8) {
            return Err(Corrupt::Width(width));
        }
        let expected = count.saturating_mul(width as usize);
        if expected != rest.len() {
            return Err(Corrupt::Length { expected: HEADER + expected, actual: bytes.len() });
        }
        let set = Intset { bytes: ThinBytes::new(&[bytes]) };
        match (1..count).find(|&at| set.at(at - 1) >= set.at(at)) {
            Some(at) => Err(Corrupt::Unsorted { at }),
            None => Ok(set),
        }
    }

    /// The set's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.memory_bytes()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER) / self.width()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// Whether `value` is an element.
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// The element at `index` in ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    /// Adds a value; says whether it is new.
    pub fn insert(&mut self, value: i64) -> bool {
        let width = self.width();
        if width_of(value) > width {
            self.widen(value);
            return true;
        }
        let Err(index) = self.search(value) else { return false };
        let bytes = value.to_le_bytes();
        self.bytes.splice(HEADER + index * width, 0, &[&bytes[..width]]);
        self.write_header(width);
        true
    }

    /// Removes a value; says whether it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        let width = self.width();
        if width_of(value) > width {
            return false;
        }
        let Ok(index) = self.search(value) else { return false };
        self.bytes.splice(HEADER + index * width, width, &[]);
        self.write_header(width);
        true
    }

    /// A random element.
    pub fn random(&self) -> Option<i64> {
        self.get(rng::below(self.len() as u64) as usize)
    }

    /// The elements in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i64> + DoubleEndedIterator + '_ {
        (0..self.len()).map(|index| self.at(index))
    }

    fn width(&self) -> usize {
        usize::from(self.bytes[0])
    }

    fn at(&self, index: usize) -> i64 {
        let width = self.width();
        let bytes = &self.bytes[HEADER + index * width..];
        match width {
            2 => i64::from(i16::from_le_bytes([bytes[0], bytes[1]])),
            4 => i64::from(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            _ => i64::from_le_bytes(*bytes.first_chunk().expect("invariant 3")),
        }
    }

    fn search(&self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // Appending in order is common.
        if high > 0 && self.at(high - 1) < value {
            return Err(high);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Adds a value wider than all there are: it is the largest or the smallest.
    fn widen(&mut self, value: i64) {
        let width = width_of(value);
        let mut wide = ThinBytes::new(&[&[0; HEADER]]);
        let (before, after) = if value < 0 { (Some(value), None) } else { (None, Some(value)) };
        for element in before.into_iter().chain(self.iter()).chain(after) {
            wide.extend(&element.to_le_bytes()[..width]);
        }
        self.bytes = wide;
        self.write_header(width);
    }

    fn write_header(&mut self, width: usize) {
        let count = ((self.bytes.len() - HEADER) / width) as u32;
        self.bytes[..4].copy_from_slice(&(width as u32).to_le_bytes());
        self.bytes[4..8].copy_from_slice(&count.to_le_bytes());
    }
}

fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

const _: () = assert!(size_of::<Option<Intset>>() == 8);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = i64> {
        prop_oneof![-20i64..20, -70_000i64..70_000, any::<i64>()]
    }

    proptest! {
        #[test]
        fn changes_agree_with_a_tree(steps in prop::collection::vec((any::<bool>(), value()), 0..200)) {
            let mut model = BTreeSet::new();
            let mut set = Intset::new();
            for (add, value) in steps {
                if add {
                    prop_assert_eq!(set.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(set.remove(value), model.remove(&value));
                }
                prop_assert_eq!(set.contains(value), model.contains(&value));
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(Intset::parse(set.as_bytes()).is_ok());
        }

        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40), width in 0u8..9) {
            let mut framed = vec![width, 0, 0, 0, (bytes.len() / width.max(1) as usize) as u8, 0, 0, 0];
            framed.extend(&bytes);
            let _ = Intset::parse(&bytes);
            let _ = Intset::parse(&framed);
        }
    }

    #[test]
    fn bytes_are_those_of_redis() {
        let mut set = Intset::new();
        assert!(set.insert(5) && set.insert(-1) && !set.insert(5));
        assert_eq!(set.as_bytes(), b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0");
        assert!(set.insert(1 << 40));
        assert_eq!(set.as_bytes()[..8], *b"\x08\0\0\0\x03\0\0\0");
        assert_eq!(
            Intset::parse(b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0").unwrap_err(),
            Corrupt::Unsorted { at: 1 }
        );
    }
}
