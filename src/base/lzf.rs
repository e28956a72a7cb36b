//! LZF compression as RDB strings use it: literal runs and back references, no header.
//!
//! A control byte below 32 announces that many literals plus one. Any other byte is a reference:
//! its upper three bits are the length minus two (seven: a further byte adds to it), its lower
//! five bits and the last byte are the distance minus one.

/// The farthest a reference reaches back.
const DISTANCE_MAX: usize = 1 << 13;
/// The longest match a reference can state.
const MATCH_MAX: usize = 2 + 7 + 255;
/// The longest run of literals.
const LITERALS_MAX: usize = 32;
/// Slots of the table of recent positions; a power of two.
const SLOTS: usize = 1 << 13;

/// Why compressed bytes are not what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LzfError {
    /// The input ends inside a run or a reference.
    #[error("compressed data ends too early")]
    Truncated,
    /// A reference points before the beginning.
    #[error("compressed data refers to bytes before its beginning")]
    Distance,
    /// The output is longer or shorter than announced.
    #[error("compressed data does not expand to the announced length")]
    Length,
}

/// The working memory of a compressor, reusable so that a short string need not pay for it.
pub struct Compressor {
    /// Where three bytes with this hash were seen last: `origin` plus the position in the input.
    recent: Box<[u32; SLOTS]>,
    /// Added to positions of the present input; greater than whatever earlier inputs left behind.
    origin: u32,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor::new()
    }
}

impl Compressor {
    /// A compressor.
    pub fn new() -> Compressor {
        Compressor { recent: Box::new([0; SLOTS]), origin: 1 }
    }

    /// Appends the compressed form of `input` to `out` if it takes at most `room` bytes; else
    /// leaves `out` as it was and says false.
    pub fn compress(&mut self, input: &[u8], room: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let Some(len) = u32::try_from(input.len()).ok().filter(|len| *len < u32::MAX) else {
            return false;
        };
        if self.origin.checked_add(len).is_none() {
            self.recent.fill(0);
            self.origin = 1;
        }
        let fits = self.encode(input, room, out);
        self.origin = self.origin.saturating_add(len);
        if !fits {
            out.truncate(start);
        }
        fits
    }

    fn encode(&mut self, input: &[u8], room: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let mut literals_from = 0;
        let mut at = 0;
        while let Some(&[a, b, c]) = input.get(at..).and_then(|rest| rest.first_chunk::<3>()) {
            let slot = &mut self.recent[slot_of(a, b, c)];
            let seen = std::mem::replace(slot, self.origin + at as u32);
            let from = seen.checked_sub(self.origin).map(|from| from as usize);
            let Some(from) = from.filter(|from| at - from <= DISTANCE_MAX) else {
                at += 1;
                continue;
            };
            let len = common(&input[from..], &input[at..]);
            if len < 3 {
                at += 1;
                continue;
            }
            put_literals(&input[literals_from..at], out);
            put_reference(at - from, len, out);
            if out.len() - start > room {
                return false;
            }
            let end = at + len;
            at += 1;
            while at < end {
                if let Some(&[a, b, c]) = input[at..].first_chunk::<3>() {
                    self.recent[slot_of(a, b, c)] = self.origin + at as u32;
                }
                at += 1;
            }
            literals_from = at;
        }
        put_literals(&input[literals_from..], out);
        out.len() - start <= room
    }
}

/// The compressed form of `input`, or none when it would not be smaller.
pub fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let room = input.len().checked_sub(1)?;
    let mut out = Vec::new();
    Compressor::new().compress(input, room, &mut out).then_some(out)
}

/// Expands `input` to exactly `expected` bytes.
///
/// Memory is taken as the output grows: a small input cannot claim a large length, since a byte
/// expands to at most 88 bytes.
pub fn decompress(input: &[u8], expected: usize) -> Result<Vec<u8>, LzfError> {
    if expected / MATCH_MAX > input.len() / 3 + 1 {
        return Err(LzfError::Length);
    }
    let mut out = Vec::with_capacity(expected);
    let mut rest = input;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        if control < 32 {
            let len = usize::from(control) + 1;
            let (run, after) = rest.split_at_checked(len).ok_or(LzfError::Truncated)?;
            rest = after;
            if out.len() + len > expected {
                return Err(LzfError::Length);
            }
            out.extend_from_slice(run);
            continue;
        }
        let mut len = usize::from(control >> 5) + 2;
        if len == 9 {
            let (&more, after) = rest.split_first().ok_or(LzfError::Truncated)?;
            len += usize::from(more);
            rest = after;
        }
        let (&low, after) = rest.split_first().ok_or(LzfError::Truncated)?;
        rest = after;
        let distance = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
        let from = out.len().checked_sub(distance).ok_or(LzfError::Distance)?;
        if out.len() + len > expected {
            return Err(LzfError::Length);
        }
        // A match may reach into what it makes: then that repeats, and each copy doubles it.
        let mut left = len;
        while left > 0 {
            let step = left.min(out.len() - from);
            out.extend_from_within(from..from + step);
            left -= step;
        }
    }
    if out.len() == expected { Ok(out) } else { Err(LzfError::Length) }
}

fn slot_of(a: u8, b: u8, c: u8) -> usize {
    let word = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
    (word.wrapping_mul(0x9e37_79b1) >> 19) as usize & (SLOTS - 1)
}

fn common(earlier: &[u8], later: &[u8]) -> usize {
    earlier.iter().zip(later).take(MATCH_MAX).take_while(|(a, b)| a == b).count()
}

fn put_literals(literals: &[u8], out: &mut Vec<u8>) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn put_reference(distance: usize, len: usize, out: &mut Vec<u8>) {
    let (back, len) = (distance - 1, len - 2);
    let high = (back >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((len - 7) as u8);
    }
    out.push(back as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compressor_used_again_and_again_forgets_earlier_inputs() {
        let mut compressor = Compressor::new();
        compressor.origin = u32::MAX - 5000;
        for turn in 0..40u8 {
            let input: Vec<u8> = (0..200u8).map(|at| at % (turn + 3)).collect();
            let mut out = Vec::new();
            assert!(compressor.compress(&input, 300, &mut out));
            assert_eq!(decompress(&out, 200).as_deref(), Ok(&input[..]), "turn {turn}");
        }
    }

    fn round_trip(input: &[u8]) {
        let mut out = b"kept".to_vec();
        let room = input.len() + input.len() / 32 + 1;
        assert!(Compressor::new().compress(input, room, &mut out));
        assert_eq!(decompress(&out[4..], input.len()).as_deref(), Ok(input));
        if let Some(small) = compress(input) {
            assert!(small.len() < input.len());
            assert_eq!(decompress(&small, input.len()).as_deref(), Ok(input));
        }
    }

    proptest! {
        #[test]
        fn compress_then_decompress_is_the_input(input in prop::collection::vec(0u8..4, 0..2000)) {
            round_trip(&input);
        }

        #[test]
        fn decompress_of_anything_never_panics(
            input in prop::collection::vec(any::<u8>(), 0..200), expected in 0usize..5000,
        ) {
            if let Ok(out) = decompress(&input, expected) {
                prop_assert_eq!(out.len(), expected);
            }
        }
    }

    #[test]
    fn compress_of_long_runs_and_far_matches_round_trips() {
        round_trip(&[b'x'; 100_000]);
        let noise: Vec<u8> =
            (0..9000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        round_trip(&[&noise[..], &noise[..]].concat());
        round_trip(&[&noise[..8192], &noise[..100]].concat());
        assert_eq!(compress(b"abc"), None);
        assert_eq!(compress(b""), None);
    }

    #[test]
    fn decompress_refuses_what_is_cut_or_lies() {
        let small = compress(&[b'x'; 200]).expect("a run compresses");
        assert_eq!(decompress(&small, 201), Err(LzfError::Length));
        assert_eq!(decompress(&small, 199), Err(LzfError::Length));
        assert_eq!(decompress(&small[..small.len() - 1], 200), Err(LzfError::Truncated));
        assert_eq!(decompress(&[0x20, 0x00], 3), Err(LzfError::Distance));
        assert_eq!(decompress(&[0xff; 3], usize::MAX), Err(LzfError::Length));
    }
}
