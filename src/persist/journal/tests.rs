//! The journal on disks that are small, slow or sick.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::base::fs::{Disk, Faults, Verb};

/// A disk with room for so many more bytes, whose syncs fail when told.
#[derive(Default)]
struct Small {
    room: AtomicUsize,
    no_sync: AtomicBool,
    sync_ms: AtomicU64,
}

impl Faults for Small {
    fn before(&self, verb: Verb, _: &Path, bytes: usize) -> io::Result<usize> {
        match verb {
            Verb::Write if self.room.load(Ordering::Relaxed) == 0 => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Verb::Write => {
                let count = bytes.min(self.room.load(Ordering::Relaxed));
                self.room.fetch_sub(count, Ordering::Relaxed);
                Ok(count)
            }
            Verb::Sync if self.sync_ms.load(Ordering::Relaxed) > 0 => {
                let ms = self.sync_ms.load(Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(ms));
                Ok(bytes)
            }
            Verb::Sync if self.no_sync.load(Ordering::Relaxed) => Err(io::Error::other("sick")),
            _ => Ok(bytes),
        }
    }
}

struct House {
    dir: tempfile::TempDir,
    small: Arc<Small>,
    disk: Disk,
    journal: Journal,
}

impl House {
    fn new(room: usize) -> House {
        let small = Arc::new(Small { room: AtomicUsize::new(room), ..Small::default() });
        let disk = Disk::with_faults(Arc::clone(&small) as Arc<dyn Faults>);
        let (dir, journal) = (tempfile::tempdir().unwrap(), Journal::default());
        let house = House { dir, small, disk, journal };
        house.switch("first");
        house
    }

    fn switch(&self, name: &str) {
        let file = self.disk.create_log(&self.dir.path().join(name)).unwrap();
        self.journal.switch(Some(Arc::new(file)), 0, Some(0));
    }

    fn append(&self, record: &[u8]) -> LogOffset {
        self.journal.append(false, [(0, record)].into_iter(), UnixMs(1000))
    }

    /// The file without the SELECT at its beginning.
    fn records(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        text.replace("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", "")
    }
}

#[test]
fn failed_write_is_cut_back_and_goes_on_without_a_hole() {
    let house = House::new(30);
    house.append(b"aaaa");
    house.journal.flush();
    house.append(b"bbbb");
    house.append(b"cccc");
    assert!(!house.journal.drain() && house.journal.is_failing());
    assert_eq!(house.records("first"), "aaaa");
    assert!(house.journal.failure().unwrap().cause.starts_with("no storage space"));
    house.append(b"dddd");
    house.small.room.store(1000, Ordering::Relaxed);
    assert!(house.journal.drain() && !house.journal.is_failing());
    assert_eq!(house.records("first"), "aaaabbbbccccdddd");
    assert_eq!(house.journal.size(), house.journal.appended().0);
}

#[test]
fn what_the_old_file_could_not_take_is_not_in_the_new_one() {
    let house = House::new(27);
    house.append(b"aaaa");
    house.journal.flush();
    let upto = house.append(b"bbbb");
    assert!(!house.journal.drain());
    house.switch("second");
    assert!(house.journal.written() >= upto, "nobody waits for it for ever");
    house.small.room.store(1000, Ordering::Relaxed);
    house.append(b"cccc");
    assert!(house.journal.drain());
    assert_eq!((house.records("first"), house.records("second")), ("aaaa".into(), "cccc".into()));
}

#[test]
fn switch_syncs_the_old_file_before_the_new_one_counts_as_synced() {
    let house = House::new(1000);
    let first = house.append(b"aaaa");
    house.journal.flush();
    house.switch("second");
    house.append(b"bbbb");
    house.journal.flush();
    house.small.no_sync.store(true, Ordering::Relaxed);
    assert!(!house.journal.sync());
    assert!(house.journal.is_tainted() && house.journal.synced() < first);
    house.small.no_sync.store(false, Ordering::Relaxed);
    // A second sync would succeed and prove nothing.
    assert!(!house.journal.sync());
    let upto = house.journal.written();
    house.journal.superseded(first);
    assert!(house.journal.is_tainted(), "the base must hold what was not synced");
    house.journal.superseded(upto);
    assert!(!house.journal.is_tainted() && !house.journal.is_failing());
    assert!(house.journal.synced() >= upto);
}

#[test]
fn slow_sync_is_overtaken_by_others_and_none_claims_too_much() {
    let house = House::new(1_000_000);
    house.small.sync_ms.store(30, Ordering::Relaxed);
    house.journal.set_policy(SyncPolicy::Always);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| house.journal.run_syncs(&stop, || false));
        for _ in 0..3 {
            scope.spawn(|| house.journal.run_overlapping_syncs(&stop));
        }
        let began = clock::steady();
        let mut last = LogOffset::default();
        while began.elapsed() < Duration::from_millis(300) {
            last = house.append(b"aaaa");
            house.journal.flush();
            assert!(house.journal.synced() <= house.journal.written());
            std::thread::sleep(Duration::from_millis(3));
        }
        while house.journal.synced() < last {
            assert!(began.elapsed() < Duration::from_secs(10), "it is never synced");
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Release);
    });
    // One after the other there would be ten.
    assert!(house.journal.syncs() >= 15, "{}", house.journal.syncs());
}

#[test]
fn close_owes_nothing() {
    let house = House::new(1000);
    house.append(b"aaaa");
    house.journal.flush();
    house.small.no_sync.store(true, Ordering::Relaxed);
    assert!(!house.journal.sync());
    house.small.room.store(0, Ordering::Relaxed);
    let upto = house.append(b"bbbb");
    house.journal.close();
    assert!(!house.journal.is_active());
    assert!(!house.journal.is_failing() && !house.journal.is_tainted());
    assert!(house.journal.written() >= upto && house.journal.synced() >= upto);
}

#[test]
fn every_increment_begins_with_database_and_time() {
    let house = House::new(1000);
    house.journal.set_stamps(true);
    for name in ["second", "third"] {
        house.switch(name);
        house.append(b"aaaa");
        house.append(b"bbbb");
        assert!(house.journal.drain());
        assert_eq!(house.records(name), "#TS:1\r\naaaabbbb", "{name}");
    }
}
