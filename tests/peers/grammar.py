"""Commands made from the tree of arguments in tests/facts/commands.json: what is valid, what is at an edge, what is wrong.

`Grammar(chance, known, version).command()` is one command, a list of bytes. Values are drawn by the name of their argument, from
small pools, so that keys meet each other's types. Nothing here makes a value so large that a server must be asked for more
than a few megabytes, or a deadline so near that two servers could see it on different sides.
"""
import json, pathlib

FACTS = pathlib.Path(__file__).resolve().parents[1] / 'facts/commands.json'

# What is not asked, by name, and why.
LEFT_OUT = {
    'changes the server, not the data': '''acl acl|* auth bgrewriteaof bgsave cluster|* config config|* debug failover
        function|dump function|flush function|kill function|load function|restore latency|* module module|* psync readonly
        readwrite replconf replicaof restore-asking save script|debug script|kill shutdown slaveof slowlog|* sync
        asking migrate sentinel sentinel|*''',
    'changes what the connection is for': 'client client|* hello monitor psubscribe punsubscribe quit reset ssubscribe '
                                          'subscribe sunsubscribe unsubscribe',
    'tells of the server, which is another': 'command command|* cluster info lastsave latency lolwut memory memory|* role '
                                             'slowlog time pfdebug pfselftest',
    'its words are our own': '*|help function function|* object script xgroup xinfo pubsub',
    'waits for files or replicas': 'wait waitaof',
}
# What is asked more or less often than others (1).
OFTEN = {'flushall': .02, 'flushdb': .05, 'swapdb': .1, 'select': .25, 'watch': .3, 'keys': .5, 'set': 3, 'lpush': 3, 'rpush': 3,
         'sadd': 4, 'zadd': 4, 'hset': 4, 'xadd': 5, 'geoadd': 3, 'pfadd': 3, 'setbit': 2, 'xgroup|create': 2, 'xreadgroup': 3,
         'del': .3, 'unlink': .3, 'discard': .05, 'exec': .05, 'multi': 0, 'blpop': .3, 'brpop': .3, 'blmove': .3, 'brpoplpush': .3,
         'blmpop': .3, 'bzmpop': .3, 'bzpopmin': .3, 'bzpopmax': .3, 'xread': .7, 'script|flush': .1, 'expire': .5, 'pexpire': .5,
         'expireat': .5, 'pexpireat': .5, 'randomkey': .3, 'dbsize': .3}

# Arguments that came later than their command, where the facts do not say so.
NEWER = {('zrank', 'withscore'): '7.2.0', ('zrevrank', 'withscore'): '7.2.0', ('hscan', 'novalues'): '7.4.0'}

PREFIX = {'string': 'str', 'bitmap': 'str', 'list': 'list', 'set': 'set', 'sorted_set': 'zset', 'hash': 'hash', 'geo': 'geo',
          'stream': 'stream', 'hyperloglog': 'hll'}
KEYS = [f'{kind}:{n}' for kind in sorted(set(PREFIX.values())) for n in range(3)] + ['w_1', 'w_a', 'other']
WORDS = ['a', 'b', 'c', 'd', '1', '2', '3', '10', '-5', '007', '3.5', '', 'A longer word, which needs more than 44 bytes of room.',
         'x' * 64, 'y' * 65, '\xff\r\n', 'inf', 'nan', '9223372036854775807', '-9223372036854775808', '1e3', '0x10', ' 1']
BINARY = WORDS + ['\0', '\0\xff\r\n', 'a\0b']
SMALL = ['0', '1', '2', '3', '5', '-1', '-2', '-3', '10', '100']
EDGES = ['9223372036854775807', '-9223372036854775808', '9223372036854775808', '4294967296', '-100', '', 'x', '1.5', ' 1', '+1',
         '01', '1e2', '-0']
# No -0: Redis keeps its sign in large sorted sets only.
SCORES = ['0', '1', '2', '3', '-1', '1.5', '-2.25', '10', '1e3', 'inf', '-inf', '+inf', 'Infinity', '0.1', '3.0', '1e300', '5e-324',
          '12345678901234567890', '0x1p3', 'nan', 'x', '']
STREAM_IDS = ['0', '1', '1-1', '1-2', '2-1', '2', '3-0', '5-5', '0-0', '10', '0-1', '18446744073709551615-18446744073709551615', '-1', 'x',
              '1-x', '1-1-1', '']
ENCODINGS = ['u8', 'i8', 'u1', 'i5', 'u16', 'i32', 'i64', 'u63', 'u64', 'i65', 'u0', 'x8', '']
PATTERNS = ['*', 'str:*', 'list:?', '[sz]*', 'set:[0-1]', '?', 'a*', '*1*', '\\*', '[^a]*', 'hash:0', '[', '']
SCRIPTS = ["return redis.call('GET', KEYS[1])", 'return {1, 2.7, "x", false, {ok = "fine"}}', 'return #KEYS + #ARGV', 'return ARGV[1]',
           "return redis.pcall('LPUSH', KEYS[1], unpack(ARGV))", "return redis.call('HSET', KEYS[1], 'a', ARGV[1])", 'syntax error(',
           "return redis.error_reply('MINE')", 'return {}', 'return nil']
SHAS = ['0' * 40, 'x', 'a42059b356c875f0717db19a51f6aaca9ae659ea']
FAR = 4_102_444_800  # the year 2100, in seconds


# What FCALL finds.
LIBRARY = """#!lua name=differential
local function said(keys, args) return {#keys, #args, args[1] or false} end
redis.register_function('get', function(keys) return redis.call('GET', keys[1]) end)
redis.register_function('push', function(keys, args) return redis.pcall('LPUSH', keys[1], unpack(args)) end)
redis.register_function{function_name='said', callback=said, flags={'no-writes'}}
redis.register_function('fails', function(keys, args) return redis.error_reply(args[1]) end)
"""
CONTAINERS = ['OBJECT', 'XINFO', 'XGROUP', 'CONFIG', 'ACL', 'CLIENT', 'SCRIPT', 'FUNCTION', 'MEMORY', 'LATENCY', 'SLOWLOG', 'PUBSUB',
              'COMMAND']


class Grammar:
    def __init__(self, chance, known, version, payloads=(b'',)):
        """Of the commands in `known` (names as COMMAND LIST has them), those that are not left out."""
        self.chance, self.version, self.payloads, self.name = chance, version, payloads, None
        facts = json.loads(FACTS.read_text())
        out = {name for names in LEFT_OUT.values() for name in names.split()}

        def left_out(name):
            head, _, tail = name.partition('|')
            return bool({name, f'{head}|*' if tail else '', f'*|{tail}'} & out)

        self.facts = {name: fact for name, fact in facts.items()
                      if name in known and not left_out(name) and self.of_age(fact)}
        self.names = sorted(self.facts)
        self.weights = [OFTEN.get(name, 1) for name in self.names]
        self.pools = self.the_pools()

    def command(self):
        chance = self.chance
        name = chance.choices(self.names, self.weights)[0]
        fact = self.facts[name]
        self.group, self.name = fact['group'], name
        words = self.words = name.split('|')
        for argument in fact.get('arguments', []):
            self.argument(argument, words)
        words = self.counted(words)
        if chance.random() < .05:
            self.spoil(words)
        if chance.random() < .1:
            words[0] = words[0].upper()
        return [word if isinstance(word, bytes) else word.encode('latin-1') for word in words]

    def nonsense(self):
        """What nobody knows, in any bytes."""
        chance = self.chance
        strange = BINARY + ['\xff\xfe', 'caf\xe9', '\xf4\x8f\xbd\x81', 'x\ny', 'y' * 200]
        head = [chance.choice(CONTAINERS)] if chance.random() < .5 else []
        words = head + ['no' + chance.choice(strange), *(chance.choice(strange) for _ in range(chance.randrange(5)))]
        return [word.encode('latin-1') for word in words]

    def argument(self, argument, words):
        """Adds what stands for the argument: a value, a token, a choice, a block, several of them, or nothing."""
        if not self.of_age(argument) or argument.get('optional') and self.chance.random() < .65:
            return
        times = 1
        if argument.get('multiple'):
            times = self.chance.choice((1, 1, 1, 2, 2, 3, 5))
            if self.chance.random() < .01:
                times = self.chance.choice((20, 140))
        token = argument.get('token')
        for turn in range(times):
            if token is not None and argument['type'] != 'pure-token' and (turn == 0 or argument.get('multiple_token')):
                words.append(self.cased(token))
            self.one(argument, words)

    def one(self, argument, words):
        kind = argument['type']
        if kind == 'pure-token':
            words.append(self.cased(argument['token']))
        elif kind == 'oneof':
            choices = [one for one in argument['arguments'] if self.of_age(one)]
            chosen = dict(self.chance.choice(choices))
            chosen.pop('optional', None)
            self.argument(chosen, words)
        elif kind == 'block':
            if argument['name'] == 'streams':
                self.streams(words)
            else:
                for part in argument['arguments']:
                    self.argument(part, words)
        elif kind == 'key':
            words.append(self.key())
        elif argument['name'] == 'numkeys':
            words.append(NumKeys(len(words)))
        else:
            words.append(self.value(argument))

    def streams(self, words):
        """STREAMS has as many ids as keys."""
        times = self.chance.choice((1, 1, 2))
        words.extend(self.key() for _ in range(times))
        words.extend(self.chance.choice(('0', '$', '>', *STREAM_IDS)) for _ in range(times))

    def of_age(self, fact):
        """Whether the real server is as new as this."""
        since = fact.get('since') or NEWER.get((self.name, fact.get('name')))
        return since is None or tuple(map(int, since.split('.'))) <= self.version

    def counted(self, words):
        """With the number of keys in its place; seldom a wrong one."""
        for at, word in enumerate(words):
            if isinstance(word, NumKeys):
                count = 0
                for other in words[at + 1:]:
                    if other not in KEYS:
                        break
                    count += 1
                words[at] = str(count) if self.chance.random() < .95 else self.chance.choice(SMALL + EDGES)
        return words

    def cased(self, token):
        token = token.strip('"')
        return token.lower() if self.chance.random() < .1 else token

    def key(self):
        chance = self.chance
        prefix = PREFIX.get(self.group)
        if prefix and chance.random() < .85:
            return f'{prefix}:{chance.randrange(3)}'
        return chance.choice(KEYS)

    def value(self, argument):
        name, kind = argument['name'].lower(), argument['type']
        pools = self.pools
        own = pools.get(f'{self.name}/{name}') or pools.get(name)
        if own is None and kind == 'integer' or kind in ('integer', 'double') and self.chance.random() < .04:
            own = SMALL if self.chance.random() < .9 else EDGES
        elif own is None:
            own = {'double': SCORES, 'pattern': PATTERNS}.get(kind, WORDS)
        drawn = own() if callable(own) else self.chance.choice(own)
        return drawn

    def spoil(self, words):
        """A word less, a word more, a word changed, or two exchanged."""
        chance = self.chance
        at = chance.randrange(len(words))
        how = chance.randrange(4)
        if how == 0 and at:
            del words[at]
        elif how == 1:
            words.insert(at + 1, chance.choice(WORDS + SMALL + KEYS + ['WITHSCORES', 'COUNT', 'LIMIT', 'GET', 'STORE', 'NX', 'XX', 'BYLEX']))
        elif how == 2 and at:
            words[at] = chance.choice(WORDS + SMALL + EDGES)
        elif at:
            other = chance.randrange(1, len(words))
            words[at], words[other] = words[other], words[at]

    def the_pools(self):
        """By the argument's name, or command/name."""
        chance = self.chance

        def among(many, few):
            return lambda: chance.choice(many if chance.random() < .9 else few)

        def lex():
            return chance.choice(('-', '+', '[', '(', '')) + chance.choice(('', 'a', 'b', 'c', 'd', 'x'))

        def bound():
            return chance.choice(('', '', '(')) + chance.choice(SCORES)

        def any_bound():
            return chance.choice((lex, bound, lambda: chance.choice(SMALL)))()

        # So wide that no two meet, and so far that none passes.
        def soon(least):
            return lambda: str(chance.randrange(least, least * 1000)) if chance.random() < .9 else chance.choice(
                ('0', '-1', '9223372036854775807', '-9223372036854775808', 'x', ''))

        def date(unit):
            return lambda: str(FAR * unit + chance.randrange(10**6)) if chance.random() < .9 else chance.choice(
                ('1', '0', '-1', '9223372036854775807', 'x'))

        bits = among(['0', '1', '7', '8', '9', '15', '100', '1000', '8191', '65535'], ['-1', '4294967296', 'x', '#1'])
        stream_id = among(STREAM_IDS, ['-', '+', '$', '>', '*'])
        fresh = among(['*', '1-*'] + [f'{n}-{m}' for n in range(1, 40, 4) for m in (0, 1)], STREAM_IDS)
        distance = among(['0', '1', '100', '200.5', '5000', '40000'], SCORES)
        members = among(WORDS[:12], WORDS)
        idle = ['0', '0', '100000000', '-1', 'x']
        db = among(['0', '1', '2'], ['-1', '3', '16', 'x', ''])
        return {
            'zadd/score': lambda: '0' if 'zset:0' in self.words else chance.choice(SCORES),  # Ranges of names want equal scores.
            'member': members, 'member1': members, 'member2': members, 'field': members, 'element': members, 'pivot': members,
            'value': BINARY, 'score': SCORES, 'increment': among(SMALL, EDGES + SCORES), 'zincrby/increment': SCORES,
            'incrbyfloat/increment': SCORES, 'hincrbyfloat/increment': SCORES,
            'min': bound, 'max': bound, 'zrange/start': any_bound, 'zrange/stop': any_bound,
            'zrangestore/min': any_bound, 'zrangestore/max': any_bound,
            **{f'{name}/{end}': lex for name in ('zlexcount', 'zrangebylex', 'zrevrangebylex', 'zremrangebylex') for end in ('min', 'max')},
            'longitude': among(['0', '13.361389', '15.087269', '2.35', '-122.4', '180'], ['181', '-180', 'x', 'nan', '1e400']),
            'latitude': among(['0', '38.115556', '37.502669', '48.85', '37.77', '85.05112878'], ['86', '-85.06', 'x', 'inf']),
            'radius': distance, 'width': distance, 'height': distance,
            'seconds': soon(1000), 'milliseconds': soon(1_000_000),
            # The most that fits is not among them: 7.4 adds the time to it, and what overflows has passed.
            'ttl': lambda: str(chance.randrange(10**6, 10**9)) if chance.random() < .6 else chance.choice(('0', '0', '-1', 'x')), 'restore/seconds': idle,
            'xread/milliseconds': ['2', '-1', 'x'], 'xreadgroup/milliseconds': ['2', '-1', 'x'],
            'unix-time-seconds': date(1), 'unix-time-milliseconds': date(1000),
            'setbit/offset': bits, 'getbit/offset': bits, 'bitfield/offset': among(['0', '1', '8', '#0', '#1', '#10', '100'], ['-1', '#-1', 'x', '#', '4294967297']),
            'bitfield_ro/offset': ['0', '1', '8', '#0', '#1', '#10', '100', '-1', 'x'], 'setbit/value': ['0', '1', '1', '2', 'x'],
            'bitfield/value': among(SMALL, EDGES), 'encoding': among(ENCODINGS[:8], ENCODINGS), 'bit': ['0', '1', '0', '1', '2', 'x'],
            'setrange/offset': among(['0', '1', '5', '40', '100'], ['-1', '536870912', '9223372036854775807', 'x']),
            'pattern': PATTERNS, 'by-pattern': ['w_*', 'nosort', '*', 'hash:*->a', 'str:*', 'x', 'w_*->', ''],
            'get-pattern': ['#', 'w_*', 'hash:*->a', 'str:*', '*', 'x', '->a', ''], 'cursor': ['0'] * 6 + ['x', '-1', '', '18446744073709551616'],
            'id': stream_id, 'xadd/id': fresh, 'xadd/auto-id': fresh, 'lastid': stream_id, 'last-id': stream_id, 'max-deleted-id': stream_id,
            'xgroup|create/id': ['0', '0', '$', '1-1', 'x'], 'entriesread': ['0', '1', '2', '-1', '-2', 'x'], 'entries-added': ['0', '5', '100', '-1'],
            'threshold': ['0', '1', '2', '3', '2-1', '10-0', '-1', 'x'], 'group': ['g1', 'g1', 'g2', 'nogroup'], 'consumer': ['alice', 'bob', 'carol'],
            'xrange/start': ['-', '0', '1', '(1', '(1-1', '2-1', '+', 'x', '('], 'xrange/end': ['+', '5', '(5', '2-1', '-', '(0-0', 'x'],
            'xrevrange/start': ['-', '0', '1', '(1', '2-1', '+', 'x'], 'xrevrange/end': ['+', '5', '(5', '2-1', '-', 'x'],
            'xpending/start': ['-', '0', '1', '(1', '+', 'x'], 'xpending/end': ['+', '5', '(5', '-', 'x'], 'xautoclaim/start': ['0', '-', '1', '(1', '2-1', 'x'],
            'min-idle-time': idle, 'ms': ['0', '10', '100000', 'x'], 'count': among(SMALL + ['20'], EDGES), 'numkeys': SMALL,
            'timeout': ['0.001', '0.002', '-1', 'x', 'nan'], 'destination-db': db, 'db': db, 'index1': db, 'index2': db, 'index': SMALL,
            'select/index': db, 'script': SCRIPTS, 'sha1': SHAS, 'type': ['string', 'list', 'set', 'zset', 'hash', 'stream', 'LIST', 'none'],
            'serialized-value': self.payloads, 'frequency': ['0', '5', '255', '256', 'x'], 'weight': SCORES, 'message': WORDS, 'echo/message': WORDS,
            'function': ['get', 'push', 'said', 'said', 'fails', 'nosuch', ''],
            'arg': WORDS, 'linsert/element': WORDS, 'channel': ['c'], 'shardchannel': ['c'],
        }


class NumKeys:
    """Where the number of the keys behind it will stand."""

    def __init__(self, at):
        self.at = at

