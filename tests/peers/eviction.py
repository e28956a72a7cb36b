#!/usr/bin/env python3
"""Under maxmemory the same keys stay as with a real server, as far as chance allows.

    eviction.py [WORD...]      the cases whose names hold a word
"""
import time

from contents import Problem
from house import main, redis, rekeep, same, scratch

KEYS = 20_000
# Of the keys in use, ours may lose so much more than theirs does: a share of all.
WORSE_AT_MOST = 0.05
# What answering INFO takes may stand above the limit: nothing is evicted before the next write.
OF_THE_ANSWER = 4096


def many(client, commands):
    for command in commands:
        client.send(*command)
    return [client.read() for _ in commands]


def in_parts(client, commands):
    commands, replies = list(commands), []
    for at in range(0, len(commands), 500):
        replies += many(client, commands[at:at + 500])
    return replies


def info(client, section, field):
    lines = client('INFO', section).split('\r\n')
    return int(next(line for line in lines if line.startswith(field + ':')).split(':')[1])


def kept(kind, policy):
    """How many keys of the first half, which is in use or dies last, and of the second half stay."""
    with kind(scratch('home'), '--save', '', '--maxmemory-policy', policy) as server:
        client = server.client()
        empty = info(client, 'memory', 'used_memory')
        deadline = lambda n: ('EX', 200_000 - n) if policy.startswith('volatile') else ()
        in_parts(client, (('SET', f'key:{n}', 'x' * 200, *deadline(n)) for n in range(KEYS)))
        full = info(client, 'memory', 'used_memory')
        if 'lru' in policy:
            time.sleep(2.1)  # Its clock counts seconds.
        for _ in range(8):
            in_parts(client, (('GET', f'key:{n}') for n in range(KEYS // 2)))
        limit = empty + (full - empty) * 6 // 10
        client('CONFIG', 'SET', 'maxmemory', limit)
        end = time.monotonic() + 20
        while info(client, 'memory', 'used_memory') > limit + OF_THE_ANSWER:
            if time.monotonic() > end:
                raise TimeoutError('memory stays above the limit')
            same(client('SET', 'one more', 'v'), 'OK', 'a write while keys are evicted')
        there = in_parts(client, (('EXISTS', f'key:{n}') for n in range(KEYS)))
        evicted = info(client, 'stats', 'evicted_keys')
        if evicted < KEYS - sum(there):
            raise Problem(f'{evicted} keys evicted, but {KEYS - sum(there)} are gone')
        return sum(there[:KEYS // 2]), sum(there[KEYS // 2:])


def compared(policy):
    ours, theirs = kept(rekeep, policy), kept(redis, policy)
    share = [one / (one + other) for one, other in (ours, theirs)]
    if share[0] < share[1] - WORSE_AT_MOST:
        raise Problem(f'{policy}: we keep {ours}, they keep {theirs}')


def recently_used_keys_stay():
    compared('allkeys-lru')
    compared('volatile-lru')


def frequently_used_keys_stay():
    compared('allkeys-lfu')
    compared('volatile-lfu')


def keys_that_die_last_stay():
    compared('volatile-ttl')


def chance_is_even():
    first, second = kept(rekeep, 'allkeys-random')
    if not 0.45 < first / (first + second) < 0.55:
        raise Problem(f'{first} of the first half stay, {second} of the second')


def what_may_not_go_stays():
    for policy in 'noeviction', 'volatile-lru':
        with rekeep(scratch('home'), '--save', '', '--maxmemory-policy', policy) as server:
            client = server.client()
            in_parts(client, (('SET', f'key:{n}', 'x' * 200) for n in range(2000)))
            client('CONFIG', 'SET', 'maxmemory', info(client, 'memory', 'used_memory') - 1000)
            refused = client.answer('SET', 'key', 'v')
            same(str(refused)[:4], 'OOM ', policy)
            same(client('GET', 'key:7'), 'x' * 200, 'reads')
            same(client('DBSIZE'), 2000, 'keys')
            client('DEL', *(f'key:{n}' for n in range(1500)))
            time.sleep(0.2)
            same(client('SET', 'key', 'v'), 'OK', 'a write when there is room again')


if __name__ == '__main__':
    main([recently_used_keys_stay, frequently_used_keys_stay, keys_that_die_last_stay, chance_is_even,
          what_may_not_go_stays])
