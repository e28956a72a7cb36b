#!/usr/bin/env python3
"""Real servers follow ours: they get everything, then the stream, and end with the same contents.

    replicas.py [WORD...]      the cases whose names hold a word; TRACE=1 shows where one failed
"""
import random, threading, time

from contents import Client, Problem, compare, contents
from files import OLD, QUIET, fill
from house import main, redis, rekeep, same, scratch

FOLLOW_SECONDS = 30


def info(client, section):
    lines = client('INFO', section).split('\r\n')
    return dict(line.split(':', 1) for line in lines if ':' in line)


def primary(*options):
    return rekeep(scratch('primary'), *QUIET, *OLD, '--repl-ping-replica-period', '1', *options)


def follower(server, *options):
    return redis(scratch('follower'), *QUIET, '--replicaof', f'127.0.0.1 {server.port}', *options)


def until(holds, what):
    end = time.monotonic() + FOLLOW_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def online(server, count=1):
    client = server.client()
    states = lambda: [line for name, line in info(client, 'replication').items()
                      if name.startswith('slave') and 'state=online' in line]
    until(lambda: len(states()) == count, f'{count} replicas are online')


def caught_up(server, *followers):
    """Until the followers have read what there is; then both hold the same."""
    time.sleep(1)  # Deadlines of less pass meanwhile, and their keys go.
    client = server.client()
    same(client('WAIT', len(followers), FOLLOW_SECONDS * 1000), len(followers), 'replicas that confirm')
    held = contents(client)
    for other in followers:
        compare(contents(other.client()), held)


def traffic(port, seed, seconds, failures):
    """Every kind of write: plain, blocking, transactions, scripts, deadlines, by chance."""
    try:
        client, chance = Client(port), random.Random(seed)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            n = chance.randrange(50)
            client('SELECT', chance.choice((0, 0, 0, 3, 9)))
            chance.choice((
                lambda: client('INCR', f'count:{n}'),
                lambda: client('SET', f'soon:{n}', n, 'PX', chance.randrange(1, 400)),
                lambda: client('SADD', f'drawn:{n}', *range(20)),
                lambda: client('SPOP', f'drawn:{n}', chance.randrange(1, 25)),
                lambda: client('RPUSH', f'line:{n}', n, n),
                lambda: client('BLPOP', f'line:{n}', '0.01'),
                lambda: client('INCRBYFLOAT', f'float:{n}', '0.1'),
                lambda: client('EVAL', "redis.call('incr', KEYS[1]); return redis.call('rpush', KEYS[2], ARGV[1])",
                               2, f'count:{n}', f'told:{n}', n),
                lambda: (client('MULTI'), client('INCR', f'count:{n}'), client('SELECT', 5),
                         client('HINCRBY', f'hash:{n}', 'f', 1), client('EXEC')),
                lambda: client('PUBLISH', 'news', n),
                lambda: client.answer('RENAME', f'count:{n}', f'renamed:{n}'),
            ))()
    except Exception as problem:
        failures.append(problem)


def under_traffic(server, seconds):
    failures = []
    writers = [threading.Thread(target=traffic, args=(server.port, seed, seconds, failures))
               for seed in range(4)]
    for writer in writers:
        writer.start()
    return writers, failures


def break_links_under_traffic(server, seconds, times, pause):
    """Cuts the links of the server's followers again and again; they are back when it ends."""
    writers, failures = under_traffic(server, seconds)
    for _ in range(times):
        time.sleep(pause)
        server.client()('CLIENT', 'KILL', 'TYPE', 'replica')
    for writer in writers:
        writer.join()
    same(failures, [], 'writers that failed')
    online(server)


def everything_and_then_the_stream():
    with primary('--appendonly', 'yes') as server:
        fill(server.client(), random.Random(3))
        writers, failures = under_traffic(server, 3)
        with follower(server) as one, follower(server) as two:
            online(server, 2)
            for writer in writers:
                writer.join()
            same(failures, [], 'writers that failed')
            caught_up(server, one, two)
            role = server.client()('ROLE')
            same((role[0], sorted(entry[1] for entry in role[2])),
                 ('master', sorted(str(other.port) for other in (one, two))), 'ROLE')


def broken_link_goes_on_where_it_was():
    with primary('--repl-backlog-size', '64mb') as server, follower(server) as other:
        online(server)
        break_links_under_traffic(server, 2, 5, 0.3)
        caught_up(server, other)
        stats = info(server.client(), 'stats')
        same(stats['sync_full'], '1', 'full synchronizations')
        if int(stats['sync_partial_ok']) < 4:
            raise Problem(f'{stats["sync_partial_ok"]} partial synchronizations of 5')


def link_that_was_away_too_long_begins_anew():
    with primary('--repl-backlog-size', '16kb') as server, follower(server) as other:
        online(server)
        there, here = other.client(), server.client()
        there('REPLICAOF', 'NO', 'ONE')
        until(lambda: info(here, 'replication')['connected_slaves'] == '0', 'it has gone')
        for n in range(3000):
            here('SET', f'key:{n}', 'v' * 100)
        there('REPLICAOF', '127.0.0.1', server.port)
        online(server)
        caught_up(server, other)
        same(info(here, 'stats')['sync_full'], '2', 'full synchronizations')


def follower_that_reads_nothing_is_cut_off():
    with primary('--client-output-buffer-limit', 'replica 1mb 0 0', '--repl-backlog-size', '64kb') as server:
        silent = Client(server.port)
        silent.send('SYNC')
        size = int(silent.stream.readline().lstrip(b'\n').lstrip(b'$'))
        silent.stream.read(size)
        here = server.client()
        until(lambda: 'state=online' in info(here, 'replication').get('slave0', ''), 'it is online')
        for n in range(400):
            here('SET', 'key', 'v' * 100_000)
        until(lambda: info(here, 'replication')['connected_slaves'] == '0', 'it is cut off')
        for _ in range(10):
            here('SET', 'key', 'v')
        kept = int(info(here, 'replication')['repl_backlog_histlen'])
        if kept > 1_000_000:
            raise Problem(f'{kept} bytes are kept for nobody')


def confirmations_are_waited_for():
    with primary('--appendonly', 'yes') as server, follower(server) as other:
        online(server)
        here = server.client()
        here('SET', 'key', 'v')
        same(here('WAIT', 1, 5000), 1, 'WAIT')
        same(here('WAITAOF', 1, 0, 5000), [1, 0], 'WAITAOF')
        began = time.monotonic()
        here('SET', 'key', 'w')
        same(here('WAIT', 2, 300), 1, 'WAIT for one too many')
        if not 0.2 < time.monotonic() - began < 2:
            raise Problem('WAIT did not wait its time')
        here('CONFIG', 'SET', 'min-replicas-to-write', 2)
        until(lambda: isinstance(here.answer('SET', 'key', 'x'), Problem), 'writes are refused')
        here('CONFIG', 'SET', 'min-replicas-to-write', 1)
        until(lambda: here.answer('SET', 'key', 'x') == 'OK', 'writes are taken')


if __name__ == '__main__':
    main([everything_and_then_the_stream, broken_link_goes_on_where_it_was,
          link_that_was_away_too_long_begins_anew, follower_that_reads_nothing_is_cut_off,
          confirmations_are_waited_for])
