//! HyperLogLog in Redis's format: how many different elements there were, in at most 12 KiB.
//!
//! ```text
//! header 16 B   "HYLL", encoding 1 (0 dense, 1 sparse), unused 3, cached estimate 8 (little-endian;
//!               its highest bit says that it is out of date)
//! dense         16384 registers of 6 bits, the first in the lowest bits of the first byte
//! sparse        runs of equal registers:
//!               00llllll            1..=64 zeros
//!               01llllll llllllll   1..=16384 zeros
//!               1vvvvvll            1..=4 registers of value 1..=32
//! ```
//!
//! The estimate is that of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches" (arXiv:1702.01284).

/// Registers of every sketch.
pub const REGISTERS: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 14;
/// Bits of a hash that are left when those of the register's index are taken.
const RANK_BITS: u32 = 64 - INDEX_BITS;
const HEADER: usize = 16;
const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
/// The byte whose highest bit says that the cached estimate is out of date.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;
const HASH_SEED: u64 = 0xadc8_3b19;

const SHORT_ZEROS_MAX: usize = 64;
const VALUES_MAX: usize = 4;
const SPARSE_VALUE_MAX: u8 = 32;
/// Runs looked at for equal neighbours after a change.
const RUNS_JOINED: usize = 5;

/// Runs that do not add up to the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registers of the sketch are damaged")]
pub struct Corrupt;

/// A run of equal registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their value; 0 was never set.
    pub value: u8,
    /// How many they are.
    pub len: usize,
    /// Bytes the run takes.
    width: usize,
}

impl Run {
    /// Whether it is written in the long form of zeros.
    pub fn is_long(&self) -> bool {
        self.width == 2
    }

    /// The run that `bytes` begin with.
    fn read(bytes: &[u8]) -> Result<Run, Corrupt> {
        let (&first, rest) = bytes.split_first().ok_or(Corrupt)?;
        let low = usize::from(first & 0x3f);
        Ok(match first >> 6 {
            0 => Run { value: 0, len: low + 1, width: 1 },
            1 => {
                let second = *rest.first().ok_or(Corrupt)?;
                Run { value: 0, len: (low << 8 | usize::from(second)) + 1, width: 2 }
            }
            _ => Run { value: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1, width: 1 },
        })
    }

    /// Appends a run, which is at most as long as its form allows; nothing when it is empty.
    fn write(value: u8, len: usize, out: &mut Vec<u8>) {
        match (value, len) {
            (_, 0) => {}
            (0, 1..=SHORT_ZEROS_MAX) => out.push((len - 1) as u8),
            (0, _) => out.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
            _ => out.push(0x80 | (value - 1) << 2 | (len - 1) as u8),
        }
    }
}

/// The sketch of nothing.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[ENCODING_AT] = SPARSE;
    Run::write(0, REGISTERS, &mut bytes);
    bytes
}

/// Whether a string can be a sketch. Its runs, if it is sparse, are proved when they are read.
pub fn is_sketch(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && match bytes[ENCODING_AT] {
            DENSE => bytes.len() == DENSE_BYTES,
            SPARSE => true,
            _ => false,
        }
}

/// Whether a sketch has all its registers laid out.
pub fn is_dense(sketch: &[u8]) -> bool {
    sketch.get(ENCODING_AT) == Some(&DENSE)
}

/// The runs of a sparse sketch.
pub fn runs(sketch: &[u8]) -> impl Iterator<Item = Result<Run, Corrupt>> {
    let mut rest = sketch.get(HEADER..).unwrap_or(&[]);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let run = Run::read(rest);
        rest = run.map_or(&[][..], |run| &rest[run.width..]);
        Some(run)
    })
}

/// The estimate a sketch remembers, if nothing was added since.
pub fn cached(sketch: &[u8]) -> Option<u64> {
    let bytes = sketch.get(CACHE_AT..)?.first_chunk()?;
    (bytes[STALE_AT - CACHE_AT] & STALE == 0).then(|| u64::from_le_bytes(*bytes))
}

/// Remembers an estimate.
pub fn remember(sketch: &mut [u8], estimate: u64) {
    if let Some(bytes) = sketch.get_mut(CACHE_AT..HEADER) {
        bytes.copy_from_slice(&estimate.to_le_bytes());
    }
}

/// The remembered estimate is out of date.
pub fn forget(sketch: &mut [u8]) {
    if let Some(byte) = sketch.get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

/// Adds an element; says whether a register changed. `sparse_max` is how many bytes a sparse
/// sketch may have.
pub fn add(sketch: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool, Corrupt> {
    let hash = murmur64a(element, HASH_SEED);
    let index = hash as usize % REGISTERS;
    // The bit on top ends the count of zeros.
    let rank = (hash >> INDEX_BITS | 1 << RANK_BITS).trailing_zeros() + 1;
    raise(sketch, index, rank as u8, sparse_max)
}

/// Raises a register to `value` if it is lower; says whether it was.
pub fn raise(
    sketch: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: usize,
) -> Result<bool, Corrupt> {
    if is_dense(sketch) {
        let registers = &mut sketch[HEADER..];
        let lower = register(registers, index) < value;
        if lower {
            set_register(registers, index, value);
        }
        return Ok(lower);
    }
    if value <= SPARSE_VALUE_MAX {
        match raise_sparse(sketch, index, value, sparse_max)? {
            Raised::No => return Ok(false),
            Raised::Yes => return Ok(true),
            Raised::NoRoom => {}
        }
    }
    make_dense(sketch)?;
    raise(sketch, index, value, sparse_max)
}

enum Raised {
    No,
    Yes,
    /// The sketch has to become dense.
    NoRoom,
}

fn raise_sparse(
    sketch: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: usize,
) -> Result<Raised, Corrupt> {
    let (mut at, mut before, mut first) = (HEADER, HEADER, 0);
    let run = loop {
        let run = Run::read(&sketch[at..])?;
        if index < first + run.len {
            break run;
        }
        first += run.len;
        before = at;
        at += run.width;
    };
    if run.value >= value {
        return Ok(Raised::No);
    }
    let mut pieces = Vec::with_capacity(5);
    Run::write(run.value, index - first, &mut pieces);
    Run::write(value, 1, &mut pieces);
    Run::write(run.value, first + run.len - 1 - index, &mut pieces);
    if pieces.len() > run.width && sketch.len() - run.width + pieces.len() > sparse_max {
        return Ok(Raised::NoRoom);
    }
    sketch.splice(at..at + run.width, pieces);
    join_equal(sketch, before);
    forget(sketch);
    Ok(Raised::Yes)
}

/// Joins runs of the same value, from the run at `at` on.
fn join_equal(sketch: &mut Vec<u8>, mut at: usize) {
    for _ in 0..RUNS_JOINED {
        let Ok(run) = Run::read(&sketch[at.min(sketch.len())..]) else { return };
        let next = Run::read(&sketch[at + run.width..]);
        match next {
            Ok(next)
                if run.value > 0 && run.value == next.value && run.len + next.len <= VALUES_MAX =>
            {
                let mut joined = Vec::with_capacity(1);
                Run::write(run.value, run.len + next.len, &mut joined);
                sketch.splice(at..at + run.width + next.width, joined);
            }
            _ => at += run.width,
        }
    }
}

/// Lays out all registers of a sketch.
pub fn make_dense(sketch: &mut Vec<u8>) -> Result<(), Corrupt> {
    if is_dense(sketch) {
        return Ok(());
    }
    let mut dense = vec![0; DENSE_BYTES];
    dense[..HEADER].copy_from_slice(sketch.get(..HEADER).ok_or(Corrupt)?);
    dense[ENCODING_AT] = DENSE;
    each_register(sketch, |index, value| set_register(&mut dense[HEADER..], index, value))?;
    *sketch = dense;
    Ok(())
}

/// Shows every register that is not 0.
fn each_register(sketch: &[u8], mut visit: impl FnMut(usize, u8)) -> Result<(), Corrupt> {
    if is_dense(sketch) {
        let registers = sketch.get(HEADER..DENSE_BYTES).ok_or(Corrupt)?;
        for index in 0..REGISTERS {
            match register(registers, index) {
                0 => {}
                value => visit(index, value),
            }
        }
        return Ok(());
    }
    let mut index = 0;
    for run in runs(sketch) {
        let run = run?;
        let end = index + run.len;
        if end > REGISTERS {
            return Err(Corrupt);
        }
        if run.value > 0 {
            (index..end).for_each(|index| visit(index, run.value));
        }
        index = end;
    }
    if index == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

fn register(registers: &[u8], index: usize) -> u8 {
    let bit = index * 6;
    let high = registers.get(bit / 8 + 1).copied().unwrap_or(0);
    let pair = u16::from_le_bytes([registers[bit / 8], high]);
    (pair >> (bit % 8)) as u8 & 0x3f
}

fn set_register(registers: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let (mask, value) = (0x3f_u16 << shift, u16::from(value & 0x3f) << shift);
    registers[at] = registers[at] & !mask as u8 | value as u8;
    if let Some(high) = registers.get_mut(at + 1) {
        *high = *high & !(mask >> 8) as u8 | (value >> 8) as u8;
    }
}

/// The registers of several sketches, each at its highest.
#[derive(Clone, PartialEq, Eq)]
pub struct Union(Box<[u8; REGISTERS]>);

impl Default for Union {
    fn default() -> Union {
        Union(Box::new([0; REGISTERS]))
    }
}

impl Union {
    /// Takes another sketch in.
    pub fn merge(&mut self, sketch: &[u8]) -> Result<(), Corrupt> {
        each_register(sketch, |index, value| self.0[index] = self.0[index].max(value))
    }

    /// The registers.
    pub fn registers(&self) -> &[u8; REGISTERS] {
        &self.0
    }

    /// How many different elements there were in all of them, about.
    pub fn estimate(&self) -> u64 {
        let mut histogram = [0; 64];
        self.0.iter().for_each(|value| histogram[usize::from(value & 0x3f)] += 1);
        estimate_from(&histogram)
    }
}

/// How many different elements there were, about.
pub fn estimate(sketch: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = [0; 64];
    let mut set = 0;
    each_register(sketch, |_, value| {
        histogram[usize::from(value)] += 1;
        set += 1;
    })?;
    histogram[0] = REGISTERS - set;
    Ok(estimate_from(&histogram))
}

/// The estimate from how many registers have each value.
fn estimate_from(histogram: &[usize; 64]) -> u64 {
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let registers = REGISTERS as f64;
    let top = RANK_BITS as usize;
    let full = histogram[top + 1] as f64;
    let mut sum = registers * tau((registers - full) / registers);
    for count in histogram[1..=top].iter().rev() {
        sum = (sum + *count as f64) * 0.5;
    }
    sum += registers * sigma(histogram[0] as f64 / registers);
    (ALPHA * registers * registers / sum).round() as u64
}

/// What registers that are still 0 add to the sum (Ertl's sigma), for their share.
fn sigma(share: f64) -> f64 {
    if share == 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let next = sum + power * weight;
        weight += weight;
        if next == sum {
            return sum;
        }
        sum = next;
    }
}

/// What registers at their highest add to the sum (Ertl's tau), for the share of the others.
fn tau(share: f64) -> f64 {
    if share == 0.0 || share == 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        weight *= 0.5;
        let next = sum - (1.0 - root) * (1.0 - root) * weight;
        if next == sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

/// Austin Appleby's MurmurHash64A, bytes read as little-endian.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}

/// What a test of the sketch found wrong; `Ok` when all is well. Takes a while.
pub fn self_test(seed: u64, sparse_max: usize) -> Result<(), String> {
    let mut dense = empty();
    make_dense(&mut dense).map_err(|error| error.to_string())?;
    let mut random = fastrand::Rng::with_seed(seed);
    let values: Vec<u8> = (0..REGISTERS).map(|_| random.u8(0..64)).collect();
    for (index, value) in values.iter().enumerate() {
        set_register(&mut dense[HEADER..], index, *value);
    }
    for (index, value) in values.iter().enumerate() {
        let found = register(&dense[HEADER..], index);
        if found != *value {
            return Err(format!("Register {index} should be {value} but is {found}"));
        }
    }
    dense[HEADER..].fill(0);
    let mut grown = empty();
    let error = 1.04 / (REGISTERS as f64).sqrt();
    let mut checkpoint = 1;
    for count in 1..=1_000_000_u64 {
        let element = (count ^ seed).to_le_bytes();
        for sketch in [&mut dense, &mut grown] {
            add(sketch, &element, sparse_max).map_err(|error| error.to_string())?;
        }
        if count != checkpoint {
            continue;
        }
        if count < sparse_max as u64 / 2 && is_dense(&grown) {
            return Err("sparse encoding not used".to_owned());
        }
        let estimated = estimate(&dense);
        if estimated != estimate(&grown) {
            return Err("dense/sparse disagree".to_owned());
        }
        let off = estimated.unwrap_or(0).abs_diff(count);
        let allowed = (error * 6.0 * count as f64).ceil().max(1.0) as u64;
        if off > allowed {
            return Err(format!("Too big error. card:{count} abserr:{off}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPARSE_MAX: usize = 3000;

    #[test]
    fn sketch_tests_itself() {
        assert_eq!(self_test(1, SPARSE_MAX), Ok(()));
    }

    #[test]
    fn sketch_of_nothing_is_sparse_and_counts_nothing() {
        let sketch = empty();
        assert_eq!(sketch.len(), 18);
        assert_eq!((cached(&sketch), estimate(&sketch)), (Some(0), Ok(0)));
        assert!(is_sketch(&sketch) && !is_dense(&sketch));
    }

    #[test]
    fn union_is_as_one_sketch_of_all() {
        let (mut one, mut other, mut both) = (empty(), empty(), empty());
        for number in 0..20_000_u32 {
            let element = number.to_le_bytes();
            let half = if number % 3 == 0 { &mut one } else { &mut other };
            add(half, &element, SPARSE_MAX).unwrap();
            add(&mut both, &element, SPARSE_MAX).unwrap();
        }
        let mut union = Union::default();
        union.merge(&one).unwrap();
        union.merge(&other).unwrap();
        assert_eq!(Ok(union.estimate()), estimate(&both));
        assert_eq!(union.estimate().abs_diff(20_000) / 600, 0);
    }

    proptest! {
        #[test]
        fn sparse_and_dense_hold_the_same(
            raised in prop::collection::vec((0..REGISTERS, 1..=32_u8), 0..300),
        ) {
            let (mut sparse, mut dense) = (empty(), empty());
            make_dense(&mut dense).unwrap();
            for (index, value) in raised {
                let index = index % 700;
                let changed = raise(&mut sparse, index, value, SPARSE_MAX);
                prop_assert_eq!(changed, raise(&mut dense, index, value, SPARSE_MAX));
            }
            prop_assert_eq!(estimate(&sparse), estimate(&dense));
            forget(&mut sparse);
            forget(&mut dense);
            make_dense(&mut sparse).unwrap();
            prop_assert_eq!(sparse, dense);
        }

        #[test]
        fn damaged_sketches_are_refused_or_read(
            body in prop::collection::vec(any::<u8>(), 0..200),
            element in any::<[u8; 4]>(),
        ) {
            let mut sketch = empty();
            sketch.truncate(HEADER);
            sketch.extend(body);
            let _ = estimate(&sketch);
            let _ = Union::default().merge(&sketch);
            let _ = add(&mut sketch, &element, SPARSE_MAX);
            let _ = make_dense(&mut sketch);
        }
    }
}
