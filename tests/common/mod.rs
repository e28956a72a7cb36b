//! A server of this build on a directory and a port of its own, and a client on a plain socket.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
// Each test that takes this in is a crate of its own and uses a part of it.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_rekeep");

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
}

/// How a server ended by itself.
pub struct Ended {
    pub code: Option<i32>,
    pub log: String,
}

/// A connection. Replies come as one line of text: `+OK`, `$v`, `:1`, `$-1`, `[a,b]`.
pub struct Client {
    stream: BufReader<TcpStream>,
}

fn command(dir: &Path, port: u16, options: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    // A configuration file comes before all options.
    let (file, options) = match options {
        [file, rest @ ..] if !file.starts_with("--") => (Some(file), rest),
        options => (None, options),
    };
    command.args(file);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--io-threads", "1"]);
    command.args(["--enable-debug-command", "yes", "--dir", dir.to_str().unwrap()]);
    command.args(options).stdin(Stdio::null());
    command
}

fn log_path(dir: &Path) -> std::path::PathBuf {
    dir.with_extension("log")
}

/// What the servers on this directory have logged.
pub fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(log_path(dir)).unwrap_or_default()
}

/// Starts a server and waits until it answers.
pub fn start(dir: &Path, options: &[&str]) -> Server {
    // Another process may take the port in between: then the start fails and another one is tried.
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::options().append(true).create(true).open(log_path(dir)).unwrap();
        let mut child = command(dir, port, options)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        loop {
            if child.try_wait().unwrap().is_some() {
                assert!(log_of(dir).contains("bind"), "did not start: {}", log_of(dir));
                break;
            }
            if let Some(mut client) = Client::connect(port)
                && client.run("PING") == "+PONG"
            {
                return Server { child, port };
            }
            assert!(began.elapsed() < PATIENCE, "no answer: {}", log_of(dir));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    panic!("no port: {}", log_of(dir));
}

/// Starts a server and waits for nothing.
pub fn spawn(dir: &Path, options: &[&str]) -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::options().append(true).create(true).open(log_path(dir)).unwrap();
    let mut command = command(dir, port, options);
    let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    Server { child, port }
}

/// Starts a server that is expected to end by itself.
pub fn start_refused(dir: &Path, options: &[&str]) -> Ended {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child =
        command(dir, port, options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the server runs although it should not: {options:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    Ended { code: output.status.code(), log: text_of(&output) }
}

/// Everything a process has printed.
pub fn text_of(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

impl Server {
    /// A connection.
    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap()
    }

    /// kill -9, and wait.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// The child that writes a snapshot or a base, if there is one.
    pub fn forked(&self) -> Option<u32> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut children = String::new();
        for task in std::fs::read_dir(tasks).unwrap() {
            let found = std::fs::read_to_string(task.unwrap().path().join("children"));
            children.push_str(&found.unwrap_or_default());
        }
        children.split_whitespace().next().map(|pid| pid.parse().unwrap())
    }

    /// Waits for the end; its exit code.
    pub fn wait(mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    fn connect(port: u16) -> Option<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Client { stream: BufReader::new(stream) })
    }

    /// Sends words separated by blanks and gives the reply.
    pub fn run(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.run_words(&words)
    }

    /// The same with words that may hold anything.
    pub fn run_words(&mut self, words: &[&[u8]]) -> String {
        self.send(words);
        self.reply()
    }

    /// Sends without waiting.
    pub fn send(&mut self, words: &[&[u8]]) {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        // A server that ends does not read it; the reply tells.
        let _ = self.stream.get_mut().write_all(&out);
    }

    /// The next reply; empty when the connection is closed.
    pub fn reply(&mut self) -> String {
        let mut line = String::new();
        if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
            return String::new();
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        match kind {
            "$" if rest != "-1" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                format!("${}", String::from_utf8_lossy(&bytes))
            }
            "*" if rest != "-1" => {
                let count: usize = rest.parse().unwrap();
                let items: Vec<String> = (0..count).map(|_| self.reply()).collect();
                format!("[{}]", items.join(","))
            }
            _ => line.to_owned(),
        }
    }

    /// A field of INFO.
    pub fn info(&mut self, field: &str) -> String {
        let text = self.run("INFO all");
        let prefix = format!("{field}:");
        let found = text.lines().find_map(|line| line.strip_prefix(&prefix));
        found.unwrap_or_else(|| panic!("no {field} in INFO")).trim().to_owned()
    }

    /// Waits until a field of INFO has this value.
    pub fn await_info(&mut self, field: &str, value: &str) {
        let began = Instant::now();
        loop {
            let found = self.info(field);
            if found == value {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{field} is {found}, not {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
