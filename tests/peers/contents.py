#!/usr/bin/env python3
"""Everything a server holds, one key at a time, and how two such accounts differ.

    contents.py PORT              print it as JSON lines
    contents.py PORT FILE         compare it with such a file

A line: {"db", "key", "type", "expire_at_ms" or null, "value"}. Bytes are latin-1 text, sets and hashes
are sorted, scores are Python's shortest decimals, a hash field with a deadline carries it behind its value, a
stream is what XINFO says of it.
"""
import json, socket, sys


class Problem(Exception):
    """Something is not as it should be."""


class Client:
    """A connection that speaks RESP2, without a library between us and the bytes."""

    def __init__(self, port, host='127.0.0.1', timeout=60):
        self.port = port
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile('rb')

    def send(self, *words):
        out = [b'*%d\r\n' % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode('latin-1')
            out.append(b'$%d\r\n%s\r\n' % (len(word), word))
        self.socket.sendall(b''.join(out))

    def __call__(self, *words):
        """The reply; an error reply is raised."""
        reply = self.answer(*words)
        if isinstance(reply, Problem):
            raise Problem(f'{words[0]}: {reply}')
        return reply

    def answer(self, *words):
        """The reply; an error reply is a value."""
        self.send(*words)
        return self.read()

    def read(self):
        line = self.stream.readline()
        if not line.endswith(b'\r\n'):
            raise EOFError('the server closed the connection')
        kind, rest = line[:1], line[1:-2]
        if kind == b'+':
            return rest.decode('latin-1')
        if kind == b'-':
            return Problem(rest.decode('latin-1'))
        if kind == b':':
            return int(rest)
        length = int(rest)
        if length < 0:
            return None
        if kind == b'$':
            data = self.stream.read(length + 2)
            if len(data) != length + 2:
                raise EOFError('the server closed the connection')
            return data[:-2].decode('latin-1')
        if kind == b'*':
            return [self.read() for _ in range(length)]
        raise Problem(f'not a reply: {line!r}')

    def close(self):
        self.stream.close()
        self.socket.close()


def in_pairs(flat):
    return [list(pair) for pair in zip(flat[::2], flat[1::2])]


def value(client, key, kind):
    if kind == 'string':
        return client('GET', key)
    if kind == 'list':
        return client('LRANGE', key, 0, -1)
    if kind == 'set':
        return sorted(client('SMEMBERS', key))
    if kind == 'zset':
        ranked = client('ZRANGE', key, 0, -1, 'WITHSCORES')
        return [[member, repr(float(score))] for member, score in in_pairs(ranked)]
    if kind == 'hash':
        fields = sorted(in_pairs(client('HGETALL', key)))
        names = [name for name, _ in fields]
        deadlines = client.answer('HPEXPIRETIME', key, 'FIELDS', len(names), *names)
        if isinstance(deadlines, Problem):
            deadlines = [-1] * len(names)
        return [pair + ([at] if at > 0 else []) for pair, at in zip(fields, deadlines)]
    if kind == 'stream':
        return stream(client, key)
    # DUMP says at least whether it is the same, between servers of one version.
    return client('DUMP', key)


def stream(client, key):
    """Entries, groups and what is pending; no times, which logs do not keep to the millisecond."""
    def named(flat):
        return dict(in_pairs(flat))

    def pending(about):
        # Until 7.0 the list had another name.
        return about.get('pending', about.get('pel', []))

    info = named(client('XINFO', 'STREAM', key, 'FULL', 'COUNT', 0))
    found = {name: info.get(name) for name in ('last-generated-id', 'max-deleted-entry-id', 'entries-added',
                                               'recorded-first-entry-id', 'entries')}
    found['groups'] = []
    for group in map(named, info['groups']):
        consumers = [{'name': one['name'], 'pending': [[entry, times] for entry, _, times in pending(one)]}
                     for one in map(named, group['consumers'])]
        found['groups'].append({
            'name': group['name'], 'last-delivered-id': group['last-delivered-id'],
            'entries-read': group.get('entries-read'),
            'pending': [[entry, owner, times] for entry, owner, _, times in pending(group)],
            'consumers': sorted(consumers, key=lambda one: one['name'])})
    return found


def contents(client):
    """Rows by (db, key)."""
    rows = {}
    for db in range(int(client('CONFIG', 'GET', 'databases')[1])):
        client('SELECT', db)
        for key in sorted(client('KEYS', '*')):
            kind, at = client('TYPE', key), client('PEXPIRETIME', key)
            rows[db, key] = {'db': db, 'key': key, 'type': kind, 'value': value(client, key, kind),
                             'expire_at_ms': at if at > 0 else None}
    client('SELECT', 0)
    return rows


def from_file(path):
    with open(path, encoding='ascii') as lines:
        rows = [json.loads(line) for line in lines]
    return {(row['db'], row['key']): row for row in rows if 'key' in row}


def compare(have, want):
    """Raises with the first differences."""
    names = [name for name in sorted({*have, *want}) if have.get(name) != want.get(name)]
    if names:
        shown = [f'{name}\n    have {json.dumps(have.get(name))[:300]}\n    want {json.dumps(want.get(name))[:300]}'
                 for name in names[:10]]
        raise Problem(f'{len(names)} of {len({*have, *want})} keys differ:\n  ' + '\n  '.join(shown))


if __name__ == '__main__':
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    found = contents(Client(int(sys.argv[1])))
    if len(sys.argv) == 3:
        compare(found, from_file(sys.argv[2]))
    else:
        for row in found.values():
            print(json.dumps(row, sort_keys=True))
