#!/usr/bin/env python3
"""redis-py's Lock, its WATCH loops and its pipelines do what they promise while the server is killed."""
import random, threading, time

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import LockError, WatchError
from redis.retry import Retry

from contents import Problem
from house import main, same, served

SERVER = served('locks')
THREADS, KILLS, PAUSE = 6, 2, 1.5
LOCK_SECONDS = 6


def client(patient=True):
    """A patient one sends again what broke, for as long as a start may take."""
    retry = Retry(ConstantBackoff(0.05), 400) if patient else Retry(NoBackoff(), 0)
    return redis.Redis(port=SERVER.port, socket_timeout=20, decode_responses=True, retry=retry)


def through_kills(work):
    """Runs work(number, over) in threads, until the server was killed KILLS times; what each of them returned."""
    over, returned = threading.Event(), {}

    def run(number):
        try:
            returned[number] = work(number, over)
        except Exception as problem:
            returned[number] = problem

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        time.sleep(random.uniform(0.5, 1) * PAUSE)
        SERVER.kill()
        time.sleep(0.2)
        SERVER.start()
    time.sleep(PAUSE)
    over.set()
    for thread in threads:
        thread.join(LOCK_SECONDS + 20)
        same(thread.is_alive(), False, 'a thread still runs')
    for problem in returned.values():
        if isinstance(problem, Exception):
            raise problem
    return returned


def locks_exclude_each_other_through_kills():
    """Counting in two steps loses nothing under a lock, and a lock taken before the kill is held after it."""
    holders = []

    def work(number, over):
        mine, counted, unsure = client(), 0, 0
        while not over.is_set():
            lock = mine.lock('lock', timeout=LOCK_SECONDS, sleep=0.002)
            if not lock.acquire(blocking_timeout=LOCK_SECONDS + 10):
                raise Problem('the lock was never free')
            holders.append(number)
            if holders != [number]:
                raise Problem(f'{holders} hold the lock at once')
            mine.set('counter', int(mine.get('counter') or 0) + 1)
            counted += 1
            if random.random() < 0.1:
                same(lock.extend(LOCK_SECONDS, replace_ttl=True), True, 'extended')
            same(lock.owned(), True, 'our lock is still ours')
            holders.remove(number)
            try:
                lock.release()
            except LockError:
                # Released, but the answer was lost in a kill.
                unsure += 1
        if unsure > KILLS:
            raise Problem(f'{unsure} locks were lost in {KILLS} kills')
        return counted

    client().flushall()
    counted = sum(through_kills(work).values())
    same(int(client().get('counter')), counted, 'the count')
    same(counted > 20, True, f'{counted} is some work')


def watch_loops_lose_no_increment_through_kills():
    def work(number, over):
        mine, sure, unsure = client(patient=False), 0, 0
        while not over.is_set():
            sent = False
            try:
                with mine.pipeline() as pipe:
                    pipe.watch('watched')
                    value = int(pipe.get('watched') or 0)
                    pipe.multi()
                    pipe.set('watched', value + 1).rpush('log', value + 1)
                    sent = True
                    pipe.execute()
                sure += 1
            except WatchError:
                pass
            except (redis.ConnectionError, redis.TimeoutError):
                unsure += sent
                time.sleep(0.05)
        return sure, unsure

    client().flushall()
    each = through_kills(work).values()
    found, sure, unsure = int(client().get('watched')), sum(one for one, _ in each), sum(more for _, more in each)
    same(sure <= found <= sure + unsure, True, f'{found} of {sure} sure and {unsure} unsure increments')
    same(client().lrange('log', 0, -1), [str(n + 1) for n in range(found)], 'the other half of each transaction')


def pipelines_are_kept_in_order_through_kills():
    """A list per thread: what a pipeline pushed has no hole, and all that was acknowledged is there."""
    def work(number, over):
        mine, acknowledged, following = client(patient=False), [], 0
        while not over.is_set():
            batch = list(range(following, following + 32))
            following += 32
            try:
                with mine.pipeline(transaction=bool(number % 2)) as pipe:
                    for n in batch:
                        pipe.rpush(f'list:{number}', n)
                    pipe.execute()
                acknowledged.append(batch)
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.05)
        return acknowledged, following

    client().flushall()
    for number, (acknowledged, following) in through_kills(work).items():
        found = [int(n) for n in client().lrange(f'list:{number}', 0, -1)]
        same(found, sorted(set(found)), 'in order, once')
        have = set(found)
        same([n for batch in acknowledged for n in batch if n not in have], [], 'acknowledged, not there')
        for start in range(0, following, 32):
            whole = [n in have for n in range(start, start + 32)]
            if whole != sorted(whole, reverse=True):
                raise Problem(f'a pipeline with a hole: {whole}')
            if number % 2 and len(set(whole)) == 2:
                raise Problem(f'half a transaction: {whole}')


if __name__ == '__main__':
    print(f'  redis-py {redis.__version__}')
    main([locks_exclude_each_other_through_kills, watch_loops_lose_no_increment_through_kills,
          pipelines_are_kept_in_order_through_kills])
