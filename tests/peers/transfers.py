#!/usr/bin/env python3
"""Scripts, functions, transactions and plain commands at once, over all shards: as if there were one thread.

    transfers.py [--short | --long] [CASE...]

Accounts pay each other in every way there is, and whoever reads all of them finds the same sum. Other keys have
other things that cannot be: a token twice, two databases with the same content, two equal answers of INCR. After
a kill -9 and a start all of it still holds. At last, histories of a few registers are checked for an order that
explains every answer.
"""
import multiprocessing, random, sys, time

from contents import Client, Problem
from house import main, same, served
from linear import check, history

LONG = '--long' in sys.argv
sys.argv = [word for word in sys.argv if word not in ('--short', '--long')]
SERVER = served('transfers')
ROUNDS, SECONDS = (6, 4) if LONG else (2, 2)
HISTORIES = 400 if LONG else 40
FORK = multiprocessing.get_context('fork')

ACCOUNTS = [f'account:{n}' for n in range(48)]
SUM = 1000 * len(ACCOUNTS)
PAY = """
local from, to, amount = {keys}, tonumber({amount})
if tonumber(redis.call('GET', from)) < amount then return 0 end
redis.call('DECRBY', from, amount)
redis.call('INCRBY', to, amount)
return 1
"""
PAY_DECLARED = PAY.format(keys='KEYS[1], KEYS[2]', amount='ARGV[1]')
PAY_UNDECLARED = PAY.format(keys="'account:' .. ARGV[1], 'account:' .. ARGV[2]", amount='ARGV[3]')
TOTAL = """
local sum = 0
for n = 0, {last} do sum = sum + redis.call('GET', {key}) end
return sum
"""
TOTAL_DECLARED = TOTAL.format(last=len(ACCOUNTS) - 1, key='KEYS[n + 1]')
TOTAL_UNDECLARED = TOTAL.format(last=len(ACCOUNTS) - 1, key="'account:' .. n")
LIBRARY = f"""#!lua name=bank
redis.register_function('pay', function(keys, args) {PAY.format(keys='keys[1], keys[2]', amount='args[1]')} end)
redis.register_function{{function_name='total', flags={{'no-writes'}}, callback=function(keys, args)
{TOTAL.format(last=len(ACCOUNTS) - 1, key='keys[n + 1]')} end}}
"""
RINGS, TOKENS = [f'ring:{n}' for n in range(8)], [str(n) for n in range(40)]
PLACES = [f'place:{n}' for n in range(12)]
PAGES = [f'page:{n}' for n in range(16)]
COUNTERS = [f'counter:{n}' for n in range(5)]


def batch(client, *commands):
    """The replies of commands that are sent at once."""
    for command in commands:
        client.send(*command)
    return [client.read() for _ in commands]


def transaction(client, *commands):
    """The replies within a transaction; None if what was watched has changed."""
    replies = batch(client, ('MULTI',), *commands, ('EXEC',))
    if isinstance(replies[-1], Problem):
        raise replies[-1]
    return replies[-1]


def two(chance):
    return chance.sample(range(len(ACCOUNTS)), 2)


# What clients do. Each is called again and again with its connection; what it returns is added to its tally.

def pays_by_script(client, chance):
    one, other = two(chance)
    return client('EVAL', PAY_DECLARED, 2, ACCOUNTS[one], ACCOUNTS[other], chance.randrange(50))


def pays_by_script_without_declaring(client, chance):
    one, other = two(chance)
    return client('EVAL', PAY_UNDECLARED, 0, one, other, chance.randrange(50))


def pays_by_pipelines_of_scripts(client, chance):
    if not hasattr(client, 'names'):
        client.names = [client('SCRIPT', 'LOAD', script) for script in (PAY_DECLARED, PAY_UNDECLARED)]
    commands = []
    for n in range(16):
        one, other = two(chance)
        if n % 2:
            commands.append(('EVALSHA', client.names[0], 2, ACCOUNTS[one], ACCOUNTS[other], chance.randrange(20)))
        else:
            commands.append(('EVALSHA', client.names[1], 0, one, other, chance.randrange(20)))
    replies = batch(client, *commands)
    for reply in replies:
        same(reply in (0, 1), True, f'the reply of a payment is {reply}')
    return sum(replies)


def pays_by_function(client, chance):
    one, other = two(chance)
    return client('FCALL', 'pay', 2, ACCOUNTS[one], ACCOUNTS[other], chance.randrange(50))


def pays_under_watch(client, chance):
    one, other = (ACCOUNTS[n] for n in two(chance))
    client('WATCH', one, other)
    left, right = (int(value) for value in client('MGET', one, other))
    amount = chance.randrange(50)
    done = transaction(client, ('SET', one, left - amount), ('SET', other, right + amount))
    return done is not None


def pays_in_a_transaction(client, chance):
    one, other = (ACCOUNTS[n] for n in two(chance))
    amount = chance.randrange(50)
    transaction(client, ('DECRBY', one, amount), ('INCRBY', other, amount))
    return 1


def pays_by_mset_in_a_transaction_with_a_script(client, chance):
    one, other = two(chance)
    transaction(client, ('INCRBY', ACCOUNTS[one], 3), ('EVAL', "return redis.call('DECRBY', KEYS[1], 3)", 1, ACCOUNTS[other]))
    return 1


def reads_the_sum(client, chance):
    way = chance.randrange(6)
    if way == 0:
        found = sum(map(int, client('MGET', *ACCOUNTS)))
    elif way == 1:
        found = client('EVAL', TOTAL_DECLARED, len(ACCOUNTS), *ACCOUNTS)
    elif way == 2:
        found = client('EVAL_RO', TOTAL_UNDECLARED, 0)
    elif way == 3:
        found = sum(map(int, transaction(client, *[('GET', name) for name in ACCOUNTS])))
    elif way == 4:
        found = client('FCALL_RO', 'total', len(ACCOUNTS), *ACCOUNTS)
    else:
        halves = transaction(client, ('MGET', *ACCOUNTS[::2]), ('PING',), ('MGET', *ACCOUNTS[1::2]))
        found = sum(map(int, halves[0] + halves[2]))
    same(found, SUM, f'the sum, read in way {way}')
    return 1


def counts(client, chance):
    """No two clients are told the same number; that is seen when all numbers are together."""
    if not hasattr(client, 'told'):
        client.told = {name: [] for name in COUNTERS}
    name = chance.choice(COUNTERS)
    replies = batch(client, *[('INCR', name)] * chance.choice((1, 1, 8)))
    same(replies, sorted(replies), 'numbers told by INCR')
    client.told[name] += replies
    return len(replies)


def moves_tokens(client, chance):
    one, other = chance.choice(RINGS), chance.choice(RINGS)
    sides = chance.choice(('LEFT', 'RIGHT')), chance.choice(('LEFT', 'RIGHT'))
    way = chance.randrange(5)
    if way == 0:
        client('BLMOVE', one, other, *sides, '0.005')
    elif way == 1:
        client('EVAL', "local t = redis.call('LPOP', KEYS[1]) if t then redis.call('RPUSH', KEYS[2], t) end",
               2, one, other)
    elif way == 2:
        client('EVAL', "return redis.call('LMOVE', ARGV[1], ARGV[2], 'LEFT', 'RIGHT')", 0, one, other)
    elif way == 3 and one != other:
        batch(client, *[('LMOVE', one, other, *sides)] * 4)
    else:
        client('LMOVE', one, other, *sides)
    return 1


def reads_tokens(client, _):
    lists = transaction(client, *[('LRANGE', name, 0, -1) for name in RINGS])
    same(sorted(token for one in lists for token in one), sorted(TOKENS), 'tokens in the rings')
    return 1


def renames(client, chance):
    """One key under one of many names."""
    one, other = chance.sample(PLACES, 2)
    reply = client.answer(chance.choice(('RENAME', 'RENAMENX')), one, other)
    same(reply in ('OK', 1) or str(reply) == 'ERR no such key', True, f'the reply of RENAME is {reply}')
    return not isinstance(reply, Problem)


def reads_names(client, chance):
    if chance.randrange(2):
        same(client('EXISTS', *PLACES), 1, 'names of the one key')
    else:
        found = [value for value in client('MGET', *PLACES) if value]
        same(found, ['here'], 'what is under all the names')
    return 1


def copies(client, chance):
    """Both fields of the hash are always equal, and the copy of a transaction is like the original."""
    value = chance.randrange(10**9)
    if chance.randrange(2):
        client('HSET', 'origin', 'one', value, 'other', value)
    else:
        transaction(client, ('HSET', 'origin', 'one', value), ('COPY', 'origin', 'image', 'REPLACE'),
                    ('HSET', 'origin', 'other', value), ('COPY', 'origin', 'image', 'REPLACE'))
    return 1


def reads_copies(client, chance):
    name = f'copy:{chance.randrange(10)}'
    same(client('COPY', 'origin', name, 'REPLACE'), 1, 'copied')
    for name in (name, 'image', 'origin'):
        one, other = client('HMGET', name, 'one', 'other')
        same(one, other, f'both fields of {name}')
    one, other = transaction(client, ('COPY', 'image', 'again', 'REPLACE'), ('HGETALL', 'again'),
                             ('HGETALL', 'image'))[1:]
    same(one, other, 'a copy and its original')
    return 1


def swaps(client, _):
    client('SWAPDB', 10, 11)
    time.sleep(0.002)
    return 1


def reads_swapped(client, chance):
    """One of the two databases holds a on all pages, the other b."""
    client('SELECT', chance.choice((10, 11)))
    pages = client('MGET', *PAGES)
    same(len(set(pages)), 1, f'kinds of pages in one database: {pages}')
    replies = transaction(client, ('SELECT', 10), ('MGET', *PAGES), ('SELECT', 11), ('MGET', *PAGES))
    same(sorted(set(replies[1] + replies[3])), ['a', 'b'], 'pages of both databases')
    same(len(set(replies[1])), 1, 'kinds of pages in the first database')
    return 1


def counts_in_swapped(client, chance):
    """One of the two databases is counted in; together they have all."""
    client('SELECT', chance.choice((10, 11)))
    client('INCR', 'visits')
    return 1


def moves_between_databases(client, chance):
    at = chance.choice((12, 13))
    client('SELECT', at)
    client('MOVE', 'traveller', 25 - at)
    return 1


def reads_the_traveller(client, _):
    replies = transaction(client, ('SELECT', 12), ('EXISTS', 'traveller'), ('SELECT', 13), ('EXISTS', 'traveller'))
    same(replies[1] + replies[3], 1, 'travellers')
    return 1


def rewrites(client, _):
    time.sleep(0.4)
    client.answer('BGREWRITEAOF')
    return 1


PAYING = [pays_by_script, pays_by_script_without_declaring, pays_by_pipelines_of_scripts, pays_by_function,
          pays_under_watch, pays_in_a_transaction, pays_by_mset_in_a_transaction_with_a_script,
          reads_the_sum, reads_the_sum, rewrites]
OTHERS = [counts, counts, counts, moves_tokens, moves_tokens, reads_tokens, renames, renames, reads_names, copies,
          reads_copies, swaps, reads_swapped, counts_in_swapped, moves_between_databases, reads_the_traveller,
          pays_by_script_without_declaring, reads_the_sum, rewrites]


def fill():
    client = SERVER.client()
    client('FLUSHALL')
    client('FUNCTION', 'LOAD', 'REPLACE', LIBRARY)
    client('MSET', *[word for name in ACCOUNTS for word in (name, 1000)])
    client('RPUSH', RINGS[0], *TOKENS)
    client('SET', PLACES[0], 'here')
    client('HSET', 'origin', 'one', 0, 'other', 0)
    client('COPY', 'origin', 'image')
    for number, letter in ((10, 'a'), (11, 'b')):
        client('SELECT', number)
        client('MSET', *[word for name in PAGES for word in (name, letter)])
    client('SELECT', 12)
    client('SET', 'traveller', 'here')


def child(doing, over, result):
    """Does it until it is over or the server is; tells how much was done, or what is wrong."""
    tally, told = 0, {}
    try:
        client, chance = Client(SERVER.port), random.Random()
        try:
            while not over.is_set():
                tally += doing(client, chance)
        except (OSError, EOFError):
            pass
        told = getattr(client, 'told', {})
        result.send((tally, told, None))
    except Exception as problem:
        result.send((tally, told, f'{doing.__name__}: {type(problem).__name__}: {problem}'))


def at_once(doings, seconds, kill):
    """All of them together; tallies and what INCR told by their names."""
    over, children = FORK.Event(), []
    for doing in doings:
        here, there = FORK.Pipe()
        process = FORK.Process(target=child, args=(doing, over, there), daemon=True)
        process.start()
        children.append((doing, here, process))
    time.sleep(seconds)
    if kill:
        SERVER.kill()
    over.set()
    tallies, told, problems = {}, {}, []
    for doing, here, process in children:
        if not here.poll(30):
            raise Problem(f'{doing.__name__} hangs')
        tally, numbers, problem = here.recv()
        process.join()
        tallies[doing.__name__] = tallies.get(doing.__name__, 0) + tally
        for name, more in numbers.items():
            told.setdefault(name, []).extend(more)
        problems += [problem] if problem else []
    if kill:
        SERVER.start()
    if problems:
        raise Problem('\n    '.join(problems))
    # Readers of both kinds and every writer came to something.
    same([name for name, tally in tallies.items() if not tally], [], 'who did nothing')
    return tallies, told


def all_holds(client):
    chance = random.Random()
    for _ in range(30):
        reads_the_sum(client, chance)
    reads_tokens(client, chance)
    for _ in range(4):
        reads_names(client, chance)
    reads_the_traveller(client, chance)
    reads_swapped(client, chance)
    client('SELECT', 0)
    reads_copies(client, chance)


def accounts_keep_their_sum():
    fill()
    for number in range(ROUNDS):
        at_once(PAYING, SECONDS, kill=number % 2)
        all_holds(SERVER.client())


def other_keys_keep_their_promises():
    fill()
    told, visits, kills = {name: [] for name in COUNTERS}, 0, 0
    for number in range(ROUNDS):
        kills += number % 2
        tallies, more = at_once(OTHERS, SECONDS, kill=number % 2)
        client = SERVER.client()
        all_holds(client)
        visits += tallies['counts_in_swapped']
        unsure = kills * OTHERS.count(counts) * 8
        for name, numbers in more.items():
            told[name] += numbers
            same(len(set(told[name])), len(told[name]), f'numbers of {name} that were told once')
            value = int(client('GET', name) or 0)
            same(max(told[name]) <= value <= len(told[name]) + unsure, True,
                 f'{name} is {value}, {len(told[name])} were told, the last {max(told[name])}')
        replies = transaction(client, ('SELECT', 10), ('GET', 'visits'), ('SELECT', 11), ('GET', 'visits'))
        found = sum(int(value or 0) for value in replies[1::2])
        same(visits <= found <= visits + kills, True, f'{found} visits of {visits}')


def registers_have_a_history_that_one_thread_could_make():
    SERVER.client()('FLUSHALL')
    for number in range(HISTORIES):
        check(history(SERVER.port, number))


if __name__ == '__main__':
    main([accounts_keep_their_sum, other_keys_keep_their_promises,
          registers_have_a_history_that_one_thread_could_make])
