"""What redis_py.py asks of each family: calls of redis-py's methods, and what they give.

The same table is for clients with and without asyncio. A row is a family, and in it are calls in their order:
`(what is expected, method, arguments..., {keywords})`. An expected function is asked whether the answer is right.
"""


def about(number, within=0.01):
    return lambda answer: abs(float(answer) - number) <= within


def some(kind):
    return lambda answer: isinstance(answer, kind)


def holds(**wanted):
    """A dictionary, or a list of pairs, with these in it."""
    return lambda answer: all(answer.get(key) == value for key, value in wanted.items())


def fails(text):
    return lambda answer: isinstance(answer, Exception) and text in str(answer)


def pairs(*wanted):
    """Pairs, in whichever sequence they come."""
    return lambda answer: [tuple(one) for one in answer] == list(wanted)


def scored(member, score):
    """One member with its score, in a list of pairs or by itself."""
    return lambda answer: [*(answer[0] if len(answer) == 1 else answer)] == [member, score]


def unordered(*wanted):
    return lambda answer: sorted(answer) == sorted(wanted)


def longer(count):
    return lambda answer: len(answer) > count


def true_or_ok(answer):
    return answer in (True, 'OK', b'OK')


SAMPLE = '#!lua name=calls\nredis.register_function{function_name="twice", flags={"no-writes"}, ' \
         'callback=function(keys, args) return args[1] * 2 end}'

FAMILIES = {
    'strings': [
        (True, 'set', 'k', 'v', {'ex': 100}), ('v', 'getex', 'k', {'persist': True}), (-1, 'ttl', 'k'),
        (True, 'setex', 'e', 100, 'x'), (True, 'psetex', 'e', 100000, 'x'), (True, 'setnx', 'n', 1),
        (False, 'setnx', 'n', 2),
        ('v', 'getset', 'k', 'w'), (True, 'msetnx', {'a': 1, 'b': 2}), (False, 'msetnx', {'a': 1, 'c': 2}),
        (['1', '2', None], 'mget', 'a', 'b', 'c'), (0, 'decr', 'a'), (-5, 'decrby', 'a', 5),
        (about(-4.5), 'incrbyfloat', 'a', 0.5),
        (4, 'strlen', 'a'), ('-4', 'getrange', 'a', 0, 1), ('-4', 'substr', 'a', 0, 1),
        (6, 'setrange', 'k', 2, 'orld'),
        (True, 'mset', {'x': 'ohmytext', 'y': 'mynewtext'}), ('mytext', 'lcs', 'x', 'y'),
        (6, 'lcs', 'x', 'y', {'len': True}),
        (fails('not an integer'), 'incr', 'x'),
    ],
    'keys': [
        (True, 'mset', {'k': 1, 'l': 2}), (2, 'exists', 'k', 'l', 'no'), (2, 'touch', 'k', 'l'),
        ('string', 'type', 'k'),
        (True, 'expire', 'k', 100), (True, 'pexpire', 'k', 100000, {'gt': False, 'xx': True}),
        (about(100000, 5000), 'pttl', 'k'),
        (True, 'expireat', 'k', 4102444800), (4102444800, 'expiretime', 'k'), (True, 'pexpireat', 'k', 4102444800000),
        (4102444800000, 'pexpiretime', 'k'), (True, 'persist', 'k'), (True, 'renamenx', 'k', 'm'),
        (True, 'rename', 'm', 'k'),
        (True, 'copy', 'k', 'c'), (True, 'move', 'c', 1), (some(str), 'randomkey'),
        (unordered('k', 'l'), 'keys', '*'),
        (2, 'dbsize'), ('int', 'object', 'encoding', 'k'), (some(int), 'object', 'refcount', 'l'),
        (some(int), 'object', 'idletime', 'k'),
        (fails('LFU'), 'object', 'freq', 'k'), (2, 'rpush', 'q', 2, 1), (['1', '2'], 'sort', 'q'),
        (2, 'sort', 'q', {'store': 's'}),
        (['1', '2'], 'sort_ro', 's'),
        (lambda answer: sorted(answer[1]) == ['k', 'l', 'q', 's'], 'scan', 0, {'count': 1000}),
        (1, 'delete', 'k'), (2, 'unlink', 'l', 'q'), (0, 'wait', 0, 10), (True, 'swapdb', 0, 1),
        (True, 'swapdb', 0, 1),
    ],
    'lists': [
        (3, 'rpush', 'l', 'a', 'b', 'c'), (4, 'lpush', 'l', 'z'), (0, 'lpushx', 'no', 1), (5, 'rpushx', 'l', 'd'),
        (5, 'llen', 'l'),
        (['z', 'a', 'b', 'c', 'd'], 'lrange', 'l', 0, -1), ('a', 'lindex', 'l', 1),
        (6, 'linsert', 'l', 'before', 'b', 'x'),
        (True, 'lset', 'l', 0, 'y'), (2, 'lpos', 'l', 'x'), ([2], 'lpos', 'l', 'x', {'count': 0}),
        (1, 'lrem', 'l', 0, 'x'),
        ('y', 'lmove', 'l', 'm', 'LEFT', 'RIGHT'), ('d', 'rpoplpush', 'l', 'm'), (True, 'ltrim', 'l', 0, 1),
        ('a', 'lpop', 'l'),
        (['b'], 'rpop', 'l', 5), (None, 'lpop', 'l'), (['m', ['d']], 'lmpop', 2, 'l', 'm', {'direction': 'LEFT'}),
        ('y', 'blmove', 'm', 'l', 1), ('y', 'brpoplpush', 'l', 'm', {'timeout': 1}),
        (lambda answer: list(answer) == ['m', 'y'], 'blpop', 'm', {'timeout': 1}),
        (None, 'brpop', 'm', {'timeout': 0.05}), (None, 'blmpop', 0.05, 1, 'm', {'direction': 'LEFT'}),
    ],
    'sets': [
        (3, 'sadd', 's', 'a', 'b', 'c'), (3, 'scard', 's'),
        (lambda answer: set(answer) == {'a', 'b', 'c'}, 'smembers', 's'),
        (1, 'sismember', 's', 'a'), ([1, 0], 'smismember', 's', ['a', 'x']), (2, 'sadd', 't', 'b', 'x'),
        (lambda answer: set(answer) == {'b'}, 'sinter', 's', 't'), (1, 'sintercard', 2, ['s', 't']),
        (lambda answer: set(answer) == {'a', 'c'}, 'sdiff', 's', 't'), (4, 'sunionstore', 'u', 's', 't'),
        (1, 'sinterstore', 'i', 's', 't'),
        (2, 'sdiffstore', 'd', 's', 't'), (longer(3), 'sunion', 's', 't'), (True, 'smove', 's', 't', 'a'),
        (1, 'srem', 's', 'b'),
        ('c', 'srandmember', 's'), (['c'] * 3, 'srandmember', 's', -3),
        (lambda answer: answer[1] == ['c'], 'sscan', 's'), ('c', 'spop', 's'),
        (longer(1), 'spop', 'u', 2),
    ],
    'hashes': [
        (2, 'hset', 'h', {'mapping': {'a': 1, 'b': 'x'}}), ('1', 'hget', 'h', 'a'),
        ({'a': '1', 'b': 'x'}, 'hgetall', 'h'), (2, 'hlen', 'h'),
        (True, 'hexists', 'h', 'a'), (unordered('a', 'b'), 'hkeys', 'h'), (unordered('1', 'x'), 'hvals', 'h'),
        (['1', None], 'hmget', 'h', ['a', 'no']),
        (True, 'hsetnx', 'h', 'c', 3), (43, 'hincrby', 'h', 'a', 42), (about(43.5), 'hincrbyfloat', 'h', 'a', 0.5),
        (4, 'hstrlen', 'h', 'a'),
        (1, 'hdel', 'h', 'c'), (longer(1), 'hrandfield', 'h', 2),
        (lambda answer: answer[1] == {'a': '43.5', 'b': 'x'}, 'hscan', 'h'),
    ],
    'deadlines of fields': [
        (2, 'hset', 'h', {'mapping': {'a': 1, 'b': 2}}), ([1, -2], 'hexpire', 'h', 100, 'a', 'no'),
        ([1], 'hpexpire', 'h', 100000, 'a'),
        (lambda answer: 90 < answer[0] <= 100, 'httl', 'h', 'a'),
        (lambda answer: 90000 < answer[0] <= 100000, 'hpttl', 'h', 'a'),
        ([1], 'hexpireat', 'h', 4102444800, 'a'), ([4102444800], 'hexpiretime', 'h', 'a'),
        ([1], 'hpexpireat', 'h', 4102444800000, 'a'),
        ([4102444800000], 'hpexpiretime', 'h', 'a'), ([1, -1], 'hpersist', 'h', 'a', 'b'),
        (['1'], 'hgetex', 'h', 'a', {'ex': 100}),
        (1, 'hsetex', 'h', {'mapping': {'c': 3}, 'ex': 100}), (['3'], 'hgetdel', 'h', 'c'),
        ([2], 'hexpire', 'h', 0, 'b'),
    ],
    'sorted sets': [
        (3, 'zadd', 'z', {'a': 1, 'b': 2, 'c': 3}), (1, 'zadd', 'z', {'a': 5}, {'xx': True, 'ch': True}),
        (3, 'zcard', 'z'), (2, 'zcount', 'z', 2, 3),
        (about(5), 'zscore', 'z', 'a'),
        (lambda answer: [one and float(one) for one in answer] == [5, None], 'zmscore', 'z', ['a', 'no']),
        (2, 'zrank', 'z', 'a'), (0, 'zrevrank', 'z', 'a'),
        (pairs(('b', 2.0), ('c', 3.0), ('a', 5.0)), 'zrange', 'z', 0, -1, {'withscores': True}),
        (['a', 'c'], 'zrevrange', 'z', 0, 1), (['b', 'c'], 'zrangebyscore', 'z', '-inf', '(5'),
        (['a'], 'zrevrangebyscore', 'z', 'inf', 4),
        (['b'], 'zrange', 'z', 0, 4, {'byscore': True, 'offset': 0, 'num': 1}),
        (about(7.5), 'zincrby', 'z', 2.5, 'a'), (2, 'zrangestore', 'y', 'z', 0, 1),
        (['b', 'c'], 'zrangebylex', 'y', '-', '+'), (['c', 'b'], 'zrevrangebylex', 'y', '+', '-'),
        (2, 'zlexcount', 'y', '[b', '[c'), (2, 'zinterstore', 'x', ['z', 'y']),
        (3, 'zunionstore', 'x', {'z': 2, 'y': 3}, {'aggregate': 'MAX'}), (['a'], 'zdiff', ['z', 'y']),
        (1, 'zdiffstore', 'd', ['z', 'y']),
        (longer(1), 'zinter', ['z', 'y']), (longer(2), 'zunion', ['z', 'y']), (2, 'zintercard', 2, ['z', 'y']),
        (some(str), 'zrandmember', 'z'),
        (longer(2), 'zrandmember', 'z', -3), (lambda answer: len(answer[1]) == 3, 'zscan', 'z'),
        (scored('b', 2.0), 'zpopmin', 'z'),
        (scored('a', 7.5), 'zpopmax', 'z'), (lambda answer: answer[0] == 'z', 'zmpop', 1, ['z'], {'min': True}),
        (lambda answer: [*answer] == ['y', 'b', 2.0], 'bzpopmin', 'y', {'timeout': 1}),
        (lambda answer: [*answer] == ['y', 'c', 3.0], 'bzpopmax', 'y', {'timeout': 1}),
        (None, 'bzmpop', 0.05, 1, ['y'], {'min': True}), (1, 'zrem', 'x', 'a'), (1, 'zremrangebyrank', 'x', 0, 0),
        (0, 'zremrangebylex', 'x', '[x', '[z'), (1, 'zremrangebyscore', 'x', 0, 99),
    ],
    'streams': [
        ('1-1', 'xadd', 's', {'f': 'v'}, {'id': '1-1'}),
        ('2-0', 'xadd', 's', {'g': 'w'}, {'id': '2-*', 'nomkstream': True}) , (2, 'xlen', 's'),
        ([('1-1', {'f': 'v'}), ('2-0', {'g': 'w'})], 'xrange', 's'),
        ([('2-0', {'g': 'w'})], 'xrevrange', 's', {'count': 1}),
        (longer(0), 'xread', {'s': '0'}), (True, 'xgroup_create', 's', 'g', '0'),
        (longer(0), 'xreadgroup', 'g', 'c', {'s': '>'}),
        (lambda answer: answer['pending'] == 2, 'xpending', 's', 'g'),
        (lambda answer: answer[0]['consumer'] == 'c', 'xpending_range', 's', 'g', '-', '+', 9),
        (1, 'xack', 's', 'g', '1-1'),
        ([('2-0', {'g': 'w'})], 'xclaim', 's', 'g', 'd', 0, ['2-0']),
        (lambda answer: answer[1] == [('2-0', {'g': 'w'})], 'xautoclaim', 's', 'g', 'e', 0),
        (1, 'xgroup_createconsumer', 's', 'g', 'new'), (0, 'xgroup_delconsumer', 's', 'g', 'new'),
        (holds(length=2), 'xinfo_stream', 's'), (holds(length=2), 'xinfo_stream', 's', {'full': True}),
        (lambda answer: answer[0]['name'] == 'g' and answer[0]['pending'] == 1, 'xinfo_groups', 's'),
        (lambda answer: {one['name'] for one in answer} == {'c', 'd', 'e'}, 'xinfo_consumers', 's', 'g'),
        (True, 'xgroup_setid', 's', 'g', '0'), (1, 'xdel', 's', '1-1'),
        (1, 'xtrim', 's', {'maxlen': 0, 'approximate': False}), (True, 'xgroup_destroy', 's', 'g'),
        (lambda answer: not answer, 'xread', {'s': '$'}, {'block': 20}),
    ],
    'bitmaps': [
        (0, 'setbit', 'b', 7, 1), (1, 'getbit', 'b', 7), (1, 'bitcount', 'b'),
        (1, 'bitcount', 'b', 0, 8, {'mode': 'BIT'}), (7, 'bitpos', 'b', 1), (1, 'bitop', 'NOT', 'c', 'b'),
        (7, 'bitcount', 'c'),
        ([1], 'bitfield_ro', 'b', 'u8', 0),
    ],
    'places': [
        (2, 'geoadd', 'g', (13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania')),
        (about(166.27, 0.1), 'geodist', 'g', 'Palermo', 'Catania', {'unit': 'km'}),
        (['sqc8b49rny0'], 'geohash', 'g', 'Palermo'),
        (lambda answer: abs(answer[0][0] - 13.361389) < 1e-4, 'geopos', 'g', 'Palermo'),
        (longer(1), 'geosearch', 'g', {'longitude': 15, 'latitude': 37, 'radius': 200, 'unit': 'km', 'sort': 'ASC'}),
        (2, 'geosearchstore', 'd', 'g', {'longitude': 15, 'latitude': 37, 'width': 400, 'height': 400, 'unit': 'km'}),
        (longer(1), 'georadius', 'g', 15, 37, 200, {'unit': 'km', 'withdist': True}),
        (longer(1), 'georadiusbymember', 'g', 'Palermo', 200, {'unit': 'km'}),
    ],
    'hyperloglogs': [
        (1, 'pfadd', 'p', 'a', 'b'), (2, 'pfcount', 'p'), (1, 'pfadd', 'q', 'c'), (True, 'pfmerge', 'r', 'p', 'q'),
        (3, 'pfcount', 'r'),
    ],
    'scripts': [
        (['k', 'v'], 'eval', 'return {KEYS[1], ARGV[1]}', 1, 'k', 'v'), (3, 'eval_ro', 'return 3', 0),
        ('e0e1f9fabfc9d4800c877a703b823ac0578ff8db', 'script_load', 'return 1'),
        ([True, False], 'script_exists', 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db', '0' * 40),
        (1, 'evalsha', 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db', 0),
        (1, 'evalsha_ro', 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db', 0),
        (fails('No scripts in execution'), 'script_kill'), (True, 'script_flush'),
        (fails('No matching script'), 'evalsha', '0' * 40, 0),
    ],
    'functions': [
        ('calls', 'function_load', SAMPLE, {'replace': True}), (8, 'fcall', 'twice', 0, 4),
        (8, 'fcall_ro', 'twice', 0, 4), (longer(0), 'function_list'), (longer(0), 'function_stats'),
        (true_or_ok, 'function_delete', 'calls'), (true_or_ok, 'function_flush'),
        (fails('No scripts in execution'), 'function_kill'),
    ],
    'users': [
        ('default', 'acl_whoami'),
        (True, 'acl_setuser', 'someone', {'enabled': True, 'passwords': ['+secret'], 'categories': ['+@read'],
                                          'keys': ['k*'], 'commands': ['-get']}),
        (lambda answer: 'on' in answer['flags'] and '-@all' in str(answer['categories']), 'acl_getuser', 'someone'),
        (unordered('default', 'someone'), 'acl_users'), (longer(1), 'acl_list'), (longer(10), 'acl_cat'),
        (longer(10), 'acl_cat', 'read'),
        (lambda answer: 'no permissions' in str(answer), 'acl_dryrun', 'someone', 'get', 'k'),
        (longer(10), 'acl_genpass'), (some(list), 'acl_log'), (True, 'acl_log_reset'),
        (1, 'acl_deluser', 'someone'), (longer(5), 'acl_help'),
    ],
    'the server': [
        (True, 'ping'), ('x', 'echo', 'x'), (longer(1), 'time'), (some(dict), 'info'),
        (some(dict), 'info', 'everything'), (longer(100), 'config_get'),
        (True, 'config_set', 'slowlog-log-slower-than', 0), (longer(0), 'slowlog_get'), (some(int), 'slowlog_len'),
        (True, 'slowlog_reset'),
        (true_or_ok, 'config_resetstat'), (True, 'config_set', 'slowlog-log-slower-than', 10000),
        (longer(100), 'command'), (some(int), 'command_count'), (['a'], 'command_getkeys', 'get', 'a'),
        (longer(100), 'command_list'), (lambda answer: answer.year > 2000, 'lastsave'),
        (some(dict), 'memory_stats'), (some(str), 'memory_malloc_stats'), (True, 'memory_purge'),
        (True, 'set', 'k', 'v'), (lambda answer: answer > 0, 'memory_usage', 'k'), ([], 'latency_latest'),
        (0, 'latency_reset'), ([], 'latency_history', 'command'),
        (lambda answer: answer[0] == 'master', 'role'), (some(str), 'lolwut'), ([0, 0], 'waitaof', 0, 0, 10),
        ([], 'module_list'), (true_or_ok, 'flushdb'),
    ],
    'connections': [
        (some(int), 'client_id'), (True, 'client_setname', 'me'), ('me', 'client_getname'),
        (holds(name='me', db=0), 'client_info'), (longer(0), 'client_list', {'_type': 'normal'}),
        (true_or_ok, 'client_no_evict', 'OFF'), (true_or_ok, 'client_no_touch', 'OFF'),
        (true_or_ok, 'client_setinfo', 'lib-name', 'calls'), (fails('No such client'), 'client_kill', '1.1.1.1:1'),
        (0, 'client_kill_filter', {'_id': '999999'}), (0, 'client_unblock', 999999), (True, 'client_pause', 1),
        (true_or_ok, 'client_unpause'), (-1, 'client_getredir'), (longer(0), 'client_trackinginfo'),
        # Over RESP2 somebody has to be named who is told.
        (lambda answer: true_or_ok(answer) or 'RESP' in str(answer), 'client_tracking_on'),
        (true_or_ok, 'client_tracking_off'),
    ],
    'channels': [
        (0, 'publish', 'c', 'm'), (0, 'spublish', 'c', 'm'), ([], 'pubsub_channels'), ([], 'pubsub_shardchannels'),
        (0, 'pubsub_numpat'), (pairs(('c', 0)), 'pubsub_numsub', 'c'), (pairs(('c', 0)), 'pubsub_shardnumsub', 'c'),
    ],
}


def asked(client, method, rest):
    """The call; an error is an answer too."""
    *words, last = rest or (None,)
    words, keywords = (words, last) if isinstance(last, dict) and is_keywords(method, words) else (rest, {})
    return getattr(client, method)(*words, **keywords)


# Their first argument is a dictionary itself.
TAKE_A_DICTIONARY = {'mset', 'msetnx', 'zadd', 'zunionstore', 'xadd', 'xread', 'xreadgroup'}


def is_keywords(method, before):
    place = {'mset': 0, 'msetnx': 0, 'xread': 0}.get(method, 1 if method != 'xreadgroup' else 2)
    return method not in TAKE_A_DICTIONARY or len(before) > place


def judge(family, protocol, call, answer):
    wanted, method, *rest = call
    try:
        good = wanted(answer) if callable(wanted) else answer == wanted
    except (TypeError, ValueError, LookupError, AttributeError):  # It is not even of that kind.
        good = False
    if not good:
        raise AssertionError(f'{family}, RESP{protocol}: {method}{tuple(rest)} gives {answer!r}')


def calls(client):
    """Each call of each family that this redis-py has, with its family."""
    for family, rows in FAMILIES.items():
        for call in rows:
            if hasattr(client, call[1]):
                yield family, call
