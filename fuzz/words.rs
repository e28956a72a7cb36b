//! Words of clients that are a language of their own: rules of users, ids of streams, what scripts
//! take apart; and whole requests.

use rekeep::acl::catalog::Catalog;
use rekeep::acl::user::{User, join_selectors};
use rekeep::acl::{Terms, file};
use rekeep::base::words::split_words;
use rekeep::command;
use rekeep::resp::request::Parser;
use rekeep::value::stream::{NewId, StreamId};

use super::ALLOWED;
use super::house;

/// Requests, run one after the other.
pub(crate) fn commands(bytes: &[u8]) {
    let (mut parser, mut buffer) = (Parser::default(), bytes.to_vec());
    house::visit(|house| {
        loop {
            parser.parse(&mut buffer, ALLOWED);
            let count = parser.count();
            for index in 0..count {
                let words: Vec<&[u8]> = parser.request(index, &buffer).words().collect();
                if !words.is_empty() {
                    house.run_harmless(&words);
                }
            }
            parser.consume(count, &mut buffer);
            if count == 0 || parser.error().is_some() {
                break;
            }
        }
        house.run(&[b"discard"]);
        house.run(&[b"debug", b"digest"]);
    });
}

/// Rules of a user, a blank between them; then the same as a file of users.
pub(crate) fn acl(bytes: &[u8]) {
    thread_local! {
        static CATALOG: Catalog = Catalog::new(command::table().rows().iter().map(|row| row.spec()));
    }
    CATALOG.with(|catalog| {
        let terms = Terms { catalog, all_channels_at_first: false };
        if let Ok(users) = file::read(bytes, "users", terms) {
            let text = file::write(users.iter());
            let again = file::read(&text, "users", terms).expect("our own file is taken");
            assert_eq!(users, again, "what is written is what was read");
        }
        let words: Vec<&[u8]> = bytes.split(|byte| *byte == b' ').collect();
        let Ok(rules) = join_selectors(&words) else { return };
        let mut user = User::new(b"someone", terms);
        if user.apply_all(&rules, terms).is_err() {
            return;
        }
        let _ = (user.flags(), user.describe(), user.is_unrestricted());
        let line = user.line();
        let again = file::read(&line, "users", terms).expect("our own line is taken");
        assert_eq!(again, [user], "what is shown is what was set");
    });
    let words: Vec<&[u8]> = bytes.split(|byte| *byte == b' ').collect();
    house::visit(|house| {
        house.run(&[&[&b"acl"[..], b"setuser", b"someone"], words.as_slice()].concat());
        for call in ["get k", "mset a 1 b 2", "eval x 1 k", "xread streams s 0", "config get x"] {
            let head: [&[u8]; 3] = [b"acl", b"dryrun", b"someone"];
            let call: Vec<&[u8]> =
                head.into_iter().chain(call.split(' ').map(str::as_bytes)).collect();
            house.run(&call);
        }
        house.run(&[b"acl", b"getuser", b"someone"]);
        house.run(&[b"acl", b"list"]);
    });
}

/// An id, and the arguments of commands on streams: each line is one without its name.
pub(crate) fn stream(bytes: &[u8]) {
    if let Some(id) = StreamId::parse(bytes, 0) {
        assert_eq!(StreamId::parse(&id.text(), 7), Some(id));
        assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        assert!(id.next().is_none_or(|next| next > id && next.prev() == Some(id)));
    }
    let _ = (NewId::parse(bytes), StreamId::parse_bound(bytes, 3));
    const NAMES: &[&str] = &[
        "xadd",
        "xtrim",
        "xdel",
        "xrange",
        "xrevrange",
        "xsetid",
        "xclaim",
        "xautoclaim",
        "xpending",
        "xread",
        "xreadgroup",
        "xack",
        "xlen",
    ];
    const BELOW: &[(&str, &str)] = &[
        ("xgroup", "create"),
        ("xgroup", "setid"),
        ("xgroup", "createconsumer"),
        ("xgroup", "delconsumer"),
        ("xinfo", "stream"),
        ("xinfo", "consumers"),
    ];
    house::visit(|house| {
        for line in bytes.split(|byte| *byte == b'\n').take(32) {
            let Some((first, rest)) = line.split_first() else { continue };
            let Some(arguments) = split_words(rest) else { continue };
            let at = usize::from(*first) % (NAMES.len() + BELOW.len());
            let mut words: Vec<&[u8]> = match at.checked_sub(NAMES.len()) {
                None => vec![NAMES[at].as_bytes()],
                Some(at) => vec![BELOW[at].0.as_bytes(), BELOW[at].1.as_bytes()],
            };
            words.extend(arguments.iter().map(Vec::as_slice));
            house.run(&words);
        }
        let dumped = house.run(&[b"dump", b"s"]);
        if let Some(at) = dumped.iter().position(|byte| *byte == b'\n')
            && !dumped.starts_with(b"$-")
        {
            let payload = &dumped[at + 1..dumped.len() - 2];
            let taken = house.run(&[b"restore", b"again", b"0", payload]);
            assert_eq!(taken, b"+OK\r\n", "our own dump is refused");
            let one = house.run(&[b"xinfo", b"stream", b"s", b"full", b"count", b"0"]);
            let other = house.run(&[b"xinfo", b"stream", b"again", b"full", b"count", b"0"]);
            assert_eq!(one, other, "another stream comes back");
        }
    });
}

/// What the first byte chooses does something with the rest; what it makes goes back and forth.
const SCRIPTS: &[&str] = &[
    "local v = cjson.decode(ARGV[1]) return cjson.encode(cjson.decode(cjson.encode(v)))",
    "local v = {cmsgpack.unpack(ARGV[1])} return cmsgpack.pack(unpack(v))",
    "return {cmsgpack.unpack_limit(ARGV[1], 3, tonumber(ARGV[2]) or 0)}",
    "return {cmsgpack.unpack_one(ARGV[1], tonumber(ARGV[2]) or 0)}",
    "return struct.size(ARGV[2])",
    "return {struct.unpack(ARGV[2], ARGV[1])}",
    "return struct.pack(ARGV[2], 1, -2.5, 300, ARGV[1], 4)",
    "return string.format(ARGV[2], 1, 2.5, 3)",
    "return string.format(ARGV[2], ARGV[1], ARGV[1])",
    "return {string.find(ARGV[1], ARGV[2])}",
    "return string.gsub(ARGV[1], ARGV[2], '%0x')",
    "return tostring(loadstring(ARGV[1]))",
    "return tostring(tonumber(ARGV[1], 16)) .. tostring(tonumber(ARGV[1]))",
    "return redis.call(ARGV[2], ARGV[1])",
    "return {redis.sha1hex(ARGV[1]), redis.error_reply(ARGV[1])}",
    "redis.setresp(3) return {redis.pcall('config', ARGV[2], ARGV[1])}",
];

/// What scripts do with foreign bytes: two arguments, split at the first zero.
pub(crate) fn script(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let script = SCRIPTS[usize::from(*first) % SCRIPTS.len()];
    let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    // The shorter part says how; a long one is taken apart.
    let (how, what) = rest.split_at(at);
    let what = what.get(1..).unwrap_or(&[]);
    // A name of a command with one argument, none of which is harmful in a script.
    let reply = house::visit(|house| {
        house.run(&[b"eval", script.as_bytes(), b"0", what, how]);
        house.run(&[b"eval", b"return 1", b"0"])
    });
    assert_eq!(reply, b":1\r\n", "the machine goes on");
}
