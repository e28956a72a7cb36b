"""A server under measurement: started in an empty directory, ended by its pid."""

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
REDIS = "redis-server"
REKEEP = "target/release/rekeep"


class Server:
    """`command` with port, directory and quiet persistence appended."""

    def __init__(self, name, command, port, options=("--save", "", "--appendonly", "no")):
        self.name, self.port = name, port
        self.dir = tempfile.mkdtemp(prefix="rekeep-bench-")
        words = shlex.split(command) + ["--port", str(port), "--dir", self.dir, *options]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self, seconds=30):
        """Until it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                return self.call("PING")
            except (OSError, EOFError):
                time.sleep(0.02)
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

    def cpu_ns(self):
        """User and system time of all its threads."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * TICK_NS

    def rss(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


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
