//! A tagged pointer: one word that is either a small value of one word or a box with a large one.
#![allow(unsafe_code)] // One word read as one of two types, by a bit of it.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// A value that is one pointer to memory aligned to eight, some of whose low three bits may be
/// used for tags already.
///
/// # Safety
/// The type has the size and alignment of a pointer, is one that is never null, and may be moved by
/// copying that pointer.
pub unsafe trait Word {
    /// The bits of the word that the type uses for tags of its own.
    const TAGS: usize = 0;
}

/// Either a small value, or a large one that lives in a box: one word, whose bit `TAG` tells.
///
/// Invariant: with the bit clear the word is an owned `S`; else, without the bit, it is an owned
/// `Box<L>`.
#[repr(transparent)]
pub struct Tagged<S: Word, L, const TAG: usize> {
    word: NonNull<u8>,
    owns: PhantomData<(S, Box<L>)>,
}

/// What a tagged pointer points to.
pub enum Which<S, L> {
    /// The small value.
    Small(S),
    /// The large value.
    Large(L),
}

// SAFETY: a Tagged owns what it points to, as the values themselves would.
unsafe impl<S: Word + Send, L: Send, const TAG: usize> Send for Tagged<S, L, TAG> {}
// SAFETY: `&Tagged` gives out only `&S` and `&L`.
unsafe impl<S: Word + Sync, L: Sync, const TAG: usize> Sync for Tagged<S, L, TAG> {}
// SAFETY: transparent over a pointer that is not null, which moves as a whole.
unsafe impl<S: Word, L, const TAG: usize> Word for Tagged<S, L, TAG> {
    const TAGS: usize = S::TAGS | TAG;
}

impl<S: Word, L, const TAG: usize> Tagged<S, L, TAG> {
    const SOUND: () = assert!(
        TAG.is_power_of_two()
            && TAG < 8
            && S::TAGS & TAG == 0
            && size_of::<S>() == size_of::<usize>()
            && align_of::<S>() == align_of::<usize>()
            && align_of::<L>() > TAG
            && size_of::<L>() > 0,
        "the bit is free in both"
    );

    /// A small value.
    pub fn small(small: S) -> Self {
        const { Self::SOUND };
        let small = ManuallyDrop::new(small);
        // SAFETY: by `Word`, an S is a pointer that is not null and may be copied; the original is
        // not dropped.
        let word = unsafe { (&raw const *small).cast::<NonNull<u8>>().read() };
        Tagged { word, owns: PhantomData }
    }

    /// A large value, which is put into a box.
    pub fn large(large: L) -> Self {
        const { Self::SOUND };
        let boxed = NonNull::from(Box::leak(Box::new(large))).cast::<u8>();
        Tagged { word: boxed.map_addr(|address| address | TAG), owns: PhantomData }
    }

    #[inline]
    fn is_large(&self) -> bool {
        self.word.addr().get() & TAG != 0
    }

    #[inline]
    fn boxed(&self) -> *mut L {
        self.word.as_ptr().map_addr(|address| address & !TAG).cast()
    }

    /// What it is.
    #[inline]
    pub fn get(&self) -> Which<&S, &L> {
        // SAFETY: the invariant; what is owned lives as long as the borrow of `self`.
        unsafe {
            match self.is_large() {
                false => Which::Small(&*(&raw const self.word).cast::<S>()),
                true => Which::Large(&*self.boxed()),
            }
        }
    }

    /// What it is, to be changed.
    #[inline]
    pub fn get_mut(&mut self) -> Which<&mut S, &mut L> {
        // SAFETY: as in `get`, and `self` is borrowed exclusively.
        unsafe {
            match self.is_large() {
                false => Which::Small(&mut *(&raw mut self.word).cast::<S>()),
                true => Which::Large(&mut *self.boxed()),
            }
        }
    }
}

impl<S: Word, L, const TAG: usize> Drop for Tagged<S, L, TAG> {
    fn drop(&mut self) {
        // SAFETY: the invariant; nothing uses the word after this.
        unsafe {
            match self.is_large() {
                false => (&raw mut self.word).cast::<S>().drop_in_place(),
                true => drop(Box::from_raw(self.boxed())),
            }
        }
    }
}

impl<S: Word + Clone, L: Clone, const TAG: usize> Clone for Tagged<S, L, TAG> {
    fn clone(&self) -> Self {
        match self.get() {
            Which::Small(small) => Tagged::small(small.clone()),
            Which::Large(large) => Tagged::large(large.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::thin::ThinBytes;

    type Inner = Tagged<ThinBytes, Vec<u8>, 1>;
    type Outer = Tagged<Inner, String, 2>;

    fn inner(outer: &mut Outer) -> &mut Inner {
        match outer.get_mut() {
            Which::Small(inner) => inner,
            Which::Large(_) => panic!("small"),
        }
    }

    #[test]
    fn tags_within_tags_keep_what_they_were_given() {
        assert_eq!(size_of::<Option<Outer>>(), 8);
        let mut outer = Outer::small(Inner::small(ThinBytes::new(&[b"a"])));
        let Which::Small(bytes) = inner(&mut outer).get_mut() else { panic!("small") };
        bytes.extend(&[7; 300]);
        let copy = outer.clone();
        *inner(&mut outer) = Inner::large(vec![1, 2]);
        let Which::Large(vec) = inner(&mut outer).get_mut() else { panic!("large") };
        vec.push(3);
        assert_eq!(*vec, [1, 2, 3]);
        outer = Outer::large("text".to_owned());
        assert!(matches!(outer.get(), Which::Large(text) if text == "text"));
        let Which::Small(kept) = copy.get() else { panic!("small") };
        assert!(matches!(kept.get(), Which::Small(bytes) if bytes.len() == 301));
    }
}
