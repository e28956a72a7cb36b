#!/usr/bin/env python3
"""Resident memory an element, of Redis and of Rekeep, and the pause of the fork over them: keys of 16 bytes
with 32-byte values (`keys`), the same with a TTL (`ttl`), small hashes of 5 fields (an element is a hash),
a sorted set, a set and a list. All members have 16 bytes; scores come in no order.

    benches/memory.py [--shapes keys,ttl,hashes,zset,set,list] [--scale 0.05] [--rounds N]
"""

import itertools
import statistics
import time

from server import Server, fill, pair, parser

MILLION = 1_000_000
MEMBER = b"mbr:%012d"
AT_ONCE = 100
# After so long both allocators have given back what grown tables left behind.
UNUSED_SECONDS = 12


def scores(count):
    """Each number below `count`, behind a score from the same numbers in a disorder that is always the same."""
    return itertools.chain.from_iterable((number * 2_654_435_761 % count, number) for number in range(count))


# How many elements, the request (once for each element, or for each `AT_ONCE`), the numbers in it.
SHAPES = {
    "keys": (10 * MILLION, ("SET", b"key:%012d", b"v" * 32), range),
    "ttl": (10 * MILLION, ("SET", b"key:%012d", b"v" * 32, "EX", MILLION), range),
    "hashes": (MILLION, ("HSET", b"key:%012d", *(b"field%d" % at if even else b"value-of-%d" % at
                                                for at in range(1, 6) for even in (1, 0))), range),
    "zset": (5 * MILLION, ("ZADD", "key", *(b"%09d", MEMBER) * AT_ONCE), scores),
    "set": (5 * MILLION, ("SADD", "key", *(MEMBER,) * AT_ONCE), range),
    "list": (10 * MILLION, ("RPUSH", "key", *(MEMBER,) * AT_ONCE), range),
}


def measure(server, shape, count):
    """Bytes an element, milliseconds of a fork."""
    _, words, numbers = SHAPES[shape]
    empty = server.rss()
    fill(server, words, numbers(count), depth=10 if len(words) > AT_ONCE else 1000)
    time.sleep(UNUSED_SECONDS)
    each = (server.rss() - empty) / count
    server.call("BGSAVE")
    time.sleep(1)
    return each, int(server.info("latest_fork_usec")) / 1000


def main():
    words = parser(__doc__, 7610)
    words.add_argument("--shapes", default=",".join(SHAPES))
    words.add_argument("--scale", type=float, default=1, help="of the number of elements")
    args = words.parse_args()
    for shape in args.shapes.split(","):
        count = int(SHAPES[shape][0] * args.scale) // AT_ONCE * AT_ONCE
        rows = {}
        for _ in range(args.rounds):
            for name, command, port in pair(args):
                with Server(name, command, port) as server:
                    rows.setdefault(name, []).append(measure(server, shape, count))
        figures = [statistics.median(row[at] for row in rows[name]) for at in (0, 1) for name in ("redis", "rekeep")]
        print("{:7} {:9} elements   redis {:6.1f} B   rekeep {:6.1f} B   ratio {:4.2f}   fork: redis {:6.2f} ms   "
              "rekeep {:6.2f} ms".format(shape, count, *figures[:2], figures[1] / figures[0], *figures[2:]), flush=True)


if __name__ == "__main__":
    main()
