#!/usr/bin/env python3
"""Ours follows a real server, or another of ours: everything, then the stream; broken links, restarts, promotion.

    following.py [WORD...]      the cases whose names hold a word; TRACE=1 shows where one failed
"""
import random, socket, threading, time

from contents import Client, Problem, compare, contents
from files import OLD, QUIET, fill
from house import REDIS_SERVER, free_port, main, redis, rekeep, same, scratch
from replicas import break_links_under_traffic, info, online, under_traffic, until

FAST = ('--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1')


def primary(kind=redis, *options, **more):
    return kind(scratch('primary'), *QUIET, *FAST, *options, **more)


def follower(server, *options, directory=None, **more):
    return rekeep(directory or scratch('follower'), *QUIET, '--replicaof', f'127.0.0.1 {server.port}', *options, **more)


def linked(*servers):
    for server in servers:
        client = server.client()
        until(lambda: info(client, 'replication').get('master_link_status') == 'up', 'the link is up')


def read(server, origin=None):
    """What it holds. A real server does not tell its replicas how many entries a group has read."""
    held = contents(server.client())
    if REDIS_SERVER in (server.kind, (origin or server).kind):
        for row in held.values():
            for group in row['value']['groups'] if row['type'] == 'stream' else ():
                group['entries-read'] = None
    return held


def caught_up(server, *followers):
    """Until all have read what there is; then all hold the same."""
    time.sleep(1)  # Deadlines of less pass meanwhile; the real server removes the keys as we look at them.
    client = server.client()
    held = read(server)
    offset = lambda: int(info(client, 'replication')['master_repl_offset'])
    for other in followers:
        there = other.client()
        until(lambda: int(info(there, 'replication')['slave_repl_offset']) >= offset() - 100, 'it has caught up')
        end = time.monotonic() + 5
        while True:
            try:
                compare(read(other, server), held)
                break
            except Problem:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        if server.kind == other.kind:
            same(there('DEBUG', 'DIGEST'), client('DEBUG', 'DIGEST'), 'DIGEST')


def more_traffic(server):
    """What replicas.py does not write: streams, functions, several databases at once."""
    client = server.client()
    client('FUNCTION', 'LOAD', 'REPLACE', "#!lua name=lib\nredis.register_function('put', function(keys, args) "
           "return redis.call('SET', keys[1], args[1]) end)")
    for n in range(60):
        client('SELECT', n % 4)
        client('XADD', 'events', 'MAXLEN', '~', 20, '*', 'n', n)
        client.answer('XGROUP', 'CREATE', 'events', 'group', 0)
        client('XREADGROUP', 'GROUP', 'group', f'c{n % 3}', 'COUNT', 2, 'STREAMS', 'events', '>')
        client('FCALL', 'put', 1, f'called:{n}', n)
        client('GETEX', f'called:{n}', 'EX', 1000)
        client('ZADD', 'ranked', n / 7, n)
        client('ZRANGESTORE', 'best', 'ranked', 0, 5)
        client('SETEX', f'gone:{n}', 1, 'soon')
        client('PFADD', 'seen', n)
        client('MULTI')
        client('SELECT', 7)
        client('LPUSH', 'log', n)
        client('LTRIM', 'log', 0, 9)
        client('EXEC')
    client('SELECT', 2)
    client('COPY', 'ranked', 'ranked', 'DB', 6)
    client('SWAPDB', 1, 3)


def follows(kind, *options):
    with primary(kind, *options) as server:
        fill(server.client(), random.Random(5))
        writers, failures = under_traffic(server, 3)
        with follower(server, '--appendonly', 'yes') as one, follower(server) as two:
            linked(one, two)
            more_traffic(server)
            for writer in writers:
                writer.join()
            same(failures, [], 'writers that failed')
            caught_up(server, one, two)
            there = one.client()
            same(there('FUNCTION', 'LIST')[0][1], 'lib', 'the library')
            same(str(there.answer('SET', 'k', 'v')), "READONLY You can't write against a read only replica.", 'SET')
            same(there('ROLE')[:4], ['slave', '127.0.0.1', server.port, 'connected'], 'ROLE')


def a_real_server_through_a_stream():
    follows(redis)


def a_real_server_through_a_file():
    follows(redis, '--repl-diskless-sync', 'no')


def one_of_ours():
    follows(rekeep)


def broken_link_goes_on_where_it_was():
    for kind in (redis, rekeep):
        with primary(kind, '--repl-backlog-size', '64mb') as server, follower(server) as other:
            linked(other)
            break_links_under_traffic(server, 4, 3, 1)
            caught_up(server, other)
            stats = info(server.client(), 'stats')
            same((stats['sync_full'], stats['sync_partial_ok']), ('1', '3'), 'synchronizations')


def primary_that_starts_anew():
    with primary() as server, follower(server) as other:
        linked(other)
        server.client()('SET', 'before', 1)
        server.kill()
        until(lambda: info(other.client(), 'replication')['master_link_status'] == 'down', 'the link is down')
        server.start()
        server.client()('SET', 'after', 1)
        until(lambda: other.client()('GET', 'after') == '1', 'it follows again')
        caught_up(server, other)
        same(other.client()('EXISTS', 'before'), 0, 'keys of before')


def keys_past_their_deadline():
    with primary() as server, follower(server) as other:
        linked(other)
        here, there = server.client(), other.client()
        here('DEBUG', 'SET-ACTIVE-EXPIRE', 0)
        here('SET', 'soon', 1, 'PX', 200)
        here('WAIT', 1, 5000)
        time.sleep(0.5)
        same((there('GET', 'soon'), there('DBSIZE')), (None, 1), 'hidden, and there')
        here('GET', 'soon')
        until(lambda: there('DBSIZE') == 0, 'it is removed')


def promoted():
    with primary() as server, follower(server, '--appendonly', 'yes') as other:
        linked(other)
        fill(server.client(), random.Random(7))
        caught_up(server, other)
        held, there = contents(server.client()), other.client()
        there('REPLICAOF', 'NO', 'ONE')
        there('REPLICAOF', 'NO', 'ONE')
        same(info(there, 'replication')['role'], 'master', 'role')
        compare(contents(there), held)
        there('SET', 'own', 1)
        # The old primary follows the new one, from where they parted.
        before = info(there, 'replication')
        with rekeep(scratch('third'), *QUIET, '--replicaof', f'127.0.0.1 {other.port}') as third:
            linked(third)
            caught_up(other, third)
        held = contents(there)
        until(lambda: info(there, 'persistence')['aof_rewrite_in_progress'] == '0', 'the base is there')
        other.stop()
        other.options = ('--save', '', '--appendonly', 'yes')
        other.start()
        compare(contents(other.client()), held)
        same(before['master_replid2'], info(server.client(), 'replication')['master_replid'], 'the old name')


def chain():
    with primary() as server, follower(server, *OLD) as middle, follower(middle) as last:
        linked(middle, last)
        writers, failures = under_traffic(server, 4)
        more_traffic(server)
        time.sleep(0.5)
        server.client()('CLIENT', 'KILL', 'TYPE', 'replica')
        middle.client()('CLIENT', 'KILL', 'TYPE', 'replica')
        with redis(scratch('late'), *QUIET, '--replicaof', f'127.0.0.1 {middle.port}') as late:
            for writer in writers:
                writer.join()
            same(failures, [], 'writers that failed')
            linked(middle, last, late)
            caught_up(server, middle, last, late)
            # The one in the middle takes over, and the others go on where they were.
            full = info(middle.client(), 'stats')['sync_full']
            middle.client()('REPLICAOF', 'NO', 'ONE')
            middle.client()('SET', 'own', 1)
            online(middle, 2)
            until(lambda: last.client()('GET', 'own') == '1' and late.client()('GET', 'own') == '1', 'they follow')
            same(info(middle.client(), 'stats')['sync_full'], full, 'full synchronizations')
            caught_up(middle, last, late)


def another_primary_of_the_same_stream():
    """The stream goes on in the middle of a database: nobody says SELECT again."""
    with primary(redis, '--repl-ping-replica-period', '3600') as server, follower(server) as one, follower(server) as two:
        linked(one, two)
        client = server.client()
        for command in (('SELECT', 3), ('SET', 'before', 1)):
            client(*command)
        caught_up(server, one, two)
        two.client()('REPLICAOF', '127.0.0.1', one.port)
        linked(two)
        client('SET', 'after', 2)
        caught_up(server, one, two)
        same(info(one.client(), 'stats')['sync_partial_ok'], '1', 'partial synchronizations')


def restart_with_the_append_only_file():
    with primary() as server:
        home = scratch('follower')
        other = follower(server, '--appendonly', 'yes', directory=home)
        linked(other)
        fill(server.client(), random.Random(9))
        more_traffic(server)
        caught_up(server, other)
        there = other.client()
        until(lambda: info(there, 'persistence')['aof_rewrite_in_progress'] == '0', 'the base is there')
        for end in (other.stop, other.kill):
            time.sleep(1.2)
            end()
            server.client()('SET', 'meanwhile', 1)
            alone = rekeep(home, *QUIET, '--appendonly', 'yes')
            held, mine = read(server), read(alone, server)
            for rows in (held, mine):
                rows.pop((0, 'meanwhile'), None)
            compare(mine, held)
            alone.stop()
            other.start()
            linked(other)
            caught_up(server, other)


def damaged_snapshot_changes_nothing():
    """A primary that sends nonsense: what is here stays, and is served."""
    listener = socket.create_server(('127.0.0.1', free_port()))
    port, sent = listener.getsockname()[1], []

    def nonsense():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, peer.makefile('rb') as lines:
                for line in lines:
                    word = line.strip().upper()
                    if word in (b'PING', b'REPLCONF'):
                        peer.sendall(b'+OK\r\n')
                    elif word == b'PSYNC':
                        body = b'REDIS0010\xfe\x00\x00\x03key\x20nonsense' * 20
                        peer.sendall(b'+FULLRESYNC ' + b'a' * 40 + b' 77\r\n\n$%d\r\n' % len(body) + body)
                        sent.append(1)
    threading.Thread(target=nonsense, daemon=True).start()
    with rekeep(scratch('follower'), *QUIET) as server:
        client = server.client()
        client('SET', 'mine', 1)
        client('REPLICAOF', '127.0.0.1', port)
        until(lambda: len(sent) >= 2, 'it was tried twice')
        same(client('GET', 'mine'), '1', 'what was there')
        client('REPLICAOF', 'NO', 'ONE')
        client('SET', 'mine', 2)
    listener.close()


def stale_data():
    with primary() as server, follower(server, '--replica-serve-stale-data', 'no') as other:
        linked(other)
        here, there = server.client(), other.client()
        here('SET', 'k', 'v')
        here('WAIT', 1, 5000)
        same(there('GET', 'k'), 'v', 'GET')
        server.kill()
        until(lambda: isinstance(there.answer('GET', 'k'), Problem), 'it is stale')
        same(str(there.answer('GET', 'k'))[:10], 'MASTERDOWN', 'GET')
        same(there('ROLE')[0], 'slave', 'ROLE')
        there('CONFIG', 'SET', 'replica-serve-stale-data', 'yes')
        same(there('GET', 'k'), 'v', 'GET')


if __name__ == '__main__':
    main([a_real_server_through_a_stream, a_real_server_through_a_file, one_of_ours,
          broken_link_goes_on_where_it_was, primary_that_starts_anew, keys_past_their_deadline, promoted, chain,
          another_primary_of_the_same_stream, restart_with_the_append_only_file, damaged_snapshot_changes_nothing, stale_data])
