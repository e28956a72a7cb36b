"""What the durability scripts share: a RESP client on a plain socket, and a server to kill."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class ServerError(Exception):
    """An error reply."""


class Gone(Exception):
    """The connection broke: the fate of what was not answered is unknown."""


class Client:
    """One connection; replies in order."""

    def __init__(self, port, timeout=30.0):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def send(self, *commands):
        out = []
        for words in commands:
            out.append(b"*%d\r\n" % len(words))
            for word in words:
                word = word if isinstance(word, bytes) else str(word).encode()
                out.append(b"$%d\r\n%s\r\n" % (len(word), word))
        try:
            self.sock.sendall(b"".join(out))
        except OSError as error:
            raise Gone(str(error)) from error

    def reply(self):
        """The next reply; an error comes as a value, so that pipelines stay in step."""
        try:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise Gone("end of stream")
            kind, rest = line[:1], line[1:-2]
            if kind == b"+":
                return rest
            if kind == b"-":
                return ServerError(rest.decode())
            if kind == b":":
                return int(rest)
            if kind == b"$":
                if rest == b"-1":
                    return None
                data = self.file.read(int(rest) + 2)
                if len(data) != int(rest) + 2:
                    raise Gone("end of stream")
                return data[:-2]
            if kind == b"*":
                return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
            raise AssertionError(f"not RESP: {line!r}")
        except OSError as error:
            raise Gone(str(error)) from error

    def run(self, *words):
        self.send(words)
        reply = self.reply()
        if isinstance(reply, ServerError):
            raise reply
        return reply

    def pipeline(self, commands):
        self.send(*commands)
        return [self.reply() for _ in commands]

    def info(self, section="persistence"):
        text = self.run("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def close(self):
        for end in (self.file, self.sock):
            try:
                end.close()
            except OSError:
                pass


def binary():
    named = os.environ.get("REKEEP")
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
    path = named or os.path.join(target, "release", "rekeep")
    if not os.access(path, os.X_OK):
        raise SystemExit(f"no server at {path}: cargo build --release, or REKEEP=path")
    return path


def free_port(first=7200, last=7299):
    first = int(os.environ.get("REKEEP_PORT_FIRST", first))
    for port in range(first, max(last, first + 90)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port")


class Server:
    """A server on a directory that outlives it."""

    def __init__(self, dir=None):
        self.dir = dir or tempfile.mkdtemp(prefix="rekeep-durability-")
        self.own_dir = dir is None
        self.log = self.dir.rstrip("/") + ".log"
        self.port = free_port()
        self.process = None

    def start(self, *options, wait=60.0):
        words = [binary(), "--port", str(self.port), "--dir", self.dir, "--io-threads", "2"]
        words += ["--enable-debug-command", "yes", "--bind", "127.0.0.1"]
        words += [str(option) for option in options]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server did not start:\n{self.log_tail()}")
            try:
                client = Client(self.port)
                if client.run("PING") == b"PONG":
                    return client
            except (OSError, Gone, ServerError):
                time.sleep(0.005)
        raise AssertionError(f"the server did not answer in {wait} s:\n{self.log_tail()}")

    def start_and_kill(self, seconds, *options):
        """Kills the server while it starts."""
        self.start_and_wait(seconds, *options)
        self.kill()

    def start_and_wait(self, seconds, *options):
        """Leaves the server alone while it starts; says whether it still runs after `seconds`."""
        words = [binary(), "--port", str(self.port), "--dir", self.dir, *map(str, options)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        time.sleep(seconds)
        return self.process.poll() is None

    def log_tail(self, lines=25):
        with open(self.log, "rb") as log:
            return b"\n".join(log.read().splitlines()[-lines:]).decode(errors="replace")

    def log_count(self, words):
        with open(self.log, "rb") as log:
            return log.read().count(words.encode())

    def kill(self):
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def forget(self):
        self.kill()
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        if os.path.exists(self.log):
            os.remove(self.log)
