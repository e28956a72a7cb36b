//! Owned bytes behind one pointer: what small values are made of.
//!
//! `ThinBytes` can grow: four bytes of header hold its length, and its capacity is always the rest of
//! the allocator's size class. `ThinBlob` has a fixed size: its length is a varint of mostly one byte.
//! Both allocate by those size classes, so no room is wasted between a request and what it is given.
#![allow(unsafe_code)] // The headers live in the allocation itself, which is raw memory.
// Invariants, established where memory is obtained and kept by every method:
//   1. `ptr` is an allocation of `layout(..)` of the length its own header states, owned by `self`;
//   2. that many bytes behind the header are initialised.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, copy, copy_nonoverlapping};

use crate::ds::prefetch::prefetch_address;
use crate::ds::tagged::Word;

/// Rounds a request up to the size class the allocator would take for it; above 32 KiB, where that
/// counts in pages, to one of four sizes between two powers of two, so that growing is rare.
pub fn size_class(bytes: usize) -> usize {
    match bytes {
        0..=8 => 8,
        9..=64 => bytes.next_multiple_of(8),
        65..=128 => bytes.next_multiple_of(16),
        _ => {
            // Four classes between two powers of two.
            let step = 1usize << ((bytes - 1).ilog2() - 2);
            bytes.checked_next_multiple_of(step).unwrap_or(bytes)
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: all callers ask for at least a header, so the size is not zero.
    let ptr = unsafe { alloc(layout) };
    NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout))
}

/// The length of thin bytes, in front of them.
type Header = u32;

const HEADER: usize = size_of::<Header>();
/// Alignment of thin bytes: three bits of their address are free for a tag.
const ALIGN: usize = 8;

/// Bytes that grow in place, owned by one pointer to eight-byte aligned memory. They hold less than
/// 4 GiB.
#[repr(transparent)]
pub struct ThinBytes {
    ptr: NonNull<Header>,
}

// SAFETY: the allocation is owned by this one pointer, as in a Vec<u8>.
unsafe impl Send for ThinBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for ThinBytes {}
// SAFETY: one pointer, aligned to eight.
unsafe impl Word for ThinBytes {}

impl ThinBytes {
    /// The concatenation of `parts`.
    pub fn new(parts: &[&[u8]]) -> ThinBytes {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let ptr = allocate(Self::layout(len)).cast::<Header>();
        // SAFETY: the allocation has room for a header and its alignment, and for `len` bytes; the
        // parts are borrowed from elsewhere.
        unsafe {
            ptr.write(header_of(len));
            copy_parts(parts, ptr.cast::<u8>().as_ptr().add(HEADER));
        }
        ThinBytes { ptr }
    }

    /// Replaces `remove` bytes at `at` by the concatenation of `parts`.
    ///
    /// Panics when the range is not within the bytes.
    pub fn splice(&mut self, at: usize, remove: usize, parts: &[&[u8]]) {
        let len = self.len();
        assert!(at <= len && remove <= len - at, "splice within the bytes");
        let insert: usize = parts.iter().map(|part| part.len()).sum();
        let new_len = len - remove + insert;
        if new_len > len {
            self.resize(len, new_len);
        }
        let tail = len - at - remove;
        // SAFETY: by the assertion `[at, at + remove)` is initialised, and both the old and the moved
        // tail end within the larger of the two lengths, for which there is room. The parts are
        // borrowed apart from `self`.
        unsafe {
            let base = self.data().add(at);
            copy(base.add(remove), base.add(insert), tail);
            copy_parts(parts, base);
            self.ptr.write(header_of(new_len));
        }
        if new_len < len {
            self.resize(len, new_len);
        }
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.splice(self.len(), 0, &[bytes]);
    }

    /// Bytes of memory this takes, header and spare room included.
    pub fn memory_bytes(&self) -> usize {
        Self::layout(self.len()).size()
    }

    #[inline]
    fn data(&self) -> *mut u8 {
        // SAFETY: every allocation has room for a header.
        unsafe { self.ptr.as_ptr().cast::<u8>().add(HEADER) }
    }

    /// Asks the processor for the first bytes.
    #[inline]
    pub fn prefetch(&self) {
        let address = self.ptr.as_ptr().addr();
        prefetch_address(address);
        prefetch_address(address + 64);
    }

    #[inline]
    fn layout(len: usize) -> Layout {
        Layout::from_size_align(size_class(HEADER + len), ALIGN).expect("a size below isize::MAX")
    }

    /// Makes the allocation that of another length. The header is the caller's to write.
    #[inline]
    fn resize(&mut self, old_len: usize, new_len: usize) {
        let (old, new) = (Self::layout(old_len), Self::layout(new_len));
        if old != new {
            self.reallocate(old, new);
        }
    }

    #[cold]
    fn reallocate(&mut self, old: Layout, new: Layout) {
        // SAFETY: `old` is the layout of this allocation by invariant 1, and `new` has a size.
        let ptr = unsafe { realloc(self.ptr.as_ptr().cast(), old, new.size()) };
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(new) };
        self.ptr = ptr.cast();
    }
}

fn header_of(len: usize) -> Header {
    Header::try_from(len).expect("thin bytes below 4 GiB")
}

/// # Safety
/// There is room for all the parts at `to`, apart from the parts themselves.
unsafe fn copy_parts(parts: &[&[u8]], mut to: *mut u8) {
    for part in parts {
        // SAFETY: as the caller promises.
        unsafe {
            copy_nonoverlapping(part.as_ptr(), to, part.len());
            to = to.add(part.len());
        }
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: invariant 2; the borrow of `self` keeps the allocation.
        unsafe { std::slice::from_raw_parts(self.data(), self.ptr.read() as usize) }
    }
}

impl DerefMut for ThinBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: invariant 2; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data(), self.ptr.read() as usize) }
    }
}

impl Clone for ThinBytes {
    fn clone(&self) -> ThinBytes {
        ThinBytes::new(&[self])
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        let layout = Self::layout(self.len());
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
            copy_parts(parts, ptr.as_ptr().add(header));
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
            let mut thin = ThinBytes::new(&[]);
            for (step, (at, remove, insert)) in steps.into_iter().enumerate() {
                let at = at.min(model.len());
                let remove = remove.min(model.len() - at);
                let new = vec![step as u8; insert];
                thin.splice(at, remove, &[&new[..insert / 2], &new[insert / 2..]]);
                model.splice(at..at + remove, new);
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
        let mut asked = 1;
        while asked <= 32 * 1024 {
            // SAFETY: it only computes.
            let given = unsafe { tikv_jemalloc_sys::nallocx(asked, 0) };
            assert_eq!(size_class(asked), given, "{asked} bytes");
            asked += asked / 64 + 1;
        }
    }
}
