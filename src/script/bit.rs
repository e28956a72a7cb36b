//! The library `bit`: operations on numbers as 32 bits.

use std::ffi::c_int;

use crate::script::raw::{Kind, Raise, Stack};

/// Sums of this and a number that fits have the number's low 32 bits as their own, rounded to even.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// Pushes the library.
pub(super) fn open(stack: Stack) {
    stack.push_table(0, 12);
    for (name, native) in FUNCTIONS {
        stack.push_native(*native);
        stack.set(-2, name);
    }
}

const FUNCTIONS: &[(&str, super::raw::Native)] = &[
    ("tobit", |stack| answer(stack, bits(stack, 1)?)),
    ("bnot", |stack| answer(stack, !bits(stack, 1)?)),
    ("band", |stack| fold(stack, |one, other| one & other)),
    ("bor", |stack| fold(stack, |one, other| one | other)),
    ("bxor", |stack| fold(stack, |one, other| one ^ other)),
    ("lshift", |stack| shift(stack, |number, by| number << by)),
    ("rshift", |stack| shift(stack, |number, by| number >> by)),
    ("arshift", |stack| shift(stack, |number, by| (number.cast_signed() >> by).cast_unsigned())),
    ("rol", |stack| shift(stack, u32::rotate_left)),
    ("ror", |stack| shift(stack, u32::rotate_right)),
    ("bswap", |stack| answer(stack, bits(stack, 1)?.swap_bytes())),
    ("tohex", tohex),
];

fn bits(stack: Stack, at: c_int) -> Result<u32, Raise> {
    Ok((stack.want_number(at)? + ROUNDER).to_bits() as u32)
}

fn answer(stack: Stack, bits: u32) -> Result<c_int, Raise> {
    stack.push_number(f64::from(bits.cast_signed()));
    Ok(1)
}

fn fold(stack: Stack, with: fn(u32, u32) -> u32) -> Result<c_int, Raise> {
    let mut folded = bits(stack, 1)?;
    for at in (2..=stack.top()).rev() {
        folded = with(folded, bits(stack, at)?);
    }
    answer(stack, folded)
}

fn shift(stack: Stack, with: fn(u32, u32) -> u32) -> Result<c_int, Raise> {
    answer(stack, with(bits(stack, 1)?, bits(stack, 2)? & 31))
}

/// tohex(number [, digits]); a negative count asks for upper case.
fn tohex(stack: Stack) -> Result<c_int, Raise> {
    let number = bits(stack, 1)?;
    let count = match stack.kind(2) {
        Kind::None => 8,
        _ => bits(stack, 2)?.cast_signed(),
    };
    let hex = match count < 0 {
        true => format!("{number:08X}"),
        false => format!("{number:08x}"),
    };
    let digits = count.unsigned_abs().min(8) as usize;
    stack.push(&hex.as_bytes()[8 - digits..]);
    Ok(1)
}
