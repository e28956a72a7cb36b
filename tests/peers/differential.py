#!/usr/bin/env python3
"""The same commands for us and for a real server of 7.0: the same replies, and then the same contents.

    differential.py [--seed N] [--commands N] [--long] [--keep-going]

Commands are made by grammar.py, in rounds that begin with empty servers; a round speaks RESP2 or RESP3. After each,
everything the servers hold is compared, and ours must have the same DEBUG DIGEST (a sum of its own kind) after DEBUG
RELOAD. Where a reply differs, the round is made as small as it can be while it
still differs, and is printed as lines for redis-cli. What 7.4 does otherwise than an older server is in RULES, each with its reason; how
often each was needed is told in the end, and with --long one that never was is a failure. The real server
may be a newer one (REDIS_SERVER): rules end with the version that they name.

Where Redis leaves the order open, replies are compared without it (UNORDERED). Where it draws lots, both draws are judged,
and then made equal (LOTS). Where it reads the clock, values may be apart by what passes meanwhile (TICKS).
"""
import argparse, contextlib, random, re, sys

import contents as everything
from contents import Problem
from grammar import LIBRARY, Grammar
from house import redis, rekeep, scratch

QUIET = ('--save', '', '--databases', 3)
ROUND = 300
TICK_MS = 10_000
# A payload of ours is made one of 7.0, save types that it does not know: sets in listpacks, streams since 7.2.
OLD_VERSION, NEW_TYPES = b'\x0a\x00', {20, 21, 22, 23, 24, 25}


# Replies. They keep the kind that was sent, so that a map is no list and a double is no string.

class Peer(everything.Client):
    """A connection that tells every kind of reply apart: bytes, int, None or (kind, ...)."""
    version = ()  # of the real server

    def read(self):
        line = self.stream.readline()
        if not line.endswith(b'\r\n'):
            raise EOFError('the server closed the connection')
        kind, rest = line[:1].decode(), line[1:-2]
        if kind == ':':
            return int(rest)
        if kind in '+-,#(':
            return kind, rest.decode('latin-1')
        if kind == '_':
            return None
        length = int(rest)
        if length < 0:
            return kind, None
        if kind == '$':
            return self.stream.read(length + 2)[:-2]
        if kind == '=':
            return kind, self.stream.read(length + 2)[:-2]
        if kind == '%':
            return kind, [(self.read(), self.read()) for _ in range(length)]
        if kind in '*~>':
            return kind, [self.read() for _ in range(length)]
        raise Problem(f'not a reply: {line!r}')


def is_error(reply):
    return isinstance(reply, tuple) and reply[0] == '-'


def items(reply):
    """What is in a list, set or map; else nothing."""
    return reply[1] if isinstance(reply, tuple) and reply[0] in '*~>%' and reply[1] is not None else []


def in_pairs(flat):
    return list(zip(flat[::2], flat[1::2]))


def without_order(reply):
    return (reply[0], sorted(reply[1], key=repr)) if isinstance(reply, tuple) and isinstance(reply[1], list) else reply


def pairs_without_order(reply):
    if isinstance(reply, tuple) and reply[0] == '*' and isinstance(reply[1], list):
        return '*', sorted(in_pairs(reply[1]), key=repr)
    return without_order(reply)


def without_order_if_by(command, reply):
    return without_order(reply) if b'by' in [word.lower() for word in command] else reply


# A set and a hash have no order, and neither has what is made of them.
UNORDERED = {
    'smembers': without_order, 'sinter': without_order, 'sunion': without_order, 'sdiff': without_order, 'keys': without_order,
    'hkeys': without_order, 'hvals': without_order, 'hgetall': pairs_without_order, 'pubsub': without_order,
}
# Without an order among those that a pattern finds equal, or where a set is read without sorting it.
UNSORTED = {'sort', 'sort_ro'}
# What is drawn by lot or hangs on a table's shape; see `Pair.lot`.
LOTS = {'spop', 'srandmember', 'hrandfield', 'zrandmember', 'randomkey', 'scan', 'sscan', 'hscan', 'zscan', 'dump'}
# Where a number may differ by what has passed: in the units of the reply, wherever one is found.
TICKS = {'ttl': TICK_MS // 1000, 'expiretime': TICK_MS // 1000, 'pttl': TICK_MS, 'pexpiretime': TICK_MS, 'object|idletime': TICK_MS // 1000}
# Words that are followed by a time in the maps of XINFO.
TIMES = {b'idle', b'inactive', b'seen-time', b'active-time'}


def same(name, command, theirs, ours):
    """Whether both replies say the same."""
    if is_error(theirs) or is_error(ours):
        return theirs == ours
    if name in TICKS and isinstance(theirs, int) and isinstance(ours, int):
        return theirs == ours or theirs >= 0 <= ours and abs(theirs - ours) <= TICKS[name]
    if name in UNORDERED:
        return UNORDERED[name](theirs) == UNORDERED[name](ours)
    if name in UNSORTED:
        return without_order_if_by(command, theirs) == without_order_if_by(command, ours)
    if name == 'xpending':
        return without_idle(theirs) == without_idle(ours)
    if name.startswith('xinfo'):
        return without_times(theirs) == without_times(ours)
    return theirs == ours


def without_idle(reply):
    """XPENDING with a range: the third of each entry is a time."""
    rows = items(reply)
    if all(len(items(row)) == 4 for row in rows):
        return reply[0], [[entry, owner, isinstance(idle, int), times] for _, (entry, owner, idle, times) in rows]
    return reply


def without_times(reply):
    """XINFO: what stands for a time is only known to be a number, and so is the delivery of what is pending."""
    if isinstance(reply, tuple) and reply[0] == '%':
        return reply[0], [(key, told(key, value)) for key, value in reply[1]]
    if isinstance(reply, tuple) and isinstance(reply[1], list):
        flat = reply[1]
        if flat and len(flat) % 2 == 0 and all(isinstance(key, bytes) for key in flat[::2]):
            return '%', [(key, told(key, value)) for key, value in in_pairs(flat)]
        return reply[0], [without_times(one) for one in flat]
    return reply


def told(key, value):
    if key in TIMES:
        return isinstance(value, int)
    if key in (b'pel', b'pending') and isinstance(value, tuple):
        return [['a time' if isinstance(part, int) and part > 10**9 else part for part in items(entry)] for entry in items(value)]
    return without_times(value)


# What we do otherwise, knowingly. A rule is as narrow as its reason.

class Rule:
    def __init__(self, versions, names, reason, fits=lambda command, theirs, ours: True, seldom=False):
        """For these commands, against servers before a version, or from one on before another: "7.4-9"."""
        since, _, until = versions.rpartition('-')
        self.since, self.until = version(since or '0'), version(until)
        self.names, self.reason, self.fits, self.used = names.split(), reason, fits, 0
        self.seldom = seldom  # A long run may well be without.

    def holds(self):
        return self.since <= Peer.version < self.until


def version(text):
    return tuple(map(int, text.split('.')))


def text(reply):
    return reply[1] if isinstance(reply, tuple) and isinstance(reply[1], str) else ''


def error(start):
    """What asks whether ours is an error that begins so."""
    return lambda command, theirs, ours: is_error(ours) and ours[1].startswith(start)


def digits(command, theirs, ours):
    """Doubles with 17 digits, where ours are the shortest that say the same."""
    if isinstance(theirs, bytes) and isinstance(ours, bytes):
        return long_digits(ours) == theirs
    if isinstance(theirs, tuple) and isinstance(ours, tuple) and theirs[0] == ours[0]:
        if theirs[0] == ',':
            return long_digits(ours[1].encode()).decode() == theirs[1]
        their, our = items(theirs), items(ours)
        return len(their) == len(our) > 0 and all(one == other or digits(command, one, other) for one, other in zip(their, our))
    return False


def long_digits(number):
    with contextlib.suppress(ValueError):
        return b'%.17g' % float(number)
    return number


NEW_FIELDS = {b'inactive', b'active-time'}


def new_fields(command, theirs, ours):
    """XINFO tells more."""
    return without_times(theirs) == without_times(older(ours)) != without_times(ours)


def older(reply):
    """Without what 7.2 tells more."""
    if isinstance(reply, tuple) and reply[0] == '%':
        return '%', [(key, older(value)) for key, value in reply[1] if key not in NEW_FIELDS]
    if isinstance(reply, tuple) and isinstance(reply[1], list):
        flat = reply[1]
        if flat and len(flat) % 2 == 0 and all(isinstance(key, bytes) for key in flat[::2]):
            return reply[0], [part for key, value in in_pairs(flat) if key not in NEW_FIELDS for part in (key, older(value))]
        return reply[0], [older(one) for one in flat]
    return reply


def zeros(command, theirs, ours):
    if isinstance(theirs, tuple) and isinstance(ours, tuple):
        their, our = items(theirs), items(ours)
        return (theirs, ours) in (((',', '-0'), (',', '0')), ((',', '0'), (',', '-0'))) or len(their) == len(our) > 0 and all(
            one == other or zeros(command, one, other) for one, other in zip(their, our))
    return {theirs, ours} == {b'0', b'-0'} if isinstance(theirs, bytes) and isinstance(ours, bytes) else False


def listpacks(command, theirs, ours):
    return (theirs, ours) in ((b'hashtable', b'listpack'), (b'quicklist', b'listpack'))


def unbalanced(command, theirs, ours):
    return is_error(theirs) and is_error(ours) and theirs[1].startswith('ERR Unbalanced') and ours[1].startswith('ERR Unbalanced')


RULES = [
    Rule('99', 'sort sort_ro', 'a score too small for a double, read before, spoils the next SORT by numbers',
         lambda command, theirs, ours: "can't be converted into double" in text(theirs) and not is_error(ours), seldom=True),
    Rule('99', 'sort sort_ro', 'a number with a zero byte behind it is none',
         lambda command, theirs, ours: "can't be converted into double" in text(ours) and not is_error(theirs), seldom=True),
    Rule('99', 'object|idletime', 'a small integer that Redis shares is as idle as its last use by any key',
         lambda command, theirs, ours: isinstance(theirs, int) and isinstance(ours, int) and theirs > ours, seldom=True),
    Rule('7.2', 'object|encoding', 'small sets and lists are listpacks', listpacks),
    Rule('7.2', 'zadd zincrby zscore zmscore zrange zrevrange zrangebyscore zrevrangebyscore zpopmin zpopmax zmpop bzmpop bzpopmin '
         'bzpopmax zinter zunion zdiff zrank zrevrank geopos geosearch georadius georadiusbymember georadius_ro georadiusbymember_ro',
         'doubles have the fewest digits that say them', digits),
    Rule('7.2', 'zrank zrevrank', 'a fourth word is WITHSCORE, or a syntax error',
         lambda command, theirs, ours: 'wrong number' in text(theirs) and len(command) == 4),
    Rule('7.2', 'xinfo|consumers xinfo|stream', 'it tells since when a consumer got nothing', new_fields),
    Rule('7.2', 'bitcount bitpos', 'what is wrong is told of a missing key too',
         lambda command, theirs, ours: is_error(ours) and (theirs in (0, -1) or 'WRONGTYPE' in text(theirs))),
    Rule('7.2', 'lpos', 'the least integer has no absolute value', error('ERR value is out of range, value must between'), seldom=True),
    Rule('7.2', 'xgroup|createconsumer', 'XCLAIM, XAUTOCLAIM and XREADGROUP make their consumer though it gets nothing',
         lambda command, theirs, ours: (theirs, ours) == (1, 0)),
    Rule('7.4', 'xread xreadgroup', 'the error tells of more ids', unbalanced),
    Rule('7.4', 'scan sscan hscan zscan', 'cursors are read strictly', error('ERR invalid cursor')),
    Rule('7.4-99', 'scan sscan hscan zscan', 'a cursor has neither blanks nor a sign before it',
         lambda command, theirs, ours: 'invalid cursor' in text(ours) and any(word[:1] in b' +-' for word in command[1:3])),
    Rule('7.4-99', 'zrangebyscore zrevrangebyscore zrangebylex zrevrangebylex zrange', 'nothing is before the first: no negative offset',
         lambda command, theirs, ours: ours == ('*', []) and any(word.lower() == b'limit' and offset[:1] == b'-' for word, offset in zip(command, command[1:]))),
    Rule('99', 'object|encoding', 'what INCRBYFLOAT made is an integer at once, where it is one',
         lambda command, theirs, ours: (theirs, ours) == (b'embstr', b'int'), seldom=True),
    Rule('99', 'zincrby zscore zmscore zrange zrevrange zrangebyscore zrevrangebyscore zpopmin zpopmax zmpop bzmpop bzpopmin bzpopmax',
         'Redis keeps the sign of a zero while a sorted set is large', zeros, seldom=True),
    Rule('99', 'object|encoding', 'SORT leaves the sorted set that it reads as it is',
         lambda command, theirs, ours: (theirs, ours) == (b'skiplist', b'listpack'), seldom=True),
    Rule('7.4-99', 'object|encoding', 'a hash is a listpackex once a field has a deadline, not when one might have got it',
         lambda command, theirs, ours: (theirs, ours) == (b'listpackex', b'listpack')),
    Rule('99', 'object|refcount', 'nothing is held twice, but small integers are shared wherever they came from',
         lambda command, theirs, ours: (theirs, ours) in ((2, 1), (1, 2147483647)), seldom=True),
]


def excused(name, command, theirs, ours):
    for rule in RULES:
        if (name in rule.names or rule.names == ['*']) and rule.holds() and rule.fits(command, theirs, ours):
            rule.used += 1
            return True
    return False


# Two servers, asked the same.

class Difference(Exception):
    pass


class Pair:
    def __init__(self, theirs, ours):
        self.servers = theirs, ours
        self.theirs, self.ours = Peer(theirs.port), Peer(ours.port)
        about = self.theirs.answer('INFO', 'server').decode()
        Peer.version = version(re.search(r'redis_version:([\d.]+)', about)[1])
        self.known = {name.decode() for name in items(self.theirs.answer('COMMAND', 'LIST'))}
        self.containers = {name.partition('|')[0] for name in self.known if '|' in name}
        self.commands = self.unasked = 0

    def both(self, *words):
        self.theirs.send(*words)
        self.ours.send(*words)
        return self.theirs.read(), self.ours.read()

    def begin(self, protocol):
        for words in (('DISCARD',), ('UNWATCH',), ('HELLO', protocol), ('SELECT', 0), ('FLUSHALL',), ('SCRIPT', 'FLUSH'),
                      ('FUNCTION', 'LOAD', 'REPLACE', LIBRARY)):
            self.both(*words)
        self.queued = None

    def name_of(self, command):
        name = command[0].decode('latin-1').lower()
        if name in self.containers and len(command) > 1:
            return f'{name}|{command[1].decode("latin-1").lower()}'
        return name

    def run(self, commands):
        """Each command to both; raises at the first that differs."""
        for command in commands:
            self.commands += 1
            self.one(command)
        if self.queued is not None:
            self.one([b'EXEC'])
        self.judge_contents()

    def one(self, command):
        command = harmless(command)
        name = self.name_of(command)
        if self.queued is None and name in LOTS:
            self.lot(name, command)
            return
        if self.queued is not None and (name in LOTS or name == 'xadd' and stamp_at(command)):
            return  # Lots can not be made equal within a transaction.
        if name == 'xadd' and stamp_at(command):
            self.stamped(command)
            return
        if not defined(name, command) or by_name(name, command) and (self.queued is not None or self.scores_differ(command)) or (
                self.queued is None and self.damaged(name, command)):
            self.unasked += 1
            return
        theirs, ours = self.both(*command)
        if name == 'multi' and not is_error(theirs):
            self.queued = []
        elif name in ('exec', 'discard'):
            queued, self.queued = self.queued, None
            if name == 'exec' and queued and len(items(theirs)) == len(items(ours)) == len(queued):
                for (name, command), their, our in zip(queued, items(theirs), items(ours)):
                    self.judge(name, command, their, our)
                for (name, command), their, our in zip(queued, items(theirs), items(ours)):
                    self.make_consumers(name, command)
                    self.forget_sorted(name, command, their, our)
                return
        elif theirs == ('+', 'QUEUED'):
            self.queued.append((name, command))
        self.judge(name, command, theirs, ours)
        if self.queued is None:
            self.make_consumers(name, command)
            self.forget_sorted(name, command, theirs, ours)
        elif is_error(theirs) != is_error(ours):
            self.one([b'DISCARD'])  # A rule allows it, but only one of them would have an EXEC.

    def make_consumers(self, name, command):
        """Until 7.2 a consumer was made only with the first entry that it got."""
        if Peer.version > (7, 2):
            return
        if name in ('xclaim', 'xautoclaim') and len(command) > 4:
            self.one([b'XGROUP', b'CREATECONSUMER', *command[1:4]])
        words = [word.lower() for word in command]
        if name == 'xreadgroup' and words[1:2] == [b'group'] and b'streams' in words[3:]:
            for key in command[words.index(b'streams', 3) + 1:]:
                if re.fullmatch(rb'[a-z]+[:_]\w', key):
                    self.one([b'XGROUP', b'CREATECONSUMER', key, *command[2:4]])

    def forget_sorted(self, name, command, theirs, ours):
        """Where a rule allows that only one of them could sort, only one has stored it."""
        words = [word.lower() for word in command]
        if name == 'sort' and b'store' in words[:-1] and is_error(theirs) != is_error(ours):
            self.both('DEL', command[words.index(b'store') + 1])

    def judge(self, name, command, theirs, ours):
        if not same(name, command, theirs, ours) and not excused(name, command, theirs, ours):
            raise Difference(f'{shown(command)}\n  theirs {theirs!r:.600}\n  ours   {ours!r:.600}')

    def stamped(self, command):
        """XADD with the time as an id: ours gets the id that theirs chose."""
        theirs = self.theirs.answer(*command)
        if isinstance(theirs, bytes):
            at = stamp_at(command)
            command = [*command[:at], theirs, *command[at + 1:]]
        self.judge('xadd', command, theirs, self.ours.answer(*command))

    def scores_differ(self, command):
        """Ranges of names are defined where all scores are the same."""
        return any(len({repr(score) for _, score in everything.in_pairs(scores(peer, key))}) > 1
                   for peer in (self.theirs, self.ours) for key in command[1:3])

    def damaged(self, name, command):
        """Redis looks past some damage to a HyperLogLog, and not past other; we refuse any."""
        keys = {'pfadd': command[1:2], 'pfmerge': command[1:], 'pfcount': command[1:]}.get(name, ())
        return any('INVALIDOBJ' in text(reply) for key in keys for reply in self.both('PFCOUNT', key))

    def lot(self, name, command):
        if name.endswith('scan'):
            at = 1 if name == 'scan' else 2
            if len(command) > at and command[at].strip().isdigit() and int(command[at]) > 0:
                self.unasked += 1  # A walk from somewhere in the middle finds what it finds.
                return
            self.judge(name, command, *(scanned(peer, command) for peer in (self.theirs, self.ours)))
            return
        held = [self.held(peer, command[1]) if len(command) > 1 else None for peer in (self.theirs, self.ours)]
        theirs, ours = self.both(*command)
        if is_error(theirs) or is_error(ours) or ours is None or theirs is None or ('$', None) in (ours, theirs):
            self.judge(name, command, theirs, ours)
        elif name == 'dump':
            self.exchange(command[1], theirs, ours)
        elif name == 'randomkey':
            if ours not in items(self.ours.answer('KEYS', '*')):
                raise Difference(f'RANDOMKEY gives {ours}')
        else:
            drawn = [shape(reply, members, command) for reply, members in zip((theirs, ours), held)]
            self.judge(name, command, *drawn)
            if name == 'spop':
                self.make_equal(command[1])

    def held(self, peer, key):
        """The members of a collection, as pairs for those that have something with each."""
        kind = peer.answer('TYPE', key)[1]
        how = {'set': ('SMEMBERS', key), 'hash': ('HGETALL', key), 'zset': ('ZRANGE', key, 0, -1, 'WITHSCORES')}.get(kind)
        if how is None:
            return set()
        found = items(peer.answer(*how))
        flat = [part for item in found for part in (item if isinstance(item, tuple) and len(item) == 2 and item[0] not in ('*', ',')
                                                    else items(item) or [item])]
        return {repr(one) for one in flat}

    def make_equal(self, key):
        theirs, ours = (items(peer.answer('SMEMBERS', key)) for peer in (self.theirs, self.ours))
        for peer, have, want in (self.theirs, theirs, ours), (self.ours, ours, theirs):
            odd = [member for member in have if member not in want]
            if odd:
                peer.answer('SREM', key, *odd)

    def exchange(self, key, theirs, ours):
        """Each restores what the other dumped."""
        if ours[0] not in NEW_TYPES or Peer.version > (7, 4):
            self.theirs('DEBUG', 'SET-SKIP-CHECKSUM-VALIDATION', 1)
            ours = ours[:-10] + OLD_VERSION + ours[-8:]
        else:
            ours = theirs
        replies = self.theirs.answer('RESTORE', key, 0, ours, 'REPLACE'), self.ours.answer('RESTORE', key, 0, theirs, 'REPLACE')
        self.theirs('DEBUG', 'SET-SKIP-CHECKSUM-VALIDATION', 0)
        self.judge('restore', [b'RESTORE', key, b'0', b'(the payload of the other)', b'REPLACE'], *replies)

    def judge_contents(self):
        clients = [everything.Client(server.port) for server in self.servers]
        with contextlib.closing(clients[0]), contextlib.closing(clients[1]):
            try:
                tables = [everything.contents(client) for client in clients]
                for row in (row for table in tables for row in table.values()):
                    if row['type'] == 'zset':
                        row['value'] = [[member, score.replace('-0.0', '0.0') if float(score) == 0 else score] for member, score in row['value']]
                    row['expire_at_ms'] = row['expire_at_ms'] and round(row['expire_at_ms'] / TICK_MS / 10)
                apart(*tables)
            except Problem as problem:
                raise Difference(f'the contents: {problem}') from None
        before = self.ours.answer('DEBUG', 'DIGEST')
        self.ours.answer('DEBUG', 'RELOAD')
        if self.ours.answer('DEBUG', 'DIGEST') != before:
            raise Difference('DEBUG RELOAD brings other contents back')


def scores(peer, key):
    flat = items(peer.answer('ZRANGE', key, 0, -1, 'WITHSCORES'))
    return [part for item in flat for part in (items(item) or [item])]


def defined(name, command):
    """Which of those that a pattern finds equal come first is not; nor, until 7.2, how many the least integer removes."""
    if name == 'lset' and len(command) > 2 and re.fullmatch(rb'-?\d{10,}', command[2]):
        return False  # Redis takes the low 32 bits of the index.
    if name == 'lrem' and Peer.version < (7, 2) and b'-9223372036854775808' in command:
        return False
    words = [word.lower() for word in command]
    return name not in UNSORTED or b'by' not in words or b'store' not in words and b'limit' not in words


def by_name(name, command):
    return 'bylex' in name or name == 'zlexcount' or name.startswith('zrange') and b'bylex' in [word.lower() for word in command]


def stamp_at(command):
    """Where XADD has a * for an id; 0 if it has not."""
    at = 2
    while at < len(command):
        word = command[at].lower()
        if word == b'nomkstream':
            at += 1
        elif word in (b'maxlen', b'minid'):
            at += 3 if at + 1 < len(command) and command[at + 1] in (b'=', b'~') else 2
        elif word == b'limit':
            at += 2
        else:
            return at if word == b'*' else 0
    return 0


def apart(theirs, ours):
    """As contents.compare, but deadlines may be apart by one in their last digit."""
    for name in theirs.keys() & ours.keys():
        at = theirs[name]['expire_at_ms'], ours[name]['expire_at_ms']
        if None not in at and abs(at[0] - at[1]) <= 1:
            ours[name]['expire_at_ms'] = at[0]
    everything.compare(ours, theirs)


def shape(reply, held, command):
    """What must be equal of a draw: its kind, how many, that all are members and whether one may come twice."""
    drawn = items(reply) if isinstance(reply, tuple) else [reply]
    flat = [part for item in drawn for part in (items(item) or [item])]
    strange = [part for part in flat if repr(part) not in held]
    repeated = len(set(map(repr, flat))) < len(flat) and b'-' not in b''.join(command[2:]) and not any(
        word.lower() in (b'withscores', b'withvalues') for word in command)
    return type(reply).__name__, reply[0] if isinstance(reply, tuple) else '', len(flat), strange, repeated


def scanned(peer, command):
    """All that a whole walk finds, without order; or the error."""
    name = command[0].lower()
    at = 1 if name == b'scan' else 2
    command, found = list(command), []
    for _ in range(10_000):
        reply = peer.answer(*command)
        if is_error(reply) or not items(reply):
            return reply
        cursor, batch = items(reply)
        flat = items(batch)
        paired = name in (b'hscan', b'zscan') and b'novalues' not in [word.lower() for word in command]
        found += [(one, long_digits(other) if name == b'zscan' else other) for one, other in in_pairs(flat)] if paired else flat
        if cursor == b'0':
            return '*', sorted(set(map(repr, found)))
        command[at] = cursor
    raise Difference(f'{shown(command)} does not end')


BLOCKING = {b'blpop': -1, b'brpop': -1, b'brpoplpush': -1, b'blmove': -1, b'bzpopmin': -1, b'bzpopmax': -1, b'blmpop': 1, b'bzmpop': 1}


NEAR = {b'expire': 1000, b'setex': 1000, b'hexpire': 1000, b'ex': 1000,
        b'pexpire': 10**6, b'psetex': 10**6, b'hpexpire': 10**6, b'restore': 10**6, b'px': 10**6}


def harmless(command):
    """A wait has an end that comes soon, and a deadline comes later than anything is compared."""
    name = command[0].lower()
    command = list(command)
    for at, word in enumerate(command):
        far = NEAR.get(word.lower(), 0)
        at += 2 if at == 0 else 1
        if far and at < len(command) and command[at].isdigit() and 0 < int(command[at]) < far:
            command[at] = b'%d' % (int(command[at]) + far)
    if name in BLOCKING and len(command) > 1:
        at = BLOCKING[name]
        with contextlib.suppress(ValueError):
            if not 0 < float(command[at]) <= .01 and float(command[at]) >= 0:
                command[at] = b'0.01'
        if re.match(rb'[+-]?0x', command[at]):
            command[at] = b'0.01'
    if name in (b'xread', b'xreadgroup'):
        for at, word in enumerate(command[1:], 1):
            if command[at - 1].lower() == b'block' and word.isdigit():
                command[at] = b'2'
    return command



# Rounds, and how one becomes small.

def make_round(grammar, chance, length):
    commands = []
    while len(commands) < length:
        if chance.random() < .015:
            commands += [[b'MULTI'], *(grammar.command() for _ in range(chance.randrange(1, 12))),
                         [chance.choice((b'EXEC', b'EXEC', b'EXEC', b'DISCARD'))]]
        elif chance.random() < .01:
            commands.append(grammar.nonsense())
        else:
            commands.append(grammar.command())
    return commands


def smaller(pair, commands, protocol, first):
    """The fewest commands, found by leaving ever shorter pieces out, that still differ at the same place."""
    def differs(some):
        try:
            pair.begin(protocol)
            pair.run(some)
        except Difference as difference:
            return str(difference).split()[0].upper() == str(first).split()[0].upper()
        return False

    piece = max(1, len(commands) // 2)
    while True:
        at, before = 0, len(commands)
        while at < len(commands):
            fewer = commands[:at] + commands[at + piece:]
            if fewer and differs(fewer):
                commands = fewer
            else:
                at += piece
        if piece == 1 and len(commands) == before:
            return commands
        piece = max(1, piece // 2)


def shown(command):
    """As redis-cli reads it."""
    def word(raw):
        plain = raw.decode('latin-1')
        if plain and re.fullmatch(r'[!-~]+', plain) and not set(plain) & set('"\'\\'):
            return plain
        return '"' + ''.join(c if ' ' <= c <= '~' and c not in '"\\' else f'\\x{ord(c):02x}' for c in plain) + '"'
    return ' '.join(word(raw) for raw in command)


def payloads(peer):
    """A valid one of each type, and some that are not."""
    peer.answer('FLUSHALL')
    for words in ('SET a text', 'SET b 12', 'RPUSH c x 1 300', 'SADD d 1 2 70000', 'SADD e x y', 'HSET f a 1 b 2', 'ZADD g 1 a 2.5 b',
                  'XADD h 1-1 f v', 'XGROUP CREATE h g1 0', 'PFADD i a b c'):
        peer.answer(*words.split())
    whole = [peer.answer('DUMP', key) for key in 'abcdefghi']
    return whole * 4 + [whole[0][:-1], b'\x00' * 12, whole[2][:-3] + b'xyz', b'']


def options():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--commands', type=int, default=6000)
    parser.add_argument('--long', action='store_true', help='a rule that is not needed is a failure')
    parser.add_argument('--keep-going', action='store_true', help='look for one difference of each command')
    return parser.parse_args()


def main():
    asked = options()
    failed = {}
    with redis(scratch('theirs'), *QUIET) as theirs, rekeep(scratch('ours'), *QUIET, '--rdb-version', '10') as ours:
        pair = Pair(theirs, ours)
        known = pair.known & {name.decode() for name in items(pair.ours.answer('COMMAND', 'LIST'))}
        good = payloads(pair.theirs)
        done, turn, names = 0, 0, set()
        while done < asked.commands:
            chance = random.Random(f'{asked.seed}/{turn}')
            grammar = Grammar(chance, known, Peer.version, good)
            names = set(grammar.names)
            commands, protocol = make_round(grammar, chance, min(ROUND, asked.commands - done)), 2 + turn % 2
            turn += 1
            done += len(commands)
            commands = [command for command in commands if pair.name_of(command) not in failed]
            try:
                pair.begin(protocol)
                pair.run(commands)
            except Difference as difference:
                failed[str(difference).split()[0].lower()] = difference
                few = smaller(pair, commands, protocol, difference)
                try:
                    pair.begin(protocol)
                    pair.run(few)
                except Difference as found:
                    difference = found
                print(f'seed {asked.seed}, round {turn}, RESP{protocol}: differs after')
                print(''.join(f'    {shown(command)}\n' for command in few) + f'  {difference}', flush=True)
                if not asked.keep_going:
                    break
    print(f'{done} commands of {len(names)} kinds in {turn} rounds from seed {asked.seed}, {len(failed)} differences; '
          f'{pair.unasked} were not asked, as their outcome is not defined')
    RULES[:] = [rule for rule in RULES if rule.holds()]
    unused = [rule for rule in RULES if not rule.used and not rule.seldom]
    for rule in RULES:
        print(f'  {rule.used:7} times: {rule.reason}')
    if asked.long and unused:
        print(f'{len(unused)} rules were never needed')
    sys.exit(bool(failed or asked.long and unused))


if __name__ == '__main__':
    main()
