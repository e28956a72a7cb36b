#!/usr/bin/env python3
"""Saving and starting, of Redis and of Rekeep, by wall clock and by CPU time (all threads, and children that were
waited for), interleaved; medians of the rounds.

    benches/files.py [--parts save,load,cross,aof,start] [--keys N] [--rounds N] [--dir PATH]

save   SAVE of `--keys` keys of 16 bytes with 64-byte values, with the default settings
load   start of a server with that file, each with its own, to the first PONG
cross  the same with the other's file; Rekeep's is then of rdb-version 10, which Redis 7.0 reads
aof    start with an append-only file of as many SETs that was never rewritten
start  start with an empty directory

The files are below --dir (by default the directory for temporary files), and in the page cache when they are read.
"""

import os
import shutil
import statistics
import tempfile
import time

from server import QUIET, Server, keys, pair, parser

AOF = ("--save", "", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")


def started(args, home, command, port, options, expect):
    """Wall clock and CPU time from the start of a server in the directory to its first PONG."""
    server = Server("server", command, port, options, directory=home, poll=0.005 if expect else 0.001)
    with server:
        figures = time.monotonic() - server.began, server.cpu_ns(children=True) / 1e9
        if int(server.call("DBSIZE")[1:]) != expect:
            raise SystemExit(f"{command} did not load all of {home}")
    return figures


def end_in_order(server):
    try:
        server.call("SHUTDOWN", "NOSAVE")
    except (EOFError, ConnectionError):
        pass
    server.process.wait()


def saved(args, home, name, command, port):
    """Wall clock and CPU time of SAVE. The directory then holds the file, and below `old` one for Redis 7.0."""
    with Server(name, command, port, QUIET, directory=home) as server:
        keys(server, range(args.keys))
        time.sleep(1)
        cpu, began = server.cpu_ns(children=True), time.monotonic()
        if server.call("SAVE") != b"+OK":
            raise SystemExit(f"{name} did not save")
        figures = time.monotonic() - began, (server.cpu_ns(children=True) - cpu) / 1e9
        os.makedirs(os.path.join(home, "old"))
        if name == "rekeep":
            shutil.move(os.path.join(home, "dump.rdb"), os.path.join(home, "own.rdb"))
            server.call("CONFIG", "SET", "rdb-version", "10")
            server.call("SAVE")
            shutil.move(os.path.join(home, "dump.rdb"), os.path.join(home, "old", "dump.rdb"))
            shutil.move(os.path.join(home, "own.rdb"), os.path.join(home, "dump.rdb"))
        else:
            os.link(os.path.join(home, "dump.rdb"), os.path.join(home, "old", "dump.rdb"))
    return figures


def logged(args, home, name, command, port):
    """Makes an append-only file of SETs."""
    with Server(name, command, port, AOF, directory=home) as server:
        keys(server, range(args.keys))
        end_in_order(server)


def one_round(args, parts, home, note):
    """Gives `note` each (row, server, wall clock, CPU time)."""
    kinds = pair(args)
    other = {"redis": "rekeep", "rekeep": "redis"}
    homes = {name: os.path.join(home, name) for name, _, _ in kinds}
    for path in homes.values():
        os.makedirs(path)
    if {"save", "load", "cross"} & parts:
        for name, command, port in kinds:
            note("save", name, *saved(args, homes[name], name, command, port))
    if "load" in parts:
        for name, command, port in kinds:
            note("load", name, *started(args, homes[name], command, port, QUIET, args.keys))
    if "cross" in parts:
        for name, command, port in kinds:
            path = os.path.join(homes[other[name]], "old")
            note("cross", name, *started(args, path, command, port, QUIET, args.keys))
    if "aof" in parts:
        for name, command, port in kinds:
            path = os.path.join(homes[name], "aof")
            os.makedirs(path)
            logged(args, path, name, command, port)
        for name, command, port in kinds:
            note("aof", name, *started(args, os.path.join(homes[name], "aof"), command, port, AOF, args.keys))
    if "start" in parts:
        for name, command, port in kinds:
            path = os.path.join(homes[name], "empty")
            os.makedirs(path)
            note("start", name, *started(args, path, command, port, QUIET, 0))


def main():
    words = parser(__doc__, 7614, rounds=3)
    words.add_argument("--parts", default="save,load,cross,aof,start")
    words.add_argument("--keys", type=int, default=5_000_000)
    words.add_argument("--dir")
    args = words.parse_args()
    rows = {}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory(prefix="rekeep-bench-", dir=args.dir) as home:
            one_round(args, set(args.parts.split(",")), os.path.abspath(home),
                      lambda row, name, *figures: rows.setdefault((row, name), []).append(figures))
    median = statistics.median
    for row in dict.fromkeys(row for row, _ in rows):
        for at, what in enumerate(("wall clock", "CPU")):
            ours, theirs = ([figures[at] for figures in rows[row, name]] for name in ("rekeep", "redis"))
            ratio = f"{median(a / b for a, b in zip(ours, theirs)):5.2f}" if all(theirs) else "    -"
            print(f"{row:5} {what:10}   redis {median(theirs):7.3f} s   rekeep {median(ours):7.3f} s   ratio {ratio}")


if __name__ == "__main__":
    main()
