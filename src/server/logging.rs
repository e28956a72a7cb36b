//! The log: events of `tracing` as Redis's lines, or as JSON.
//!
//! One event is one `write(2)` to standard output or to the log file, which is opened for each, so
//! that it can be moved away while the server runs. A forked child must not log through here.
#![allow(unsafe_code)] // One block: the local time of day comes from libc's `localtime_r`.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::base::clock::unix_us;
use crate::config::{Config, LogFormat, LogLevel};

/// What the process is, as each line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A primary.
    Primary,
    /// A replica.
    Replica,
    /// A child that saves.
    Child,
}

impl Role {
    const fn letter(self) -> u8 {
        match self {
            Role::Primary => b'M',
            Role::Replica => b'S',
            Role::Child => b'C',
        }
    }
}

static ROLE: AtomicU8 = AtomicU8::new(Role::Primary.letter());
/// Whether lines are JSON.
static JSON: AtomicBool = AtomicBool::new(false);
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Notice as u8);

/// From now on lines tell this role.
pub fn set_role(role: Role) {
    ROLE.store(role.letter(), Relaxed);
}

/// From now on only events of this level and above are written.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// From now on lines have this shape.
pub fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Relaxed);
}

/// Begins to log as the configuration says.
pub fn init(config: &Config) -> io::Result<()> {
    let layer = LogLayer { json: &JSON, to: Sink::open(config)? };
    set_format(config.log_format);
    set_level(config.loglevel);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .map_err(io::Error::other)?;
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

/// The greeting of `always-show-logo yes`, straight to the log and without a time.
pub fn greeting(config: &Config, redis_version: &str, rekeep_version: &str) -> String {
    format!(
        "\n  Rekeep {rekeep_version}, compatible with Redis {redis_version}, {} bit\n  \
         Running in standalone mode\n  Port: {}\n  PID: {}\n\n",
        usize::BITS,
        config.port,
        std::process::id()
    )
}

/// Writes `text` as it is to where the log goes.
pub fn write_raw(config: &Config, text: &str) -> io::Result<()> {
    Sink::open(config)?.write(text.as_bytes())
}

/// Where lines go.
enum Sink {
    Stdout(File),
    File(PathBuf),
}

impl Sink {
    fn open(config: &Config) -> io::Result<Sink> {
        if config.logfile.is_empty() {
            // Not the locked and buffered handle of std: a line is one write, whoever else prints.
            return Ok(Sink::Stdout(File::from(io::stdout().as_fd().try_clone_to_owned()?)));
        }
        let path = std::path::absolute(config.logfile.to_path())?;
        append_to(&path)?;
        Ok(Sink::File(path))
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout(file) => (&*file).write_all(line),
            Sink::File(path) => append_to(path)?.write_all(line),
        }
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Our own level of an event.
fn level_of(level: Level) -> LogLevel {
    match level {
        Level::TRACE => LogLevel::Debug,
        Level::DEBUG => LogLevel::Verbose,
        Level::INFO => LogLevel::Notice,
        Level::WARN | Level::ERROR => LogLevel::Warning,
    }
}

const fn level_sign(level: LogLevel) -> char {
    match level {
        LogLevel::Debug => '.',
        LogLevel::Verbose => '-',
        LogLevel::Notice => '*',
        LogLevel::Warning | LogLevel::Nothing => '#',
    }
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Verbose => "verbose",
        LogLevel::Notice => "notice",
        LogLevel::Warning | LogLevel::Nothing => "warning",
    }
}

/// Libraries are heard only when they warn.
fn is_written(metadata: &Metadata<'_>) -> bool {
    let level = level_of(*metadata.level());
    let ours = metadata.target().starts_with("rekeep");
    level as u8 >= LEVEL.load(Relaxed) && (ours || level == LogLevel::Warning)
}

struct LogLayer {
    json: &'static AtomicBool,
    to: Sink,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_written(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_written(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Relaxed) {
            0 => LevelFilter::TRACE,
            1 => LevelFilter::DEBUG,
            2 => LevelFilter::INFO,
            3 => LevelFilter::WARN,
            _ => LevelFilter::OFF,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let head = Head {
            pid: std::process::id(),
            role: char::from(ROLE.load(Relaxed)),
            level: level_of(*event.metadata().level()),
            at: Moment::local(unix_us()),
        };
        let line = match self.json.load(Relaxed) {
            false => {
                let mut words = Words::default();
                event.record(&mut words);
                head.text(&words)
            }
            true => {
                let mut fields = Fields(Map::new());
                event.record(&mut fields);
                head.json(fields.0)
            }
        };
        // When the log cannot be written, there is nowhere to say so.
        let _ = self.to.write(line.as_bytes());
    }
}

/// What every line begins with.
struct Head {
    pid: u32,
    role: char,
    level: LogLevel,
    at: Moment,
}

impl Head {
    fn text(&self, words: &Words) -> String {
        let sign = level_sign(self.level);
        format!("{}:{} {} {sign} {}{}\n", self.pid, self.role, self.at, words.message, words.rest)
    }

    fn json(&self, mut fields: Map<String, Value>) -> String {
        let message = fields.remove("message").unwrap_or_default();
        let mut object = json!({
            "time": self.at.iso(),
            "pid": self.pid,
            "role": self.role.to_string(),
            "level": level_name(self.level),
            "message": message,
        });
        if let Some(object) = object.as_object_mut() {
            for (name, value) in fields {
                object.entry(name).or_insert(value);
            }
        }
        format!("{object}\n")
    }
}

/// An event as text: its message, and its fields as ` key=value`.
#[derive(Default)]
struct Words {
    message: String,
    rest: String,
}

impl Words {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value}")
        } else {
            write!(self.rest, " {}={value}", field.name())
        };
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// An event as JSON.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment as the wall clock of this place shows it.
struct Moment {
    year: i32,
    /// From 0.
    month: usize,
    day: i32,
    hour: i32,
    minute: i32,
    second: i32,
    millisecond: u64,
    /// Minutes east of Greenwich.
    offset: i64,
}

impl Moment {
    fn local(us: u64) -> Moment {
        let seconds = libc::time_t::try_from(us / 1_000_000).unwrap_or(0);
        // SAFETY: `tm` is plain numbers and a pointer that may be null, so zeros are a value of it;
        // `localtime_r` reads `seconds` and writes `tm`, both of which live across the call.
        let tm = unsafe {
            let mut tm: libc::tm = std::mem::zeroed();
            libc::localtime_r(&raw const seconds, &raw mut tm);
            tm
        };
        Moment {
            year: tm.tm_year.saturating_add(1900),
            month: usize::try_from(tm.tm_mon).unwrap_or(0),
            day: tm.tm_mday,
            hour: tm.tm_hour,
            minute: tm.tm_min,
            second: tm.tm_sec,
            millisecond: us / 1000 % 1000,
            offset: tm.tm_gmtoff / 60,
        }
    }

    fn iso(&self) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let offset = self.offset.unsigned_abs();
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}{sign}{:02}:{:02}",
            self.year,
            self.month + 1,
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.millisecond,
            offset / 60,
            offset % 60
        )
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let month = MONTHS.get(self.month).unwrap_or(&"???");
        write!(
            to,
            "{:02} {month} {} {:02}:{:02}:{:02}.{:03}",
            self.day, self.year, self.hour, self.minute, self.second, self.millisecond
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(format: &str, level: LogLevel, act: fn()) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let text = format!("logfile {}\nlog-format {format}", path.display());
        let config = crate::config::file::parse(text.as_bytes()).unwrap();
        let json = Box::leak(Box::new(AtomicBool::new(config.log_format == LogFormat::Json)));
        let layer = LogLayer { json, to: Sink::open(&config).unwrap() };
        let log = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(log, || {
            set_level(level);
            act();
        });
        std::fs::read_to_string(path).unwrap()
    }

    // One test, for the level is the process's.
    #[test]
    fn lines_are_redis_s_and_the_level_changes_at_run_time() {
        let text = logged("text", LogLevel::Notice, || {
            tracing::info!("Ready to accept connections {}", "tcp");
            tracing::debug!("unheard");
            set_level(LogLevel::Verbose);
            tracing::debug!(port = 7, "heard");
            set_level(LogLevel::Nothing);
            tracing::error!("unheard");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let (head, message) = lines[0].split_once(" * ").unwrap();
        assert_eq!(message, "Ready to accept connections tcp");
        let words: Vec<&str> = head.split(' ').collect();
        assert_eq!(words[0], format!("{}:M", std::process::id()));
        assert_eq!((words.len(), words[4].len()), (5, "12:34:56.789".len()));
        assert!(lines[1].ends_with(" - heard port=7"), "{text}");

        let text = logged("json", LogLevel::Notice, || {
            tracing::warn!(file = "a\"b", bytes = 3, "not synced");
        });
        let value: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&value["level"], &value["message"]), (&json!("warning"), &json!("not synced")));
        assert_eq!((&value["file"], &value["bytes"]), (&json!("a\"b"), &json!(3)));
    }

    #[test]
    fn greeting_names_the_process() {
        let text = greeting(&Config::default(), "7.4.1", "0.1.0");
        assert!(text.contains(&format!(" PID: {}\n", std::process::id())));
    }
}
