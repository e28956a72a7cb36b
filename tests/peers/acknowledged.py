#!/usr/bin/env python3
"""What redis-py was told is stored is there after a kill -9, and no transaction is torn.

    ROUNDS=3 acknowledged.py

Four writers keep what they had acknowledged; each round ends with a kill and a start.
"""
import os, random, threading, time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from contents import Problem
from house import main, same, served

SERVER = served('acknowledged')
ROUNDS, WRITERS = int(os.environ.get('ROUNDS', 3)), 4


class Writer(threading.Thread):
    """Writes until the connection breaks. What is pending then may be there or not."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self.number = number
        self.texts, self.listed, self.moved = {}, 0, 0
        self.acknowledged = 0

    def names(self):
        return [f'{kind}:{self.number}' for kind in ('list', 'left', 'right')]

    def run(self):
        chance = random.Random()
        # Nothing is sent again behind our back: what broke is what was pending.
        client = redis.Redis(port=SERVER.port, socket_timeout=20, retry=Retry(NoBackoff(), 0))
        names = self.names()
        try:
            while True:
                key, text = f'text:{self.number}:{chance.randrange(500)}', str(chance.random())
                was = self.texts.get(key, {None})
                self.texts[key] = {text, *was}
                client.set(key, text)
                self.texts[key] = {text}
                with client.pipeline(transaction=False) as pipe:
                    for n in range(8):
                        pipe.rpush(names[0], self.listed + n)
                    pipe.execute()
                self.listed += 8
                with client.pipeline(transaction=True) as pipe:
                    pipe.incr(names[1]).decr(names[2]).execute()
                self.moved += 1
                self.acknowledged += 10
        except (redis.ConnectionError, redis.TimeoutError):
            pass

    def check(self, client):
        for key, possible in self.texts.items():
            found = client.get(key)
            found = found and found.decode()
            if found not in possible:
                raise Problem(f'{key} is {found}, not one of {possible}')
            self.texts[key] = {found}
        names = self.names()
        numbers = [int(n) for n in client.lrange(names[0], 0, -1)]
        same(numbers, list(range(len(numbers))), 'the list has no hole')
        same(self.listed <= len(numbers) <= self.listed + 8, True, f'{len(numbers)} pushed of {self.listed}')
        left, right = (int(n or 0) for n in client.mget(names[1:]))
        same(left, -right, 'both halves of a transaction')
        same(left in (self.moved, self.moved + 1), True, f'{left} transactions of {self.moved}')
        # What was pending and did arrive is from now on known.
        self.listed, self.moved = len(numbers), left


def acknowledged_writes_survive_kills():
    client = redis.Redis(port=SERVER.port)
    client.flushall()
    writers = [Writer(number) for number in range(WRITERS)]
    for number in range(ROUNDS):
        threads = []
        for old in writers:
            thread = Writer(old.number)
            thread.texts, thread.listed, thread.moved = old.texts, old.listed, old.moved
            threads.append(thread)
            thread.start()
        time.sleep(random.uniform(0.5, 1.5))
        if number % 3 == 1:
            client.bgrewriteaof()
        if number % 3 == 2:
            client.bgsave()
        time.sleep(0.1)
        SERVER.kill()
        for thread in threads:
            thread.join(30)
        SERVER.start()
        client = redis.Redis(port=SERVER.port)
        for thread in threads:
            same(thread.acknowledged > 0, True, 'something was written')
            thread.check(client)
        writers = threads


if __name__ == '__main__':
    main([acknowledged_writes_survive_kills])
