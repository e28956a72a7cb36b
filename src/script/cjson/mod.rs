//! The library `cjson`: JSON, with the settings each copy of the library has for itself.

mod decode;
mod encode;

use std::ffi::c_int;

use crate::base::text::shown_to_zero;
use crate::script::raw::{Kind, Native, Raise, Stack, UPVALUE};

/// A setting, as its place in the table that all functions of a copy share.
#[derive(Clone, Copy)]
enum Setting {
    SparseConvert = 1,
    SparseRatio,
    SparseSafe,
    EncodeDepth,
    DecodeDepth,
    EncodeInvalid,
    DecodeInvalid,
    KeepBuffer,
    Precision,
}

/// The settings of a new copy, in the order above.
const DEFAULTS: [i32; 9] = [0, 2, 10, 1000, 1000, 0, 1, 1, 14];

/// Pushes a copy of the library.
pub(super) fn open(stack: Stack) {
    stack.push_table(0, 16);
    stack.push_table(DEFAULTS.len(), 0);
    for (index, value) in DEFAULTS.iter().enumerate() {
        stack.push_number(f64::from(*value));
        stack.set_index(-2, index as c_int + 1);
    }
    let functions: [(&str, Native); 10] = [
        ("encode", encode::encode),
        ("decode", decode::decode),
        ("encode_sparse_array", encode_sparse_array),
        ("encode_max_depth", |stack| number_setting(stack, Setting::EncodeDepth, 1, i32::MAX)),
        ("decode_max_depth", |stack| number_setting(stack, Setting::DecodeDepth, 1, i32::MAX)),
        ("encode_number_precision", |stack| number_setting(stack, Setting::Precision, 1, 14)),
        ("encode_keep_buffer", |stack| word_setting(stack, Setting::KeepBuffer, SWITCH)),
        ("encode_invalid_numbers", |stack| {
            word_setting(stack, Setting::EncodeInvalid, &["off", "on", "null"])
        }),
        ("decode_invalid_numbers", |stack| word_setting(stack, Setting::DecodeInvalid, SWITCH)),
        ("new", |stack| {
            open(stack);
            Ok(1)
        }),
    ];
    for (name, native) in functions {
        stack.push_value(-1);
        stack.wrap_native(native);
        stack.set(-3, name);
    }
    stack.pop(1);
    stack.push_null();
    stack.set(-2, "null");
    for (name, text) in [("_NAME", "cjson"), ("_VERSION", "2.1.0")] {
        stack.push(text.as_bytes());
        stack.set(-2, name);
    }
}

const SWITCH: &[&str] = &["off", "on"];

fn setting(stack: Stack, setting: Setting) -> i32 {
    stack.get_index(UPVALUE, setting as c_int);
    let value = stack.number(-1).unwrap_or_default() as i32;
    stack.pop(1);
    value
}

fn set(stack: Stack, setting: Setting, value: i32) {
    stack.push_number(f64::from(value));
    stack.set_index(UPVALUE, setting as c_int);
}

fn at_most(stack: Stack, count: c_int) -> Result<(), Raise> {
    match stack.top() > count {
        true => Err(Raise::Argument(count + 1, "found too many arguments".to_owned())),
        false => {
            stack.set_top(count);
            Ok(())
        }
    }
}

/// Takes argument `at` as a number of a range, if it is there, and pushes the setting.
fn number(stack: Stack, at: c_int, which: Setting, (min, max): (i32, i32)) -> Result<(), Raise> {
    if stack.kind(at) != Kind::Nil {
        let value = stack.want_integer(at, None)?;
        if value < min.into() || value > max.into() {
            let text = format!("expected integer between {min} and {max}");
            return Err(Raise::Argument(1, text));
        }
        set(stack, which, value as i32);
    }
    stack.push_number(f64::from(setting(stack, which)));
    Ok(())
}

fn number_setting(stack: Stack, which: Setting, min: i32, max: i32) -> Result<c_int, Raise> {
    at_most(stack, 1)?;
    number(stack, 1, which, (min, max))?;
    Ok(1)
}

/// Takes argument `at` as a boolean or as one of `words`, if it is there, and pushes the setting.
fn word(stack: Stack, at: c_int, which: Setting, words: &[&str]) -> Result<(), Raise> {
    match stack.kind(at) {
        Kind::Nil => {}
        Kind::Boolean => set(stack, which, stack.truth(at).into()),
        _ => {
            let word = stack.want_text(at)?;
            let Some(value) = words.iter().position(|known| known.as_bytes() == word) else {
                let word = shown_to_zero(word);
                return Err(Raise::Argument(at, format!("invalid option '{word}'")));
            };
            set(stack, which, value as i32);
        }
    }
    match setting(stack, which) {
        value @ 0..=1 => stack.push_bool(value == 1),
        value => stack.push(words.get(value as usize).unwrap_or(&"").as_bytes()),
    }
    Ok(())
}

fn word_setting(stack: Stack, which: Setting, words: &[&str]) -> Result<c_int, Raise> {
    at_most(stack, 1)?;
    word(stack, 1, which, words)?;
    Ok(1)
}

/// encode_sparse_array([convert [, ratio [, safe]]])
fn encode_sparse_array(stack: Stack) -> Result<c_int, Raise> {
    at_most(stack, 3)?;
    word(stack, 1, Setting::SparseConvert, SWITCH)?;
    number(stack, 2, Setting::SparseRatio, (0, i32::MAX))?;
    number(stack, 3, Setting::SparseSafe, (0, i32::MAX))?;
    Ok(3)
}
