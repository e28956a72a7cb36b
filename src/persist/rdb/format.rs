//! The numbers of the RDB format: opcodes, type codes, length prefixes, versions.

/// The newest version of Redis's format that is understood.
pub const VERSION_MAX: u32 = 12;
/// The version DUMP payloads are written in, if it has the type.
pub const VERSION_DUMP: u16 = 11;
/// The first version in which fields of hashes can have deadlines.
pub const VERSION_FIELD_DEADLINES: u32 = 12;
/// The version from which on a file ends with a checksum.
pub const VERSION_CHECKSUM: u32 = 5;
/// Valkey's own format version, under its own signature.
pub const VERSION_VALKEY: u32 = 80;

/// Bytes of the header: signature and version.
pub const HEADER_BYTES: usize = 9;
/// The signature of Redis's files.
pub const SIGNATURE: &[u8] = b"REDIS";
/// The signature of Valkey's own files.
pub const SIGNATURE_VALKEY: &[u8] = b"VALKEY";

/// Bytes that introduce something other than a key.
pub mod opcode {
    /// A slot's number and sizes (cluster mode).
    pub const SLOT_INFO: u8 = 244;
    /// A function library's source.
    pub const FUNCTION2: u8 = 245;
    /// A function library as release candidates of 7.0 wrote it.
    pub const FUNCTION_PRE_GA: u8 = 246;
    /// A module's data outside the keyspace.
    pub const MODULE_AUX: u8 = 247;
    /// Idle time of the next key, in seconds.
    pub const IDLE: u8 = 248;
    /// Access frequency of the next key.
    pub const FREQ: u8 = 249;
    /// A named string about the file.
    pub const AUX: u8 = 250;
    /// The sizes of the database that follows.
    pub const RESIZEDB: u8 = 251;
    /// Deadline of the next key, in milliseconds.
    pub const EXPIRETIME_MS: u8 = 252;
    /// Deadline of the next key, in seconds.
    pub const EXPIRETIME: u8 = 253;
    /// The database the following keys belong to.
    pub const SELECTDB: u8 = 254;
    /// The end.
    pub const EOF: u8 = 255;
}

/// Codes of value types.
pub mod typecode {
    /// A string.
    pub const STRING: u8 = 0;
    /// A list, element by element.
    pub const LIST: u8 = 1;
    /// A set, member by member.
    pub const SET: u8 = 2;
    /// A sorted set with scores in decimal.
    pub const ZSET: u8 = 3;
    /// A hash, field by field.
    pub const HASH: u8 = 4;
    /// A sorted set with binary scores.
    pub const ZSET_2: u8 = 5;
    /// A module's value as release candidates of 4.0 wrote it.
    pub const MODULE_PRE_GA: u8 = 6;
    /// A module's value.
    pub const MODULE_2: u8 = 7;
    /// A hash as a zipmap.
    pub const HASH_ZIPMAP: u8 = 9;
    /// A list as a ziplist.
    pub const LIST_ZIPLIST: u8 = 10;
    /// A set of integers as an intset.
    pub const SET_INTSET: u8 = 11;
    /// A sorted set as a ziplist.
    pub const ZSET_ZIPLIST: u8 = 12;
    /// A hash as a ziplist.
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list as ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    /// A stream.
    pub const STREAM_LISTPACKS: u8 = 15;
    /// A hash as a listpack.
    pub const HASH_LISTPACK: u8 = 16;
    /// A sorted set as a listpack.
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list as listpacks and single large elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// A stream that knows its first and largest deleted entries.
    pub const STREAM_LISTPACKS_2: u8 = 19;
    /// A set as a listpack.
    pub const SET_LISTPACK: u8 = 20;
    /// A stream whose consumers know when they were active.
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// A hash with deadlines of fields, as release candidates of 7.4 wrote it.
    pub const HASH_METADATA_PRE_GA: u8 = 22;
    /// A listpack hash with deadlines of fields, as release candidates of 7.4 wrote it.
    pub const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
    /// A hash with deadlines of fields.
    pub const HASH_METADATA: u8 = 24;
    /// A listpack hash with deadlines of fields.
    pub const HASH_LISTPACK_EX: u8 = 25;
    /// The largest code.
    pub const MAX: u8 = HASH_LISTPACK_EX;
    /// In Valkey's own format: a hash with deadlines of fields.
    pub const VALKEY_HASH_2: u8 = 22;
}

/// Forms of a length prefix and of encoded strings.
pub mod length {
    /// Upper two bits of a byte that holds six bits of length.
    pub const BITS_6: u8 = 0;
    /// Upper two bits of a byte that starts fourteen bits of length.
    pub const BITS_14: u8 = 1;
    /// A byte before four big-endian bytes.
    pub const BYTES_4: u8 = 0x80;
    /// A byte before eight big-endian bytes.
    pub const BYTES_8: u8 = 0x81;
    /// Upper two bits of a byte that names a string encoding in its lower six.
    pub const ENCODED: u8 = 3;
    /// String encoding: one signed byte.
    pub const INT_8: u8 = 0;
    /// String encoding: two little-endian bytes.
    pub const INT_16: u8 = 1;
    /// String encoding: four little-endian bytes.
    pub const INT_32: u8 = 2;
    /// String encoding: compressed.
    pub const LZF: u8 = 3;
}

/// Opcodes inside a module's data.
pub mod module {
    /// The end of the data.
    pub const EOF: u64 = 0;
    /// A signed integer.
    pub const SINT: u64 = 1;
    /// An unsigned integer.
    pub const UINT: u64 = 2;
    /// A four-byte float.
    pub const FLOAT: u64 = 3;
    /// An eight-byte float.
    pub const DOUBLE: u64 = 4;
    /// A string.
    pub const STRING: u64 = 5;
}

/// Quicklist nodes: one large element.
pub const NODE_PLAIN: u64 = 1;
/// Quicklist nodes: a listpack.
pub const NODE_PACKED: u64 = 2;

/// Whose numbering of types a file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Redis's, versions 1 to 12.
    Redis,
    /// Valkey's, version 80.
    Valkey,
}

/// Whether `code` is a value type.
pub fn is_type(code: u8) -> bool {
    code <= typecode::MODULE_2 || (typecode::HASH_ZIPMAP..=typecode::MAX).contains(&code)
}

/// The name the checking tool gives a type.
pub fn type_name(code: u8) -> &'static str {
    const NAMES: [&str; 26] = [
        "string",
        "list-linked",
        "set-hashtable",
        "zset-v1",
        "hash-hashtable",
        "zset-v2",
        "module-pre-release",
        "module-value",
        "",
        "hash-zipmap",
        "list-ziplist",
        "set-intset",
        "zset-ziplist",
        "hash-ziplist",
        "quicklist",
        "stream",
        "hash-listpack",
        "zset-listpack",
        "quicklist-v2",
        "stream-v2",
        "set-listpack",
        "stream-v3",
        "hash-hashtable-md-pre-release",
        "hash-listpack-md-pre-release",
        "hash-hashtable-md",
        "hash-listpack-md",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("unknown")
}

/// The nine letters that a module's type number spells.
pub fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|at| char::from(LETTERS[(id >> (58 - at * 6) & 63) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_name_takes_six_bits_a_letter() {
        assert_eq!(module_name(0), "AAAAAAAAA");
        assert_eq!(module_name(u64::MAX), "_________");
        assert_eq!(module_name(1 << 10), "AAAAAAAAB");
    }

    #[test]
    fn is_type_excludes_the_gap_and_the_opcodes() {
        assert!(is_type(0) && is_type(7) && is_type(9) && is_type(25));
        assert!(!is_type(8) && !is_type(26) && !is_type(opcode::SLOT_INFO));
        assert_eq!(type_name(18), "quicklist-v2");
        assert_eq!(type_name(200), "unknown");
    }
}
