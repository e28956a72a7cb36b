//! The keyspace as one command sees it: a database of the shards it has locked.
#![allow(unsafe_code)] // `live` returns a borrow on one path only, which needs a pointer today.

use std::ptr::NonNull;

use crate::base::clock::UnixMs;
use crate::base::hash::hash_bytes;
use crate::base::rng;
use crate::ds::dict::Keyed;
use crate::keyspace::effects::{Access, DbKey, Effects, Env, Notice};
use crate::keyspace::entry::{Entry, Held, New, Text};
use crate::keyspace::event::Event;
use crate::keyspace::lfu;
use crate::keyspace::lock::{Hold, shard_of};
use crate::keyspace::open::{Open, OpenText};
use crate::keyspace::shard::Db;
use crate::resp::error::CmdError;
use crate::value::{Kind, Value, ValueMut, ValueRef, Variant};

/// Values with more elements than this are freed by another thread.
const FREE_AT_ONCE_MAX: usize = 64;

/// What becomes of a key's deadline when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The key lives on without one.
    Clear,
    /// As before.
    Keep,
    /// This one.
    At(UnixMs),
}

/// Where a key belongs: its hash, and the shard that follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    hash: u64,
    shard: usize,
}

/// See the module.
pub struct DbView<'a> {
    hold: &'a mut Hold,
    env: &'a Env,
    fx: &'a mut Effects,
    db: u32,
    /// A key whose hash is known already: its address, length and hash.
    hint: (usize, usize, u64),
    /// A hash without the fields whose deadlines have passed, while nothing may be removed.
    shown: Option<Value>,
}

impl<'a> DbView<'a> {
    /// The view of a command on database `db`.
    pub fn new(hold: &'a mut Hold, env: &'a Env, fx: &'a mut Effects, db: u32) -> DbView<'a> {
        DbView { hold, env, fx, db, hint: (0, 0, 0), shown: None }
    }

    /// Says the hash of a key in advance; the same bytes at the same address are not hashed again.
    #[inline]
    pub fn with_hash(mut self, key: &[u8], hash: u64) -> DbView<'a> {
        self.hint = (key.as_ptr().addr(), key.len(), hash);
        self
    }

    /// The number of the database.
    pub fn index(&self) -> u32 {
        self.db
    }

    /// The same shards, another database.
    pub fn on_db<R>(&mut self, db: u32, with: impl FnOnce(&mut DbView<'_>) -> R) -> R {
        let hint = self.hint;
        with(&mut DbView { hold: self.hold, env: self.env, fx: self.fx, db, hint, shown: None })
    }

    /// What is fixed while the command runs.
    pub fn env(&self) -> &'a Env {
        self.env
    }

    /// The account.
    pub fn fx(&mut self) -> &mut Effects {
        self.fx
    }

    /// Locks, environment and account, for commands that run inside this one.
    pub fn parts(&mut self) -> (&mut Hold, &'a Env, &mut Effects) {
        (self.hold, self.env, self.fx)
    }

    /// The locks.
    pub fn hold(&mut self) -> &mut Hold {
        self.hold
    }

    #[inline]
    pub(super) fn place(&self, key: &[u8]) -> Place {
        let hash = if self.hint.0 == key.as_ptr().addr() && self.hint.1 == key.len() {
            self.hint.2
        } else {
            hash_bytes(key)
        };
        Place { hash, shard: shard_of(hash) }
    }

    #[inline]
    fn table(&mut self, place: Place) -> &mut Db {
        self.hold.shard_mut(place.shard).db_mut(self.db)
    }

    /// The entry of a key that exists now; one past its deadline is removed or hidden.
    #[inline]
    fn live(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let place = self.place(key);
        let found = NonNull::from(self.table(place).keys.get_mut(place.hash, key)?);
        // SAFETY: the table is not touched between the look-up and the end of this borrow, on
        // either path, and `&mut self` keeps everyone else out.
        let entry = unsafe { &mut *found.as_ptr() };
        if entry.has_deadline() && self.is_past(entry.deadline()) {
            if self.env.removes_expired {
                self.expire(place, key);
            }
            return None;
        }
        Some(entry)
    }

    fn is_past(&self, deadline: Option<UnixMs>) -> bool {
        self.env.expires && deadline.is_some_and(|deadline| deadline < self.env.now)
    }

    /// Removes a key whose deadline has passed, and leaves word of it.
    #[cold]
    fn expire(&mut self, place: Place, key: &[u8]) {
        self.remove_entry(place, key);
        self.touch(place, key, false);
        self.note(Event::EXPIRED, key);
        self.fx.expired.push(DbKey { db: self.db, key: key.into() });
    }

    /// Removes the key if its deadline has passed; says whether it has.
    pub fn expire_if_due(&mut self, key: &[u8]) -> bool {
        let place = self.place(key);
        let due = self.table(place).keys.get(place.hash, key).and_then(Entry::deadline);
        let due = self.is_past(due);
        if due && self.env.removes_expired {
            self.expire(place, key);
        }
        due
    }

    #[inline]
    fn mark_access(env: &Env, entry: &mut Entry) {
        match env.access {
            Access::Untouched => {}
            Access::Lru => entry.set_access(env.now.secs() as u32),
            Access::Lfu { log_factor, decay_minutes } => {
                let access = lfu::raised(entry.access(), env.now, log_factor, decay_minutes);
                entry.set_access(access);
            }
        }
    }

    /// The access bits of a key that comes into being.
    pub fn new_access(&self) -> u32 {
        match self.env.access {
            Access::Lfu { .. } => lfu::access(self.env.now, lfu::INITIAL),
            _ => self.env.now.secs() as u32,
        }
    }

    /// The entry of a key read by a command: counts a hit or a miss and marks the access.
    #[inline]
    pub fn read_entry(&mut self, key: &[u8]) -> Option<&Entry> {
        let env = self.env;
        match self.live(key).map(NonNull::from) {
            Some(found) => {
                // SAFETY: as in `live`: nothing touches the table meanwhile.
                let entry = unsafe { &mut *found.as_ptr() };
                DbView::mark_access(env, entry);
                self.fx.hits += 1;
                Some(entry)
            }
            None => {
                self.fx.misses += 1;
                self.note(Event::KEY_MISS, key);
                None
            }
        }
    }

    /// The entry of a key that a command asks about without using its value (EXISTS, TYPE, TTL):
    /// counts a hit or a miss, and does not mark the access.
    pub fn glance_entry(&mut self, key: &[u8]) -> Option<&Entry> {
        if self.live(key).is_none() {
            self.fx.misses += 1;
            self.note(Event::KEY_MISS, key);
            return None;
        }
        self.fx.hits += 1;
        self.entry_raw(key).map(|entry| &*entry)
    }

    /// The entry of a key without counting or marking anything.
    pub fn peek_entry(&mut self, key: &[u8]) -> Option<&Entry> {
        self.live(key).map(|entry| &*entry)
    }

    /// The entry, to set its access bits.
    pub fn peek_entry_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.live(key)
    }

    /// The entry as it lies there, past its deadline or not.
    pub fn entry_raw(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let place = self.place(key);
        self.table(place).keys.get_mut(place.hash, key)
    }

    /// A string read by a command.
    #[inline]
    pub fn read_text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, CmdError> {
        match self.read_entry(key).map(Entry::held) {
            None => Ok(None),
            Some(Held::Text(text)) => Ok(Some(text)),
            Some(Held::Value(_)) => Err(CmdError::WrongType),
        }
    }

    /// A collection read by a command.
    #[inline]
    pub fn read<T: Variant>(&mut self, key: &[u8]) -> Result<Option<&T>, CmdError> {
        let found = match self.read_entry(key).map(Entry::held) {
            None => return Ok(None),
            Some(Held::Value(value)) => T::of(value).map(NonNull::from),
            Some(Held::Text(_)) => None,
        };
        let found = found.ok_or(CmdError::WrongType)?;
        // SAFETY: as in `live`: nothing touches the table until the borrow ends, on either path.
        let found = unsafe { found.as_ref() };
        if let Some(next) = found.element_deadline()
            && self.is_past(next)
        {
            return Ok(self.read_without_due(key).and_then(T::of));
        }
        Ok(Some(found))
    }

    /// A collection whose elements that are past their deadlines are removed or hidden.
    #[cold]
    fn read_without_due(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        if self.env.removes_expired {
            self.expire_fields(key, usize::MAX);
            return match self.entry_raw(key)?.held() {
                Held::Value(value) => Some(value),
                Held::Text(_) => None,
            };
        }
        let now = self.env.now;
        let Held::Value(ValueRef::Hash(hash)) = self.entry_raw(key)?.held() else { return None };
        let mut hash = hash.clone();
        hash.take_due(now, usize::MAX);
        self.shown = (!hash.is_empty()).then_some(Value::Hash(hash));
        self.shown.as_ref().map(Value::view)
    }

    /// Removes up to `max` fields of a hash whose deadlines have passed, and leaves word of it;
    /// says how many there were. A hash left without fields goes.
    #[cold]
    pub fn expire_fields(&mut self, key: &[u8], max: usize) -> usize {
        let (place, now) = (self.place(key), self.env.now);
        let Some(ValueMut::Hash(hash)) = self.entry_raw(key).and_then(Entry::value_mut) else {
            return 0;
        };
        let fields = hash.take_due(now, max);
        let (next, is_empty) = (hash.next_deadline(), hash.is_empty());
        self.schedule(place, key, next);
        if fields.is_empty() {
            return 0;
        }
        self.touch(place, key, false);
        self.note(Event::hash("hexpired"), key);
        if is_empty {
            self.remove_emptied(place, key);
        }
        let removed = fields.len();
        self.fx.expired_fields.push((DbKey { db: self.db, key: key.into() }, fields));
        removed
    }

    /// Notes the earliest deadline of a key's fields.
    pub(super) fn schedule(&mut self, place: Place, key: &[u8], next: Option<UnixMs>) {
        self.table(place).schedule(key, next);
    }

    /// Removes the fields of a hash that are past their deadlines before it is changed.
    #[inline]
    fn clean<T: Variant>(&mut self, key: &[u8]) {
        let due = |entry: &Entry| match entry.held() {
            Held::Value(value) => T::of(value).and_then(T::element_deadline),
            Held::Text(_) => None,
        };
        if self.table(self.place(key)).timed.is_some()
            && let Some(next) = self.live(key).and_then(|entry| due(entry))
            && self.is_past(next)
            && self.env.removes_expired
        {
            self.expire_fields(key, usize::MAX);
        }
    }

    /// Several keys read at once.
    pub fn read_many(&mut self, keys: &[&[u8]]) -> Vec<Option<&Entry>> {
        for key in keys {
            self.read_entry(key);
        }
        let this = &*self;
        keys.iter()
            .map(|key| {
                let place = this.place(key);
                this.hold.shard(place.shard).db(this.db)?.keys.get(place.hash, key)
            })
            .collect()
    }

    /// Whether the key exists. Counts as a read, but does not mark the access.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.glance_entry(key).is_some()
    }

    /// Whether the key exists. Counts as nothing.
    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.live(key).is_some()
    }

    /// The type of the key's value. Counts as nothing.
    pub fn kind(&mut self, key: &[u8]) -> Option<Kind> {
        self.live(key).map(|entry| entry.kind())
    }

    /// Opens a collection for writing; `None` when the key is absent.
    #[inline]
    pub fn open<'v, 'k, T: Variant>(
        &'v mut self,
        key: &'k [u8],
    ) -> Result<Option<Open<'v, 'a, 'k, T>>, CmdError> {
        if T::TIMED {
            self.clean::<T>(key);
        }
        let (env, place) = (self.env, self.place(key));
        let Some(entry) = self.live(key) else { return Ok(None) };
        DbView::mark_access(env, entry);
        let value = entry.value_mut().and_then(T::of_mut).ok_or(CmdError::WrongType)?;
        let value = NonNull::from(value);
        Ok(Some(Open::new(self, key, place, value)))
    }

    /// Opens a collection for writing, an empty one when the key is absent.
    #[inline]
    pub fn open_or_create<'v, 'k, T: Variant>(
        &'v mut self,
        key: &'k [u8],
    ) -> Result<Open<'v, 'a, 'k, T>, CmdError> {
        self.open_or_make(key, |env| T::new(&env.limits))
    }

    /// Opens a collection for writing, the one that `make` gives when the key is absent.
    #[inline]
    pub fn open_or_make<'v, 'k, T: Variant>(
        &'v mut self,
        key: &'k [u8],
        make: impl FnOnce(&Env) -> Value,
    ) -> Result<Open<'v, 'a, 'k, T>, CmdError> {
        if T::TIMED {
            self.clean::<T>(key);
        }
        let (env, place) = (self.env, self.place(key));
        let entry = match self.live(key).map(NonNull::from) {
            // SAFETY: as in `live`: nothing touches the table until the borrow ends.
            Some(found) => unsafe { &mut *found.as_ptr() },
            None => {
                self.put_raw(key, New::Value(make(env)), Deadline::Clear);
                self.entry_raw(key).expect("it was put there just now")
            }
        };
        DbView::mark_access(env, entry);
        let value = entry.value_mut().and_then(T::of_mut).ok_or(CmdError::WrongType)?;
        let value = NonNull::from(value);
        Ok(Open::new(self, key, place, value))
    }

    /// Opens a string for writing; the key may be absent.
    pub fn open_text<'v, 'k>(
        &'v mut self,
        key: &'k [u8],
    ) -> Result<OpenText<'v, 'a, 'k>, CmdError> {
        let env = self.env;
        let found = match self.live(key) {
            None => None,
            Some(entry) if entry.kind() != Kind::String => return Err(CmdError::WrongType),
            Some(entry) => {
                DbView::mark_access(env, entry);
                Some(NonNull::from(entry))
            }
        };
        Ok(OpenText::new(self, key, found))
    }

    /// Puts a value at a key, whatever was there, as one change.
    #[inline]
    pub fn set(&mut self, key: &[u8], new: New<'_>, deadline: Deadline, event: Event) {
        match self.live(key).map(NonNull::from) {
            Some(found) => self.put_over(key, found, new, deadline),
            None => self.put_raw(key, new, deadline),
        }
        self.fx.dirty += 1;
        let place = self.place(key);
        self.touched(place, key);
        self.note(event, key);
    }

    /// Puts a value at a key without counting it.
    #[inline]
    pub(super) fn put_raw(&mut self, key: &[u8], new: New<'_>, deadline: Deadline) {
        let place = self.place(key);
        let access = self.new_access();
        let db = self.table(place);
        if let Some(found) = db.keys.get_mut(place.hash, key).map(NonNull::from) {
            self.put_over(key, found, new, deadline);
            return;
        }
        if db.timed.is_some() {
            db.schedule(key, None);
        }
        let deadline = match deadline {
            Deadline::At(at) => Some(at),
            Deadline::Clear | Deadline::Keep => None,
        };
        db.with_deadline += usize::from(deadline.is_some());
        let mut entry = Entry::new(key, new, deadline);
        entry.set_access(access);
        db.keys.insert_new(place.hash, entry);
        if self.db == 0 {
            self.hold.publish_hint(place.shard);
        }
        self.note(Event::NEW, key);
    }

    /// Puts a value in place of what the entry of `key` holds, which was looked up just now.
    #[inline]
    fn put_over(
        &mut self,
        key: &[u8],
        mut found: NonNull<Entry>,
        new: New<'_>,
        deadline: Deadline,
    ) {
        // SAFETY: as in `live`: nothing touches the table between the look-up and the last use.
        let entry = unsafe { found.as_mut() };
        let before = entry.has_deadline();
        let deadline = match deadline {
            Deadline::Clear => None,
            Deadline::Keep => entry.deadline(),
            Deadline::At(at) => Some(at),
        };
        let after = deadline.is_some();
        if is_heavy(entry) {
            let mut next = Entry::new(key, new, deadline);
            next.set_access(entry.access());
            self.fx.garbage.push(std::mem::replace(entry, next));
        } else {
            entry.replace(new, deadline);
            DbView::mark_access(self.env, entry);
        }
        let place = self.place(key);
        let db = self.table(place);
        db.with_deadline = db.with_deadline + usize::from(after) - usize::from(before);
        if db.timed.is_some() {
            db.schedule(key, None);
        }
    }

    /// Adds an entry that a file or another server gave; says whether it replaced one.
    pub fn insert_loaded(&mut self, entry: Entry) -> bool {
        let place = self.place(entry.key());
        let db = self.table(place);
        let next = element_deadline(&entry);
        if next.is_some() || db.timed.is_some() {
            db.schedule(entry.key(), next);
        }
        let after = usize::from(entry.has_deadline());
        let old = db.keys.insert(place.hash, entry);
        let before = usize::from(old.as_ref().is_some_and(Entry::has_deadline));
        db.with_deadline = db.with_deadline + after - before;
        if self.db == 0 {
            self.hold.publish_hint(place.shard);
        }
        old.is_some()
    }

    /// Moves an entry here as one change: COPY, RESTORE.
    pub fn insert_moved(&mut self, entry: Entry, event: Event) {
        let key = entry.key().to_vec();
        self.insert_unnoted(entry);
        self.note(event, &key);
    }

    /// The same where the caller notes the events (RENAME, MOVE).
    pub fn insert_unnoted(&mut self, entry: Entry) {
        let key = entry.key().to_vec();
        let place = self.place(&key);
        if let Some(old) = self.remove_entry(place, &key) {
            self.discard(old);
        }
        let db = self.table(place);
        db.schedule(&key, element_deadline(&entry));
        db.with_deadline += usize::from(entry.has_deadline());
        db.keys.insert_new(place.hash, entry);
        if self.db == 0 {
            self.hold.publish_hint(place.shard);
        }
        self.note(Event::NEW, &key);
        self.fx.dirty += 1;
        self.touched(place, &key);
    }

    /// Takes the entry of a key out, as one change with its event; the caller keeps it.
    pub fn take(&mut self, key: &[u8], event: Event) -> Option<Entry> {
        self.live(key)?;
        let place = self.place(key);
        let entry = self.remove_entry(place, key)?;
        self.fx.dirty += 1;
        self.touch(place, key, true);
        self.note(event, key);
        Some(entry)
    }

    /// Takes the entry of a key out without an event and without counting a change: for commands
    /// that say more about it than its deletion (RENAME, MOVE). Watchers learn of it.
    pub fn extract(&mut self, key: &[u8]) -> Option<Entry> {
        self.live(key)?;
        let place = self.place(key);
        let entry = self.remove_entry(place, key)?;
        self.touch(place, key, true);
        Some(entry)
    }

    /// Deletes a key as one change; says whether it was there.
    pub fn delete(&mut self, key: &[u8], event: Event) -> bool {
        let taken = self.take(key, event);
        let found = taken.is_some();
        if let Some(entry) = taken {
            self.discard(entry);
        }
        found
    }

    /// Gives memory back, by another thread if there is much of it.
    fn discard(&mut self, entry: Entry) {
        if is_heavy(&entry) {
            self.fx.garbage.push(entry);
        }
    }

    fn remove_entry(&mut self, place: Place, key: &[u8]) -> Option<Entry> {
        let db = self.table(place);
        let entry = db.keys.remove(place.hash, key)?;
        if db.timed.is_some() {
            db.schedule(key, None);
        }
        db.with_deadline -= usize::from(entry.has_deadline());
        if self.db == 0 {
            self.hold.publish_hint(place.shard);
        }
        if entry.kind() == Kind::Stream {
            // Who reads as a consumer waits for its group too, which is gone.
            self.note_waiters(place, key);
        }
        Some(entry)
    }

    pub(super) fn remove_emptied(&mut self, place: Place, key: &[u8]) {
        self.remove_entry(place, key);
        self.note(Event::DEL, key);
    }

    /// The key's deadline; the outer `None` when the key is absent.
    pub fn deadline(&mut self, key: &[u8]) -> Option<Option<UnixMs>> {
        self.live(key).map(|entry| entry.deadline())
    }

    /// Sets or removes the deadline of a key as one change; says whether the key is there.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<UnixMs>, event: Event) -> bool {
        let place = self.place(key);
        let Some(entry) = self.live(key) else { return false };
        let before = usize::from(entry.has_deadline());
        entry.set_deadline(deadline);
        let db = self.table(place);
        db.with_deadline = db.with_deadline + usize::from(deadline.is_some()) - before;
        self.fx.dirty += 1;
        self.touch(place, key, true);
        self.note(event, key);
        true
    }

    /// A key was changed, by the command itself (`own`) or in passing: whoever watches it or has
    /// cached it learns of it.
    #[inline]
    fn touch(&mut self, place: Place, key: &[u8], own: bool) {
        let shard = self.hold.shard_mut(place.shard);
        shard.touch(self.db, key);
        if let Some(readers) = &mut shard.readers {
            readers.change(key, own, &mut self.fx.readers);
        }
    }

    /// A key was changed: whoever watches it learns of it, and whoever waits for it is noted.
    #[inline]
    pub(super) fn touched(&mut self, place: Place, key: &[u8]) {
        self.touch(place, key, true);
        self.note_waiters(place, key);
    }

    /// Whoever waits for the key is noted.
    #[inline]
    pub(super) fn note_waiters(&mut self, place: Place, key: &[u8]) {
        let waiters = &self.hold.shard(place.shard).waiters;
        if !waiters.is_empty() {
            let at = DbKey { db: self.db, key: key.into() };
            if waiters.contains_key(&at) {
                self.fx.ready.push(at);
            }
        }
    }

    /// Notes an event if somebody wants to hear of its class.
    #[inline]
    pub fn note(&mut self, event: Event, key: &[u8]) {
        if self.env.notify.has(event.class) && self.env.notify.0 & 3 != 0 {
            self.fx.notices.push(Notice { event, at: DbKey { db: self.db, key: key.into() } });
        }
    }

    /// Keys of the database (the shards must all be held).
    pub fn len(&self) -> usize {
        self.tables().map(|(_, db)| db.keys.len()).sum()
    }

    /// Whether the database has no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tables of the database, shard by shard.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &Db)> {
        let db = self.db;
        self.hold.shards().filter_map(move |at| Some((at, self.hold.shard(at).db(db)?)))
    }

    /// Whether an entry met while walking the tables exists now.
    pub fn is_live(&self, entry: &Entry) -> bool {
        !self.is_past(entry.deadline())
    }

    /// A step of SCAN over the whole database: visits the keys at `cursor`, which is a shard in the
    /// low bits and a table's cursor above, and gives the next.
    pub fn scan(&mut self, cursor: u64, visit: &mut dyn FnMut(&Entry)) -> u64 {
        const SHARD_BITS: u32 = 8;
        let mut shard = (cursor & 0xff) as usize;
        let within = cursor >> SHARD_BITS;
        let mut next = match self.hold.shard(shard).db(self.db) {
            Some(db) => db.keys.scan(within, visit),
            None => 0,
        };
        if next == 0 {
            shard += 1;
            while shard < crate::keyspace::lock::SHARDS
                && self.hold.shard(shard).db(self.db).is_none_or(|db| db.keys.is_empty())
            {
                shard += 1;
            }
            if shard == crate::keyspace::lock::SHARDS {
                return 0;
            }
            next = 0;
        }
        next << SHARD_BITS | shard as u64
    }

    /// A key drawn evenly from those that exist now.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        // Keys past their deadline are met rarely; a database of nothing else ends the search.
        for _ in 0..100 {
            let mut pick = rng::below(self.len() as u64) as usize;
            let (shard, _) = self.tables().find(|(_, db)| {
                let len = db.keys.len();
                let here = pick < len;
                pick = pick.saturating_sub(if here { 0 } else { len });
                here
            })?;
            let drawn = self.hold.shard(shard).db(self.db).and_then(|db| db.keys.random());
            let key = drawn.map(|entry| entry.key().to_vec())?;
            if !self.expire_if_due(&key) {
                return Some(key);
            }
        }
        None
    }

    /// Removes every key of the database; says how many there were.
    pub fn flush(&mut self) -> usize {
        let mut removed = 0;
        let shards: Vec<usize> = self.hold.shards().collect();
        for at in shards {
            let db = self.db;
            let shard = self.hold.shard_mut(at);
            if let Some(readers) = &mut shard.readers {
                readers.flush(&mut self.fx.readers);
            }
            if shard.db(db).is_none() {
                continue;
            }
            shard.touch_all(db, |shard, key| {
                shard.db(db).is_some_and(|db| db.keys.get(hash_bytes(key), key).is_some())
            });
            let taken = shard.take_db(db);
            let waited = shard.waiters.keys().filter(|at| at.db == db);
            self.fx.ready.extend(waited.cloned());
            removed += taken.keys.len();
            self.fx.dropped.push(taken);
            if db == 0 {
                self.hold.publish_hint(at);
            }
        }
        removed
    }

    /// Exchanges two databases for every client at once.
    pub fn swap(&mut self, a: u32, b: u32) {
        let now = self.env.now;
        let shards: Vec<usize> = self.hold.shards().collect();
        for at in shards {
            let shard = self.hold.shard_mut(at);
            // A key past its deadline is as good as absent.
            let in_either = move |shard: &crate::keyspace::shard::Shard, key: &[u8]| {
                let hash = hash_bytes(key);
                let live = |entry: &Entry| entry.deadline().is_none_or(|deadline| deadline >= now);
                let has = |db| shard.db(db).and_then(|db| db.keys.get(hash, key)).is_some_and(live);
                has(a) || has(b)
            };
            shard.touch_all(a, in_either);
            shard.touch_all(b, in_either);
            shard.swap_dbs(a, b);
            let waited = shard.waiters.keys().filter(|at| at.db == a || at.db == b);
            self.fx.ready.extend(waited.cloned());
            self.hold.publish_hint(at);
        }
    }

    /// Hashes that have fields with deadlines.
    pub fn timed_hashes(&self) -> usize {
        self.tables().filter_map(|(_, db)| db.timed.as_ref()).map(|timed| timed.len()).sum()
    }

    /// The deadline of a key whatever its state, and its table's fill: for statistics.
    pub fn deadlines(&self) -> (usize, u64) {
        let (mut keys, mut sum, mut samples) = (0, 0u64, 0u64);
        for (_, db) in self.tables() {
            keys += db.with_deadline;
            sum = sum.saturating_add(db.ttl_sample.0);
            samples += db.ttl_sample.1;
        }
        (keys, sum.checked_div(samples).unwrap_or(0))
    }
}

fn element_deadline(entry: &Entry) -> Option<UnixMs> {
    match entry.held() {
        Held::Text(_) => None,
        Held::Value(value) => value.element_deadline(),
    }
}

/// Whether freeing an entry takes long enough to leave it to another thread.
fn is_heavy(entry: &Entry) -> bool {
    match entry.held() {
        Held::Text(_) => false,
        Held::Value(value) => value.free_effort() > FREE_AT_ONCE_MAX,
    }
}
