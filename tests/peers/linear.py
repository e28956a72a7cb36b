"""Histories of a few registers, and whether an order of their operations explains all answers (Wing and Gong).

An operation is what it does to the state, which is a tuple of registers: `act(state)` gives the new state and the
answer. An order counts if every operation stands between its call and its return, and gives the answer it got.
"""
import multiprocessing, random, time

from contents import Client, Problem

REGISTERS, CLIENTS, CALLS = 3, 5, 14
FORK = multiprocessing.get_context('fork')


def explained(calls):
    """`calls` are (called, returned, act, answer); whether there is an order."""
    calls = sorted(calls, key=lambda call: call[0])
    everything = (1 << len(calls)) - 1
    start = (0, (None,) * REGISTERS)
    seen, todo = {start}, [start]
    while todo:
        done, state = todo.pop()
        if done == everything:
            return True
        # Whoever was called after another one returned comes after it.
        first_return = min(call[1] for n, call in enumerate(calls) if not done >> n & 1)
        for n, (called, _, act, answer) in enumerate(calls):
            if called > first_return:
                break
            if done >> n & 1:
                continue
            following, expected = act(state)
            step = (done | 1 << n, following)
            if expected == answer and step not in seen:
                seen.add(step)
                todo.append(step)
    return False


def put(state, at, value):
    return state[:at] + (value,) + state[at + 1:]


def operation(names, chance, value):
    """A name, the commands of which the last one's reply is the answer, and the act."""
    at, other = chance.sample(range(REGISTERS), 2)
    one, two = names[at], names[other]
    get_both = "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}"
    swap = ("local a, b = redis.call('GET', ARGV[1]), redis.call('GET', ARGV[2]) "
            "if a and b then redis.call('MSET', ARGV[1], b, ARGV[2], a) return 1 end return 0")

    def swapped(state):
        if state[at] is None or state[other] is None:
            return state, 0
        return put(put(state, at, state[other]), other, state[at]), 1

    def renamed(state):
        if state[at] is None:
            return state, 'ERR no such key'
        return put(put(state, other, state[at]), at, None), 'OK'

    def copied(state):
        if state[at] is None or state[other] is not None:
            return state, 0
        return put(state, other, state[at]), 1

    def taken(state):
        return put(state, at, None), state[at]

    def put_both(state):
        return put(put(state, at, value), other, value)

    return chance.choice([
        ([('GET', one)], lambda state: (state, state[at])),
        ([('MGET', *names)], lambda state: (state, list(state))),
        ([('MULTI',), *[('GET', name) for name in names], ('EXEC',)], lambda state: (state, list(state))),
        ([('EXISTS', *names)], lambda state: (state, sum(value is not None for value in state))),
        ([('SET', one, value)], lambda state: (put(state, at, value), 'OK')),
        ([('SET', one, value, 'GET')], lambda state: (put(state, at, value), state[at])),
        ([('SET', one, value, 'NX')],
         lambda state: (put(state, at, value), 'OK') if state[at] is None else (state, None)),
        ([('MSET', one, value, two, value)], lambda state: (put_both(state), 'OK')),
        ([('MULTI',), ('SET', one, value), ('SET', two, value), ('EXEC',)],
         lambda state: (put_both(state), ['OK', 'OK'])),
        ([('GETDEL', one)], taken),
        ([('EVAL', swap, 0, one, two)], swapped),
        ([('RENAME', one, two)], renamed),
        ([('COPY', one, two)], copied),
        ([('MULTI',), ('GET', one), ('GET', two), ('EXEC',)], lambda state: (state, [state[at], state[other]])),
        ([('EVAL', get_both, 2, one, two)],
         # A nil in Lua is a false, and a false within an array is a null.
         lambda state: (state, [state[at], state[other]])),
    ])


def child(port, number, who, ready, result):
    chance, client = random.Random(f'{number} {who}'), Client(port)
    names = [f'register:{number}:{n}' for n in range(REGISTERS)]
    plan = [operation(names, chance, f'{who}.{n}') for n in range(CALLS)]
    ready.wait()
    calls = []
    for commands, _ in plan:
        called = time.monotonic_ns()
        for command in commands:
            client.send(*command)
        for _ in commands:
            answer = client.read()
        answer = str(answer) if isinstance(answer, Problem) else answer
        calls.append((called, time.monotonic_ns(), answer))
    result.send(calls)


def history(port, number):
    """What several processes did at once with the same registers; the clock is that of the machine."""
    ready, children = FORK.Barrier(CLIENTS), []
    for who in range(CLIENTS):
        here, there = FORK.Pipe()
        process = FORK.Process(target=child, args=(port, number, who, ready, there), daemon=True)
        process.start()
        children.append((here, process))
    found, names = [], [f'register:{number}:{n}' for n in range(REGISTERS)]
    for who, (here, process) in enumerate(children):
        if not here.poll(30):
            raise Problem(f'client {who} of history {number} hangs')
        calls = here.recv()
        process.join()
        chance = random.Random(f'{number} {who}')
        for n, (called, returned, answer) in enumerate(calls):
            commands, act = operation(names, chance, f'{who}.{n}')
            found.append((called, returned, act, answer, commands))
    return found


def check(calls):
    """Raises with the history if nothing explains it."""
    if not explained([call[:4] for call in calls]):
        calls = sorted(calls, key=lambda call: call[0])
        shown = [f'{called % 10**10} {returned % 10**10} {commands} {answer}'
                 for called, returned, _, answer, commands in calls]
        raise Problem('no order explains these:\n  ' + '\n  '.join(shown))
