#!/usr/bin/env python3
"""Files go both ways between us and a real server, old formats are read, and what is lost is refused.

    files.py [WORD...]      the cases whose names hold a word; TRACE=1 shows where one failed
"""
import random, shutil, subprocess, time

from contents import Problem, compare, contents, from_file
from house import COMPOSE, DidNotStart, LEGACY, REKEEP, main, redis, rekeep, same, scratch

QUIET = ('--save', '')
# What a server older than 7.2 can read.
OLD = ('--rdb-version', '10')


def fill(client, chance):
    """Every type and encoding, with deadlines, in several databases."""
    later = int(time.time() * 1000) + 3_600_000
    sizes = {'small': 5, 'packed': 100, 'large': 700}
    for db in (0, 3, 15):
        client('SELECT', db)
        for text in ('', 'word', '0', '-7', '007', '9223372036854775807', '-9223372036854775808',
                     '32767', '-129', '3.25', 'x' * 44, 'x' * 45, 'z' * 20_000, '\0\xff\r\n'):
            client('SET', f'string:{len(text)}:{text[:8]}', text)
        client('SET', 'string:random', bytes(chance.randrange(256) for _ in range(5000)))
        client('SET', 'string:deadline', 'v', 'PXAT', later + db)
        client('SETBIT', 'bitmap', 100_000, 1)
        # A family that may be missing where the files are written, but not where they are read.
        client.answer('PFADD', 'hll:sparse', *range(50))
        client.answer('PFADD', 'hll:dense', *range(5000))
        for name, size in sizes.items():
            words = [f'{chance.randrange(10**9)}:{"w" * chance.randrange(30)}' for _ in range(size)]
            numbers = [chance.randrange(-2**63, 2**63) for _ in range(size)]
            client('RPUSH', f'list:words:{name}', *words)
            client('RPUSH', f'list:numbers:{name}', *numbers)
            client('SADD', f'set:words:{name}', *words)
            client('SADD', f'set:numbers:{name}', *numbers)
            client('SADD', f'set:shorts:{name}', *range(-size, size))
            client('SADD', f'set:ints:{name}', *(100_000 + n for n in range(size)))
            client('HSET', f'hash:{name}', *(w for word in words for w in (word, word[::-1])))
            client('HSET', f'hash:numbers:{name}', *(n for n in numbers for n in (n, -n // 2)))
            scores = (chance.choice((chance.uniform(-1e9, 1e9), chance.randrange(-99, 99),
                                     'inf', '-inf', 1e300, 5e-324)) for _ in words)
            client('ZADD', f'zset:{name}', *(w for pair in zip(scores, words) for w in pair))
            for kind in ('list:words', 'set:words', 'hash', 'zset'):
                client('COPY', f'{kind}:{name}', f'{kind}:{name}:deadline')
                client('PEXPIREAT', f'{kind}:{name}:deadline', later + size)
        client('RPUSH', 'list:plain', 'p' * 100_000, 'short', 'q' * 9000)
        client('HSET', 'hash:long', 'field', 'v' * 100)
        client('SADD', 'set:long', 's' * 100)
        client('ZADD', 'zset:long', '1.5', 'm' * 100)
        client('SET', b'key \0\xff with bytes', 'v')
        fill_streams(client, chance)
    client('SELECT', 0)


def fill_streams(client, chance):
    """Streams with gaps, of several shapes, and groups whose consumers have something pending."""
    for at in range(1, 400):
        client('XADD', 'stream:long', f'{1000 + at // 3}-{at % 3}', 'name', f'v{at}', 'number', at)
    client('XDEL', 'stream:long', '1000-1', '1050-2', '1050-1')
    client('XTRIM', 'stream:long', 'MAXLEN', 390)
    for at in range(1, 60):
        fields = (word for field in range(chance.randrange(1, 5)) for word in (f'f{field}', 'v' * chance.randrange(90)))
        client('XADD', 'stream:varied', f'{at}-*', *fields)
    client('XADD', 'stream:emptied', '5-5', 'f', 'v')
    client('XDEL', 'stream:emptied', '5-5')
    client('XGROUP', 'CREATE', 'stream:new', 'group', '$', 'MKSTREAM')
    client('XGROUP', 'CREATE', 'stream:long', 'readers', '0')
    client('XGROUP', 'CREATE', 'stream:long', 'late', '$')
    client('XGROUP', 'CREATECONSUMER', 'stream:long', 'late', 'idle')
    for name, count in ('alice', 40), ('bob', 7), ('alice', 3):
        client('XREADGROUP', 'GROUP', 'readers', name, 'COUNT', count, 'STREAMS', 'stream:long', '>')
    first = client('XPENDING', 'stream:long', 'readers', '-', '+', 3)
    client('XACK', 'stream:long', 'readers', *(entry for entry, *_ in first))
    client('XCLAIM', 'stream:long', 'readers', 'bob', 0, '1010-1', 'RETRYCOUNT', 5)


def more(client):
    """Writes for an increment: what a client may do after the base was written."""
    client('APPEND', 'string:4:word', ' and more')
    client('LPOP', 'list:words:small')
    client('SREM', 'set:ints:large', 100_001)
    client('ZINCRBY', 'zset:small', 2, 'newcomer')
    client('HINCRBYFLOAT', 'hash:small', 'sum', '1.5')
    client('DEL', 'bitmap')
    client('XADD', 'stream:long', 'MAXLEN', '~', 300, '*', 'name', 'newcomer')
    client('XTRIM', 'stream:varied', 'MINID', '~', '30')
    client('XADD', 'stream:varied', '100-*', 'f', 'v')
    client('XREADGROUP', 'GROUP', 'readers', 'carol', 'COUNT', 20, 'STREAMS', 'stream:long', '>')
    client('XREADGROUP', 'GROUP', 'late', 'hasty', 'NOACK', 'STREAMS', 'stream:long', '>')
    client('XAUTOCLAIM', 'stream:long', 'readers', 'dave', 0, '0', 'COUNT', 4)
    client('XGROUP', 'DELCONSUMER', 'stream:long', 'late', 'idle')
    client('SELECT', 3)
    client('RENAME', 'hash:large', 'hash:renamed')
    client('EXPIRE', 'hash:renamed', 5000)
    client('SELECT', 0)
    client('MULTI')
    client('INCR', 'counter')
    client('MOVE', 'counter', 5)
    client('EXEC')


def dump_of(kind, *options, rewrite=False):
    """A directory with a saved dump.rdb, and what it holds."""
    home = scratch('from')
    with kind(home, *QUIET, *options) as server:
        client = server.client()
        fill(client, random.Random(7))
        client('SAVE')
        held = contents(client)
    return home, held


def log_of(kind, *options):
    """A directory with an appendonlydir: a base, an increment, and a kill in the end."""
    home = scratch('from')
    with kind(home, *QUIET, '--appendonly', 'yes', *options) as server:
        client = server.client()
        fill(client, random.Random(8))
        client('BGREWRITEAOF')
        server.wait('aof_rewrite_in_progress', 0)
        more(client)
        held = contents(client)
    return home, held


def holds(kind, home, held, *options):
    with kind(home, *QUIET, *options) as server:
        compare(contents(server.client()), held)


def encodings(client):
    kinds = {}
    for key in client('KEYS', '*'):
        kinds[key] = client('OBJECT', 'ENCODING', key)
    return kinds


def their_snapshots_load():
    for options in (), ('--rdbcompression', 'no'), ('--rdbchecksum', 'no'):
        home, held = dump_of(redis, *options)
        holds(rekeep, home, held)


def their_encodings_are_ours():
    home, _ = dump_of(redis)
    with redis(home, *QUIET) as theirs, rekeep(home, *QUIET) as ours:
        theirs, ours = encodings(theirs.client()), encodings(ours.client())
    # Small sets of words: hashtable until 7.0, listpack since 7.2.
    differ = {key: (theirs[key], ours.get(key)) for key in theirs
              if ours.get(key) != theirs[key] and not key.startswith(('set:words', 'set:numbers', 'set:long'))
              and not (key.startswith('list') and ours.get(key) == 'listpack')}
    same(differ, {}, 'encodings (theirs, ours)')


def their_logs_load():
    for preamble in 'yes', 'no':
        home, held = log_of(redis, '--aof-use-rdb-preamble', preamble, '--aof-timestamp-enabled', preamble)
        holds(rekeep, home, held, '--appendonly', 'yes')


def our_snapshots_load_there():
    for options in (), ('--rdbcompression', 'no'), ('--rdbchecksum', 'no'):
        home, held = dump_of(rekeep, *OLD, *options)
        holds(redis, home, held)


def our_logs_load_there():
    for preamble in 'yes', 'no':
        home, held = log_of(rekeep, *OLD, '--aof-use-rdb-preamble', preamble,
                            '--aof-timestamp-enabled', preamble)
        holds(redis, home, held, '--appendonly', 'yes')


def our_snapshots_that_are_bases_load_there():
    """With aof-rebase-on-save one file is dump.rdb and base; real servers load the directory as either."""
    home = scratch('from')
    with rekeep(home, *QUIET, *OLD, '--appendonly', 'yes', '--aof-rebase-on-save', 'yes') as server:
        client = server.client()
        fill(client, random.Random(8))
        client('BGSAVE')
        same(server.wait('rdb_bgsave_in_progress', 0)['aof_rebases'], '1', 'bases')
        saved = contents(client)
        more(client)
        held = contents(client)
    base, = (home / 'appendonlydir').glob('*.base.rdb')
    same(base.samefile(home / 'dump.rdb'), True, 'one file')
    alone = scratch('alone')
    shutil.copy(home / 'dump.rdb', alone)
    holds(redis, alone, saved)
    holds(redis, home, held, '--appendonly', 'yes')


def our_own_files_load():
    home, held = dump_of(rekeep)
    holds(rekeep, home, held)
    for preamble in 'yes', 'no':
        home, held = log_of(rekeep, '--aof-use-rdb-preamble', preamble)
        holds(rekeep, home, held, '--appendonly', 'yes')


def pending_entries_that_were_removed_stay_pending():
    """Redis loses them when it rewrites its log as commands; what we write keeps them, also there."""
    home = scratch('from')
    log = (*QUIET, '--appendonly', 'yes')
    with rekeep(home, *log, '--aof-use-rdb-preamble', 'no') as server:
        client = server.client()
        fill_streams(client, random.Random(11))
        client('COPY', 'stream:long', 'stream:trimmed')
        client('XTRIM', 'stream:trimmed', 'MINID', '1012-0')
        client('COPY', 'stream:long', 'stream:all')
        client('XTRIM', 'stream:all', 'MAXLEN', 0)
        client('XDEL', 'stream:long', '1010-1', '1011-0')
        client('BGREWRITEAOF')
        server.wait('aof_rewrite_in_progress', 0)
        held = contents(client)
    for kind in rekeep, redis:
        copy = scratch('copy')
        shutil.copytree(home, copy, dirs_exist_ok=True)
        holds(kind, copy, held, *log)


def old_formats_load():
    for file in sorted(LEGACY.glob('*.rdb')):
        if file.stem == 'corrupt_ziplist':
            continue
        home = scratch(file.stem)
        shutil.copy(file, home / 'dump.rdb')
        holds(rekeep, home, from_file(file.with_suffix('.contents.jsonl')))


def refuses(home, options, *words):
    """The start fails, says these words, and leaves the directory as it was."""
    def files():
        return {path.relative_to(home): path.is_file() and path.read_bytes() for path in home.rglob('*')}

    before = files()
    try:
        rekeep(home, *options)
    except DidNotStart as said:
        missing = [word for word in words if word not in str(said)]
        if missing:
            raise Problem(f'it does not say {missing}:\n{said}') from None
    else:
        raise Problem('it was loaded')
    after = files()
    same(sorted(map(str, after)), sorted(map(str, before)), 'the names of the files')
    same(after == before, True, 'the files are as they were')


def what_cannot_be_used_stops_the_start_and_stays():
    for options in QUIET, COMPOSE:
        home = scratch('damaged')
        shutil.copy(LEGACY / 'corrupt_ziplist.rdb', home / 'dump.rdb')
        refuses(home, options, 'dump.rdb', "key 'key:000000000091'", 'offset 488')
    good = b'*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n'
    unknown = good + b'*2\r\n$6\r\nNOSUCH\r\n$1\r\nk\r\n' + good
    garbage = good + b'garbage\r\n' + good
    for log, words in (unknown, ('NOSUCH', 'offset 27')), (garbage, ('offset 27',)):
        home = scratch('single')
        (home / 'appendonly.aof').write_bytes(log)
        refuses(home, COMPOSE, 'appendonly.aof', *words)
        home = scratch('parts')
        parts = home / 'appendonlydir'
        parts.mkdir()
        (parts / 'appendonly.aof.1.incr.aof').write_bytes(log)
        refuses(home, COMPOSE, 'no manifest')
        manifest = parts / 'appendonly.aof.manifest'
        manifest.write_text('file appendonly.aof.1.incr.aof seq 1 type i\n')
        refuses(home, COMPOSE, 'appendonly.aof.1.incr.aof', *words)
        manifest.write_text('file appendonly.aof.7.incr.aof seq 7 type i\n')
        refuses(home, COMPOSE, 'appendonly.aof.7.incr.aof', 'does not exist')
        manifest.write_text('nonsense\n')
        refuses(home, COMPOSE, 'appendonly.aof.manifest')


def a_directory_of_redis_moves_over():
    """The directory of a redis:7 container that ran with the compose line."""
    home = scratch('moved')
    with redis(home, *COMPOSE) as server:
        client = server.client()
        fill(client, random.Random(9))
        client('SAVE')
        client('BGREWRITEAOF')
        server.wait('aof_rewrite_in_progress', 0)
        more(client)
        held = contents(client)
        server.kill()
    with rekeep(home, *COMPOSE) as server:
        compare(contents(server.client()), held)
        server.client()('SET', 'ours', 1)
        same(server.stop(), 0, 'exit code')
    held[0, 'ours'] = {'db': 0, 'key': 'ours', 'type': 'string', 'value': '1', 'expire_at_ms': None}
    with rekeep(home, *COMPOSE) as server:
        compare(contents(server.client()), held)


def a_lone_snapshot_is_adopted():
    """With appendonly yes and no log, the snapshot is the base; Redis would start empty."""
    home, held = dump_of(redis)
    with rekeep(home, *COMPOSE) as server:
        compare(contents(server.client()), held)
        server.client()('SET', 'ours', 1)
        server.kill()
    (home / 'dump.rdb').unlink()
    held[0, 'ours'] = {'db': 0, 'key': 'ours', 'type': 'string', 'value': '1', 'expire_at_ms': None}
    with rekeep(home, *COMPOSE) as server:
        compare(contents(server.client()), held)


def a_single_log_of_old_is_upgraded():
    """Until 7.0 the log was one file beside dump.rdb."""
    logs = {'preamble': (LEGACY / 'rdb-preamble.aof').read_bytes(),
            'commands': b'*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n'
                        b'*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\na\r\n'}
    for name, log in logs.items():
        ours, theirs = scratch(name), scratch(name)
        for home in ours, theirs:
            (home / 'appendonly.aof').write_bytes(log)
        with redis(theirs, *QUIET, '--appendonly', 'yes') as server:
            held = contents(server.client())
        same(len(held) > 0, True, 'something is in it')
        for _ in 'upgraded', 'and again':
            with rekeep(ours, *QUIET, '--appendonly', 'yes') as server:
                compare(contents(server.client()), held)
                same(server.stop(), 0, 'exit code')
        same((ours / 'appendonly.aof').exists(), False, 'the single file stays where it was')
        same((ours / 'appendonlydir/appendonly.aof.manifest').exists(), True, 'a manifest')
        holds(redis, ours, held, '--appendonly', 'yes')


def dumped_values_are_restored():
    """DUMP there or here, RESTORE here or there; for 7.0 in the version that it reads."""
    with redis(scratch('theirs'), *QUIET) as theirs, rekeep(scratch('ours'), *QUIET) as ours, \
            rekeep(scratch('others'), *QUIET, *OLD) as others, redis(scratch('back'), *QUIET) as back:
        for source, target in (theirs, ours), (ours, others), (others, back):
            source, target = source.client(), target.client()
            if source.port == theirs.port:
                fill(source, random.Random(10))
            for db in 0, 3, 15:
                source('SELECT', db)
                target('SELECT', db)
                for key in source('KEYS', '*'):
                    at = max(0, source('PEXPIRETIME', key))
                    dumped = source('DUMP', key.encode('latin-1')).encode('latin-1')
                    target('RESTORE', key.encode('latin-1'), at, dumped, 'ABSTTL')
            compare(contents(target), contents(source))


def the_tools_pass_what_the_other_wrote():
    for kind in redis, rekeep:
        home, _ = dump_of(kind, *(OLD if kind is rekeep else ()))
        log, _ = log_of(kind, *(OLD if kind is rekeep else ()))
        manifest = log / 'appendonlydir/appendonly.aof.manifest'
        for argv in ([REKEEP, 'check-rdb', home / 'dump.rdb'], [REKEEP, 'check-aof', manifest],
                     ['redis-check-rdb', home / 'dump.rdb'], ['redis-check-aof', manifest]):
            done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
            if done.returncode:
                raise Problem(f'{argv}: {done.stdout}{done.stderr}')


if __name__ == '__main__':
    main([their_snapshots_load, their_encodings_are_ours, their_logs_load, our_snapshots_load_there,
          our_logs_load_there, our_snapshots_that_are_bases_load_there, our_own_files_load,
          pending_entries_that_were_removed_stay_pending, old_formats_load,
          what_cannot_be_used_stops_the_start_and_stays, a_directory_of_redis_moves_over,
          a_lone_snapshot_is_adopted, a_single_log_of_old_is_upgraded, dumped_values_are_restored,
          the_tools_pass_what_the_other_wrote])
