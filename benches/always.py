#!/usr/bin/env python3
"""`appendfsync always`: throughput of writers, and what readers beside them feel, of Redis and of Rekeep,
interleaved A B A B; medians of the rounds' ratios.

    benches/always.py [--rounds N] [--clients N] [--requests N] [--delay-ms N] [--dir PATH]

--delay-ms makes every fdatasync and fsync that much slower (a small library that is loaded before the C
library's; it needs a C compiler). The files are below --dir, which should be a real disk.
"""

import argparse
import atexit
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import server as servers

SLOW = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int (*real_data)(int), (*real_all)(int);
int fdatasync(int fd) {
    if (!real_data) real_data = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    usleep(DELAY_US);
    return real_data(fd);
}
int fsync(int fd) {
    if (!real_all) real_all = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    usleep(DELAY_US);
    return real_all(fd);
}
"""
ALWAYS = ("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")


def slow_disk(milliseconds):
    """A library that delays each sync."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="rekeep-slow-"))
    atexit.register(shutil.rmtree, home)
    (home / "slow.c").write_text(SLOW)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", f"-DDELAY_US={milliseconds * 1000}", "-o", home / "slow.so",
                    home / "slow.c", "-ldl"], check=True)
    return str(home / "slow.so")


def load(port, test, clients, requests):
    words = ["redis-benchmark", "-p", str(port), "-c", str(clients), "-r", "100000", "-d", "64", "-n", str(requests),
             "-t", test, "--csv"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def result(process):
    """Operations a second, and the 99th of 100 latencies in milliseconds."""
    fields = [field.strip('"') for field in process.communicate()[0].strip().splitlines()[-1].split(",")]
    return float(fields[1]), float(fields[6])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--dir", default=".")
    parser.add_argument("--port", type=int, default=7630)
    args = parser.parse_args()
    tempfile.tempdir = os.path.abspath(args.dir)
    if args.delay_ms:
        os.environ["LD_PRELOAD"] = slow_disk(args.delay_ms)
    kinds = [("redis", servers.REDIS), ("rekeep", servers.REKEEP)]
    running = {name: servers.Server(name, command, args.port + at, ALWAYS) for at, (name, command) in enumerate(kinds)}
    os.environ.pop("LD_PRELOAD", None)
    writes = {name: [] for name in running}
    reads = {name: {"always": [], "no": []} for name in running}
    try:
        for _ in range(args.rounds):
            for name, server in running.items():
                writes[name].append(result(load(server.port, "set", args.clients, args.requests))[0])
            for name, server in running.items():
                for policy in "always", "no":
                    server.call("CONFIG", "SET", "appendfsync", policy)
                    writer = load(server.port, "set", args.clients, 10_000_000)
                    reads[name][policy].append(result(load(server.port, "get", 10, 20_000))[1])
                    writer.terminate()
                    writer.communicate()
                server.call("CONFIG", "SET", "appendfsync", "always")
    finally:
        for server in running.values():
            server.stop()
    median = statistics.median
    ratio = median(ours / theirs for ours, theirs in zip(writes["rekeep"], writes["redis"]))
    for name in running:
        beside = {policy: median(values) for policy, values in reads[name].items()}
        print(f"{name:8} {median(writes[name]):9.0f} SET/s   p99 of GET beside writers: always {beside['always']:.3f} ms, "
              f"no {beside['no']:.3f} ms")
    print(f"throughput of SET with always: {ratio:.2f} of Redis's (delay {args.delay_ms} ms, {args.clients} clients)")


if __name__ == "__main__":
    main()
