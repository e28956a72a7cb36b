//! Foreign bytes: mutations of real files and requests meet every part that reads such.
//!
//! None may panic, take long, or ask for memory that the input does not account for. `SECONDS` says
//! how long each part is tried (1), `SEED` where the mutations begin (1). The same parts are
//! cargo-fuzz's targets: see `fuzz/readers.rs`. `SEEDS` names a folder where what the mutations begin
//! with is put instead, for `tests/fuzz.sh`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../fuzz/readers.rs"]
mod readers;

#[allow(unsafe_code)]
mod memory {
    //! Counts what is allocated: the safe interface of `System`, passed on unchanged.

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    thread_local! {
        static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
    }

    pub(super) struct Counting;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    fn count(bytes: isize) {
        let _ = HELD.try_with(|held| {
            let (now, most) = held.get();
            held.set((now + bytes, most.max(now + bytes)));
        });
    }

    // SAFETY: every call is passed to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as isize);
            // SAFETY: the caller's promise is the one asked for.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            count(-(layout.size() as isize));
            // SAFETY: the caller's promise is the one asked for.
            unsafe { System.dealloc(at, layout) }
        }
    }

    /// The most that was held at once during `work`, beyond what was before.
    pub(super) fn most_during(work: impl FnOnce()) -> isize {
        let before = HELD.with(|held| {
            held.set((held.get().0, held.get().0));
            held.get().0
        });
        work();
        HELD.with(|held| held.get().1) - before
    }
}

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rekeep::persist::aof::group;
use rekeep::persist::rdb::dump;

const INPUT_BYTES_MAX: usize = 1 << 16;
/// LZF says how much it will unpack to, in 264 times its size at most; a HyperLogLog is dense.
const MEMORY_PER_BYTE: isize = 1024;
const MEMORY_AT_LEAST: isize = 4 << 20;
const SLOW: Duration = Duration::from_secs(5);

/// Bytes at which something changes: limits of lengths, signs, opcodes.
const TELLING: &[u8] = &[
    0, 1, 2, 0x0a, 0x0d, 0x20, 0x22, 0x24, 0x2a, 0x2d, 0x30, 0x39, 0x3f, 0x40, 0x7f, 0x80, 0x81,
    0xbf, 0xc0, 0xc3, 0xe0, 0xf0, 0xf1, 0xf4, 0xf6, 0xfa, 0xfb, 0xfe, 0xff,
];
const NUMBERS: &[&str] =
    &["0", "-1", "1", "7", "4294967296", "9223372036854775807", "99999999", "-9"];

fn number(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn mutated(chance: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = chance.choice(seeds).unwrap().clone();
    for _ in 0..chance.usize(1..6) {
        let at = chance.usize(..=bytes.len());
        let end = (at + chance.usize(..16)).min(bytes.len());
        match chance.u8(..9) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << chance.u8(..8),
            2 if at < bytes.len() => bytes[at] = *chance.choice(TELLING).unwrap(),
            3 => bytes.insert(at, *chance.choice(TELLING).unwrap()),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            6 => {
                let other = chance.choice(seeds).unwrap();
                let from = chance.usize(..=other.len());
                let until = chance.usize(from..=other.len());
                drop(bytes.splice(at..end, other[from..until].iter().copied()));
            }
            7 => {
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = chance.choice(NUMBERS).unwrap();
                drop(bytes.splice(at..at + digits, number.bytes()));
            }
            _ => bytes[at..end].iter_mut().for_each(|byte| *byte = chance.u8(..)),
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// Tries a reader; `finish` makes a mutation whole again where it would be refused at the door.
fn try_reader(name: &str, seeds: Vec<Vec<u8>>, finish: impl Fn(Vec<u8>) -> Vec<u8>) {
    let read = |bytes: &[u8]| readers::run(name, bytes);
    let seeds = [seeds, found(name)].concat();
    seeds.iter().for_each(|seed| read(seed));
    if let Some(folder) = std::env::var_os("SEEDS") {
        let folder = Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(number.to_string()), seed).unwrap();
        }
        return;
    }
    let (end, mut turn) = (Instant::now() + Duration::from_secs(number("SECONDS")), 0u64);
    while Instant::now() < end {
        turn += 1;
        let mut chance = fastrand::Rng::with_seed(number("SEED").wrapping_mul(1 << 40) + turn);
        let mut bytes = mutated(&mut chance, &seeds);
        if chance.bool() {
            bytes = finish(bytes);
        }
        let (began, most) = (Instant::now(), std::cell::Cell::new(0));
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            most.set(memory::most_during(|| read(&bytes)));
        }));
        let shown = bytes.escape_ascii();
        assert!(ran.is_ok(), "{name} panics at b\"{shown}\"");
        assert!(began.elapsed() < SLOW, "{name} takes {:?} for b\"{shown}\"", began.elapsed());
        let allowed = MEMORY_AT_LEAST + MEMORY_PER_BYTE * bytes.len() as isize;
        assert!(most.get() <= allowed, "{name} takes {} bytes for b\"{shown}\"", most.get());
    }
    println!("{name}: {turn} inputs");
}

fn data(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(below)
}

fn real_files(ending: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(data("dumps/legacy")).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    files.map(|path| std::fs::read(path).unwrap()).collect()
}

/// The lines of a file of seeds: words, and bytes in hexadecimal.
fn seeds(file: &str) -> Vec<(String, Vec<u8>)> {
    let text = std::fs::read_to_string(data("seeds").join(file)).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let line = |line: &str| {
        let (name, hex) = line.rsplit_once('\t').unwrap();
        (name.to_owned(), hex.as_bytes().chunks(2).map(byte).collect())
    };
    text.lines().map(line).collect()
}

/// What a real server of 7.4 dumps of each type and encoding.
fn payloads() -> Vec<Vec<u8>> {
    seeds("payloads.tsv").into_iter().map(|(_, payload)| payload).collect()
}

/// What a reader once did not bear.
fn found(reader: &str) -> Vec<Vec<u8>> {
    let found = seeds("found.tsv").into_iter();
    found
        .filter(|(name, _)| name.split('\t').next() == Some(reader))
        .map(|(_, bytes)| bytes)
        .collect()
}

fn requests() -> Vec<Vec<u8>> {
    [
        &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*1\r\n$4\r\nPING\r\n"[..],
        b"PING\r\nset k \"a \\x41\\n\" 'b c'\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
        b"\r\n*0\r\n*-1\r\n*1\r\n$7\r\nCOMMAND\r\n",
        b"*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\nGET x\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

#[test]
fn requests_are_cut_alike_however_they_come() {
    try_reader("request", requests(), |bytes| bytes);
}

#[test]
fn payloads_of_restore_are_proved() {
    try_reader("restore", payloads(), |bytes| {
        let cut = bytes.len().saturating_sub(dump::FOOTER_BYTES);
        dump::seal(bytes[..cut].to_vec(), 11)
    });
}

#[test]
fn snapshots_are_proved() {
    let mut seeds = real_files("rdb");
    for payload in payloads() {
        // Behind a header, a database and a key's name.
        let body = &payload[1..payload.len() - dump::FOOTER_BYTES];
        let head = [&b"REDIS0012\xfe\x00\xfb\x01\x00"[..], &payload[..1], b"\x01k", body];
        seeds.push([head.concat(), b"\xff\0\0\0\0\0\0\0\0".to_vec()].concat());
    }
    try_reader("rdb", seeds, |bytes| [&b"REDIS0012"[..], bytes.get(9..).unwrap_or(&[])].concat());
}

#[test]
fn increments_are_proved() {
    let mut seeds = requests();
    seeds.push(b"#TS:1700000000\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n".to_vec());
    let sealed: Vec<Vec<u8>> = seeds.iter().map(|seed| grouped(seed)).collect();
    seeds.extend(sealed);
    try_reader("aof", seeds, |bytes| {
        let body = bytes.get(group::HEADER_BYTES..).unwrap_or(&[]);
        [grouped(body), bytes.clone()].concat()
    });
}

fn grouped(body: &[u8]) -> Vec<u8> {
    let mut bytes = [&group::PLACEHOLDER[..], body].concat();
    group::seal(&mut bytes, 0);
    bytes
}

#[test]
fn manifests_are_proved() {
    let seeds = [
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
        "file \"a b.1.base.aof\" seq 1 type b\n# a comment\nfile x.2.incr.aof seq 2 type i startoffset 5\n",
        "file a.aof.3.base.rdb seq 3 type b\nfile a.aof.2.incr.aof seq 2 type h\nfile a.aof.4.incr.aof seq 4 type i\n",
    ];
    try_reader("manifest", seeds.map(|seed| seed.as_bytes().to_vec()).to_vec(), |bytes| bytes);
}

#[test]
fn configuration_files_are_read_or_refused() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("redis.conf.example");
    let seeds = [
        std::fs::read(example).unwrap(),
        b"save 900 1\nsave \"\"\nappendonly yes\nmaxmemory 100mb\nuser a on >p ~k* +@all\n"
            .to_vec(),
        b"client-output-buffer-limit normal 0 0 0\nrename-command GET \"\"\nbind 127.0.0.1 -::1\n"
            .to_vec(),
    ];
    try_reader("config", seeds.to_vec(), |bytes| bytes);
}

#[test]
fn patterns_end() {
    let seeds = [&b"h[^a-c]?l*o\\*\0hello*"[..], b"**a*[b-\\]]*\0aaaaaaaaaaaab", b"[\0x", b"*\0"];
    try_reader("glob", seeds.map(<[u8]>::to_vec).to_vec(), |bytes| bytes.repeat(20));
}

#[test]
fn requests_are_run_or_refused() {
    let lines = [
        "SET k v EX 10 NX GET\r\nAPPEND k x\r\nGETRANGE k 0 -1\r\nSETBIT k 9 1\r\nINCRBYFLOAT k 1e3\r\n",
        "RPUSH l a b c\r\nLINSERT l BEFORE b x\r\nLPOS l c RANK -1 COUNT 0\r\nLMPOP 1 l LEFT COUNT 2\r\n",
        "SADD s 1 2 a\r\nSUNIONSTORE d s s\r\nSPOP s 2\r\nSSCAN d 0 MATCH * COUNT 3\r\n",
        "HSET h f v g 2\r\nHEXPIRE h 10 NX FIELDS 2 f g\r\nHGETEX h EX 5 FIELDS 1 f\r\nHINCRBY h g 3\r\n",
        "ZADD z 1 a 2 b\r\nZRANGESTORE d z (1 +inf BYSCORE LIMIT 0 3\r\nZUNION 2 z d WEIGHTS 2 -1 WITHSCORES\r\n",
        "GEOADD g 13.36 38.11 p 15.08 37.5 q\r\nGEOSEARCH g FROMMEMBER p BYBOX 400 400 km ASC COUNT 2 WITHDIST\r\n",
        "PFADD p a b\r\nPFMERGE q p\r\nPFCOUNT p q\r\nBITFIELD p SET i5 #3 -7 OVERFLOW SAT INCRBY u8 4 300\r\n",
        "XADD x 1-1 a b\r\nXGROUP CREATE x g 0\r\nXREADGROUP GROUP g c COUNT 1 STREAMS x >\r\nXAUTOCLAIM x g d 0 0\r\n",
        "MULTI\r\nSORT l BY w_* GET # LIMIT 0 2 STORE d\r\nOBJECT FREQ k\r\nEXEC\r\nWATCH k\r\nUNWATCH\r\n",
        "SUBSCRIBE c\r\nPUBLISH c m\r\nHELLO 3\r\nCLIENT TRACKING on BCAST PREFIX a\r\nCOPY k j DB 1 REPLACE\r\n",
        "BLPOP none 1\r\nLPUSH none a\r\nBZMPOP 1 1 z MIN\r\nLCS k j IDX MINMATCHLEN 2\r\nCOMMAND GETKEYS SET a b\r\n",
        "ACL SETUSER u on >p ~k* %R~r +@read -get (+set ~s)\r\nACL DRYRUN u get k\r\nCLIENT LIST ID 1 2\r\n",
    ];
    try_reader("commands", lines.map(|line| line.as_bytes().to_vec()).to_vec(), |bytes| bytes);
}

#[test]
fn rules_of_users_are_taken_or_refused() {
    let seeds = [
        "on >secret ~key:* %R~read:* %W~write:* &channel* +@all -@dangerous +config|get",
        "nopass allkeys resetchannels -@all +get +set|x (~other +@hash -hset) (%RW~a b)",
        "user default on nopass ~* &* +@all\nuser worker off #8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918 +ping\n",
        "reset clearselectors sanitize-payload skip-sanitize-payload <gone !0 allcommands nocommands",
    ];
    try_reader("acl", seeds.map(|seed| seed.as_bytes().to_vec()).to_vec(), |bytes| bytes);
}

#[test]
fn ids_and_arguments_of_streams_are_taken_or_refused() {
    // The letter in front of a line chooses the command.
    let seeds = [
        "1526919030474-55",
        "&s 5-* a b\n&s nomkstream maxlen ~ 10 limit 100 * a b c d\n&s minid = 3 9-1 x y\n)s (5 +\n*s + -",
        "&s 1-1 f v\n9s g 0 mkstream entriesread 3\n0group g me count 1 noack streams s >\n-s g\n/s g\n",
        "&s 3-0 a b\n+s 9-9 entriesadded 5 maxdeletedid 2-2\n9s g $\n0group g me streams s 0 \n,s g me 0 3-0 force\n",
    ];
    try_reader("stream", seeds.map(|seed| seed.as_bytes().to_vec()).to_vec(), |bytes| bytes);
}

#[test]
fn what_scripts_take_apart_is_proved() {
    let seeds = [
        &b"\x00\x00{\"a\":[1,2.5e3,null,true,\"\\u00e9\\n\"],\"b\":{\"c\":[[]]}}"[..],
        b"\x01\x00\x83\xa1a\x01\xa1b\x93\xc0\xc3\xcb\x3f\xf8\0\0\0\0\0\0\xd9\x03abc\x02",
        b"\x021\x00\x01\x02\xcd\x01\x00\xd1\xff\x00\xde\x00\x01\x01\x02",
        b"\x05<i4>h!8ldfs\x00\x01\0\0\0\0\x02\0\0\0\0\0\0\0\x09abc\0",
        b"\x06>I2bBc3xxz",
        b"\x07%5.2f|%-7s|%q|%x|%+d",
        b"\x09(a+)%1[^b-]*$\x00aaaa-b",
        b"\x0a%f[%w]%w+()\x00one two",
        b"\x0b\x00local a = [==[x]==] return function(...) goto = 1 end -- [[\n",
        b"\x0c\x000x1fp",
        b"\x0dget\x00k",
        b"\x0fget\x00max*",
    ];
    try_reader("script", seeds.map(<[u8]>::to_vec).to_vec(), |bytes| bytes);
}
