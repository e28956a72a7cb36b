//! One key with its value, deadline and access bits, in one allocation.
//!
//! ```text
//! header 8 B        access bits 24, form 8, key length 16, inline length 16
//! deadline 8 B      if bit 0 of the handle is set
//! long length 8 B   if the key is too long for the header
//! body              nothing | i64 | string that owns its bytes | collection
//! key
//! inline bytes      of a short string
//! ```
//!
//! Whether there is a deadline is a bit of the handle, so that the search for expired keys reads
//! only the memory of keys that have one. Invariants: the allocation has the size that
//! [`Shape::layout`] computes from the header and the handle, a size class of the allocator; the body holds
//! a live value of the type that the form names.
#![allow(unsafe_code)] // A variable-sized allocation behind one pointer.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use crate::base::clock::UnixMs;
use crate::base::num::parse_i64;
use crate::ds::dict::Keyed;
use crate::ds::thin::size_class;
use crate::value::{Hash, Kind, List, Set, Stream, Value, ValueMut, ValueRef, Zset};

/// Strings up to this many bytes live inside the entry.
const INLINE_BYTES_MAX: usize = 448;
/// A key length that says that the real one follows.
const KEY_LONG: u16 = u16::MAX;
const DEADLINE_BIT: usize = 1;
/// Strings up to this many bytes are called "embstr" by OBJECT ENCODING.
const EMBSTR_BYTES_MAX: usize = 44;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Form {
    Inline,
    Int,
    /// A short string that was changed in place, which Redis calls "raw".
    InlineChanged,
    /// A string that owns its bytes.
    Owned,
    List,
    Set,
    Hash,
    Zset,
    Stream,
}

impl Form {
    const ALL: [Form; 9] = [
        Form::Inline,
        Form::Int,
        Form::InlineChanged,
        Form::Owned,
        Form::List,
        Form::Set,
        Form::Hash,
        Form::Zset,
        Form::Stream,
    ];

    fn of(value: &Value) -> Form {
        match value {
            Value::Str(_) => Form::Owned,
            Value::List(_) => Form::List,
            Value::Set(_) => Form::Set,
            Value::Hash(_) => Form::Hash,
            Value::Zset(_) => Form::Zset,
            Value::Stream(_) => Form::Stream,
        }
    }

    /// Bytes of the body.
    fn body_bytes(self) -> usize {
        match self {
            Form::Inline | Form::InlineChanged => 0,
            Form::Int => size_of::<i64>(),
            Form::Owned => size_of::<Vec<u8>>(),
            Form::List => size_of::<List>(),
            Form::Set => size_of::<Set>(),
            Form::Hash => size_of::<Hash>(),
            Form::Zset => size_of::<Zset>(),
            Form::Stream => size_of::<Stream>(),
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Header {
    /// 24 bits of LRU clock or LFU counter above 8 bits of form.
    access_and_form: u32,
    key_len: u16,
    inline_len: u16,
}

/// A string's bytes however they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// A canonical integer.
    Int(i64),
    /// Anything else.
    Bytes(&'a [u8]),
}

impl Text<'_> {
    /// Runs `with` on the bytes; an integer is printed first.
    pub fn with<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Text::Int(number) => with(itoa::Buffer::new().format(*number).as_bytes()),
            Text::Bytes(bytes) => with(bytes),
        }
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with(<[u8]>::to_vec)
    }

    /// Bytes it has when printed.
    pub fn len(&self) -> usize {
        self.with(<[u8]>::len)
    }

    /// Whether it is the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its integer, if it is one in canonical form.
    pub fn to_i64(&self) -> Option<i64> {
        match self {
            Text::Int(number) => Some(*number),
            Text::Bytes(bytes) => parse_i64(bytes),
        }
    }
}

/// What a new entry is to hold.
#[derive(Debug)]
pub enum New<'a> {
    /// A string; stored as an integer when it is canonical.
    Bytes(&'a [u8]),
    /// A string that stays bytes and is called "raw".
    Changed(&'a [u8]),
    /// An integer.
    Int(i64),
    /// A collection, or a string that owns its bytes.
    Value(Value),
}

/// What an entry holds.
#[derive(Clone, Copy)]
pub enum Held<'a> {
    /// A string.
    Text(Text<'a>),
    /// A collection.
    Value(ValueRef<'a>),
}

/// An owned handle of one key. See the module.
#[repr(transparent)]
pub struct Entry(NonNull<u8>);

// SAFETY: an Entry owns its allocation; Value is Send and Sync.
unsafe impl Send for Entry {}
// SAFETY: as above; `&Entry` gives only shared access.
unsafe impl Sync for Entry {}

struct Shape {
    form: Form,
    key_len: usize,
    inline_len: usize,
    deadline: bool,
}

impl Shape {
    fn is_long(&self) -> bool {
        self.key_len >= usize::from(KEY_LONG)
    }

    fn body_at(&self) -> usize {
        8 + 8 * usize::from(self.deadline) + 8 * usize::from(self.is_long())
    }

    fn key_at(&self) -> usize {
        self.body_at() + self.form.body_bytes()
    }

    fn layout(&self) -> Layout {
        let bytes = self.key_at() + self.key_len + self.inline_len;
        Layout::from_size_align(size_class(bytes), 8).expect("an entry fits memory")
    }
}

impl Entry {
    /// A new entry without access bits.
    pub fn new(key: &[u8], new: New<'_>, deadline: Option<UnixMs>) -> Entry {
        let (form, inline): (Form, &[u8]) = match &new {
            New::Bytes(bytes) => match short_int(bytes) {
                Some(number) => return Entry::new(key, New::Int(number), deadline),
                None if bytes.len() > INLINE_BYTES_MAX => (Form::Owned, &[]),
                None => (Form::Inline, bytes),
            },
            New::Changed(bytes) if bytes.len() > INLINE_BYTES_MAX => (Form::Owned, &[]),
            New::Changed(bytes) => (Form::InlineChanged, bytes),
            New::Int(_) => (Form::Int, &[]),
            New::Value(value) => (Form::of(value), &[]),
        };
        let shape = Shape {
            form,
            key_len: key.len(),
            inline_len: inline.len(),
            deadline: deadline.is_some(),
        };
        let layout = shape.layout();
        // SAFETY: the layout is at least eight bytes.
        let Some(base) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let header = Header {
            access_and_form: form as u32,
            key_len: if shape.is_long() { KEY_LONG } else { key.len() as u16 },
            inline_len: inline.len() as u16,
        };
        // SAFETY: every write lies inside the layout just allocated, at the offsets `Shape` gives.
        unsafe {
            base.cast::<Header>().write(header);
            if let Some(deadline) = deadline {
                base.add(8).cast::<u64>().write(deadline.0);
            }
            if shape.is_long() {
                base.add(shape.body_at() - 8).cast::<u64>().write(key.len() as u64);
            }
            let body = base.add(shape.body_at());
            match new {
                New::Int(number) => body.cast::<i64>().write(number),
                New::Value(Value::Str(bytes)) => body.cast::<Vec<u8>>().write(bytes),
                New::Value(Value::List(list)) => body.cast::<List>().write(list),
                New::Value(Value::Set(set)) => body.cast::<Set>().write(set),
                New::Value(Value::Hash(hash)) => body.cast::<Hash>().write(hash),
                New::Value(Value::Zset(zset)) => body.cast::<Zset>().write(zset),
                New::Value(Value::Stream(stream)) => body.cast::<Stream>().write(stream),
                New::Bytes(bytes) | New::Changed(bytes) if form == Form::Owned => {
                    body.cast::<Vec<u8>>().write(bytes.to_vec());
                }
                New::Bytes(_) | New::Changed(_) => {}
            }
            let key_at = base.add(shape.key_at());
            ptr::copy_nonoverlapping(key.as_ptr(), key_at.as_ptr(), key.len());
            let inline_at = key_at.add(key.len());
            ptr::copy_nonoverlapping(inline.as_ptr(), inline_at.as_ptr(), inline.len());
            let tagged = base.as_ptr().wrapping_add(usize::from(shape.deadline) * DEADLINE_BIT);
            Entry(NonNull::new_unchecked(tagged))
        }
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().map_addr(|address| address & !7)
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the allocation begins with a header.
        unsafe { &*self.base().cast::<Header>() }
    }

    #[inline]
    fn shape(&self) -> Shape {
        let header = self.header();
        let deadline = self.has_deadline();
        let mut key_len = usize::from(header.key_len);
        if header.key_len == KEY_LONG {
            let at = 8 + 8 * usize::from(deadline);
            // SAFETY: a long key's length lies behind the header and the deadline.
            key_len = unsafe { self.base().add(at).cast::<u64>().read() } as usize;
        }
        let form = Form::ALL[(header.access_and_form & 0xff) as usize];
        Shape { form, key_len, inline_len: usize::from(header.inline_len), deadline }
    }

    /// Whether the key has a deadline; reads no memory but the handle.
    #[inline]
    pub fn has_deadline(&self) -> bool {
        self.0.as_ptr().addr() & DEADLINE_BIT != 0
    }

    /// When the key ceases to exist.
    #[inline]
    pub fn deadline(&self) -> Option<UnixMs> {
        // SAFETY: the handle's bit says that a deadline follows the header.
        self.has_deadline().then(|| UnixMs(unsafe { self.base().add(8).cast::<u64>().read() }))
    }

    /// The 24 bits of LRU clock or LFU counter.
    pub fn access(&self) -> u32 {
        self.header().access_and_form >> 8
    }

    /// Sets them; memory is written only when they differ.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        if self.access() != access & 0x00ff_ffff {
            let word = access << 8 | self.header().access_and_form & 0xff;
            // SAFETY: the allocation begins with a header, and self is borrowed exclusively.
            unsafe { (*self.base().cast::<Header>()).access_and_form = word };
        }
    }

    /// What the key holds.
    #[inline]
    pub fn held(&self) -> Held<'_> {
        let shape = self.shape();
        // SAFETY: offsets and forms as `new` wrote them; the borrow of `self` keeps the body.
        unsafe {
            let body = self.base().add(shape.body_at());
            Held::Value(match shape.form {
                Form::Int => return Held::Text(Text::Int(body.cast::<i64>().read())),
                Form::Inline | Form::InlineChanged => {
                    let at = self.base().add(shape.key_at() + shape.key_len);
                    let bytes = std::slice::from_raw_parts(at, shape.inline_len);
                    return Held::Text(Text::Bytes(bytes));
                }
                Form::Owned => return Held::Text(Text::Bytes(&*body.cast::<Vec<u8>>())),
                Form::List => ValueRef::List(&*body.cast()),
                Form::Set => ValueRef::Set(&*body.cast()),
                Form::Hash => ValueRef::Hash(&*body.cast()),
                Form::Zset => ValueRef::Zset(&*body.cast()),
                Form::Stream => ValueRef::Stream(&*body.cast()),
            })
        }
    }

    /// The string, if it is one.
    #[inline]
    pub fn text(&self) -> Option<Text<'_>> {
        match self.held() {
            Held::Text(text) => Some(text),
            Held::Value(_) => None,
        }
    }

    /// The collection or owned string, to be changed.
    #[inline]
    pub fn value_mut(&mut self) -> Option<ValueMut<'_>> {
        let shape = self.shape();
        // SAFETY: the body is a live value of the type the form names, and self is borrowed
        // exclusively.
        unsafe {
            let body = self.base().add(shape.body_at());
            Some(match shape.form {
                Form::Inline | Form::InlineChanged | Form::Int => return None,
                Form::Owned => ValueMut::Str(&mut *body.cast()),
                Form::List => ValueMut::List(&mut *body.cast()),
                Form::Set => ValueMut::Set(&mut *body.cast()),
                Form::Hash => ValueMut::Hash(&mut *body.cast()),
                Form::Zset => ValueMut::Zset(&mut *body.cast()),
                Form::Stream => ValueMut::Stream(&mut *body.cast()),
            })
        }
    }

    /// The type of the value.
    pub fn kind(&self) -> Kind {
        match self.held() {
            Held::Text(_) => Kind::String,
            Held::Value(value) => value.kind(),
        }
    }

    /// The name OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        match (self.shape().form, self.held()) {
            (_, Held::Value(value)) => value.encoding(),
            (_, Held::Text(Text::Int(_))) => "int",
            (Form::Inline, Held::Text(Text::Bytes(bytes))) if bytes.len() <= EMBSTR_BYTES_MAX => {
                "embstr"
            }
            _ => "raw",
        }
    }

    /// An address that stays while the value is changed in place, for DEBUG OBJECT.
    pub fn address(&self) -> usize {
        self.base().addr()
    }

    /// Bytes of the allocation, and of what the value owns.
    pub fn memory_bytes(&self) -> usize {
        let owned = match self.held() {
            Held::Value(value) => value.memory_bytes(),
            Held::Text(Text::Bytes(bytes)) if self.shape().form == Form::Owned => bytes.len(),
            Held::Text(_) => 0,
        };
        self.shape().layout().size() + owned
    }

    /// Replaces the value; key and access bits stay. The deadline becomes `deadline`.
    #[inline]
    pub fn replace(&mut self, new: New<'_>, deadline: Option<UnixMs>) {
        if let New::Bytes(bytes) = &new
            && deadline.is_some() == self.has_deadline()
            && self.overwrite(bytes)
        {
            if let Some(deadline) = deadline {
                self.write_deadline(deadline);
            }
            return;
        }
        let mut next = Entry::new(self.key(), new, deadline);
        next.set_access(self.access());
        *self = next;
    }

    /// Overwrites an inline string where the allocation has room for `bytes`.
    #[inline]
    fn overwrite(&mut self, bytes: &[u8]) -> bool {
        let shape = self.shape();
        if shape.form != Form::Inline || bytes.len() > INLINE_BYTES_MAX {
            return false;
        }
        let fits = Shape { inline_len: bytes.len(), ..shape };
        if fits.layout() != shape.layout() || short_int(bytes).is_some() {
            return false;
        }
        // SAFETY: the new bytes lie inside the unchanged layout.
        unsafe {
            let at = self.base().add(shape.key_at() + shape.key_len);
            ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
            (*self.base().cast::<Header>()).inline_len = bytes.len() as u16;
        }
        true
    }

    /// Sets the integer of an entry that holds one.
    pub fn set_int(&mut self, number: i64) -> bool {
        let shape = self.shape();
        if shape.form != Form::Int {
            return false;
        }
        // SAFETY: the body of an integer entry is an i64.
        unsafe { self.base().add(shape.body_at()).cast::<i64>().write(number) };
        true
    }

    fn write_deadline(&mut self, deadline: UnixMs) {
        debug_assert!(self.has_deadline());
        // SAFETY: callers have checked that there is room for a deadline.
        unsafe { self.base().add(8).cast::<u64>().write(deadline.0) };
    }

    /// Sets or removes the deadline; the handle may become another.
    pub fn set_deadline(&mut self, deadline: Option<UnixMs>) {
        match deadline {
            Some(deadline) if self.has_deadline() => self.write_deadline(deadline),
            None if !self.has_deadline() => {}
            deadline => {
                let access = self.access();
                let mut next = match self.plain() {
                    Some(new) => Entry::new(self.key(), new, deadline),
                    None => {
                        let key = self.key().to_vec();
                        let old = std::mem::replace(self, Entry::new(b"", New::Int(0), None));
                        old.into_new().into_entry(&key, deadline)
                    }
                };
                next.set_access(access);
                *self = next;
            }
        }
    }

    /// The string or integer that lies in the entry itself.
    fn plain(&self) -> Option<New<'_>> {
        let changed = self.shape().form == Form::InlineChanged;
        match self.held() {
            Held::Text(Text::Int(number)) => Some(New::Int(number)),
            Held::Text(Text::Bytes(bytes)) if changed => Some(New::Changed(bytes)),
            Held::Text(Text::Bytes(bytes)) if self.shape().form == Form::Inline => {
                Some(New::Bytes(bytes))
            }
            _ => None,
        }
    }

    /// Takes the value out as something a new entry can be made of.
    pub fn into_new(self) -> NewOwned {
        match self.plain() {
            Some(New::Int(number)) => return NewOwned::Int(number),
            Some(New::Changed(bytes)) => return NewOwned::Changed(bytes.to_vec()),
            Some(New::Bytes(bytes)) => return NewOwned::Bytes(bytes.to_vec()),
            Some(New::Value(_)) | None => {}
        }
        let shape = self.shape();
        let base = ManuallyDrop::new(self).base();
        // SAFETY: the body is a live value of the type the form names. It is moved out, and then
        // nothing but the memory is left to give back.
        unsafe {
            let body = base.add(shape.body_at());
            let value = match shape.form {
                Form::Inline | Form::InlineChanged | Form::Int => unreachable!("plain"),
                Form::Owned => Value::Str(body.cast::<Vec<u8>>().read()),
                Form::List => Value::List(body.cast::<List>().read()),
                Form::Set => Value::Set(body.cast::<Set>().read()),
                Form::Hash => Value::Hash(body.cast::<Hash>().read()),
                Form::Zset => Value::Zset(body.cast::<Zset>().read()),
                Form::Stream => Value::Stream(body.cast::<Stream>().read()),
            };
            dealloc(base, shape.layout());
            NewOwned::Value(value)
        }
    }
}

/// A canonical integer of at most twenty characters.
#[inline]
fn short_int(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(b'0'..=b'9' | b'-') if bytes.len() <= 20 => parse_i64(bytes),
        _ => None,
    }
}

/// A value on its way from one key to another.
pub enum NewOwned {
    /// As [`New::Bytes`].
    Bytes(Vec<u8>),
    /// As [`New::Changed`].
    Changed(Vec<u8>),
    /// As [`New::Int`].
    Int(i64),
    /// As [`New::Value`].
    Value(Value),
}

impl NewOwned {
    /// Borrows it as what [`Entry::new`] takes.
    pub fn into_entry(self, key: &[u8], deadline: Option<UnixMs>) -> Entry {
        match self {
            NewOwned::Bytes(bytes) => Entry::new(key, New::Bytes(&bytes), deadline),
            NewOwned::Changed(bytes) => Entry::new(key, New::Changed(&bytes), deadline),
            NewOwned::Int(number) => Entry::new(key, New::Int(number), deadline),
            NewOwned::Value(value) => Entry::new(key, New::Value(value), deadline),
        }
    }
}

impl Keyed for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: the key lies where `new` copied it to.
        unsafe { std::slice::from_raw_parts(self.base().add(shape.key_at()), shape.key_len) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: nothing uses the body after this.
        unsafe {
            match self.value_mut() {
                None => {}
                Some(ValueMut::Str(bytes)) => ptr::drop_in_place(bytes),
                Some(ValueMut::List(list)) => ptr::drop_in_place(list),
                Some(ValueMut::Set(set)) => ptr::drop_in_place(set),
                Some(ValueMut::Hash(hash)) => ptr::drop_in_place(hash),
                Some(ValueMut::Zset(zset)) => ptr::drop_in_place(zset),
                Some(ValueMut::Stream(stream)) => ptr::drop_in_place(stream),
            }
        }
        // SAFETY: the allocation was made with the same layout.
        unsafe { dealloc(self.base(), self.shape().layout()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_hold_what_they_were_given() {
        for key_len in [0, 1, 16, 300, 65_534, 65_535, 70_000] {
            let key = vec![b'k'; key_len];
            for deadline in [None, Some(UnixMs(77))] {
                for bytes in [&b""[..], b"12", b"-7", b"007", &[9; 44], &[9; 45], &[1; 5000]] {
                    let entry = Entry::new(&key, New::Bytes(bytes), deadline);
                    assert_eq!(entry.key(), key);
                    assert_eq!(entry.deadline(), deadline);
                    assert_eq!(entry.text().unwrap().to_vec(), bytes);
                }
            }
        }
    }

    #[test]
    fn entries_keep_value_and_access_when_the_deadline_changes() {
        for bytes in [&b"5"[..], b"abc", &[7; 1000]] {
            let mut entry = Entry::new(b"key", New::Bytes(bytes), None);
            entry.set_access(0x00ab_cdef);
            for deadline in [Some(UnixMs(1)), Some(UnixMs(2)), None, None] {
                entry.set_deadline(deadline);
                assert_eq!(entry.deadline(), deadline);
                assert_eq!((entry.access(), entry.key()), (0x00ab_cdef, &b"key"[..]));
                assert_eq!(entry.text().unwrap().to_vec(), bytes);
            }
        }
    }

    #[test]
    fn encodings_are_named_as_redis_names_them() {
        let encoding = |new| Entry::new(b"k", new, None).encoding();
        assert_eq!(encoding(New::Bytes(b"123")), "int");
        assert_eq!(encoding(New::Bytes(&[b'a'; 44])), "embstr");
        assert_eq!(encoding(New::Bytes(&[b'a'; 45])), "raw");
        assert_eq!(encoding(New::Changed(b"a")), "raw");
    }

    #[test]
    fn replacing_in_place_and_anew_gives_the_new_value() {
        let mut entry = Entry::new(b"key", New::Bytes(b"12345678901234567890123"), None);
        let before = entry.address();
        entry.replace(New::Bytes(b"abc5678901234567890123"), None);
        assert_eq!(entry.address(), before);
        entry.replace(New::Bytes(b"1"), Some(UnixMs(5)));
        assert_eq!((entry.text(), entry.deadline()), (Some(Text::Int(1)), Some(UnixMs(5))));
    }
}
