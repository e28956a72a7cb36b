#!/usr/bin/env python3
"""What clients of Redis and of Rekeep wait for; each part is a row of its own, with medians of the rounds.

    benches/pauses.py [--parts fill,fork,snapshot,remove] [--keys N] [--members N] [--rounds N] [--gap SECONDS]
                       [--realtime] [--warm]

fill      the longest and the 99.9th of 100 waits of a client that asks PING and GET in turn every 100 us, while
          another fills the table (`--depth` SETs at a time), and then while it writes the same keys again: what
          the second has too is not the growth of the table
fork      latest_fork_usec of the first and of the tenth BGSAVE under writes, `--gap` seconds apart
snapshot  the 99.9th of 100 latencies of GET and SET of 50 clients before a BGSAVE and during it
remove    how long DEL, UNLINK, FLUSHALL and FLUSHALL ASYNC of a large set take, and the longest wait of a client
          that asks PING meanwhile (and for a second after)

With --realtime (as root) the servers and the asking client of `fill` and `remove` run before all other processes,
so that what else the machine does is not in the figures. With --warm as much memory as the keys of `fill` need is
touched and given back before: in a virtual machine the first touch of a huge page can take milliseconds, which
are the host's.
"""

import contextlib
import mmap
import multiprocessing
import os
import random
import statistics
import subprocess
import threading
import time

from memory import SHAPES
from server import Server, encode, fill, keys, pair, parser

EVERY = 100e-6
# Priorities of --realtime.
ASKING, SERVING = 6, 5
median = statistics.median


def probe(server, requests, go_on):
    """Milliseconds of each wait, until `go_on` (asked every 256 requests) denies."""
    waits = []
    with server.connect() as sock:
        while go_on():
            for _ in range(256):
                request = requests[len(waits) % len(requests)]
                began = time.perf_counter()
                sock.sendall(request)
                sock.recv(4096)
                waits.append((time.perf_counter() - began) * 1000)
                time.sleep(EVERY)
    return waits


def far(waits):
    """The 99.9th of 100."""
    return sorted(waits)[int(len(waits) * 0.999)]


@contextlib.contextmanager
def beside(work, *words):
    """Another process that does this; it is ended with the block."""
    process = multiprocessing.get_context("fork").Process(target=work, args=words, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()


def first():
    """This thread runs before all others; not so the processes that it starts."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(ASKING))


def rounds(args, work, realtime=False):
    """Lists of what `work` gives for each server and round, interleaved."""
    rows = {name: [] for name, _, _ in pair(args)}
    if realtime:
        first()
    for _ in range(args.rounds):
        for name, command, port in pair(args):
            command = f"chrt --fifo {SERVING} {command}" if realtime else command
            with Server(name, command, port) as server:
                rows[name].append(work(server))
    if realtime:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return rows


def show(title, rows, unit="ms"):
    """Medians by column, and the ratio; `rows` are those of one figure."""
    redis, rekeep = median(rows["redis"]), median(rows["rekeep"])
    ratio = f"{rekeep / redis:5.2f}" if redis else "    -"
    print(f"{title:44} redis {redis:9.3f} {unit}   rekeep {rekeep:9.3f} {unit}   ratio {ratio}", flush=True)


def column(rows, at):
    return {name: [row[at] for row in measured] for name, measured in rows.items()}


def touch(size):
    """Uses that much memory, in huge pages where there are some."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    for at in range(0, size, mmap.PAGESIZE):
        memory[at] = 1


def fill_part(args):
    def work(server):
        if args.warm:
            with beside(touch, args.keys * 200) as process:
                process.join()
        chance = random.Random(1)
        requests = [word for _ in range(5000) for word in
                    (encode("PING"), encode("GET", b"key:%012d" % chance.randrange(args.keys)))]
        figures = []
        for count in args.keys, args.keys // 4:
            with beside(keys, server, range(count), 64, (), args.depth) as filler:
                waits = probe(server, requests, filler.is_alive)
            figures += [max(waits), far(waits)]
        if int(server.call("DBSIZE")[1:]) != args.keys:
            raise SystemExit(f"{server.name} was not filled")
        return figures

    rows = rounds(args, work, args.realtime)
    for at, title in enumerate(["fill: longest wait", "fill: p99.9", "the same keys again: longest wait",
                                "the same keys again: p99.9"]):
        show(title, column(rows, at))


def trickle(server, count):
    """Writes random keys, 10,000 a second or so, for ever."""
    chance = random.Random()
    while True:
        keys(server, (chance.randrange(count) for _ in range(160)), depth=16)
        time.sleep(0.016)


def fork_part(args):
    rows = {name: [] for name, _, _ in pair(args)}
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(Server(*words)) for words in pair(args)]
        for server in running:
            keys(server, range(args.keys))
        for server in running:
            stack.enter_context(beside(trickle, server, args.keys))
        for at in range(args.snapshots):
            time.sleep(args.gap if at else 1)
            for server in running:
                server.call("BGSAVE")
                server.snapshot_done()
                rows[server.name].append(int(server.info("latest_fork_usec")) / 1000)
    show("fork: first", {name: row[:1] for name, row in rows.items()})
    show(f"fork: number {args.snapshots}, {args.gap:g} s after the last",
         {name: row[-1:] for name, row in rows.items()})
    for name, row in rows.items():
        print(f"  {name:7}", *(f"{fork:.2f}" for fork in row))


def load(server, test, args):
    """The 99.9th of 100 latencies of 50 clients in milliseconds, and the longest."""
    lines = subprocess.run(["redis-benchmark", "-p", str(server.port), "-c", "50", "-r", str(args.keys), "-d", "64",
                            "-n", str(args.requests), "-t", test, "--precision", "3"],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    steps = [line.split() for line in lines if "% <= " in line and "cumulative" in line]
    found = [float(words[2]) for words in steps if float(words[0].rstrip("%")) >= 99.9]
    return found[0], found[-1]


def snapshot_part(args):
    def work(server):
        keys(server, range(args.keys))
        figures = []
        for test in "get", "set":
            load(server, test, args)
            before = load(server, test, args)
            server.call("BGSAVE")
            during = load(server, test, args)
            if server.info("rdb_bgsave_in_progress") == "0":
                raise SystemExit(f"{server.name}'s BGSAVE ended before {args.requests} requests: fewer --requests")
            server.snapshot_done()
            figures += [before[0], during[0], during[0] / before[0]]
        return figures

    rows = rounds(args, work)
    for at, title in enumerate(f"{test} {what}" for test in ("GET", "SET") for what in
                               ("p99.9 before BGSAVE", "p99.9 during BGSAVE", "p99.9 during / before")):
        show(title, column(rows, at), " x" if at % 3 == 2 else "ms")


def remove_part(args):
    commands = [("DEL", "key"), ("UNLINK", "key"), ("FLUSHALL", "SYNC"), ("FLUSHALL", "ASYNC")]

    def remove(server, command):
        """Milliseconds of the command, and of the longest wait of another client."""
        _, words, numbers = SHAPES["set"]
        fill(server, words, numbers(args.members // 100 * 100), depth=10)
        took = []

        def run():
            if args.realtime:
                first()
            time.sleep(0.3)
            began = time.perf_counter()
            server.call(*command)
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(1)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        waits = probe(server, [encode("PING")], thread.is_alive)
        return took[0], max(waits)

    rows = rounds(args, lambda server: [figure for command in commands for figure in remove(server, command)],
                  args.realtime)
    for at, command in enumerate(commands):
        name = " ".join(word for word in command if word != "key")
        show(f"{name}: the command", column(rows, 2 * at))
        show(f"{name}: longest wait of another client", column(rows, 2 * at + 1))


PARTS = {"fill": fill_part, "fork": fork_part, "snapshot": snapshot_part, "remove": remove_part}


def main():
    words = parser(__doc__, 7612)
    words.add_argument("--parts", default=",".join(PARTS))
    words.add_argument("--keys", type=int, default=10_000_000)
    words.add_argument("--members", type=int, default=5_000_000)
    words.add_argument("--depth", type=int, default=16, help="SETs that the filling client sends at a time")
    words.add_argument("--snapshots", type=int, default=10)
    words.add_argument("--gap", type=float, default=30)
    words.add_argument("--requests", type=int, default=100_000, help="of 50 clients, before and during a BGSAVE")
    words.add_argument("--realtime", action="store_true")
    words.add_argument("--warm", action="store_true")
    args = words.parse_args()
    for part in args.parts.split(","):
        PARTS[part](args)


if __name__ == "__main__":
    main()
