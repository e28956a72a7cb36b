#!/usr/bin/env python3
"""Resident memory a key: 10 million keys of 16 bytes with 32-byte values, with and without a TTL,
and the pause of the fork over them.

    benches/memory.py [--keys N] [--ttl]
"""

import argparse
import time

from server import REDIS, REKEEP, Server, encode, pour


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--ttl", action="store_true")
    parser.add_argument("--only-rekeep", action="store_true")
    parser.add_argument("--port", type=int, default=7610)
    args = parser.parse_args()
    value = b"v" * 32
    more = ("EX", 1_000_000) if args.ttl else ()
    for index, (name, command) in enumerate([("redis", REDIS), ("rekeep", REKEEP)][0 if not args.only_rekeep else 1:]):
        server = Server(name, command, args.port + index)
        try:
            empty = server.rss()
            began = time.monotonic()
            pour(server, (encode("SET", b"key:%012d" % key, value, *more) for key in range(args.keys)))
            took = time.monotonic() - began
            full = server.rss()
            server.call("BGSAVE")
            time.sleep(1)
            fork = server.info("latest_fork_usec")
            print(f"{name:8} empty {empty / 1e6:6.1f} MB   {(full - empty) / args.keys:6.1f} B a key (RSS)   "
                  f"fork {int(fork) / 1000:7.2f} ms   filled in {took:.0f} s", flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
