//! A value opened for writing: change it, then commit.
//!
//! `commit` is the only place that counts a change, touches watchers, notes an event, finds who
//! waits for the key, and removes a value that became empty. A handler therefore cannot do some of
//! these and forget the rest.
#![allow(unsafe_code)] // The value is borrowed from the shard that `commit` changes around it.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::keyspace::entry::{Entry, New, Text};
use crate::keyspace::event::Event;
use crate::keyspace::view::{DbView, Deadline, Place};
use crate::value::{Value, ValueMut, Variant};

/// A collection opened for writing. Dropped without a commit it removes an empty value; in debug
/// builds, dropping it changed but uncommitted panics.
#[must_use = "a value opened for writing must be committed"]
pub struct Open<'v, 'a, 'k, T: Variant> {
    view: &'v mut DbView<'a>,
    key: &'k [u8],
    place: Place,
    value: NonNull<T>,
    changed: bool,
}

impl<'v, 'a, 'k, T: Variant> Open<'v, 'a, 'k, T> {
    /// Wraps a value that lies in the entry of `key`.
    ///
    /// Invariant: `value` points into the entry at `place`, which nothing else reaches while
    /// `view` is borrowed here; the table is not changed before `finish`.
    pub(super) fn new(
        view: &'v mut DbView<'a>,
        key: &'k [u8],
        place: Place,
        value: NonNull<T>,
    ) -> Open<'v, 'a, 'k, T> {
        Open { view, key, place, value, changed: false }
    }

    /// Tells watchers, waiters and listeners of an event that counts as no change, beside the one
    /// that is committed after it.
    pub fn announce(&mut self, event: Event) {
        self.view.touched(self.place, self.key);
        self.view.note(event, self.key);
    }

    /// Notes an event, and counts changes that are not ones of what the key holds: those of a
    /// stream's groups. Who watches the key or waits for it does not learn of them.
    pub fn commit_apart(mut self, event: Option<Event>, changes: usize) {
        self.changed = false;
        self.view.fx().dirty += changes as u64;
        if let Some(event) = event {
            self.view.note(event, self.key);
        }
    }

    /// Lets those who wait for the key look again, beside what is committed.
    pub fn wake(&mut self) {
        self.view.note_waiters(self.place, self.key);
    }

    /// Counts `changes`, touches watchers, notes the event, serves who waits, removes the empty.
    /// Nothing happens when `changes` is 0, except that an empty value goes.
    pub fn commit(mut self, event: Event, changes: usize) {
        self.changed = false;
        if changes > 0 {
            self.view.fx().dirty += changes as u64;
            self.view.touched(self.place, self.key);
            self.view.note(event, self.key);
        }
        // Removing the empty value is `drop`'s.
    }
}

impl<T: Variant> Deref for Open<'_, '_, '_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: see `new`.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Variant> DerefMut for Open<'_, '_, '_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        // SAFETY: see `new`, and self is borrowed exclusively.
        unsafe { self.value.as_mut() }
    }
}

impl<T: Variant> Drop for Open<'_, '_, '_, T> {
    fn drop(&mut self) {
        // SAFETY: see `new`.
        if let Some(next) = unsafe { self.value.as_ref() }.element_deadline() {
            self.view.schedule(self.place, self.key, next);
        }
        // SAFETY: see `new`; the schedule is kept beside the keys.
        if unsafe { self.value.as_ref() }.is_empty() {
            self.view.remove_emptied(self.place, self.key);
        }
        debug_assert!(
            !self.changed || std::thread::panicking(),
            "a changed value was not committed"
        );
    }
}

/// A string opened for writing.
#[must_use = "a value opened for writing must be committed"]
pub struct OpenText<'v, 'a, 'k> {
    view: &'v mut DbView<'a>,
    key: &'k [u8],
    existed: bool,
    /// The entry of `key`, where there is one. Invariant: it lies in the table, which nothing else
    /// reaches while `view` is borrowed here; whoever puts another there looks it up anew.
    found: Option<NonNull<Entry>>,
}

impl<'v, 'a, 'k> OpenText<'v, 'a, 'k> {
    /// A string whose entry was looked up in `view` just now.
    pub(super) fn new(
        view: &'v mut DbView<'a>,
        key: &'k [u8],
        found: Option<NonNull<Entry>>,
    ) -> Self {
        OpenText { view, key, existed: found.is_some(), found }
    }

    /// Whether the key was there.
    pub fn existed(&self) -> bool {
        self.existed
    }

    fn entry(&mut self) -> Option<&mut Entry> {
        // SAFETY: see `found`, and self is borrowed exclusively.
        self.found.map(|mut found| unsafe { found.as_mut() })
    }

    fn put(&mut self, new: New<'_>) {
        self.view.put_raw(self.key, new, Deadline::Keep);
        self.found = self.view.entry_raw(self.key).map(NonNull::from);
    }

    /// Its bytes; `None` when the key is absent.
    pub fn text(&mut self) -> Option<Text<'_>> {
        self.entry().and_then(|entry| entry.text())
    }

    /// Puts a new string in place of the old one; the deadline stays.
    pub fn write(&mut self, new: New<'_>) {
        if let New::Int(number) = new
            && let Some(entry) = self.entry()
            && entry.set_int(number)
        {
            return;
        }
        self.put(new);
    }

    /// The bytes to be changed in place: from here on they are a buffer of their own.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        let owned = match self.entry().map(|entry| entry.value_mut().is_some()) {
            Some(true) => None,
            Some(false) => self.text().map(|text| text.to_vec()),
            None => Some(Vec::new()),
        };
        if let Some(bytes) = owned {
            self.put(New::Value(Value::Str(bytes)));
        }
        match self.entry().and_then(Entry::value_mut) {
            Some(ValueMut::Str(bytes)) => bytes,
            _ => unreachable!("a string was just put there, and `open_text` refused other types"),
        }
    }

    /// Counts one change, touches watchers, notes the event.
    pub fn commit(self, event: Event) {
        self.commit_changes(event, 1);
    }

    /// Counts one change and touches watchers; nobody hears of an event.
    pub fn commit_quietly(self) {
        self.view.fx().dirty += 1;
        let place = self.view.place(self.key);
        self.view.touched(place, self.key);
    }

    /// The same for a number of changes.
    pub fn commit_changes(self, event: Event, changes: u64) {
        self.view.fx().dirty += changes;
        let place = self.view.place(self.key);
        self.view.touched(place, self.key);
        self.view.note(event, self.key);
    }
}
