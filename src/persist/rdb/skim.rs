//! Where a value ends: passing over it by its lengths alone, without understanding its contents.

use std::io::Read;

use super::format::{Dialect, NODE_PACKED, NODE_PLAIN, module, typecode};
use super::reader::RdbError;
use super::source::Source;

/// Passes over the value of type `code`.
pub fn skim<R: Read>(source: &mut Source<R>, code: u8, dialect: Dialect) -> Result<(), RdbError> {
    if dialect == Dialect::Valkey && code == typecode::VALKEY_HASH_2 {
        return repeat(source, |source| {
            source.skip_string()?;
            source.skip_string()?;
            source.skip(8)
        });
    }
    match code {
        typecode::STRING
        | typecode::HASH_ZIPMAP
        | typecode::LIST_ZIPLIST
        | typecode::SET_INTSET
        | typecode::ZSET_ZIPLIST
        | typecode::HASH_ZIPLIST
        | typecode::HASH_LISTPACK
        | typecode::ZSET_LISTPACK
        | typecode::SET_LISTPACK
        | typecode::HASH_LISTPACK_EX_PRE_GA => source.skip_string(),
        typecode::LIST | typecode::SET | typecode::LIST_QUICKLIST => {
            repeat(source, |source| source.skip_string())
        }
        typecode::HASH => repeat(source, |source| {
            source.skip_string()?;
            source.skip_string()
        }),
        typecode::ZSET => repeat(source, |source| {
            source.skip_string()?;
            skim_decimal(source)
        }),
        typecode::ZSET_2 => repeat(source, |source| {
            source.skip_string()?;
            source.skip(8)
        }),
        typecode::LIST_QUICKLIST_2 => repeat(source, |source| {
            let container = source.length()?;
            if container != NODE_PLAIN && container != NODE_PACKED {
                return Err(source.corrupt("Quicklist integrity check failed."));
            }
            source.skip_string()
        }),
        typecode::STREAM_LISTPACKS
        | typecode::STREAM_LISTPACKS_2
        | typecode::STREAM_LISTPACKS_3 => skim_stream(source, code),
        typecode::HASH_METADATA_PRE_GA => skim_hash_with_deadlines(source),
        typecode::HASH_METADATA => {
            source.skip(8)?;
            skim_hash_with_deadlines(source)
        }
        typecode::HASH_LISTPACK_EX => {
            source.skip(8)?;
            source.skip_string()
        }
        typecode::MODULE_2 => {
            source.length()?;
            skim_module(source)
        }
        typecode::MODULE_PRE_GA => Err(source.corrupt("Pre-release module format not supported")),
        other => Err(source.corrupt(format!("Unknown RDB encoding type {other}"))),
    }
}

/// Passes over a length and as many items.
fn repeat<R: Read>(
    source: &mut Source<R>,
    mut item: impl FnMut(&mut Source<R>) -> Result<(), RdbError>,
) -> Result<(), RdbError> {
    // Every item takes at least a byte, so a lying length ends with the source.
    for _ in 0..source.length()? {
        item(source)?;
    }
    Ok(())
}

/// A score in decimal: a byte of length, where three values stand for what has no digits.
fn skim_decimal<R: Read>(source: &mut Source<R>) -> Result<(), RdbError> {
    match source.byte()? {
        253..=255 => Ok(()),
        len => source.skip(u64::from(len)),
    }
}

fn skim_hash_with_deadlines<R: Read>(source: &mut Source<R>) -> Result<(), RdbError> {
    repeat(source, |source| {
        source.length()?;
        source.skip_string()?;
        source.skip_string()
    })
}

fn skim_stream<R: Read>(source: &mut Source<R>, code: u8) -> Result<(), RdbError> {
    let second = code >= typecode::STREAM_LISTPACKS_2;
    repeat(source, |source| {
        source.skip_string()?;
        source.skip_string()
    })?;
    // Length and last id; then first id, largest deleted id, and entries ever added.
    for _ in 0..if second { 8 } else { 3 } {
        source.length()?;
    }
    repeat(source, |source| {
        source.skip_string()?;
        // The last id delivered; then entries read.
        for _ in 0..if second { 3 } else { 2 } {
            source.length()?;
        }
        repeat(source, |source| {
            // Id and time of delivery, then the count of deliveries.
            source.skip(16 + 8)?;
            source.length().map(|_| ())
        })?;
        repeat(source, |source| {
            source.skip_string()?;
            // When it was seen; then when it was active.
            source.skip(if code == typecode::STREAM_LISTPACKS_3 { 16 } else { 8 })?;
            repeat(source, |source| source.skip(16))
        })
    })
}

/// Passes over a module's data up to its end mark.
pub fn skim_module<R: Read>(source: &mut Source<R>) -> Result<(), RdbError> {
    loop {
        match source.length()? {
            module::EOF => return Ok(()),
            module::SINT | module::UINT => {
                source.length()?;
            }
            module::FLOAT => source.skip(4)?,
            module::DOUBLE => source.skip(8)?,
            module::STRING => source.skip_string()?,
            other => return Err(source.corrupt(format!("unknown opcode {other} in module data"))),
        }
    }
}
