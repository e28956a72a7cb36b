//! INFO: a table of sections, each a function that writes its fields in Redis's order.

mod clients;
mod memory;
pub mod persistence;
mod server;
pub mod stats;

use std::fmt::{Display, Write as _};

use crate::engine::command::Command;
use crate::engine::context::AdminCtx;
use crate::resp::reply::CmdResult;
use crate::spec::Arity::AtLeast;
use crate::spec::{Cat, Group, Spec};

/// The rows.
pub const COMMANDS: &[Command] = &[Command::admin(
    info,
    Spec::new("info", Group::Server, AtLeast(1))
        .loading()
        .stale()
        .all_shards()
        .category(Cat::Dangerous)
        .tip("nondeterministic_output")
        .tip("request_policy:all_shards")
        .tip("response_policy:special")
        .since("1.0.0"),
)];

/// When a section is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Without arguments, and by `default`.
    Always,
    /// By `all` and `everything`.
    WithAll,
    /// By its name only.
    Named,
}

struct Section {
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut AdminCtx, &mut Fields),
}

const fn section(
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut AdminCtx, &mut Fields),
) -> Section {
    Section { name, title, shown, write }
}

const SECTIONS: &[Section] = &[
    section("server", "Server", Shown::Always, server::server),
    section("clients", "Clients", Shown::Always, clients::clients),
    section("memory", "Memory", Shown::Always, memory::memory),
    section("persistence", "Persistence", Shown::Always, |ax, out| {
        persistence::persistence(ax.core, out);
    }),
    section("stats", "Stats", Shown::Always, stats::stats),
    section("replication", "Replication", Shown::Always, server::replication),
    section("cpu", "CPU", Shown::Always, server::cpu),
    section("modules", "Modules", Shown::Always, |_, _| {}),
    section("commandstats", "Commandstats", Shown::WithAll, stats::commandstats),
    section("errorstats", "Errorstats", Shown::Always, stats::errorstats),
    section("latencystats", "Latencystats", Shown::WithAll, stats::latencystats),
    section("cluster", "Cluster", Shown::Always, |_, out| out.put("cluster_enabled", 0)),
    section("keyspace", "Keyspace", Shown::Always, stats::keyspace),
    section("debug", "Debug", Shown::Named, stats::debug),
];

/// The text of INFO as it grows.
#[derive(Default)]
pub struct Fields(String);

impl Fields {
    /// Adds a field.
    pub fn put(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    fn title(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        let _ = write!(self.0, "# {title}\r\n");
    }
}

/// INFO \[section ...\]
fn info(ax: &mut AdminCtx) -> CmdResult {
    let asked: Vec<String> = ax
        .cx
        .args
        .remaining()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let has = |name: &str| asked.iter().any(|asked| asked == name);
    let (everything, all) = (has("everything"), has("all"));
    let by_default = asked.is_empty() || has("default");
    let mut out = Fields::default();
    for section in SECTIONS {
        let shown = match section.shown {
            // `all` leaves the modules out, `everything` does not.
            Shown::Always if section.name == "modules" => by_default || everything,
            Shown::Always => by_default || all || everything,
            Shown::WithAll => all || everything,
            Shown::Named => false,
        };
        if shown || has(section.name) {
            out.title(section.title);
            (section.write)(ax, &mut out);
        }
    }
    Ok(ax.cx.reply.verbatim("txt", out.0.as_bytes()))
}

#[cfg(test)]
mod tests {
    use crate::command::house::House;

    /// Fields of Redis 7.4 that a server shows only in some state, or that are ours to leave out.
    const CONDITIONAL: &[&str] = &["listener0", "get", "set"];

    fn is_fixed(field: &&str) -> bool {
        let of_commands = ["cmdstat_", "latency_percentiles_usec_"];
        !CONDITIONAL.contains(field) && !of_commands.iter().any(|start| field.starts_with(start))
    }

    #[test]
    fn sections_are_those_asked_for() {
        let mut house = House::new();
        let titles = |text: &str| -> Vec<String> {
            text.split('|').filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect()
        };
        let all = titles(&house.run("info"));
        assert_eq!(all.first().map(String::as_str), Some("Server"));
        assert_eq!(all.last().map(String::as_str), Some("Keyspace"));
        assert!(!all.contains(&"Commandstats".to_owned()));
        assert_eq!(titles(&house.run("info CPU nonsense keyspace")), ["CPU", "Keyspace"]);
        assert!(titles(&house.run("info everything")).contains(&"Latencystats".to_owned()));
        house.run("set k v");
        assert!(
            house.run("info keyspace").contains("|db0:keys=1,expires=0,avg_ttl=0,subexpiry=0|")
        );
        assert!(house.run("info commandstats").contains("|cmdstat_set:calls=1,usec="));
        house.run("get");
        assert!(house.run("info errorstats").contains("|errorstat_ERR:count=1|"));
    }

    #[test]
    fn fields_stand_in_redis_s_order() {
        let Ok(text) = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/facts/info-fields.json"
        )) else {
            return;
        };
        let fields: Vec<String> = serde_json::from_str(&text).unwrap();
        let mut house = House::new();
        house.run("config set hz 10");
        house.run("config get hz");
        house.run("nonsense");
        let shown = house.run("info everything");
        let shown: Vec<&str> = shown
            .split('|')
            .filter(|line| !line.is_empty() && !line.starts_with('$'))
            .map(|line| line.split(':').next().unwrap_or(line))
            .collect();
        let wanted: Vec<&str> = fields.iter().map(String::as_str).filter(is_fixed).collect();
        // What Redis has no field for.
        let more = ["last_run_end", "last_verified_snapshot_time"];
        let shown = shown.into_iter().filter(|name| !more.contains(name));
        let ours: Vec<&str> = shown.filter(is_fixed).collect();
        assert_eq!(ours, wanted);
    }
}
