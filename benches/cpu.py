#!/usr/bin/env python3
"""CPU time an operation, of Redis and of Rekeep with and without its append-only file, under the
same load (Debian's redis-benchmark), interleaved A B A B; medians of the rounds, and of their ratios.

    benches/cpu.py [--rounds N] [--clients N] [--pipeline N] [--keys N] [--tests set,get] [--requests N]
                     [--no-rewrite] [--rekeep COMMAND] [--other COMMAND]

With --other a second Rekeep, say of another commit, takes the place of the one with the append-only file.
"""

import argparse
import hashlib
import statistics
import subprocess

from server import QUIET, REDIS, REKEEP, Server

# What `evalsha` runs: a small script with one key.
SCRIPT = "return redis.call('incrby', KEYS[1], ARGV[1])"
# Tests that are commands of ours. (redis-benchmark's own LRANGE pushes as many elements beforehand.)
COMMANDS = {
    "evalsha": ["EVALSHA", hashlib.sha1(SCRIPT.encode()).hexdigest(), "1", "counter:__rand_int__", "3"],
    "lrange": ["LRANGE", "hundred", "0", "99"],
}
EVERYSEC = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


def bench(port, args, test, requests):
    """Operations a second."""
    words = ["redis-benchmark", "-p", str(port), "-c", str(args.clients), "-P", str(args.pipeline),
             "-r", str(args.keys), "-d", str(args.bytes), "-n", str(requests), "--csv"]
    words += COMMANDS.get(test) or ["-t", test]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    return float(lines[-1].split(",")[1].strip('"'))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=64)
    parser.add_argument("--tests", default="set,get")
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--port", type=int, default=7600)
    parser.add_argument("--no-rewrite", action="store_true", help="without automatic rewrites of the file")
    parser.add_argument("--rekeep", default=REKEEP, help="command that starts Rekeep")
    parser.add_argument("--other", help="command that starts another Rekeep, to compare with the first")
    args = parser.parse_args()
    requests = args.requests or {1: 200_000}.get(args.pipeline, 2_000_000)
    servers = [Server("redis", REDIS, args.port, QUIET), Server("rekeep", args.rekeep, args.port + 1, QUIET)]
    if args.other:
        servers.append(Server("other rekeep", args.other, args.port + 2, QUIET))
    else:
        rewrite = ("--auto-aof-rewrite-percentage", "0") if args.no_rewrite else ()
        servers.append(Server("rekeep everysec", args.rekeep, args.port + 2, EVERYSEC + rewrite))
    try:
        for server in servers:
            server.call("SCRIPT", "LOAD", SCRIPT)
            server.call("RPUSH", "hundred", *["x" * args.bytes] * 100)
            bench(server.port, argparse.Namespace(**{**vars(args), "pipeline": 16}), "set", args.keys * 2)
        for test in args.tests.split(","):
            rows = {server.name: [] for server in servers}
            for _ in range(args.rounds):
                for server in servers:
                    before = server.cpu_ns()
                    rate = bench(server.port, args, test, requests)
                    rows[server.name].append(((server.cpu_ns() - before) / requests, rate))
            report(test, args, rows)
    finally:
        for server in servers:
            server.stop()


def report(test, args, rows):
    median = statistics.median
    reference, plain = rows["redis"], rows["rekeep"]
    for name, measured in rows.items():
        cpu = median(ns for ns, _ in measured)
        to_redis = median(ours[0] / theirs[0] for ours, theirs in zip(measured, reference))
        to_plain = median(ours[0] / theirs[0] for ours, theirs in zip(measured, plain))
        rate = median(ours[1] / theirs[1] for ours, theirs in zip(measured, reference))
        print(f"{test:6} P={args.pipeline:<3} {name:16} {cpu:7.0f} ns/op   cpu/redis {to_redis:5.2f}   "
              f"cpu/rekeep {to_plain:5.2f}   throughput/redis {rate:5.2f}", flush=True)


if __name__ == "__main__":
    main()
