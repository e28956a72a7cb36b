//! SLOWLOG and LATENCY: what took long.

use crate::base::clock;
use crate::base::num::parse_i64;
use crate::command::help::{help, miscounted};
use crate::command::info::stats::latencies;
use crate::engine::command::{Command, Row};
use crate::engine::context::AdminCtx;
use crate::resp::args::is_word;
use crate::resp::error::CmdError;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::{self, AtLeast, Exactly};
use crate::spec::{Group, Spec};
use crate::stats::latency::Event;

const fn slow(name: &'static str, arity: Arity, since: &'static str) -> Spec {
    Spec::new(name, Group::Server, arity).loading().stale().since(since)
}

const fn latency(name: &'static str, arity: Arity, since: &'static str) -> Spec {
    let spec = Spec::new(name, Group::Server, arity).admin().noscript().loading().stale();
    spec.since(since)
}

const fn told(spec: Spec) -> Spec {
    spec.tip("nondeterministic_output")
        .tip("request_policy:all_nodes")
        .tip("response_policy:special")
}

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::container(Spec::new("slowlog", Group::Server, AtLeast(2)).container().since("2.2.12")),
    Command::admin(
        get,
        slow("slowlog|get", AtLeast(2), "2.2.12")
            .admin()
            .tip("nondeterministic_output")
            .tip("request_policy:all_nodes"),
    ),
    Command::admin(show_help, slow("slowlog|help", Exactly(2), "6.2.0")),
    Command::admin(
        len,
        slow("slowlog|len", Exactly(2), "2.2.12")
            .admin()
            .tip("nondeterministic_output")
            .tip("request_policy:all_nodes")
            .tip("response_policy:agg_sum"),
    ),
    Command::admin(
        reset,
        slow("slowlog|reset", Exactly(2), "2.2.12")
            .admin()
            .tip("request_policy:all_nodes")
            .tip("response_policy:all_succeeded"),
    ),
    Command::container(Spec::new("latency", Group::Server, AtLeast(2)).container().since("2.8.13")),
    Command::admin(latency_doctor, told(latency("latency|doctor", Exactly(2), "2.8.13"))),
    Command::admin(latency_graph, told(latency("latency|graph", Exactly(3), "2.8.13"))),
    Command::admin(latency_help, slow("latency|help", Exactly(2), "2.8.13")),
    Command::admin(latency_histogram, told(latency("latency|histogram", AtLeast(2), "7.0.0"))),
    Command::admin(latency_history, told(latency("latency|history", Exactly(3), "2.8.13"))),
    Command::admin(latency_latest, told(latency("latency|latest", Exactly(2), "2.8.13"))),
    Command::admin(
        latency_reset,
        latency("latency|reset", AtLeast(2), "2.8.13")
            .tip("request_policy:all_nodes")
            .tip("response_policy:agg_sum"),
    ),
];

const HELP: &[(&str, &str)] = &[
    ("GET [<count>]", "Show the newest slow commands: 10, or as many as asked for; -1 is all."),
    ("LEN", "Say how many slow commands are kept."),
    ("RESET", "Forget all slow commands."),
];

/// SLOWLOG HELP
fn show_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "SLOWLOG", HELP))
}

/// Entries shown without a count.
const SHOWN_DEFAULT: usize = 10;

/// SLOWLOG GET \[count\]
fn get(ax: &mut AdminCtx) -> CmdResult {
    let sub = ax.cx.args.bytes()?;
    if ax.cx.args.left() > 1 {
        return Err(miscounted("SLOWLOG", sub));
    }
    let count = match ax.cx.args.peek().map(parse_i64) {
        None => SHOWN_DEFAULT,
        Some(Some(-1)) => usize::MAX,
        Some(count) => count
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| CmdError::err("count should be greater than or equal to -1"))?,
    };
    let entries = ax.core.stats.slowlog.newest(count);
    let reply = &mut *ax.cx.reply;
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        let _ = reply.int(entry.id as i64);
        let _ = reply.int(entry.at_secs as i64);
        let _ = reply.int(entry.micros as i64);
        reply.array(entry.words.len());
        entry.words.iter().for_each(|word| drop(reply.bulk(word)));
        let _ = reply.bulk(entry.addr.as_bytes());
        let _ = reply.bulk(entry.name.as_bytes());
    }
    Ok(reply.done())
}

/// SLOWLOG LEN
fn len(ax: &mut AdminCtx) -> CmdResult {
    Ok(ax.cx.reply.count(ax.core.stats.slowlog.len()))
}

/// SLOWLOG RESET
fn reset(ax: &mut AdminCtx) -> CmdResult {
    ax.core.stats.slowlog.clear();
    Ok(ax.cx.reply.ok())
}

const LATENCY_HELP: &[(&str, &str)] = &[
    ("DOCTOR", "Say what is known of latency events."),
    ("GRAPH <event>", "Draw an event's history."),
    ("HISTORY <event>", "Show an event's samples."),
    ("LATEST", "Show the last sample of each event."),
    ("RESET [<event> ...]", "Forget samples."),
    ("HISTOGRAM [<command> ...]", "Show how long commands took."),
];

/// LATENCY HELP
fn latency_help(ax: &mut AdminCtx) -> CmdResult {
    Ok(help(ax.cx.reply, "LATENCY", LATENCY_HELP))
}

/// LATENCY LATEST
fn latency_latest(ax: &mut AdminCtx) -> CmdResult {
    let events = ax.core.stats.latency.events();
    let reply = &mut *ax.cx.reply;
    reply.array(events.len());
    for (name, event) in &events {
        let (secs, ms) = event.samples.back().copied().unwrap_or_default();
        reply.array(4);
        let _ = reply.bulk(name.as_bytes());
        for number in [secs, ms, event.max_ms] {
            let _ = reply.int(number as i64);
        }
    }
    Ok(reply.done())
}

/// LATENCY HISTORY event
fn latency_history(ax: &mut AdminCtx) -> CmdResult {
    let events = ax.core.stats.latency.events();
    let name = String::from_utf8_lossy(ax.cx.args.word(2)).into_owned();
    let Some(event) = events.get(name.as_str()) else { return Ok(ax.cx.reply.empty_array()) };
    let reply = &mut *ax.cx.reply;
    reply.array(event.samples.len());
    for (secs, ms) in &event.samples {
        reply.array(2);
        let _ = reply.int(*secs as i64);
        let _ = reply.int(*ms as i64);
    }
    Ok(reply.done())
}

/// LATENCY RESET \[event ...\]
fn latency_reset(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let names: Vec<&[u8]> = ax.cx.args.remaining().collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|asked| is_word(asked, name));
    Ok(ax.cx.reply.count(ax.core.stats.latency.forget(wanted)))
}

/// LATENCY GRAPH event
fn latency_graph(ax: &mut AdminCtx) -> CmdResult {
    let name = String::from_utf8_lossy(ax.cx.args.word(2)).into_owned();
    let events = ax.core.stats.latency.events();
    let Some(event) = events.get(name.as_str()).filter(|event| !event.samples.is_empty()) else {
        return Err(CmdError::err(format_args!("No samples available for event '{name}'")));
    };
    let text = graph(&name, event, clock::unix_us() / 1_000_000);
    Ok(ax.cx.reply.verbatim("txt", text.as_bytes()))
}

/// Samples a graph shows: the newest.
const GRAPH_COLUMNS: usize = 80;
/// Lines of its bars.
const GRAPH_ROWS: u64 = 4;

/// A bar for each sample, and below it, from top to bottom, how long ago it was.
fn graph(name: &str, event: &Event, now_secs: u64) -> String {
    let skipped = event.samples.len().saturating_sub(GRAPH_COLUMNS);
    let samples: Vec<(u64, u64)> = event.samples.iter().skip(skipped).copied().collect();
    let high = samples.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
    let low = samples.iter().map(|(_, ms)| *ms).min().unwrap_or(0);
    let max = event.max_ms;
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {max} ms)\n");
    text.push_str(&"-".repeat(GRAPH_COLUMNS));
    text.push('\n');
    let span = (high - low).max(1);
    for row in (0..GRAPH_ROWS).rev() {
        let bar = |ms: u64| if (ms - low) * (GRAPH_ROWS - 1) / span >= row { '#' } else { ' ' };
        text.extend(samples.iter().map(|(_, ms)| bar(*ms)));
        text.push('\n');
    }
    let ages: Vec<String> =
        samples.iter().map(|(at, _)| age(now_secs.saturating_sub(*at))).collect();
    let lines = ages.iter().map(String::len).max().unwrap_or(0);
    for line in 0..lines {
        text.push('\n');
        text.extend(ages.iter().map(|age| age.chars().nth(line).unwrap_or(' ')));
    }
    text.push('\n');
    text
}

/// A number of seconds in its largest unit.
fn age(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..86_400 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// LATENCY DOCTOR
fn latency_doctor(ax: &mut AdminCtx) -> CmdResult {
    let mut text = String::new();
    if ax.core.config.load().latency_monitor_threshold == 0 {
        text.push_str(
            "Events are not sampled: latency-monitor-threshold is 0. LATENCY HISTOGRAM and SLOWLOG \
             tell about commands.\n",
        );
    }
    for (name, event) in ax.core.stats.latency.events() {
        let count = event.samples.len().max(1) as u64;
        let mean = event.samples.iter().map(|(_, ms)| ms).sum::<u64>() / count;
        let max = event.max_ms;
        text.push_str(&format!("{name}: {count} samples, mean {mean} ms, worst {max} ms.\n"));
    }
    if text.is_empty() {
        text.push_str("Nothing has passed latency-monitor-threshold.\n");
    }
    Ok(ax.cx.reply.verbatim("txt", text.as_bytes()))
}

/// LATENCY HISTOGRAM \[command ...\]
fn latency_histogram(ax: &mut AdminCtx) -> CmdResult {
    ax.cx.args.bytes()?;
    let core = ax.core;
    let rows: Vec<&Row> = if ax.cx.args.is_done() {
        core.commands.rows().iter().collect()
    } else {
        let mut rows = Vec::new();
        for name in ax.cx.args.remaining() {
            let Some(row) = core.commands.find_full(&String::from_utf8_lossy(name)) else {
                continue;
            };
            rows.push(row);
            rows.extend(row.subs.values().map(|index| &core.commands.rows()[*index]));
        }
        rows
    };
    let reply = &mut *ax.cx.reply;
    let opened = reply.open();
    let mut shown = 0;
    for row in rows {
        let sum = latencies(core, row.index);
        if sum.count() == 0 {
            continue;
        }
        shown += 1;
        let _ = reply.bulk(row.spec().name.as_bytes());
        reply.map(2);
        let _ = reply.bulk(b"calls");
        let _ = reply.int(sum.count() as i64);
        let _ = reply.bulk(b"histogram_usec");
        let steps = sum.cumulative_micros();
        reply.map(steps.len());
        for (micros, count) in steps {
            let _ = reply.int(micros as i64);
            let _ = reply.int(count as i64);
        }
    }
    Ok(reply.close_map(opened, shown))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    #[test]
    fn slow_commands_are_kept_newest_first() {
        let mut house = House::new();
        house.run("client setname me");
        house.run("config set slowlog-log-slower-than 0 slowlog-max-len 2");
        house.run("slowlog reset");
        house.run("echo x");
        house.run("auth a b");
        let shown = house.run("slowlog get");
        assert!(shown.starts_with("*2|*6|:"), "{shown}");
        assert!(
            shown.contains("|*3|$4|auth|$10|(redacted)|$10|(redacted)|$11|127.0.0.1:1|$2|me|*6|")
        );
        assert!(shown.contains("|*2|$4|echo|$1|x|"));
        house.run("config set slowlog-log-slower-than -1");
        for (line, answer) in [
            ("slowlog reset", "+OK|"),
            ("slowlog len", ":0|"),
            ("slowlog get -2", "-ERR count should be greater than or equal to -1|"),
            ("slowlog get x", "-ERR count should be greater than or equal to -1|"),
            ("latency latest", "*0|"),
            ("latency reset", ":0|"),
            ("latency graph x", "-ERR No samples available for event 'x'|"),
        ] {
            assert_eq!(house.run(line), answer, "{line}");
        }
        assert!(house.run("latency histogram echo").starts_with("*2|$4|echo|*4|$5|calls|:1|"));
    }
}
