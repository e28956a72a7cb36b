//! Owned bytes behind one pointer: what small values are made of.
//!
//! `ThinBytes` can grow: eight bytes of header hold its length and its capacity. `ThinBlob` has a
//! fixed size: its length is a varint of mostly one byte. Both allocate by the allocator's size
//! classes, so no room is wasted between a request and what it is given.
#![allow(unsafe_code)] // The headers live in the allocation itself, which is raw memory.
// Invariants, established where memory is obtained and kept by every method:
//   1. `ptr` is an allocation of `layout(..)` of the size its own header states, owned by `self`;
//   2. `len <= cap`, and the first `len` bytes behind the header are initialised.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, copy, copy_nonoverlapping};

/// Rounds a request up to the size class the allocator would take for it.
pub fn size_class(bytes: usize) -> usize {
    match bytes {
        0..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => {
            // Four classes between two powers of two.
            let step = 1usize << ((bytes - 1).ilog2() - 2);
            bytes.checked_next_multiple_of(step).unwrap_or(bytes)
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: both callers ask for at least a header, so the size is not zero.
    let ptr = unsafe { alloc(layout) };
    NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout))
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    len: u32,
    cap: u32,
}

const HEADER: usize = size_of::<Header>();

/// Bytes that grow in place, owned by one pointer. They hold less than 4 GiB.
pub struct ThinBytes {
    ptr: NonNull<Header>,
}

// SAFETY: the allocation is owned by this one pointer, as in a Vec<u8>.
unsafe impl Send for ThinBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for ThinBytes {}

impl ThinBytes {
    /// Empty bytes with room for `cap`.
    pub fn with_capacity(cap: usize) -> ThinBytes {
        let cap = size_class(HEADER + cap) - HEADER;
        let ptr = allocate(Self::layout(cap)).cast::<Header>();
        let header = Header { len: 0, cap: u32::try_from(cap).expect("thin bytes below 4 GiB") };
        // SAFETY: the allocation has room for a header and its alignment.
        unsafe { ptr.write(header) };
        ThinBytes { ptr }
    }

    /// A copy of `bytes`.
    pub fn from_slice(bytes: &[u8]) -> ThinBytes {
        let mut thin = ThinBytes::with_capacity(bytes.len());
        thin.splice(0, 0, &[bytes]);
        thin
    }

    /// Replaces `remove` bytes at `at` by the concatenation of `parts`.
    ///
    /// Panics when the range is not within the bytes.
    pub fn splice(&mut self, at: usize, remove: usize, parts: &[&[u8]]) {
        let len = self.len();
        assert!(at <= len && remove <= len - at, "splice within the bytes");
        let insert: usize = parts.iter().map(|part| part.len()).sum();
        let new_len = len - remove + insert;
        if new_len > self.cap() {
            self.grow(new_len);
        }
        let tail = len - at - remove;
        // SAFETY: by the assertion `[at, at + remove)` is initialised, and after `grow` the moved
        // tail and the parts end at `new_len <= cap`. The parts are borrowed apart from `self`.
        unsafe {
            let base = self.data().add(at);
            copy(base.add(remove), base.add(insert), tail);
            let mut to = base;
            for part in parts {
                copy_nonoverlapping(part.as_ptr(), to, part.len());
                to = to.add(part.len());
            }
            (*self.ptr.as_ptr()).len = new_len as u32;
        }
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.splice(self.len(), 0, &[bytes]);
    }

    /// Gives back room beyond the length, where the allocator can use it.
    pub fn shrink_to_fit(&mut self) {
        if size_class(HEADER + self.len()) < HEADER + self.cap() {
            self.reallocate(self.len());
        }
    }

    /// Bytes of memory this takes, header and spare room included.
    pub fn memory_bytes(&self) -> usize {
        HEADER + self.cap()
    }

    fn header(&self) -> Header {
        // SAFETY: invariant 1.
        unsafe { self.ptr.read() }
    }

    fn cap(&self) -> usize {
        self.header().cap as usize
    }

    fn data(&self) -> *mut u8 {
        // SAFETY: every allocation has room for a header.
        unsafe { self.ptr.as_ptr().cast::<u8>().add(HEADER) }
    }

    fn layout(cap: usize) -> Layout {
        Layout::from_size_align(HEADER + cap, align_of::<Header>())
            .expect("a size below isize::MAX")
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        self.reallocate(len);
    }

    fn reallocate(&mut self, len: usize) {
        let old = Self::layout(self.cap());
        let size = size_class(HEADER + len);
        let cap = u32::try_from(size - HEADER).expect("thin bytes below 4 GiB");
        // SAFETY: `old` is the layout of this allocation by invariant 1, and `size` is not zero.
        let ptr = unsafe { realloc(self.ptr.as_ptr().cast(), old, size) };
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(Self::layout(size)) };
        self.ptr = ptr.cast();
        // SAFETY: the allocation begins with a header, moved there by realloc.
        unsafe { (*self.ptr.as_ptr()).cap = cap };
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: invariant 2; the borrow of `self` keeps the allocation.
        unsafe { std::slice::from_raw_parts(self.data(), self.header().len as usize) }
    }
}

impl DerefMut for ThinBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: invariant 2; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data(), self.header().len as usize) }
    }
}

impl Clone for ThinBytes {
    fn clone(&self) -> ThinBytes {
        ThinBytes::from_slice(self)
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        let layout = Self::layout(self.cap());
        // SAFETY: invariant 1.
        unsafe { dealloc(self.ptr.as_ptr().cast(), layout) }
    }
}

impl std::fmt::Debug for ThinBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ThinBytes({:?})", self.escape_ascii().to_string())
    }
}

/// Bytes of a fixed size, owned by one pointer.
pub struct ThinBlob {
    ptr: NonNull<u8>,
}

// SAFETY: the allocation is owned by this one pointer, as in a Box<[u8]>.
unsafe impl Send for ThinBlob {}
// SAFETY: shared access only reads.
unsafe impl Sync for ThinBlob {}

/// Bytes of the longest varint of a length.
const VARINT_MAX: usize = 10;

impl ThinBlob {
    /// A blob that holds the concatenation of `parts`.
    pub fn new(parts: &[&[u8]]) -> ThinBlob {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let (varint, header) = encode_varint(len);
        let ptr = allocate(Self::layout(header, len));
        // SAFETY: the allocation has room for the header and all the parts, which are borrowed
        // from elsewhere.
        unsafe {
            copy_nonoverlapping(varint.as_ptr(), ptr.as_ptr(), header);
            let mut to = ptr.as_ptr().add(header);
            for part in parts {
                copy_nonoverlapping(part.as_ptr(), to, part.len());
                to = to.add(part.len());
            }
        }
        ThinBlob { ptr }
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        let (header, len) = decode_varint(self.ptr);
        size_class(header + len)
    }

    /// A second handle to the bytes, without ownership.
    ///
    /// # Safety
    /// The handle and its copies may be read only while this blob is not dropped, and not while a
    /// slice from `deref_mut` is alive.
    pub unsafe fn share(&self) -> BlobRef {
        BlobRef { ptr: self.ptr }
    }

    fn layout(header: usize, len: usize) -> Layout {
        let size = size_class(header + len);
        Layout::from_size_align(size, 1).expect("a size below isize::MAX")
    }
}

impl Deref for ThinBlob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (header, len) = decode_varint(self.ptr);
        // SAFETY: the blob's header states the initialised bytes behind it.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().add(header), len) }
    }
}

impl DerefMut for ThinBlob {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (header, len) = decode_varint(self.ptr);
        // SAFETY: as in `deref`, and the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().add(header), len) }
    }
}

impl Clone for ThinBlob {
    fn clone(&self) -> ThinBlob {
        ThinBlob::new(&[self])
    }
}

impl Drop for ThinBlob {
    fn drop(&mut self) {
        let (header, len) = decode_varint(self.ptr);
        // SAFETY: invariant 1: the header states the layout that was allocated.
        unsafe { dealloc(self.ptr.as_ptr(), Self::layout(header, len)) }
    }
}

impl std::fmt::Debug for ThinBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ThinBlob({:?})", self.escape_ascii().to_string())
    }
}

/// A handle to a blob that somebody else owns; made by `ThinBlob::share`, whose caller promises
/// that it is read only while the owner keeps the blob.
#[derive(Clone, Copy)]
pub struct BlobRef {
    ptr: NonNull<u8>,
}

// SAFETY: it reads bytes that by the promise of `share` nobody writes or frees meanwhile.
unsafe impl Send for BlobRef {}
// SAFETY: as above.
unsafe impl Sync for BlobRef {}

impl BlobRef {
    /// The bytes of the blob.
    pub fn bytes(&self) -> &[u8] {
        let (header, len) = decode_varint(self.ptr);
        // SAFETY: the promise of `share`; the header states the initialised bytes behind it.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().add(header), len) }
    }

    /// Whether this is a handle to that very blob.
    pub fn is(&self, blob: &ThinBlob) -> bool {
        self.ptr == blob.ptr
    }
}

fn encode_varint(mut value: usize) -> ([u8; VARINT_MAX], usize) {
    let mut bytes = [0; VARINT_MAX];
    let mut used = 0;
    loop {
        bytes[used] = (value & 0x7f) as u8;
        value >>= 7;
        used += 1;
        if value == 0 {
            return (bytes, used);
        }
        bytes[used - 1] |= 0x80;
    }
}

/// The size of the header at `ptr`, and the length it states. Only for pointers of blobs.
#[inline]
fn decode_varint(ptr: NonNull<u8>) -> (usize, usize) {
    let mut len = 0;
    let mut used = 0;
    loop {
        // SAFETY: a blob begins with a varint that `encode_varint` wrote, and it ends.
        let byte = unsafe { *ptr.as_ptr().add(used) };
        len |= usize::from(byte & 0x7f) << (7 * used);
        used += 1;
        if byte & 0x80 == 0 {
            return (used, len);
        }
    }
}

const _: () = assert!(size_of::<Option<ThinBytes>>() == 8 && size_of::<Option<ThinBlob>>() == 8);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn splices_agree_with_vec(
            steps in prop::collection::vec((0usize..300, 0usize..50, 0usize..300), 0..40)
        ) {
            let mut model = Vec::new();
            let mut thin = ThinBytes::with_capacity(0);
            for (step, (at, remove, insert)) in steps.into_iter().enumerate() {
                let at = at.min(model.len());
                let remove = remove.min(model.len() - at);
                let new = vec![step as u8; insert];
                thin.splice(at, remove, &[&new[..insert / 2], &new[insert / 2..]]);
                model.splice(at..at + remove, new);
                if step % 7 == 0 {
                    thin.shrink_to_fit();
                }
                prop_assert_eq!(&thin[..], &model[..]);
            }
            prop_assert_eq!(&thin.clone()[..], &model[..]);
        }

        #[test]
        fn blobs_hold_what_they_were_given(len in 0usize..40_000) {
            let bytes = vec![7u8; len];
            let mut blob = ThinBlob::new(&[&bytes, b"end"]);
            prop_assert_eq!(&blob[..len], &bytes[..]);
            blob[len] = b'E';
            prop_assert_eq!(&blob.clone()[len..], b"End");
        }
    }

    #[test]
    fn size_classes_are_those_of_the_allocator() {
        let sizes = [(1, 8), (9, 16), (17, 32), (128, 128), (129, 160), (257, 320), (4097, 5120)];
        for (asked, given) in sizes {
            assert_eq!(size_class(asked), given);
        }
    }
}
