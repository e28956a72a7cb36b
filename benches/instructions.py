#!/usr/bin/env python3
"""Instructions of the real server an operation, counted by callgrind: no clock is in them, so two commits can be
compared on a busy machine. For commands it is all that the thread of the connection runs, from its wake-up to the
written reply; for SAVE and DEBUG RELOAD it is all threads and children, a key.

    benches/instructions.py [--rekeep BINARY] [--against BINARY] [--tests PING,GET,...] [--pipelines 1,16]

--against names the binary of another commit: both are measured, and the ratio is printed. The load is one client
that asks like redis-benchmark, with the same requests in each run.
"""

import glob
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time

from server import Server, encode, keys, parser

OPTIONS = ("--save", "", "--appendonly", "no", "--hz", "1", "--io-threads", "1", "--enable-debug-command", "yes")
# What the thread of a connection runs, and no other.
MARK = b"net::connection"
DATA = b"v" * 64
COMMANDS = {
    "PING": lambda number: ("PING",),
    "GET": lambda number: ("GET", b"key:%012d" % number),
    "SET": lambda number: ("SET", b"key:%012d" % number, DATA),
    "HSET": lambda number: ("HSET", "myhash", b"element:%012d" % number, DATA),
    "LPUSH": lambda number: ("LPUSH", "mylist", DATA),
    "ZADD": lambda number: ("ZADD", "myzset", number * 7919 % 100_003, b"element:%012d" % number),
}
WHOLE = {"SAVE": ("SAVE",), "RELOAD": ("DEBUG", "RELOAD")}


class Counted(Server):
    """A server under callgrind, which counts between `begin` and `end`."""

    def __init__(self, name, binary, port):
        self.counts = tempfile.mkdtemp(prefix="rekeep-bench-")
        super().__init__(name, "valgrind --tool=callgrind --instr-atstart=no --separate-threads=yes "
                         f"--callgrind-out-file={self.counts}/%p {binary}", port, OPTIONS)

    def control(self, *words):
        subprocess.run(["callgrind_control", *words, str(self.process.pid)], capture_output=True, check=True)

    def begin(self):
        self.control("-i", "on")

    def end(self):
        """Instructions of the thread that serves connections, and of all threads and children."""
        self.control("-i", "off")
        self.control("-d")
        served = total = 0
        for path in glob.glob(f"{self.counts}/*-*"):
            with open(path, "rb") as file:
                text = file.read()
            os.remove(path)
            count = int(text.rsplit(b"\ntotals:", 1)[1].split()[0])
            total += count
            if MARK in text:
                served = max(served, count)
        return served, total

    def stop(self):
        super().stop()
        shutil.rmtree(self.counts, ignore_errors=True)


def ask(sock, test, chance, args, pipeline, times):
    """So many requests of a kind, `pipeline` at a time."""
    for _ in range(times // pipeline):
        sock.sendall(b"".join(encode(*COMMANDS[test](chance.randrange(args.keys))) for _ in range(pipeline)))
        missing = pipeline * (2 if test == "GET" else 1)
        while missing:
            missing -= sock.recv(1 << 16).count(b"\n")


def measure(server, args):
    """Instructions an operation, for each row."""
    rows, tests = {}, args.tests.split(",")
    keys(server, range(args.keys))
    with server.connect() as sock:
        for test in [test for test in tests if test in COMMANDS]:
            for pipeline in map(int, args.pipelines.split(",")):
                chance = random.Random(1)
                ask(sock, test, chance, args, pipeline, args.requests // 2)
                server.begin()
                ask(sock, test, chance, args, pipeline, args.requests)
                rows[f"{test} P={pipeline}"] = server.end()[0] / (args.requests // pipeline * pipeline)
    server.call("FLUSHALL")
    keys(server, range(args.keys))
    time.sleep(1)
    for test in [test for test in tests if test in WHOLE]:
        server.begin()
        if server.call(*WHOLE[test]) != b"+OK":
            raise SystemExit(f"{test} failed")
        rows[test] = server.end()[1] / args.keys
    return rows


def main():
    words = parser(__doc__, 7618)
    words.add_argument("--against", help="command that starts what to compare with")
    words.add_argument("--tests", default=",".join([*COMMANDS, *WHOLE]))
    words.add_argument("--pipelines", default="1,16")
    words.add_argument("--keys", type=int, default=100_000)
    words.add_argument("--requests", type=int, default=4_800)
    args = words.parse_args()
    binaries = [args.rekeep] + ([args.against] if args.against else [])
    rounds = {binary: [] for binary in binaries}
    for _ in range(args.rounds):
        for at, binary in enumerate(rounds):
            with Counted("rekeep", binary, args.port + at) as server:
                rounds[binary].append(measure(server, args))
    for row in rounds[args.rekeep][0]:
        counts = [statistics.median(rows[row] for rows in measured) for measured in rounds.values()]
        ratio = f"   against {counts[1]:9.1f}   ratio {counts[0] / counts[1]:6.3f}" if args.against else ""
        print(f"{row:12} {counts[0]:9.1f} instructions{ratio}", flush=True)


if __name__ == "__main__":
    main()
