#!/usr/bin/env python3
"""Primary and replica change places, stop and come back, ours and real ones: nothing is lost, and nothing is sent twice.

    handing_over.py [WORD...]      the cases whose names hold a word; TRACE=1 shows where one failed
"""
import random, signal, threading, time

from contents import Client, Problem
from files import OLD, QUIET, fill
from following import caught_up, follower, linked, primary
from house import main, redis, rekeep, same, scratch
from replicas import info, online, until

SAVES = ('--save', '3600 1')


def state(server):
    return info(server.client(), 'replication')['master_failover_state']


class Writer(threading.Thread):
    """Counts in a key, at whoever takes writes, until it is told to end."""

    def __init__(self, key, servers):
        super().__init__(daemon=True)
        self.key, self.servers, self.counted, self.over = key, servers, 0, False
        self.start()

    def run(self):
        clients = [server.client() for server in self.servers]
        while not self.over:
            for client in clients:
                answer = client.answer('INCR', self.key)
                while isinstance(answer, int):
                    self.counted += 1
                    if self.over:
                        return
                    answer = client.answer('INCR', self.key)
                if not str(answer).startswith('READONLY'):
                    raise Problem(str(answer))

    def end(self):
        self.over = True
        self.join()
        return self.counted


def hand_over(first, second):
    """FAILOVER there and back under writes: who counts finds every count that was confirmed."""
    with first(scratch('first'), *QUIET, *(OLD if first is rekeep else ())) as one, \
            second(scratch('second'), *QUIET, '--replicaof', f'127.0.0.1 {one.port}',
                   *(OLD if second is rekeep else ())) as two:
        linked(two)
        fill(one.client(), random.Random(3))
        online(one)
        writers = [Writer(f'count:{n}', (one, two)) for n in range(4)]
        for here, there in ((one, two), (two, one)):
            time.sleep(0.5)
            full = int(info(there.client(), 'stats')['sync_full'])
            here.client()('FAILOVER', 'TO', '127.0.0.1', there.port, 'TIMEOUT', 20000)
            until(lambda: state(here) == 'no-failover', 'it is handed over')
            same((info(here.client(), 'replication')['role'], info(there.client(), 'replication')['role']),
                 ('slave', 'master'), 'the roles')
            linked(here)
            online(there)
            same(int(info(there.client(), 'stats')['sync_full']), full, 'full synchronizations')
        time.sleep(0.5)
        counts = [writer.end() for writer in writers]
        caught_up(one, two)
        for n, count in enumerate(counts):
            same(int(one.client()('GET', f'count:{n}')), count, 'counts that were confirmed')


def ours_and_ours():
    hand_over(rekeep, rekeep)


def ours_and_a_real_one():
    hand_over(rekeep, redis)


def a_real_one_and_ours():
    hand_over(redis, rekeep)


def failover_that_cannot_be():
    with primary(rekeep) as server, follower(server) as other:
        linked(other)
        here, there = server.client(), other.client()
        for words, error in ((('TO', '127.0.0.1', 1), 'FAILOVER target HOST and PORT is not a replica.'),
                             (('FORCE',), 'FAILOVER with force option requires both'),
                             (('ABORT',), 'No failover in progress.')):
            if error not in str(here.answer('FAILOVER', *words)):
                raise Problem(f'FAILOVER {words}: {here.answer("FAILOVER", *words)}')
        other.process.send_signal(signal.SIGSTOP)
        here('SET', 'k', 1)
        here('FAILOVER', 'TIMEOUT', 60000)
        same(state(server), 'waiting-for-sync', 'the state')
        waiting = server.client()
        waiting.send('SET', 'k', 2)
        same(str(here.answer('FAILOVER'))[:30], 'ERR FAILOVER already in progre', 'FAILOVER')
        same(str(here.answer('REPLICAOF', 'NO', 'ONE')), 'ERR REPLICAOF not allowed while failing over.', 'REPLICAOF')
        same(here('GET', 'k'), '1', 'the write waits')
        here('FAILOVER', 'ABORT')
        same((waiting.read(), here('GET', 'k'), state(server)), ('OK', '2', 'no-failover'), 'it went on')
        here('FAILOVER', 'TIMEOUT', 300)
        until(lambda: state(server) == 'no-failover', 'its time is up')
        other.process.send_signal(signal.SIGCONT)
        # The target does not want to be the primary: both stay what they are.
        there('ACL', 'SETUSER', 'default', '-psync')
        here('FAILOVER', 'TO', '127.0.0.1', other.port)
        until(lambda: state(server) == 'no-failover', 'it is refused')
        same(here('ROLE')[0], 'master', 'the role')
        there('ACL', 'SETUSER', 'default', '+psync')
        here('SET', 'k', 3)
        linked(other)
        caught_up(server, other)
        same(there('GET', 'k'), '3', 'the last write')


def write_that_waits_learns_who_takes_it():
    with primary(rekeep) as server, follower(server) as other:
        linked(other)
        here = server.client()
        other.process.send_signal(signal.SIGSTOP)
        here('SET', 'k', 1)
        blocked = server.client()
        blocked.send('BLPOP', 'list', 0)
        until(lambda: info(here, 'clients')['blocked_clients'] == '1', 'it waits')
        waiting, queued = server.client(), server.client()
        queued('MULTI')
        queued('SET', 'k', 3)
        here('FAILOVER', 'TO', '127.0.0.1', other.port)
        waiting.send('SET', 'k', 2)
        queued.send('EXEC')
        time.sleep(0.3)
        other.process.send_signal(signal.SIGCONT)
        same(str(waiting.read())[:8], 'READONLY', 'SET')
        same(str(queued.read())[:9], 'EXECABORT', 'EXEC')
        same(str(blocked.read())[:9], 'UNBLOCKED', 'BLPOP')
        linked(server)
        same((here('GET', 'k'), other.client()('GET', 'k')), ('1', '1'), 'the value')


def shutdown_waits(kind):
    """What a lagging replica lacks is sent before the end; who cannot be waited for longer is told of."""
    with primary(rekeep, *OLD, '--shutdown-timeout', '30', '--repl-backlog-size', '16kb') as server, \
            kind(scratch('other'), *QUIET, '--replicaof', f'127.0.0.1 {server.port}') as other:
        linked(other)
        here = server.client()
        other.process.send_signal(signal.SIGSTOP)
        for n in range(300):
            here('SET', f'key:{n}', 'v' * 100_000)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: int(info(here, 'server').get('shutdown_in_milliseconds', 0)) > 0, 'the shutdown waits')
        late = server.client()
        late.send('SET', 'late', 1)
        time.sleep(0.3)
        same(here('EXISTS', 'late'), 0, 'writes wait')
        other.process.send_signal(signal.SIGCONT)
        same(server.process.wait(30), 0, 'the exit code')
        there = other.client()
        same((there('DBSIZE'), there('EXISTS', 'late')), (300, 0), 'what the replica has')
        for words in ('1 of 1 replicas are in sync', 'bye bye'):
            if words not in server.said():
                raise Problem(f'{words}: {server.said()}')
        if 'Lagging replica' in server.said():
            raise Problem(server.said())


def shutdown_waits_for_ours():
    shutdown_waits(rekeep)


def shutdown_waits_for_a_real_one():
    shutdown_waits(redis)


def shutdown_that_waits_is_called_off():
    with primary(rekeep) as server, follower(server) as other:
        linked(other)
        here = server.client()
        other.process.send_signal(signal.SIGSTOP)
        here('SET', 'k', 1)
        stopping = [server.client() for _ in range(2)]
        for client in stopping:
            client.send('SHUTDOWN')
        until(lambda: info(here, 'clients')['blocked_clients'] == '2', 'both wait')
        ids = [line.split()[0][3:] for line in here('CLIENT', 'LIST').splitlines() if 'cmd=shutdown' in line]
        same([here('CLIENT', 'UNBLOCK', id) for id in ids], [0, 0], 'CLIENT UNBLOCK')
        writing = server.client()
        writing.send('SET', 'k', 2)
        here('SHUTDOWN', 'ABORT')
        same([str(client.read()) for client in stopping], ['ERR Errors trying to SHUTDOWN. Check logs.'] * 2, 'SHUTDOWN')
        same((writing.read(), here('GET', 'k')), ('OK', '2'), 'the write goes on')
        same(str(here.answer('SHUTDOWN', 'ABORT')), 'ERR No shutdown in progress.', 'SHUTDOWN ABORT')
        here('CONFIG', 'SET', 'shutdown-timeout', 1)
        here('SET', 'k', 3)
        began = time.monotonic()
        server.stop()
        if not 0.8 < time.monotonic() - began < 8 or '0 of 1 replicas are in sync' not in server.said():
            raise Problem(f'{time.monotonic() - began}: {server.said()}')
        other.process.send_signal(signal.SIGCONT)


def replica_comes_back_where_it_was(kind):
    """A restart with a snapshot, in order or by a crash after it, takes a part of the stream."""
    with primary(kind) as server:
        other = rekeep(scratch('other'), *SAVES, '--replicaof', f'127.0.0.1 {server.port}')
        linked(other)
        here = server.client()
        here('SELECT', 5)
        here('CONFIG', 'SET', 'repl-ping-replica-period', 3600)
        for round, end in enumerate((other.stop, other.kill)):
            here('SET', f'before:{round}', 1)
            here('SET', f'soon:{round}', 1, 'PX', 1500)
            caught_up(server, other)
            if end == other.kill:
                other.client()('SAVE')
            end()
            # In the database that is selected in the stream.
            here('SET', f'meanwhile:{round}', 1)
            other.start()
            linked(other)
            caught_up(server, other)
            stats = info(here, 'stats')
            same((stats['sync_full'], stats['sync_partial_ok']), ('1', str(round + 1)), 'synchronizations')


def replica_of_ours_comes_back():
    replica_comes_back_where_it_was(rekeep)


def replica_of_a_real_one_comes_back():
    replica_comes_back_where_it_was(redis)


def primary_comes_back():
    """Its replicas go on, and hear of the keys whose deadlines have passed meanwhile."""
    with rekeep(scratch('primary'), *SAVES, *OLD) as server, follower(server) as one, \
            redis(scratch('other'), *QUIET, '--replicaof', f'127.0.0.1 {server.port}') as two:
        linked(one, two)
        here = server.client()
        here('DEBUG', 'SET-ACTIVE-EXPIRE', 0)
        for n in range(100):
            here('SELECT', n % 7)
            here('SET', f'stays:{n}', n)
            here('SET', f'goes:{n}', n, 'PX', 400)
        before = info(here, 'replication')
        same(here('WAIT', 2, 10000), 2, 'WAIT')
        server.stop()
        time.sleep(0.5)
        server.start()
        linked(one, two)
        online(server, 2)
        after, stats = info(server.client(), 'replication'), info(server.client(), 'stats')
        same(after['master_replid2'], before['master_replid'], 'the name of before')
        same((stats['sync_full'], stats['sync_partial_ok']), ('0', '2'), 'synchronizations')
        same(info(server.client(), 'persistence')['rdb_last_load_keys_expired'], '100', 'keys past their deadlines')
        server.client()('SET', 'after', 1)
        caught_up(server, one, two)


def primary_that_fell_behind_its_replica():
    """It comes back with an old snapshot: who knows more than it does begins anew."""
    with rekeep(scratch('primary'), *QUIET) as server, follower(server) as other:
        linked(other)
        here = server.client()
        here('SET', 'old', 1)
        here('SAVE')
        here('SET', 'new', 1)
        same(here('WAIT', 1, 10000), 1, 'WAIT')
        server.kill()
        server.start()
        until(lambda: info(server.client(), 'stats')['sync_full'] == '1', 'a full synchronization')
        linked(other)
        caught_up(server, other)
        same(other.client()('EXISTS', 'old', 'new'), 1, 'keys')


def functions_alone():
    """REPLCONF rdb-filter-only: a snapshot of the libraries, or of nothing; a whole one meanwhile."""
    with rekeep(scratch('primary'), *QUIET) as server:
        here = server.client()
        here('DEBUG', 'POPULATE', 1000)
        here('FUNCTION', 'LOAD', "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
        here('CONFIG', 'SET', 'rdb-key-save-delay', 300)
        for wanted, held in (('functions', (0, 1)), ('', (0, 0)), (None, (1000, 1))):
            asker = server.client()
            asker('REPLCONF', 'rdb-only', 1)
            if wanted is not None:
                asker('REPLCONF', 'rdb-filter-only', wanted)
            whole = server.client()
            whole.send('SYNC')
            asker.send('SYNC')
            snapshots = []
            for client in (asker, whole):
                line = b'\n'
                while line == b'\n':
                    line = client.stream.readline()
                snapshots.append(client.stream.read(int(line[1:])))
            for snapshot, has in zip(snapshots, (held, (1000, 1))):
                home = scratch('loaded')
                (home / 'dump.rdb').write_bytes(snapshot)
                with rekeep(home, *QUIET) as loaded:
                    client = loaded.client()
                    same((client('DBSIZE'), len(client('FUNCTION', 'LIST'))), has, f'what {wanted!r} holds')
            for client in (asker, whole):
                client.close()


def own_keys_of_a_replica_that_takes_writes():
    with primary(rekeep) as server, follower(server, '--replica-read-only', 'no', '--appendonly', 'yes') as other:
        linked(other)
        here, there = server.client(), other.client()
        until(lambda: info(there, 'persistence')['aof_rewrite_in_progress'] == '0', 'the base is there')
        here('SET', 'theirs', 1, 'PX', 300)
        here('DEBUG', 'SET-ACTIVE-EXPIRE', 0)
        same(here('WAIT', 1, 10000), 1, 'WAIT')
        there('SELECT', 2)
        there('SET', 'own', 1, 'PX', 200)
        there('SET', 'longer', 1, 'PX', 200)
        there('EVAL', "redis.call('SET', KEYS[1], 1, 'PX', 200)", 1, 'by script')
        there('PEXPIRE', 'longer', 100_000)
        until(lambda: there('DBSIZE') == 1, 'they are removed')
        stats = info(there, 'stats')
        same((stats['expired_keys'], stats['slave_expires_tracked_keys']), ('2', '1'), 'figures')
        there('SELECT', 0)
        same(there('DBSIZE'), 1, 'what the primary has to say is gone')
        until(lambda: there('EXISTS', 'theirs') == 0, 'it is hidden')
        same((there('INCR', 'theirs'), there('TTL', 'theirs')), (1, -1), 'it begins anew')
        other.kill()
        other.start()
        linked(other)
        there = other.client()
        there('SELECT', 2)
        same(there('EXISTS', 'own', 'by script'), 0, 'keys of before')


def replica_that_speaks_is_cut_off():
    with rekeep(scratch('primary'), *QUIET) as server:
        for words, told in ((('PING',), "command 'ping'"), (('GET', 'k'), "Replica can't interact with the keyspace")):
            client = server.client()
            client.send('PSYNC', '?', -1)
            # Empty lines come while the child of the one before is still at work.
            line = next(line for line in client.stream if line != b'\n')
            same(line[:11], b'+FULLRESYNC', 'PSYNC')
            client.send(*words)
            rest = client.stream.read()
            if rest and not rest.lstrip(b'\n').startswith(b'$'):
                raise Problem(f'{words}: {rest!r}')
            until(lambda: told in server.said(), 'the log tells it')


if __name__ == '__main__':
    main([ours_and_ours, ours_and_a_real_one, a_real_one_and_ours, failover_that_cannot_be,
          write_that_waits_learns_who_takes_it, shutdown_waits_for_ours, shutdown_waits_for_a_real_one,
          shutdown_that_waits_is_called_off, replica_of_ours_comes_back, replica_of_a_real_one_comes_back,
          primary_comes_back, primary_that_fell_behind_its_replica, functions_alone,
          own_keys_of_a_replica_that_takes_writes, replica_that_speaks_is_cut_off])
