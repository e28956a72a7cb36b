#!/usr/bin/env python3
"""Every file of a small data directory is damaged in every way; the start heals, refuses or finds nothing lost.

    damage.py --short | --long [--seed N]

Each byte is changed, each length is cut to, each block of 16 bytes is zeroed; --short takes a sample. A server that starts
must hold exactly what was there, or what an earlier moment held. In the latter case it has told of the damage in its log,
unless the file was cut off at a group's end, where it is what it was at that moment.
"""
import argparse, concurrent.futures, pathlib, random, re, shutil, sys, time
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'peers'))

from contents import Problem
from house import DidNotStart, rekeep, scratch

BLOCK = 16
AOF = ('--save', '', '--appendonly', 'yes', '--appendfsync', 'always', '--appenddirname', 'parts')
RDB = ('--save', '', '--appendonly', 'no')
TOLD = 'Warning: short read while loading the AOF file'


def digest(client):
    return client('DEBUG', 'DIGEST')


def written():
    """A directory with a base and an increment, and the digests its increment passes through."""
    home = scratch('whole')
    with rekeep(home, *AOF) as server:
        client = server.client()
        for n in range(4):
            client('SET', f'string:{n}', 'value' * n)
            client('RPUSH', f'list:{n}', 'a', 'b', n)
        client('BGREWRITEAOF')
        server.wait('aof_rewrite_in_progress', 0)
        moments = [digest(client)]
        for words in (('INCR', 'count'), ('SADD', 'set', 1, 2, 'x'), ('HSET', 'hash', 'f', 'v'), ('DEL', 'string:1'),
                      ('ZADD', 'zset', 1.5, 'm'), ('XADD', 'stream', '1-1', 'f', 'v'), ('SET', 'x', 'y', 'PX', 10**9)):
            client(*words)
            moments.append(digest(client))
        client('MULTI'), client('INCR', 'count'), client('LPUSH', 'list:1', 'z'), client('EXEC')
        moments.append(digest(client))
        client('SAVE')
    return home, moments


def damages(name, good, chance, share):
    """What can happen to a file: a word for it, and the bytes then."""
    for at in range(len(good)):
        if chance.random() < share:
            changed = bytes([good[at] ^ chance.randrange(1, 256)])
            yield f'byte {at} of {name} is {changed!r}', good[:at] + changed + good[at + 1:]
        if chance.random() < share:
            yield f'{name} is cut to {at} bytes', good[:at]
        if at % BLOCK == 0 and chance.random() < share:
            zeros = bytes(len(good[at:at + BLOCK]))
            yield f'{len(zeros)} bytes at {at} of {name} are zero', good[:at] + zeros + good[at + BLOCK:]


def group_ends(log):
    """Where groups end in an increment."""
    ends, at = {0}, 0
    for header in re.finditer(rb'#GRP:(\d+):[0-9a-f]+:\d+\r\n', log):
        at = header.end() + int(header.group(1))
        ends.add(at)
    return ends


def verdict(home, name, what, bytes_now, good, moments, options):
    """How the start went, in a word; a Problem if it may not go like that."""
    place = scratch('damaged')
    try:
        shutil.copytree(home, place, dirs_exist_ok=True)
        (place / name).write_bytes(bytes_now)
        try:
            with rekeep(place, *options) as server:
                client = server.client()
                now, said = digest(client), server.said()
                alive = client('SET', 'alive', 1)
        except DidNotStart as refusal:
            text = str(refusal)
            if server_died(text):
                raise Problem(f'{what}: the process died: {text[-600:]}') from None
            if pathlib.Path(name).name not in text and 'manifest' not in text.lower():
                raise Problem(f'{what}: the refusal does not name the file: {text[-600:]}') from None
            return 'refused'
        if alive != 'OK':
            raise Problem(f'{what}: {alive}')
        if now == moments[-1]:
            return 'whole'
        if now not in moments:
            raise Problem(f'{what}: it holds what there never was')
        if TOLD not in said and not (len(bytes_now) < len(good) and len(bytes_now) in group_ends(good)):
            raise Problem(f'{what}: something is missing, and the log does not say so')
        return 'healed'
    finally:
        shutil.rmtree(place, ignore_errors=True)
        place.with_suffix(place.suffix + '.log').unlink(missing_ok=True)


def server_died(text):
    return 'panicked' in text or 'crashed by signal' in text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument('--short', action='store_true')
    how.add_argument('--long', action='store_true')
    parser.add_argument('--seed', type=int, default=1)
    asked = parser.parse_args()
    chance, share = random.Random(asked.seed), 1 if asked.long else 0.04
    home, moments = written()
    began, counts, problems = time.monotonic(), {}, []
    cases = []
    for path in sorted((home / 'parts').iterdir()):
        name, good = f'parts/{path.name}', path.read_bytes()
        cases += [(name, what, now, good, moments, AOF) for what, now in damages(name, good, chance, share)]
    good = (home / 'dump.rdb').read_bytes()
    cases += [('dump.rdb', what, now, good, moments[-1:], RDB) for what, now in damages('dump.rdb', good, chance, share)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for case in concurrent.futures.as_completed([pool.submit(verdict, home, *case) for case in cases]):
            try:
                word = case.result()
                counts[word] = counts.get(word, 0) + 1
            except Problem as problem:
                problems.append(str(problem))
    for problem in problems[:20]:
        print(problem[:700])
    told = ', '.join(f'{count} {word}' for word, count in sorted(counts.items()))
    print(f'{len(cases)} damages: {told}; {len(problems)} problems ({time.monotonic() - began:.0f} s, seed {asked.seed})')
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
