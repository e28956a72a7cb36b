//! The table of settings: every name, its type, default, bounds and meaning, once.

use crate::config::special::*;
use crate::config::table::{Setting, Traits, read_into, settings};
use crate::config::value::{Kind, Share, Text, Value};

const INT_MIN: i128 = i32::MIN as i128;
const INT_MAX: i128 = i32::MAX as i128;
const UINT_MAX: i128 = u32::MAX as i128;
const LONG_MAX: i128 = i64::MAX as i128;
const ULONG_MAX: i128 = u64::MAX as i128;

const NO_CLUSTER: &str = "Rekeep is a primary or a replica, never a cluster";
const NO_TLS: &str = "TLS is not there yet";
const VIA_FILE: &str = "a full sync goes through a file, at once, and one file serves all who wait";
const FREED_APART: &str = "large values that are removed are always freed by another thread";
const NO_USER_DATA: &str = "the report of a crash holds no keys and values in any case";
const NO_DEFRAG: &str = "values are not moved; huge pages keep the heap compact";

settings! {
    config {
        // Network
        /// Addresses to listen on. `*` is every IPv4 address, `::*` every IPv6 one; a leading `-`
        /// lets a missing address pass.
        bind: Vec<String> = bind_default(), "bind", Kind::Plain, Traits::RUN.and(Traits::WORDS);
        /// TCP port to listen on; 0 means none.
        port: u16 = 6379, "port", Kind::Int(0, 65535), Traits::RUN;
        /// Without a password, serve only clients of this machine.
        // The image is built with `no`: there, published ports decide who reaches the server.
        protected_mode: bool = !matches!(option_env!("REKEEP_PROTECTED_MODE"), Some("no")),
            "protected-mode", Kind::Plain, Traits::RUN;
        /// Path of a Unix socket to listen on; empty means none.
        unixsocket: Text = Text::default(), "unixsocket", Kind::Plain, Traits::START;
        /// Permissions of the Unix socket, in octal; 0 leaves them to the umask.
        unixsocketperm: u32 = 0, "unixsocketperm", Kind::Octal(0, 0o777), Traits::START;
        /// Connections the kernel may hold before they are accepted.
        tcp_backlog: i32 = 511, "tcp-backlog", Kind::Int(0, INT_MAX), Traits::START;
        /// Seconds of silence after which TCP asks whether a client is still there; 0 never asks.
        tcp_keepalive: i32 = 300, "tcp-keepalive", Kind::Int(0, INT_MAX), Traits::RUN;
        /// Seconds after which an idle client is disconnected; 0 means never.
        timeout: i32 = 0, "timeout", Kind::Int(0, INT_MAX), Traits::RUN;
        /// Most clients connected at once.
        maxclients: u32 = 10000, "maxclients", Kind::Int(1, UINT_MAX), Traits::RUN;
        /// Connections accepted before other work gets its turn.
        max_new_connections_per_cycle: u32 = 10,
            "max-new-connections-per-cycle", Kind::Int(1, 1000), Traits::RUN, idle "each listener accepts on a task of its own and starves nobody";
        /// TLS connections accepted before other work gets its turn.
        max_new_tls_connections_per_cycle: u32 = 1,
            "max-new-tls-connections-per-cycle", Kind::Int(1, 1000), Traits::RUN, idle "each listener accepts on a task of its own and starves nobody";
        /// Local address of outgoing connections; empty lets the kernel choose.
        bind_source_addr: Text = Text::default(), "bind-source-addr", Kind::Plain, Traits::RUN;
        /// Mark of listening sockets, for packet filters; 0 means none.
        socket_mark_id: u32 = 0,
            "socket-mark-id", Kind::Int(0, UINT_MAX), Traits::START, idle "sockets are not marked";
        /// Threads that serve clients, each running the commands of its own. (Redis means something
        /// else by it: threads that read and write for the one that runs commands.) The default is
        /// one fewer than the machine has cores, at least 1, at most 8.
        io_threads: usize = threads_default(), "io-threads", Kind::Int(1, 128), Traits::START;
        /// Whether I/O threads also read.
        io_threads_do_reads: bool = false,
            "io-threads-do-reads", Kind::Plain, Traits::START, idle "every thread reads, runs and replies for its own clients";
        // TLS
        /// TCP port to listen on for TLS; 0 means none.
        tls_port: u16 = 0, "tls-port", Kind::Int(0, 65535), Traits::RUN, idle NO_TLS;
        /// Certificate the server shows, a PEM file.
        tls_cert_file: Text = Text::default(), "tls-cert-file", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Private key of the certificate, a PEM file.
        tls_key_file: Text = Text::default(), "tls-key-file", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Password of the private key.
        tls_key_file_pass: Text = Text::default(),
            "tls-key-file-pass", Kind::Plain, Traits::RUN.and(Traits::SECRET), idle "only keys without a password are read";
        /// Certificate for outgoing connections, when another one is wanted.
        tls_client_cert_file: Text = Text::default(),
            "tls-client-cert-file", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Private key for outgoing connections.
        tls_client_key_file: Text = Text::default(),
            "tls-client-key-file", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Password of the private key for outgoing connections.
        tls_client_key_file_pass: Text = Text::default(),
            "tls-client-key-file-pass", Kind::Plain, Traits::RUN.and(Traits::SECRET), idle "only keys without a password are read";
        /// Diffie-Hellman parameters.
        tls_dh_params_file: Text = Text::default(),
            "tls-dh-params-file", Kind::Plain, Traits::RUN, idle "only elliptic curves are used";
        /// Certificates of the authorities that are trusted, a PEM file.
        tls_ca_cert_file: Text = Text::default(), "tls-ca-cert-file", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Directory of certificates of the authorities that are trusted.
        tls_ca_cert_dir: Text = Text::default(), "tls-ca-cert-dir", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Whether clients must show a certificate.
        tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes,
            "tls-auth-clients", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Whether replicas connect to their primary with TLS.
        tls_replication: bool = false, "tls-replication", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Whether the cluster bus uses TLS.
        tls_cluster: bool = false, "tls-cluster", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Protocol versions that are accepted; empty means TLSv1.2 and TLSv1.3.
        tls_protocols: Text = Text::default(), "tls-protocols", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Ciphers of TLSv1.2.
        tls_ciphers: Text = Text::default(),
            "tls-ciphers", Kind::Plain, Traits::RUN, idle "the TLS library's own safe choice is used";
        /// Cipher suites of TLSv1.3.
        tls_ciphersuites: Text = Text::default(),
            "tls-ciphersuites", Kind::Plain, Traits::RUN, idle "the TLS library's own safe choice is used";
        /// Whether the server's order of ciphers decides.
        tls_prefer_server_ciphers: bool = false,
            "tls-prefer-server-ciphers", Kind::Plain, Traits::RUN, idle "the TLS library's own safe choice is used";
        /// Whether clients may resume sessions.
        tls_session_caching: bool = true, "tls-session-caching", Kind::Plain, Traits::RUN, idle NO_TLS;
        /// Sessions kept for resumption.
        tls_session_cache_size: i32 = 20480,
            "tls-session-cache-size", Kind::Int(0, INT_MAX), Traits::RUN, idle NO_TLS;
        /// Seconds a session is kept for resumption.
        tls_session_cache_timeout: i32 = 300,
            "tls-session-cache-timeout", Kind::Int(0, INT_MAX), Traits::RUN, idle "the TLS library decides";
        // General
        /// Go to the background.
        daemonize: bool = false, "daemonize", Kind::Plain, Traits::START;
        /// Tell upstart or systemd when the server is ready; auto asks the environment.
        supervised: Supervised = Supervised::No, "supervised", Kind::Plain, Traits::START;
        /// File that holds the process id; empty means none, in the background /var/run/redis.pid.
        pidfile: Text = Text::default(), "pidfile", Kind::Plain, Traits::START;
        /// Number of databases; SELECT takes 0 to this minus 1.
        databases: i32 = 16, "databases", Kind::Int(1, INT_MAX), Traits::START;
        /// Print the logo also when the log is not a terminal.
        always_show_logo: bool = false, "always-show-logo", Kind::Plain, Traits::START;
        /// Show the role and the address in the process title.
        set_proc_title: bool = true, "set-proc-title", Kind::Plain, Traits::START;
        /// What the process title says.
        proc_title_template: Text = text("{title} {listen-addr} {server-mode}"),
            "proc-title-template", Kind::Checked(title_template), Traits::RUN;
        /// Locale by which SORT ALPHA compares.
        locale_collate: Text = Text::default(),
            "locale-collate", Kind::Plain, Traits::RUN, idle "SORT ALPHA compares bytes";
        /// Names of startup warnings that do not stop the server.
        ignore_warnings: Text = Text::default(),
            "ignore-warnings", Kind::Plain, Traits::RUN, idle "no warning stops the server";
        /// How often a second background work runs, 1 to 500.
        hz: i32 = 10, "hz", Kind::Int(0, INT_MAX), Traits::RUN;
        /// Whether background work runs more often with many clients.
        dynamic_hz: bool = true, "dynamic-hz", Kind::Plain, Traits::RUN, idle "periodic work takes the same little time however many clients there are";
        /// Seconds a shutdown waits for replicas that lag.
        shutdown_timeout: i32 = 10, "shutdown-timeout", Kind::Int(0, INT_MAX), Traits::RUN;
        /// What SIGINT asks for: default, save, nosave, now, force.
        shutdown_on_sigint: ShutdownOn = ShutdownOn::default(),
            "shutdown-on-sigint", Kind::Plain, Traits::RUN.and(Traits::WORDS);
        /// What SIGTERM asks for: default, save, nosave, now, force.
        shutdown_on_sigterm: ShutdownOn = ShutdownOn::default(),
            "shutdown-on-sigterm", Kind::Plain, Traits::RUN.and(Traits::WORDS);
        // Log
        /// How much the log tells: debug, verbose, notice, warning or nothing.
        loglevel: LogLevel = LogLevel::Notice, "loglevel", Kind::Plain, Traits::RUN;
        /// File of the log; empty means standard output.
        logfile: Text = Text::default(), "logfile", Kind::Plain, Traits::START;
        /// Shape of the log: text as in Redis, or json, one object a line. (Rekeep only.)
        log_format: LogFormat = LogFormat::Text, "log-format", Kind::Plain, Traits::RUN;
        /// Whether the log also goes to syslog.
        syslog_enabled: bool = false,
            "syslog-enabled", Kind::Plain, Traits::START, idle "the log goes to standard output or to a file";
        /// Name in syslog.
        syslog_ident: Text = text("redis"),
            "syslog-ident", Kind::Plain, Traits::START, idle "the log goes to standard output or to a file";
        /// Facility in syslog.
        syslog_facility: SyslogFacility = SyslogFacility::Local0,
            "syslog-facility", Kind::Plain, Traits::START, idle "the log goes to standard output or to a file";
        /// Whether a crash writes a report into the log.
        crash_log_enabled: bool = true, "crash-log-enabled", Kind::Plain, Traits::RUN;
        /// Whether a crash report tests the memory.
        crash_memcheck_enabled: bool = true,
            "crash-memcheck-enabled", Kind::Plain, Traits::RUN, idle "no memory test is made";
        /// Whether keys and values are kept out of the log.
        hide_user_data_from_log: bool = false, "hide-user-data-from-log", Kind::Plain, Traits::RUN, idle NO_USER_DATA;
        // Snapshots
        /// Save a snapshot after so many seconds if at least so many changes were made; several
        /// pairs. An empty value means never.
        save: Vec<SavePoint> = vec![point(3600, 1), point(300, 100), point(60, 10000)],
            "save", Kind::Plain, Traits::RUN.and(Traits::WORDS).and(Traits::ADDS_UP);
        /// Name of the snapshot file.
        dbfilename: Text = text("dump.rdb"),
            "dbfilename", Kind::Checked(db_file_name), Traits::RUN.and(Traits::PROTECTED);
        /// Directory of all files the server writes.
        dir: Text = text("./"),
            "dir", Kind::Plain, Traits::RUN.and(Traits::PROTECTED).and(Traits::NOT_LOADING);
        /// Refuse writes when the last snapshot failed.
        stop_writes_on_bgsave_error: bool = true,
            "stop-writes-on-bgsave-error", Kind::Plain, Traits::RUN;
        /// Compress strings in snapshots.
        rdbcompression: bool = true, "rdbcompression", Kind::Plain, Traits::RUN;
        /// End snapshots with a checksum, and check it when loading.
        rdbchecksum: bool = true, "rdbchecksum", Kind::Plain, Traits::START;
        /// Version of the snapshot format that is written: 9 is read by Redis 5 and later, 10 by
        /// 7.0, 11 by 7.2, 12 by 7.4. Valkey 8 reads up to 11. Fields with deadlines need 12: at 11 a snapshot that
        /// has some is of version 12, below 11 it is refused. (Rekeep only.)
        rdb_version: i32 = 11, "rdb-version", Kind::Int(9, 12), Traits::RUN;
        /// Remove the snapshot files of replication when nothing else needs them.
        rdb_del_sync_files: bool = false, "rdb-del-sync-files", Kind::Plain, Traits::RUN, idle "the file of a full sync goes when it is loaded";
        /// Read a snapshot back from the disk before it replaces the last one.
        rdb_verify: bool = true, "rdb-verify", Kind::Plain, Traits::RUN;
        /// Processes that encode the keys of a snapshot, where each has at least 64 MB of them; 0: half as
        /// many as there are cores, at most 4. (Rekeep only.)
        rdb_save_processes: usize = 0, "rdb-save-processes", Kind::Int(0, 128), Traits::RUN;
        /// Sync a snapshot piece by piece while it is written.
        rdb_save_incremental_fsync: bool = true,
            "rdb-save-incremental-fsync", Kind::Plain, Traits::RUN;
        /// Check every byte of values that are loaded or restored: no, yes, or clients.
        sanitize_dump_payload: Sanitize = Sanitize::No,
            "sanitize-dump-payload", Kind::Plain, Traits::RUN, idle "what comes from outside is always checked";
        // Append-only file
        /// Write every change to the append-only file.
        appendonly: bool = false, "appendonly", Kind::Plain, Traits::RUN.and(Traits::NOT_LOADING);
        /// First part of the names of the append-only files.
        appendfilename: Text = text("appendonly.aof"),
            "appendfilename", Kind::Checked(aof_file_name), Traits::START;
        /// Directory, in `dir`, of the append-only files.
        appenddirname: Text = text("appendonlydir"),
            "appenddirname", Kind::Checked(aof_dir_name), Traits::START;
        /// When the file is synced to the disk: always (before each reply), everysec, or no.
        appendfsync: AppendFsync = AppendFsync::Everysec, "appendfsync", Kind::Plain, Traits::RUN;
        /// Do not sync while a child writes a snapshot or a new base.
        no_appendfsync_on_rewrite: bool = false,
            "no-appendfsync-on-rewrite", Kind::Plain, Traits::RUN;
        /// Rewrite the file when it has grown by so many percent; 0 means never.
        auto_aof_rewrite_percentage: i32 = 100,
            "auto-aof-rewrite-percentage", Kind::Int(0, INT_MAX), Traits::RUN;
        /// Do not rewrite a file smaller than this.
        auto_aof_rewrite_min_size: u64 = 64 << 20,
            "auto-aof-rewrite-min-size", Kind::Memory(0, LONG_MAX), Traits::RUN;
        /// Start with a file whose last command is cut off, and cut it.
        aof_load_truncated: bool = true, "aof-load-truncated", Kind::Plain, Traits::RUN;
        /// Write the base of the file in snapshot format.
        aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble", Kind::Plain, Traits::RUN;
        /// Note the time in the file, so that it can be cut at a moment.
        aof_timestamp_enabled: bool = false, "aof-timestamp-enabled", Kind::Plain, Traits::RUN;
        /// Give what each write carries a checksum, in a line that Redis takes for a comment.
        aof_checksums: bool = true, "aof-checksums", Kind::Plain, Traits::RUN;
        /// Make a snapshot that a child has written the base of the append-only file as well: one
        /// fork, and one file with two names. It needs aof-use-rdb-preamble. Never copy another
        /// file over dump.rdb then: remove it first, or the base is overwritten too.
        aof_rebase_on_save: bool = false, "aof-rebase-on-save", Kind::Plain, Traits::RUN;
        /// Rewrite the file when a start would replay its increments for longer than this, in
        /// seconds, going by the last start; 0 means never.
        aof_max_replay_seconds: u64 = 0,
            "aof-max-replay-seconds", Kind::Int(0, LONG_MAX), Traits::RUN;
        /// Sync a new base piece by piece while it is written.
        aof_rewrite_incremental_fsync: bool = true,
            "aof-rewrite-incremental-fsync", Kind::Plain, Traits::RUN;
        // Replication
        /// Address and port of the primary to follow.
        replicaof: Option<Primary> = None,
            "replicaof slaveof", Kind::Plain, Traits::START.and(Traits::WORDS);
        /// User to log in to the primary as.
        masteruser: Text = Text::default(),
            "masteruser", Kind::Plain, Traits::RUN.and(Traits::SECRET);
        /// Password to log in to the primary with.
        masterauth: Text = Text::default(),
            "masterauth", Kind::Plain, Traits::RUN.and(Traits::SECRET);
        /// Whether a replica answers while its link is down.
        replica_serve_stale_data: bool = true,
            "replica-serve-stale-data slave-serve-stale-data", Kind::Plain, Traits::RUN;
        /// Whether a replica refuses writes.
        replica_read_only: bool = true,
            "replica-read-only slave-read-only", Kind::Plain, Traits::RUN;
        /// Whether a replica frees its old data in the background.
        replica_lazy_flush: bool = false,
            "replica-lazy-flush slave-lazy-flush", Kind::Plain, Traits::RUN, idle FREED_APART;
        /// Whether a replica leaves eviction to its primary.
        replica_ignore_maxmemory: bool = true,
            "replica-ignore-maxmemory slave-ignore-maxmemory", Kind::Plain, Traits::RUN;
        /// Whether a replica goes on when its disk fails.
        replica_ignore_disk_write_errors: bool = false,
            "replica-ignore-disk-write-errors", Kind::Plain, Traits::RUN, idle "a replica goes on when its disk fails, and says so";
        /// Whether Sentinel is told of this replica.
        replica_announced: bool = true,
            "replica-announced", Kind::Plain, Traits::RUN, idle "Sentinel asks the primary, which names every replica";
        /// Who Sentinel promotes: the lowest first, 0 never.
        replica_priority: i32 = 100,
            "replica-priority slave-priority", Kind::Int(0, INT_MAX), Traits::RUN;
        /// Address a replica says it has.
        replica_announce_ip: Text = Text::default(),
            "replica-announce-ip slave-announce-ip", Kind::Plain, Traits::RUN;
        /// Port a replica says it has; 0 means its own.
        replica_announce_port: u16 = 0,
            "replica-announce-port slave-announce-port", Kind::Int(0, 65535), Traits::RUN;
        /// Send a full sync over the socket, without a file.
        repl_diskless_sync: bool = true, "repl-diskless-sync", Kind::Plain, Traits::RUN, idle VIA_FILE;
        /// Seconds a full sync waits for more replicas.
        repl_diskless_sync_delay: i32 = 5,
            "repl-diskless-sync-delay", Kind::Int(0, INT_MAX), Traits::RUN, idle VIA_FILE;
        /// Replicas that are enough to begin at once; 0 waits the whole delay.
        repl_diskless_sync_max_replicas: i32 = 0,
            "repl-diskless-sync-max-replicas", Kind::Int(0, INT_MAX), Traits::RUN, idle VIA_FILE;
        /// Where a replica puts a full sync: disabled (a file), on-empty-db, or swapdb.
        repl_diskless_load: DisklessLoad = DisklessLoad::Disabled,
            "repl-diskless-load", Kind::Plain, Traits::RUN.and(Traits::NOT_LOADING), idle VIA_FILE;
        /// Seconds between pings to replicas.
        repl_ping_replica_period: i32 = 10,
            "repl-ping-replica-period repl-ping-slave-period", Kind::Int(1, INT_MAX), Traits::RUN;
        /// Seconds of silence after which a link is given up.
        repl_timeout: i32 = 60, "repl-timeout", Kind::Int(1, INT_MAX), Traits::RUN;
        /// Whether small packets to replicas are held back to save bandwidth.
        repl_disable_tcp_nodelay: bool = false,
            "repl-disable-tcp-nodelay", Kind::Plain, Traits::RUN;
        /// Bytes of history kept for replicas that lose the link for a while.
        repl_backlog_size: u64 = 1 << 20,
            "repl-backlog-size", Kind::Memory(1, LONG_MAX), Traits::RUN;
        /// Seconds the history is kept without any replica; 0 means for ever.
        repl_backlog_ttl: i64 = 3600, "repl-backlog-ttl", Kind::Int(0, LONG_MAX), Traits::RUN;
        /// Replicas without which writes are refused; 0 asks for none.
        min_replicas_to_write: i32 = 0,
            "min-replicas-to-write min-slaves-to-write", Kind::Int(0, INT_MAX), Traits::RUN;
        /// Seconds of lag up to which a replica counts.
        min_replicas_max_lag: i32 = 10,
            "min-replicas-max-lag min-slaves-max-lag", Kind::Int(0, INT_MAX), Traits::RUN;
        /// What happens when a replicated command fails: ignore, panic, or panic-on-replicas.
        propagation_error_behavior: PropagationError = PropagationError::Ignore,
            "propagation-error-behavior", Kind::Plain, Traits::RUN, idle "what of a primary's stream fails is told in the log";
        // Security
        /// Password of the default user; empty means none.
        requirepass: Text = Text::default(),
            "requirepass", Kind::Plain, Traits::RUN.and(Traits::SECRET);
        /// File of users; empty keeps them in this file.
        aclfile: Text = Text::default(), "aclfile", Kind::Plain, Traits::START;
        /// Entries ACL LOG keeps.
        acllog_max_len: u64 = 128, "acllog-max-len", Kind::Int(0, LONG_MAX), Traits::RUN;
        /// Channels a new user may use: allchannels or resetchannels.
        acl_pubsub_default: PubsubDefault = PubsubDefault::Resetchannels,
            "acl-pubsub-default", Kind::Plain, Traits::RUN;
        /// Who may set protected settings: no, yes, or local (connections from this machine).
        enable_protected_configs: Permission = Permission::No,
            "enable-protected-configs", Kind::Plain, Traits::START;
        /// Who may use DEBUG: no, yes, or local (connections from this machine).
        enable_debug_command: Permission = Permission::No,
            "enable-debug-command", Kind::Plain, Traits::START;
        /// Who may use MODULE: no, yes, or local (connections from this machine).
        enable_module_command: Permission = Permission::No,
            "enable-module-command", Kind::Plain, Traits::START;
        // Memory
        /// Bytes of memory beyond which keys are evicted or writes refused; 0 means no limit.
        maxmemory: u64 = 0, "maxmemory", Kind::Memory(0, ULONG_MAX), Traits::RUN;
        /// Which keys are evicted.
        maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::Noeviction,
            "maxmemory-policy", Kind::Plain, Traits::RUN;
        /// Keys looked at to find the one to evict.
        maxmemory_samples: i32 = 5, "maxmemory-samples", Kind::Int(1, 64), Traits::RUN;
        /// How long eviction may hold up other work.
        maxmemory_eviction_tenacity: i32 = 10,
            "maxmemory-eviction-tenacity", Kind::Int(0, 100), Traits::RUN;
        /// Bytes, or percent of maxmemory, that clients may use before the largest are
        /// disconnected; 0 means no limit.
        maxmemory_clients: Share = Share::Bytes(0),
            "maxmemory-clients", Kind::MemoryOrPercent, Traits::RUN;
        /// Accesses it takes to reach the highest frequency; higher means more.
        lfu_log_factor: i32 = 10, "lfu-log-factor", Kind::Int(0, INT_MAX), Traits::RUN;
        /// Minutes after which an unused key's frequency drops by one; 0 means never.
        lfu_decay_time: i32 = 1, "lfu-decay-time", Kind::Int(0, INT_MAX), Traits::RUN;
        /// How hard expired keys are looked for.
        active_expire_effort: i32 = 1, "active-expire-effort", Kind::Int(1, 10), Traits::RUN, idle "the search for expired keys goes on where it finds many, and has a fixed share of time";
        /// Free evicted values in the background.
        lazyfree_lazy_eviction: bool = false, "lazyfree-lazy-eviction", Kind::Plain, Traits::RUN;
        /// Free expired values in the background.
        lazyfree_lazy_expire: bool = false, "lazyfree-lazy-expire", Kind::Plain, Traits::RUN, idle FREED_APART;
        /// Free replaced values (RENAME and the like) in the background.
        lazyfree_lazy_server_del: bool = false,
            "lazyfree-lazy-server-del", Kind::Plain, Traits::RUN, idle FREED_APART;
        /// Let DEL free in the background, as UNLINK does.
        lazyfree_lazy_user_del: bool = false, "lazyfree-lazy-user-del", Kind::Plain, Traits::RUN, idle FREED_APART;
        /// Let FLUSHDB and FLUSHALL free in the background.
        lazyfree_lazy_user_flush: bool = false,
            "lazyfree-lazy-user-flush", Kind::Plain, Traits::RUN, idle FREED_APART;
        /// Let tables finish growing while the server is idle.
        activerehashing: bool = true, "activerehashing", Kind::Plain, Traits::RUN;
        /// Move values to make memory compact.
        activedefrag: Defrag = Defrag(false), "activedefrag", Kind::Plain, Traits::RUN, idle NO_DEFRAG;
        /// Wasted bytes below which nothing is moved.
        active_defrag_ignore_bytes: u64 = 100 << 20,
            "active-defrag-ignore-bytes", Kind::Memory(1, LONG_MAX), Traits::RUN, idle NO_DEFRAG;
        /// Percent of waste at which moving begins.
        active_defrag_threshold_lower: i32 = 10,
            "active-defrag-threshold-lower", Kind::Int(0, 1000), Traits::RUN, idle NO_DEFRAG;
        /// Percent of waste at which moving uses its full share of the CPU.
        active_defrag_threshold_upper: i32 = 100,
            "active-defrag-threshold-upper", Kind::Int(0, 1000), Traits::RUN, idle NO_DEFRAG;
        /// Least percent of the CPU for moving.
        active_defrag_cycle_min: i32 = 1,
            "active-defrag-cycle-min", Kind::Int(1, 99), Traits::RUN, idle NO_DEFRAG;
        /// Most percent of the CPU for moving.
        active_defrag_cycle_max: i32 = 25,
            "active-defrag-cycle-max", Kind::Int(1, 99), Traits::RUN, idle NO_DEFRAG;
        /// Elements of a value moved in one go.
        active_defrag_max_scan_fields: u64 = 1000,
            "active-defrag-max-scan-fields", Kind::Int(1, LONG_MAX), Traits::RUN, idle NO_DEFRAG;
        /// Return memory that was freed to the system though nothing is allocated meanwhile.
        jemalloc_bg_thread: bool = true, "jemalloc-bg-thread", Kind::Plain, Traits::RUN;
        /// Turn huge pages off for the process.
        disable_thp: bool = true,
            "disable-thp", Kind::Plain, Traits::START, idle "huge pages make the fork of a snapshot faster, and are wanted";
        /// Tell the kernel whom to kill first when memory runs out: no, yes (relative) or absolute.
        oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj", Kind::Plain, Traits::RUN;
        /// Scores of a primary, of a replica, and of a child that saves.
        oom_score_adj_values: [i32; 3] = [0, 200, 800],
            "oom-score-adj-values", Kind::Plain, Traits::RUN.and(Traits::WORDS);
        // Limits for clients
        /// Disconnect a client of a class (normal, replica, pubsub) beyond so many unread bytes, or
        /// beyond fewer for so many seconds.
        client_output_buffer_limit: OutputLimits = OutputLimits::default(),
            "client-output-buffer-limit", Kind::Plain, Traits::RUN.and(Traits::WORDS);
        /// Most bytes of requests not yet run of one client.
        client_query_buffer_limit: u64 = 1 << 30,
            "client-query-buffer-limit", Kind::Memory(1 << 20, LONG_MAX), Traits::RUN;
        /// Most bytes of one argument.
        proto_max_bulk_len: u64 = 512 << 20,
            "proto-max-bulk-len", Kind::Memory(1 << 20, LONG_MAX), Traits::RUN;
        /// Keys remembered for client-side caching; 0 means no limit.
        tracking_table_max_keys: u64 = 1000000,
            "tracking-table-max-keys", Kind::Int(0, LONG_MAX), Traits::RUN;
        // Observation
        /// Microseconds from which a command is kept in the slow log; -1 keeps none, 0 all.
        slowlog_log_slower_than: i64 = 10000,
            "slowlog-log-slower-than", Kind::Int(-1, LONG_MAX), Traits::RUN;
        /// Entries the slow log keeps.
        slowlog_max_len: u64 = 128, "slowlog-max-len", Kind::Int(0, LONG_MAX), Traits::RUN;
        /// Milliseconds from which an event is kept by LATENCY; 0 keeps none.
        latency_monitor_threshold: i64 = 0,
            "latency-monitor-threshold", Kind::Int(0, LONG_MAX), Traits::RUN;
        /// Measure how long each command takes, for INFO latencystats.
        latency_tracking: bool = true, "latency-tracking", Kind::Plain, Traits::RUN;
        /// Percentiles INFO latencystats shows.
        latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9],
            "latency-tracking-info-percentiles", Kind::Plain, Traits::RUN.and(Traits::WORDS);
        /// Classes of events that are published, a letter each: K and E for where, A for all of
        /// g$lshzxetd, m for misses, n for new keys.
        notify_keyspace_events: NotifyFlags = NotifyFlags::default(),
            "notify-keyspace-events", Kind::Plain, Traits::RUN;
        /// Milliseconds after which a running script makes others be told BUSY.
        busy_reply_threshold: i64 = 5000,
            "busy-reply-threshold lua-time-limit", Kind::Int(0, LONG_MAX), Traits::RUN;
        // Processors
        /// Processors for the server.
        server_cpulist: Text = Text::default(),
            "server-cpulist server_cpulist", Kind::Plain, Traits::START, idle "the scheduler chooses";
        /// Processors for background threads.
        bio_cpulist: Text = Text::default(),
            "bio-cpulist bio_cpulist", Kind::Plain, Traits::START, idle "the scheduler chooses";
        /// Processors for a rewriting child.
        aof_rewrite_cpulist: Text = Text::default(),
            "aof-rewrite-cpulist aof_rewrite_cpulist", Kind::Plain, Traits::START, idle "the scheduler chooses";
        /// Processors for a saving child.
        bgsave_cpulist: Text = Text::default(),
            "bgsave-cpulist bgsave_cpulist", Kind::Plain, Traits::START, idle "the scheduler chooses";
        // Cluster
        /// Be a node of a cluster. Rekeep refuses to start with yes.
        cluster_enabled: bool = false, "cluster-enabled", Kind::Plain, Traits::START;
        /// File of the cluster's state.
        cluster_config_file: Text = text("nodes.conf"),
            "cluster-config-file", Kind::Plain, Traits::START, idle NO_CLUSTER;
        /// Port of the cluster bus.
        cluster_port: u16 = 0, "cluster-port", Kind::Int(0, 65535), Traits::START, idle NO_CLUSTER;
        /// Address announced to the cluster.
        cluster_announce_ip: Text = Text::default(),
            "cluster-announce-ip", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Host name announced to the cluster.
        cluster_announce_hostname: Text = Text::default(),
            "cluster-announce-hostname", Kind::Checked(host_name), Traits::RUN, idle NO_CLUSTER;
        /// Name of the node in logs.
        cluster_announce_human_nodename: Text = Text::default(),
            "cluster-announce-human-nodename", Kind::Checked(node_name), Traits::RUN, idle NO_CLUSTER;
        /// Port announced to the cluster.
        cluster_announce_port: u16 = 0,
            "cluster-announce-port", Kind::Int(0, 65535), Traits::RUN, idle NO_CLUSTER;
        /// TLS port announced to the cluster.
        cluster_announce_tls_port: u16 = 0,
            "cluster-announce-tls-port", Kind::Int(0, 65535), Traits::RUN, idle NO_CLUSTER;
        /// Bus port announced to the cluster.
        cluster_announce_bus_port: u16 = 0,
            "cluster-announce-bus-port", Kind::Int(0, 65535), Traits::RUN, idle NO_CLUSTER;
        /// Milliseconds after which a node counts as failed.
        cluster_node_timeout: i64 = 15000,
            "cluster-node-timeout", Kind::Int(0, LONG_MAX), Traits::RUN, idle NO_CLUSTER;
        /// How old a replica's data may be for it to take over.
        cluster_replica_validity_factor: i32 = 10,
            "cluster-replica-validity-factor cluster-slave-validity-factor", Kind::Int(0, INT_MAX), Traits::RUN, idle NO_CLUSTER;
        /// Whether a replica never takes over.
        cluster_replica_no_failover: bool = false,
            "cluster-replica-no-failover cluster-slave-no-failover", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Replicas a node keeps before one may move to another.
        cluster_migration_barrier: i32 = 1,
            "cluster-migration-barrier", Kind::Int(0, INT_MAX), Traits::RUN, idle NO_CLUSTER;
        /// Whether replicas move to nodes without any.
        cluster_allow_replica_migration: bool = true,
            "cluster-allow-replica-migration", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Whether the cluster stops when slots are uncovered.
        cluster_require_full_coverage: bool = true,
            "cluster-require-full-coverage", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Whether reads are served while the cluster is down.
        cluster_allow_reads_when_down: bool = false,
            "cluster-allow-reads-when-down", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Whether shard channels work while the cluster is down.
        cluster_allow_pubsubshard_when_down: bool = true,
            "cluster-allow-pubsubshard-when-down", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Most bytes waiting on a link of the bus.
        cluster_link_sendbuf_limit: u64 = 0,
            "cluster-link-sendbuf-limit", Kind::Memory(0, ULONG_MAX), Traits::RUN, idle NO_CLUSTER;
        /// What clients are told to connect to.
        cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip,
            "cluster-preferred-endpoint-type", Kind::Plain, Traits::RUN, idle NO_CLUSTER;
        /// Milliseconds between pings on the bus.
        cluster_ping_interval: i64 = 0,
            "cluster-ping-interval", Kind::Int(0, LONG_MAX), Traits::RUN.and(Traits::HIDDEN), idle NO_CLUSTER;
        // For tests
        /// Microseconds to wait after each key loaded; negative: keys for each microsecond.
        key_load_delay: i32 = 0,
            "key-load-delay", Kind::Int(INT_MIN, INT_MAX), Traits::RUN.and(Traits::HIDDEN);
        /// Microseconds to wait after each key saved; negative: keys for each microsecond.
        rdb_key_save_delay: i32 = 0,
            "rdb-key-save-delay", Kind::Int(INT_MIN, INT_MAX), Traits::RUN.and(Traits::HIDDEN);
        /// Bytes loaded between looks at what clients want.
        loading_process_events_interval_bytes: u64 = 2 << 20,
            "loading-process-events-interval-bytes", Kind::Int(1024, INT_MAX), Traits::RUN.and(Traits::HIDDEN), idle "other threads serve clients while files are loaded";
        /// Keep append-only files that are history.
        aof_disable_auto_gc: bool = false,
            "aof-disable-auto-gc", Kind::Plain, Traits::RUN.and(Traits::HIDDEN);
        /// End with an exit code instead of an abort.
        use_exit_on_panic: bool = false,
            "use-exit-on-panic", Kind::Plain, Traits::RUN.and(Traits::HIDDEN), idle "a crash ends the process by its signal";
        /// Milliseconds after which a stuck server logs where it is; 0 means never.
        watchdog_period: i32 = 0,
            "watchdog-period", Kind::Int(0, INT_MAX), Traits::RUN.and(Traits::HIDDEN), idle "there is no single loop to watch";
    }
    limits {
        /// Size of a list's nodes: so many elements, or -1 to -5 for 4, 8, 16, 32, 64 KiB.
        list_max_listpack_size = -2,
            "list-max-listpack-size list-max-ziplist-size", Kind::Int(INT_MIN, INT_MAX);
        /// Nodes at each end of a list that stay uncompressed; 0 compresses none.
        list_compress_depth = 0, "list-compress-depth", Kind::Int(0, INT_MAX);
        /// Fields up to which a hash is compact.
        hash_max_listpack_entries = 512,
            "hash-max-listpack-entries hash-max-ziplist-entries", Kind::Int(0, LONG_MAX);
        /// Bytes of the longest field or value of a compact hash.
        hash_max_listpack_value = 64,
            "hash-max-listpack-value hash-max-ziplist-value", Kind::Memory(0, LONG_MAX);
        /// Members up to which a set of numbers is compact.
        set_max_intset_entries = 512, "set-max-intset-entries", Kind::Int(0, LONG_MAX);
        /// Members up to which another set is compact.
        set_max_listpack_entries = 128, "set-max-listpack-entries", Kind::Int(0, LONG_MAX);
        /// Bytes of the longest member of a compact set.
        set_max_listpack_value = 64, "set-max-listpack-value", Kind::Int(0, LONG_MAX);
        /// Members up to which a sorted set is compact.
        zset_max_listpack_entries = 128,
            "zset-max-listpack-entries zset-max-ziplist-entries", Kind::Int(0, LONG_MAX);
        /// Bytes of the longest member of a compact sorted set.
        zset_max_listpack_value = 64,
            "zset-max-listpack-value zset-max-ziplist-value", Kind::Memory(0, LONG_MAX);
        /// Bytes up to which a HyperLogLog is sparse.
        hll_sparse_max_bytes = 3000, "hll-sparse-max-bytes", Kind::Memory(0, LONG_MAX);
        /// Bytes of a stream's node; 0 means no limit.
        stream_node_max_bytes = 4096, "stream-node-max-bytes", Kind::Memory(0, LONG_MAX);
        /// Entries of a stream's node; 0 means no limit.
        stream_node_max_entries = 100, "stream-node-max-entries", Kind::Int(0, LONG_MAX);
    }
}

fn text(value: &str) -> Text {
    value.into()
}

fn bind_default() -> Vec<String> {
    vec!["*".into(), "-::*".into()]
}

/// Most threads that are started without being asked for.
const THREADS_DEFAULT_MAX: usize = 8;

/// One core is left to the kernel's network work, the file thread and the child of a snapshot: a
/// thread for it as well takes more CPU an operation, and on two cores serves fewer.
fn threads_default() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).clamp(1, THREADS_DEFAULT_MAX)
}

fn is_base_name(name: &[u8]) -> bool {
    !name.contains(&b'/') && !name.contains(&b'\\')
}

fn db_file_name(name: &[u8]) -> Result<(), &'static str> {
    if is_base_name(name) { Ok(()) } else { Err("dbfilename can't be a path, just a filename") }
}

fn aof_file_name(name: &[u8]) -> Result<(), &'static str> {
    match name {
        b"" => Err("appendfilename can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appendfilename can't be a path, just a filename"),
    }
}

fn aof_dir_name(name: &[u8]) -> Result<(), &'static str> {
    match name {
        b"" => Err("appenddirname can't be empty"),
        name if is_base_name(name) => Ok(()),
        _ => Err("appenddirname can't be a path, just a dirname"),
    }
}

fn host_name(name: &[u8]) -> Result<(), &'static str> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    if name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) {
        Ok(())
    } else {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    }
}

fn node_name(name: &[u8]) -> Result<(), &'static str> {
    if name.iter().all(|byte| byte.is_ascii_graphic() && !b"!#$%&()*+:;<>?@[]^{|}~".contains(byte))
    {
        Ok(())
    } else {
        Err("Announced human node name contained invalid character")
    }
}

/// The variables a process title may name.
pub const TITLE_VARIABLES: [&str; 7] =
    ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];

fn title_template(template: &[u8]) -> Result<(), &'static str> {
    let wrong = "template format is invalid or contains unknown variables";
    if template.trim_ascii().is_empty() {
        return Err(wrong);
    }
    let mut rest = template;
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        let name = &rest[open + 1..];
        let close = name.iter().position(|byte| *byte == b'}').ok_or(wrong)?;
        if !TITLE_VARIABLES.iter().any(|known| known.as_bytes() == &name[..close]) {
            return Err(wrong);
        }
        rest = &name[close + 1..];
    }
    Ok(())
}
