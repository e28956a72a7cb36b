"""A server under measurement: started in an empty directory, ended by its pid."""

import argparse
import atexit
import itertools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
REDIS = "redis-server"
REKEEP = "target/release/rekeep"
QUIET = ("--save", "", "--appendonly", "no")


def parser(doc, port, rounds=1):
    """The options that the commands share."""
    words = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=rounds)
    words.add_argument("--port", type=int, default=port, help="the first of the ports to use")
    words.add_argument("--redis", default=REDIS, help="command that starts Redis")
    words.add_argument("--rekeep", default=REKEEP, help="command that starts Rekeep")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return words


def pair(args):
    """What to compare: (name, command, port) of both."""
    return [("redis", args.redis, args.port), ("rekeep", args.rekeep, args.port + 1)]


class Server:
    """`command` with port, directory and quiet persistence appended; it ends with this process at the latest.
    A directory that is given stays when the server stops."""

    def __init__(self, name, command, port, options=QUIET, directory=None, poll=0.02):
        self.name, self.port = name, port
        self.dir = directory or tempfile.mkdtemp(prefix="rekeep-bench-")
        self.kept = directory is not None
        words = shlex.split(command) + ["--port", str(port), "--dir", self.dir, *options]
        self.began = time.monotonic()
        # A group of its own: the child of a snapshot ends with it.
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        atexit.register(self.stop)
        self.wait(poll=poll)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self, seconds=600, poll=0.02):
        """Until it has loaded its files and answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.call("PING") == b"+PONG":
                    return
            except (OSError, EOFError):
                pass
            time.sleep(poll)
        raise SystemExit(f"{self.name} does not answer on port {self.port}")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=600)

    def call(self, *words):
        """One command; its reply as raw bytes (first line, or a whole bulk)."""
        with self.connect() as sock:
            sock.sendall(encode(*words))
            file = sock.makefile("rb")
            line = file.readline()
            if not line:
                raise EOFError
            return file.read(int(line[1:]) + 2)[:-2] if line[:1] == b"$" and line[1:2] != b"-" else line.strip()

    def info(self, field):
        for line in self.call("INFO").decode().splitlines():
            if line.startswith(field + ":"):
                return line.split(":", 1)[1]
        raise SystemExit(f"{self.name} has no {field}")

    def cpu_ns(self, children=False):
        """User and system time of all its threads, and of the children it has waited for."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15 if children else 13])) * TICK_NS

    def rss(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def snapshot_done(self):
        """Waits for the end of a BGSAVE."""
        while self.info("rdb_bgsave_in_progress") != "0":
            time.sleep(0.05)

    def stop(self):
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if not self.kept:
            shutil.rmtree(self.dir, ignore_errors=True)
        atexit.unregister(self.stop)


def encode(*words):
    """A request in RESP."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def pour(server, requests, batch=1000):
    """Sends requests (bytes each) and reads as many one-line replies."""
    with server.connect() as sock:
        file = sock.makefile("rb", buffering=1 << 20)
        pending, buffered = 0, []
        for request in requests:
            buffered.append(request)
            pending += 1
            if pending == batch:
                sock.sendall(b"".join(buffered))
                for _ in range(pending):
                    file.readline()
                pending, buffered = 0, []
        sock.sendall(b"".join(buffered))
        for _ in range(pending):
            file.readline()


def fill(server, words, numbers, depth=1000):
    """Sends one request over and over, `depth` at a time, with the next numbers for its fields (as `%012d`: of a
    fixed width). Each reply must be one line."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    fields = sum(word.count(b"%") for word in words)
    lengths = [len(word % ((0,) * word.count(b"%"))) for word in words]
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % pair for pair in zip(lengths, words))
    numbers, full = iter(numbers), request * depth
    with server.connect() as sock:
        while batch := tuple(itertools.islice(numbers, fields * depth)):
            replies = len(batch) // fields
            sock.sendall((full if replies == depth else request * replies) % batch)
            while replies:
                answer = sock.recv(1 << 16)
                if not answer or answer.startswith(b"-") or b"\n-" in answer:
                    raise SystemExit(f"{server.name}: {answer[:200]}")
                replies -= answer.count(b"\n")


def keys(server, numbers, value=64, more=(), depth=1000):
    """SET of a key of 16 bytes for each number."""
    fill(server, ("SET", b"key:%012d", b"v" * value, *more), numbers, depth)
