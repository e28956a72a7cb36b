//! OBJECT and MEMORY: how keys are stored and what that takes.

use crate::base::pages;
use crate::command::help::help;
use crate::config::{Config, MaxmemoryPolicy};
use crate::engine::command::Command;
use crate::engine::context::{AdminCtx, Ctx};
use crate::engine::replicas;
use crate::keyspace::entry::{Entry, Held, Text};
use crate::keyspace::lfu;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{AtLeast, Exactly};
use crate::spec::{Group, KeySpec, Spec};
use crate::stats::memory::{self, Memory};

const fn object(name: &'static str, since: &'static str) -> Spec {
    Spec::new(name, Group::Generic, Exactly(3))
        .reads()
        .key_spec(KeySpec::at(2).ro())
        .tip("nondeterministic_output")
        .since(since)
}

const fn memory(name: &'static str) -> Spec {
    Spec::new(name, Group::Server, Exactly(2)).since("4.0.0")
}

const fn memory_told(name: &'static str) -> Spec {
    memory(name)
        .tip("nondeterministic_output")
        .tip("request_policy:all_shards")
        .tip("response_policy:special")
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::container(Spec::new("object", Group::Generic, AtLeast(2)).container().since("2.2.3")),
    Command::data(encoding, object("object|encoding", "2.2.3")),
    Command::admin(freq, object("object|freq", "4.0.0")),
    Command::admin(
        object_help,
        Spec::new("object|help", Group::Generic, Exactly(2)).loading().stale().since("6.2.0"),
    ),
    Command::admin(idletime, object("object|idletime", "2.2.3")),
    Command::admin(refcount, object("object|refcount", "2.2.3")),
    Command::container(Spec::new("memory", Group::Server, AtLeast(2)).container().since("4.0.0")),
    Command::admin(doctor, memory_told("memory|doctor")),
    Command::admin(memory_help, memory("memory|help").loading().stale()),
    Command::admin(malloc_stats, memory_told("memory|malloc-stats")),
    Command::admin(
        purge,
        memory("memory|purge")
            .tip("request_policy:all_shards")
            .tip("response_policy:all_succeeded"),
    ),
    Command::admin(stats, memory_told("memory|stats").all_shards()),
    Command::data(
        usage,
        Spec::new("memory|usage", Group::Server, AtLeast(3))
            .reads()
            .key_spec(KeySpec::at(2).ro())
            .since("4.0.0"),
    ),
];

/// Access times are kept in 24 bits.
const ACCESS_MASK: u32 = (1 << 24) - 1;
/// Integers below this are one object each in Redis, which it counts as immortal.
const SHARED_INTEGERS: i64 = 10_000;

const OBJECT_HELP: &[(&str, &str)] = &[
    ("ENCODING <key>", "Name the encoding a value is stored in."),
    ("FREQ <key>", "Say how often a key is used, as a logarithmic counter."),
    ("IDLETIME <key>", "Say for how many seconds a key was not used."),
    ("REFCOUNT <key>", "Say how many references a value has."),
];

/// OBJECT HELP
fn object_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "OBJECT", OBJECT_HELP))
}

/// The entry of the key behind the subcommand.
fn asked<'c>(cx: &'c mut Ctx) -> Result<Option<&'c Entry>, CmdError> {
    cx.args.bytes()?;
    let key = cx.args.bytes()?;
    Ok(cx.db.peek_entry(key))
}

/// OBJECT ENCODING key
fn encoding(cx: &mut Ctx) -> CmdResult {
    let encoding = asked(cx)?.map(Entry::encoding);
    Ok(cx.reply.bulk_or_null(encoding.map(str::as_bytes)))
}

/// OBJECT REFCOUNT key
fn refcount(ax: &mut AdminCtx) -> CmdResult {
    let config = ax.core.config.load();
    // Redis shares integers unless each needs an access time of its own.
    let shares = config.maxmemory == 0 || !(is_lfu(config.maxmemory_policy) || is_lru(&config));
    let shared = asked(&mut ax.cx)?.map(|entry| match entry.held() {
        Held::Text(Text::Int(0..SHARED_INTEGERS)) if shares => i64::from(i32::MAX),
        _ => 1,
    });
    Ok(match shared {
        Some(count) => ax.cx.reply.int(count),
        None => ax.cx.reply.null(),
    })
}

fn is_lru(config: &Config) -> bool {
    matches!(config.maxmemory_policy, MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru)
}

fn is_lfu(policy: MaxmemoryPolicy) -> bool {
    matches!(policy, MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu)
}

/// OBJECT FREQ key
fn freq(ax: &mut AdminCtx) -> CmdResult {
    let config = ax.core.config();
    let now = ax.cx.now;
    let Some(access) = asked(&mut ax.cx)?.map(Entry::access) else {
        return Ok(ax.cx.reply.null());
    };
    if !is_lfu(config.maxmemory_policy) {
        return Err(CmdError::err(
            "An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
             that when switching between policies at runtime LRU and LFU data will take some time \
             to adjust.",
        ));
    }
    let decay = u32::try_from(config.lfu_decay_time).unwrap_or(0);
    Ok(ax.cx.reply.int(i64::from(lfu::counter(access, now, decay))))
}

/// OBJECT IDLETIME key
fn idletime(ax: &mut AdminCtx) -> CmdResult {
    let now = ax.cx.now.secs() as u32;
    let Some(access) = asked(&mut ax.cx)?.map(Entry::access) else {
        return Ok(ax.cx.reply.null());
    };
    if is_lfu(ax.core.config.load().maxmemory_policy) {
        return Err(CmdError::err(
            "An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(ax.cx.reply.int(i64::from(now.wrapping_sub(access) & ACCESS_MASK)))
}

const MEMORY_HELP: &[(&str, &str)] = &[
    ("DOCTOR", "Say what is wrong with the memory, if anything."),
    ("MALLOC-STATS", "Show what the allocator tells of itself."),
    ("PURGE", "Ask the allocator to give memory back."),
    ("STATS", "Show how memory is used."),
    ("USAGE <key> [SAMPLES <count>]", "Say how many bytes a key takes with its value."),
];

/// MEMORY HELP
fn memory_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "MEMORY", MEMORY_HELP))
}

/// MEMORY USAGE key \[SAMPLES count\]
fn usage(cx: &mut Ctx) -> CmdResult {
    cx.args.bytes()?;
    let key = cx.args.bytes()?;
    while !cx.args.is_done() {
        if !cx.args.take_keyword("samples") || cx.args.is_done() {
            return Err(CmdError::Syntax);
        }
        // Sizes are known without sampling.
        if cx.args.i64()? < 0 {
            return Err(CmdError::Syntax);
        }
    }
    // A slot of the table points to it.
    let bytes = cx.db.peek_entry(key).map(|entry| entry.memory_bytes() + size_of::<usize>());
    Ok(match bytes {
        Some(bytes) => cx.reply.count(bytes),
        None => cx.reply.null(),
    })
}

/// MEMORY PURGE
fn purge(ax: &mut AdminCtx) -> CmdResult {
    pages::give_back();
    Ok(ax.cx.reply.ok())
}

/// MEMORY MALLOC-STATS
fn malloc_stats(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.verbatim("txt", &memory::allocator_report()))
}

/// Below this much memory ratios say nothing.
const MEMORY_BYTES_TELLING: u64 = 5 * 1024 * 1024;
/// Resident memory in relation to what is used, from which it is worth a word.
const FRAGMENTATION_TELLING: f64 = 1.4;

/// MEMORY DOCTOR
fn doctor(ax: &mut AdminCtx) -> CmdResult {
    let memory = Memory::read();
    let ratio = memory.rss as f64 / memory.allocated.max(1) as f64;
    let text = if memory.allocated < MEMORY_BYTES_TELLING {
        "Hi, there is too little data here for an opinion.\n".to_owned()
    } else if ratio > FRAGMENTATION_TELLING {
        format!(
            "The process holds {ratio:.2} times the memory that its data takes. After many keys \
             were deleted this goes down by itself.\n"
        )
    } else {
        "Nothing about the memory is out of the ordinary.\n".to_owned()
    };
    Ok(ax.cx.reply.verbatim("txt", text.as_bytes()))
}

/// MEMORY STATS
fn stats(ax: &mut AdminCtx) -> CmdResult {
    use std::sync::atomic::Ordering;
    let core = ax.core;
    let memory = Memory::read();
    let databases = u32::try_from(core.config.load().databases).unwrap_or(0);
    let mut keys = 0;
    for db in 0..databases {
        keys += ax.cx.db.on_db(db, |db| db.len());
    }
    let peak = core.memory_peak.fetch_max(memory.allocated, Ordering::Relaxed);
    let dataset = memory.allocated.saturating_sub(core.memory_startup);
    let each = if keys == 0 { 0 } else { dataset / keys as u64 };
    let functions = core.functions.now().memory_bytes() as u64;
    let scripts = core.scripts.size().1 as u64;
    let buffers = replicas::buffers(core);
    let counts = [
        ("peak.allocated", peak.max(memory.allocated)),
        ("total.allocated", memory.allocated),
        ("startup.allocated", core.memory_startup),
        ("replication.backlog", buffers.backlog),
        ("clients.slaves", buffers.beyond),
        ("clients.normal", core.clients.buffer_bytes()),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", scripts),
        ("functions.caches", functions),
        ("overhead.total", core.memory_startup),
        ("keys.count", keys as u64),
        ("keys.bytes-per-key", each),
        ("dataset.bytes", dataset),
        ("allocator.allocated", memory.allocated),
        ("allocator.active", memory.active),
        ("allocator.resident", memory.resident),
    ];
    let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let ratios = [
        ("dataset.percentage", ratio(dataset, memory.allocated) * 100.0),
        ("peak.percentage", ratio(memory.allocated, peak.max(memory.allocated)) * 100.0),
        ("allocator-fragmentation.ratio", ratio(memory.active, memory.allocated)),
        ("allocator-rss.ratio", ratio(memory.resident, memory.active)),
        ("rss-overhead.ratio", ratio(memory.rss, memory.resident)),
        ("fragmentation", ratio(memory.rss, memory.allocated)),
    ];
    let reply = &mut *ax.cx.reply;
    reply.map(counts.len() + ratios.len());
    for (name, count) in counts {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.int(count as i64);
    }
    for (name, ratio) in ratios {
        let _ = reply.bulk(name.as_bytes());
        let _ = reply.double(ratio);
    }
    Ok(reply.done())
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn objects_are_described() {
        let mut house = House::new();
        house.run("set int 5");
        house.run("set text abc");
        house.wait_ms(7000);
        for (line, answer) in [
            ("object encoding int", "$3|int|"),
            ("object encoding text", "$6|embstr|"),
            ("object encoding none", "$-1|"),
            ("object refcount int", ":2147483647|"),
            ("object refcount text", ":1|"),
            ("config set maxmemory 10gb maxmemory-policy volatile-lru", "+OK|"),
            ("object refcount int", ":1|"),
            ("config set maxmemory-policy volatile-ttl", "+OK|"),
            ("object refcount int", ":2147483647|"),
            ("config set maxmemory 0 maxmemory-policy noeviction", "+OK|"),
            ("object idletime text", ":7|"),
            ("object idletime none", "$-1|"),
            ("config set maxmemory-policy allkeys-lfu", "+OK|"),
            ("set new 1", "+OK|"),
            ("object freq new", ":5|"),
            ("memory usage none", "$-1|"),
            ("memory usage text samples", "-ERR syntax error|"),
            ("memory usage text samples -1", "-ERR syntax error|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("object idletime text").starts_with("-ERR An LFU maxmemory policy is"));
        house.run("config set maxmemory-policy noeviction");
        assert!(house.run("object freq text").starts_with("-ERR An LFU maxmemory policy is not"));
        assert!(house.run("memory usage text samples 5").starts_with(":"));
    }
}
