//! Settings whose values have a shape of their own.

use crate::config::value::{
    How, Kind, Line, Value, WRONG_COUNT, lenient_int, memory, memory_with_unit, not_among,
};

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal
        $(| $more:literal)*),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl crate::config::value::Choice for $name {
            const WORDS: &'static [(&'static str, Self)] =
                &[$(($word, $name::$variant), $(($more, $name::$variant),)*)*];
        }
    )*};
}

choices! {
    /// Which keys may be evicted, and which goes first.
    MaxmemoryPolicy {
        /// Keys with a deadline, least recently used first.
        VolatileLru = "volatile-lru",
        /// Keys with a deadline, least often used first.
        VolatileLfu = "volatile-lfu",
        /// Keys with a deadline, any.
        VolatileRandom = "volatile-random",
        /// Keys with a deadline, nearest deadline first.
        VolatileTtl = "volatile-ttl",
        /// All keys, least recently used first.
        AllkeysLru = "allkeys-lru",
        /// All keys, least often used first.
        AllkeysLfu = "allkeys-lfu",
        /// All keys, any.
        AllkeysRandom = "allkeys-random",
        /// None: writes are refused.
        Noeviction = "noeviction",
    }
    /// How much the log tells.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Much.
        Verbose = "verbose",
        /// What an operator plans around.
        Notice = "notice",
        /// What needs an eye.
        Warning = "warning",
        /// Nothing.
        Nothing = "nothing",
    }
    /// The shape of log lines.
    LogFormat {
        /// Redis's lines.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
    /// Who supervises the process.
    Supervised {
        /// Upstart.
        Upstart = "upstart",
        /// Systemd.
        Systemd = "systemd",
        /// Whoever the environment names.
        Auto = "auto",
        /// Nobody.
        No = "no",
    }
    /// When the append-only file is synced to the disk.
    AppendFsync {
        /// Each second.
        Everysec = "everysec",
        /// Before each reply.
        Always = "always",
        /// When the kernel likes.
        No = "no",
    }
    /// Where a replica puts what it receives in a full sync.
    DisklessLoad {
        /// Into a file first.
        Disabled = "disabled",
        /// Straight into memory when the dataset is empty.
        OnEmptyDb = "on-empty-db",
        /// Into memory beside the old data.
        Swapdb = "swapdb",
    }
    /// Whether TLS clients must show a certificate.
    TlsAuthClients {
        /// They need none.
        No = "no",
        /// They must.
        Yes = "yes",
        /// They may.
        Optional = "optional",
    }
    /// Whether the process tells the kernel how readily to kill it.
    OomScoreAdj {
        /// Leave it alone.
        No = "no",
        /// Add to what it was at start.
        Relative = "yes" | "relative",
        /// Set it.
        Absolute = "absolute",
    }
    /// Which channels a new user may use.
    PubsubDefault {
        /// All.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }
    /// Whether the insides of dumped values are checked in full.
    Sanitize {
        /// Never.
        No = "no",
        /// Always.
        Yes = "yes",
        /// When a client sent them.
        Clients = "clients",
    }
    /// Who may do what could harm the machine.
    Permission {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from this machine.
        Local = "local",
    }
    /// What a cluster node calls itself.
    EndpointType {
        /// Its address.
        Ip = "ip",
        /// Its host name.
        Hostname = "hostname",
        /// Nothing.
        Unknown = "unknown-endpoint",
    }
    /// What happens when a replicated command fails.
    PropagationError {
        /// It is logged.
        Ignore = "ignore",
        /// The process ends.
        Panic = "panic",
        /// The process ends when it is a replica.
        PanicOnReplicas = "panic-on-replicas",
    }
    /// The syslog facility.
    #[expect(missing_docs, reason = "the names are syslog's")]
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}

/// What a signal that ends the process asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOn {
    /// Save even without save points.
    pub save: bool,
    /// Do not save.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// End even when saving fails.
    pub force: bool,
}

/// The field a word sets; "default" sets none.
type ShutdownField = fn(&mut ShutdownOn) -> Option<&mut bool>;

/// The words of `shutdown-on-*`, in the order they are shown.
const SHUTDOWN_WORDS: [(&str, ShutdownField); 5] = [
    ("default", |_| None),
    ("save", |on| Some(&mut on.save)),
    ("nosave", |on| Some(&mut on.nosave)),
    ("now", |on| Some(&mut on.now)),
    ("force", |on| Some(&mut on.force)),
];

impl Value for ShutdownOn {
    fn show(&self, _: Kind) -> Vec<u8> {
        let mut this = *self;
        let names: Vec<&str> = SHUTDOWN_WORDS
            .iter()
            .filter(|(_, field)| field(&mut this).is_some_and(|set| *set))
            .map(|(name, _)| *name)
            .collect();
        let text = if names.is_empty() { "default".into() } else { names.join(" ") };
        text.into_bytes()
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<ShutdownOn, String> {
        let mut on = ShutdownOn::default();
        if words.is_empty() {
            return Err(not_among(&SHUTDOWN_WORDS));
        }
        for word in words {
            let known = SHUTDOWN_WORDS
                .iter()
                .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
                .ok_or_else(|| not_among(&SHUTDOWN_WORDS))?;
            if let Some(field) = known.1(&mut on) {
                *field = true;
            }
        }
        if on.save && on.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        Ok(on)
    }
}

/// "After so many seconds if at least so many changes."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot.
    pub seconds: u64,
    /// Changes since then.
    pub changes: u64,
}

/// A point from two numbers.
pub(super) const fn point(seconds: u64, changes: u64) -> SavePoint {
    SavePoint { seconds, changes }
}

impl Value for Vec<SavePoint> {
    fn show(&self, _: Kind) -> Vec<u8> {
        let points = self.iter().map(|point| format!("{} {}", point.seconds, point.changes));
        points.collect::<Vec<_>>().join(" ").into_bytes()
    }

    fn read(&self, words: &[&[u8]], _: Kind, how: How) -> Result<Self, String> {
        let mut points = if how == How::Add { self.clone() } else { Vec::new() };
        if words == [b""] {
            return Ok(Vec::new());
        }
        let wrong = || "Invalid save parameters".to_string();
        let (pairs, rest) = words.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(wrong());
        }
        for [seconds, changes] in pairs {
            let seconds = lenient_int(seconds).filter(|seconds| *seconds >= 1).ok_or_else(wrong)?;
            let changes = lenient_int(changes).and_then(|changes| u64::try_from(changes).ok());
            points.push(point(seconds.unsigned_abs(), changes.ok_or_else(wrong)?));
        }
        Ok(points)
    }

    fn lines(&self, _: &Self, _: Kind) -> Vec<Line> {
        // Always written: without any line the next start would take the defaults.
        let line = |text: String| Line { text: text.into_bytes(), needed: true };
        if self.is_empty() {
            return vec![line("\"\"".into())];
        }
        self.iter().map(|point| line(format!("{} {}", point.seconds, point.changes))).collect()
    }
}

/// When a client that does not read its replies is cut off. 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// At once, beyond so many bytes.
    pub hard_bytes: u64,
    /// Beyond so many bytes ...
    pub soft_bytes: u64,
    /// ... for so many seconds.
    pub soft_seconds: u64,
}

impl OutputLimit {
    /// The same, but nobody is cut off for fewer bytes than these.
    pub fn at_least(self, bytes: u64) -> OutputLimit {
        let raised = |limit: u64| if limit == 0 { 0 } else { limit.max(bytes) };
        OutputLimit {
            hard_bytes: raised(self.hard_bytes),
            soft_bytes: raised(self.soft_bytes),
            soft_seconds: self.soft_seconds,
        }
    }
}

/// The output limits of each class of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients subscribed to channels.
    pub pubsub: OutputLimit,
}

impl Default for OutputLimits {
    fn default() -> OutputLimits {
        let limit = |hard_bytes, soft_bytes, soft_seconds| OutputLimit {
            hard_bytes,
            soft_bytes,
            soft_seconds,
        };
        OutputLimits {
            normal: limit(0, 0, 0),
            replica: limit(256 << 20, 64 << 20, 60),
            pubsub: limit(32 << 20, 8 << 20, 60),
        }
    }
}

impl OutputLimits {
    fn classes(&self) -> [(&'static str, OutputLimit); 3] {
        [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)]
    }
}

impl Value for OutputLimits {
    fn show(&self, _: Kind) -> Vec<u8> {
        let classes = self.classes().map(|(name, limit)| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        });
        classes.join(" ").into_bytes()
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<OutputLimits, String> {
        let mut limits = *self;
        let (groups, rest) = words.as_chunks::<4>();
        if !rest.is_empty() {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for [class, hard, soft, seconds] in groups {
            let class = match class.to_ascii_lowercase().as_slice() {
                b"normal" => &mut limits.normal,
                b"slave" | b"replica" => &mut limits.replica,
                b"pubsub" => &mut limits.pubsub,
                _ => {
                    return Err(
                        "Invalid client class specified in buffer limit configuration.".into()
                    );
                }
            };
            let seconds = lenient_int(seconds).and_then(|seconds| u64::try_from(seconds).ok());
            let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) =
                (memory(hard), memory(soft), seconds)
            else {
                return Err("Error in hard, soft or soft_seconds setting in buffer limit \
                            configuration."
                    .into());
            };
            *class = OutputLimit { hard_bytes, soft_bytes, soft_seconds };
        }
        Ok(limits)
    }

    fn lines(&self, default: &Self, _: Kind) -> Vec<Line> {
        let lines = self.classes().into_iter().zip(default.classes());
        let lines = lines.map(|((name, limit), (_, default))| {
            let name = if name == "slave" { "replica" } else { name };
            let hard = memory_with_unit(limit.hard_bytes.into());
            let soft = memory_with_unit(limit.soft_bytes.into());
            let text = format!("{name} {hard} {soft} {}", limit.soft_seconds).into_bytes();
            Line { text, needed: limit != default }
        });
        lines.collect()
    }
}

/// Words joined by spaces when shown.
fn shown<T: ToString>(values: &[T]) -> Vec<u8> {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ").into_bytes()
}

/// `oom-score-adj-values`: of a primary, of a replica, of a child that saves.
impl Value for [i32; 3] {
    fn show(&self, _: Kind) -> Vec<u8> {
        shown(self)
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<Self, String> {
        let words: &[&[u8]; 3] = words.try_into().map_err(|_| WRONG_COUNT)?;
        let mut scores = [0; 3];
        for (score, word) in scores.iter_mut().zip(words) {
            *score = lenient_int(word)
                .and_then(|score| i32::try_from(score).ok())
                .filter(|score| (-2000..=2000).contains(score))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        Ok(scores)
    }
}

/// The classes of keyspace events that are published, as Redis numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFlags(pub u16);

/// Letters and bits, in the order CONFIG GET shows them.
const NOTIFY_LETTERS: [(u8, u16); 14] = [
    (b'g', 1 << 2),
    (b'$', 1 << 3),
    (b'l', 1 << 4),
    (b's', 1 << 5),
    (b'h', 1 << 6),
    (b'z', 1 << 7),
    (b'x', 1 << 8),
    (b'e', 1 << 9),
    (b't', 1 << 10),
    (b'd', 1 << 13),
    (b'n', 1 << 14),
    (b'K', 1),
    (b'E', 1 << 1),
    (b'm', 1 << 11),
];

impl NotifyFlags {
    /// What the letter `A` stands for: all but key misses and new keys.
    pub const ALL: NotifyFlags = NotifyFlags(0x27fc);

    /// Whether any of `bits` is in this set.
    pub const fn has_any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }
}

impl Value for NotifyFlags {
    fn show(&self, _: Kind) -> Vec<u8> {
        let all = self.0 & NotifyFlags::ALL.0 == NotifyFlags::ALL.0;
        let covered = if all { NotifyFlags::ALL.0 | 1 << 14 } else { 0 };
        let letters = NOTIFY_LETTERS.iter().filter(|(_, bit)| self.0 & bit & !covered != 0);
        all.then_some(b'A').into_iter().chain(letters.map(|(letter, _)| *letter)).collect()
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<NotifyFlags, String> {
        let [word] = words else { return Err(WRONG_COUNT.into()) };
        let mut flags = 0;
        for byte in *word {
            let known = NOTIFY_LETTERS.iter().find(|(letter, _)| letter == byte);
            flags |= match (byte, known) {
                (b'A', _) => NotifyFlags::ALL.0,
                (_, Some((_, bit))) => *bit,
                _ => {
                    return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_string());
                }
            };
        }
        Ok(NotifyFlags(flags))
    }

    fn lines(&self, default: &Self, kind: Kind) -> Vec<Line> {
        let text = [b"\"", self.show(kind).as_slice(), b"\""].concat();
        vec![Line { text, needed: self != default }]
    }
}

/// Most addresses `bind` takes.
const BIND_ADDRESSES_MAX: usize = 16;

/// `bind`: addresses; one that starts with `-` may be missing on this machine.
impl Value for Vec<String> {
    fn show(&self, _: Kind) -> Vec<u8> {
        shown(self)
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<Self, String> {
        if words.len() > BIND_ADDRESSES_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        let words = if words == [b""] { &[] } else { words };
        Ok(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    fn lines(&self, default: &Self, kind: Kind) -> Vec<Line> {
        if self == default {
            return Vec::new();
        }
        let text = if self.is_empty() { b"\"\"".to_vec() } else { self.show(kind) };
        vec![Line { text, needed: true }]
    }
}

/// Whom a replica follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Value for Option<Primary> {
    fn show(&self, _: Kind) -> Vec<u8> {
        let text = self.as_ref().map(|primary| format!("{} {}", primary.host, primary.port));
        text.unwrap_or_default().into_bytes()
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<Self, String> {
        let [host, port] = words else { return Err(WRONG_COUNT.into()) };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            return Ok(None);
        }
        let port = lenient_int(port).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or("Invalid master port")?;
        Ok(Some(Primary { host: String::from_utf8_lossy(host).into_owned(), port }))
    }

    fn lines(&self, _: &Self, kind: Kind) -> Vec<Line> {
        let line = |_: &Primary| Line { text: self.show(kind), needed: true };
        self.iter().map(line).collect()
    }
}

/// `latency-tracking-info-percentiles`.
impl Value for Vec<f64> {
    fn show(&self, _: Kind) -> Vec<u8> {
        let number = |value: &f64| {
            let text = format!("{value:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        };
        shown(&self.iter().map(number).collect::<Vec<_>>())
    }

    fn read(&self, words: &[&[u8]], _: Kind, _: How) -> Result<Self, String> {
        let words = if words == [b""] { &[] } else { words };
        let read = |word: &&[u8]| {
            let value = std::str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
            let value = value
                .filter(|value| value.is_finite())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if (0.0..=100.0).contains(&value) {
                Ok(value)
            } else {
                Err("latency-tracking-info-percentiles parameters should sit between \
                     [0.0,100.0]"
                    .to_string())
            }
        };
        words.iter().map(read).collect()
    }

    fn lines(&self, default: &Self, kind: Kind) -> Vec<Line> {
        let text = if self.is_empty() { b"\"\"".to_vec() } else { self.show(kind) };
        vec![Line { text, needed: self != default }]
    }
}

/// `activedefrag`: yes is refused, as by a Redis whose allocator cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defrag(pub bool);

impl Value for Defrag {
    fn show(&self, kind: Kind) -> Vec<u8> {
        self.0.show(kind)
    }

    fn read(&self, words: &[&[u8]], kind: Kind, how: How) -> Result<Defrag, String> {
        if self.0.read(words, kind, how)? {
            return Err("Active defragmentation cannot be enabled: it requires a Redis server \
                        compiled with a modified Jemalloc like the one shipped by default with \
                        the Redis source distribution"
                .into());
        }
        Ok(Defrag(false))
    }
}
