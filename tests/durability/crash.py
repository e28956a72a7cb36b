#!/usr/bin/env python3
"""Kills the server with signal 9 at random moments and looks for what it had acknowledged.

Every writer counts upwards and notes the last number that was acknowledged and the last that was
sent. After a restart the number found must lie between both; what a transaction or a script writes
together must be found together. `--short` is 5 rounds for each policy, `--long` is 50.
"""

import argparse
import os
import random
import signal
import sys
import threading
import time

from wire import Client, Gone, Server, ServerError

SCRIPT = b"""
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1]) end
redis.call('HSET', KEYS[1] .. ':h', 'n', ARGV[1])
redis.call('RPUSH', KEYS[1] .. ':l', ARGV[1])
return redis.call('LLEN', KEYS[1] .. ':l')
"""


class Writer(threading.Thread):
    """A connection that counts upwards until the server dies."""

    def __init__(self, kind, index, port, state, pipeline):
        super().__init__(daemon=True)
        self.kind, self.name_ = kind, f"{kind}{index}"
        self.port, self.pipeline = port, pipeline
        self.state = state.setdefault(self.name_, {"acked": 0, "sent": 0, "kind": kind})
        self.refused = []
        self.acked_here = 0

    def commands(self, n):
        """What number `n` writes: commands, of which the last one's reply acknowledges."""
        me = self.name_
        if self.kind == "set":
            return [("SET", f"{me}:{n % 97}", n), ("SET", me, n)]
        if self.kind == "incr":
            return [("INCR", me)]
        if self.kind == "push":
            return [("RPUSH", me, n)]
        if self.kind == "hash":
            return [("HSET", me, "n", n, f"f{n % 53}", n)]
        if self.kind == "zadd":
            return [("ZADD", me, n, "top", n, f"m{n % 31}")]
        if self.kind == "txn":
            keys = [(("SET", f"{me}:{key}", n)) for key in "abcd"]
            return [("MULTI",), *keys, ("INCR", f"{me}:count"), ("SELECT", 3),
                    ("SET", f"{me}:e", n), ("SELECT", 0), ("EXEC",)]
        if self.kind == "eval":
            return [("EVAL", SCRIPT, 3, f"{me}:a", f"{me}:b", f"{me}:c", n)]
        if self.kind == "expire":
            return [("SET", me, n, "EX", 1000), ("GETEX", me, "PX", 900000)]
        raise AssertionError(self.kind)

    def run(self):
        try:
            client = Client(self.port)
            while True:
                batch = [self.commands(self.state["sent"] + 1 + at) for at in range(self.pipeline)]
                self.state["sent"] += len(batch)
                client.send(*[words for commands in batch for words in commands])
                for commands in batch:
                    replies = [client.reply() for _ in commands]
                    errors = [reply for reply in replies if isinstance(reply, ServerError)]
                    if errors:
                        self.refused.append(str(errors[0]))
                        return
                    self.acknowledged()
        except (OSError, Gone):
            pass

    def acknowledged(self):
        self.state["acked"] += 1
        self.acked_here += 1


KINDS = ["set", "incr", "push", "hash", "zadd", "txn", "eval", "expire"]


def number(value):
    return int(value) if value is not None else 0


def find(client, name, kind):
    """The number found for a writer, after checking that everything it wrote together agrees."""
    if kind == "push":
        items = client.run("LRANGE", name, 0, -1)
        want = [b"%d" % (at + 1) for at in range(len(items))]
        assert items == want, f"{name}: the list has gaps or repeats"
        return len(items)
    if kind == "hash":
        top = number(client.run("HGET", name, "n"))
        if top:
            assert number(client.run("HGET", name, f"f{top % 53}")) == top, f"{name}: torn hash"
        return top
    if kind == "zadd":
        top = number(client.run("ZSCORE", name, "top"))
        if top:
            assert number(client.run("ZSCORE", name, f"m{top % 31}")) == top, f"{name}: torn zset"
        return top
    if kind == "txn":
        found = [number(value) for value in client.run("MGET", *[f"{name}:{k}" for k in "abcd"])]
        found.append(number(client.run("GET", f"{name}:count")))
        client.run("SELECT", 3)
        found.append(number(client.run("GET", f"{name}:e")))
        client.run("SELECT", 0)
        assert len(set(found)) == 1, f"{name}: torn transaction {found}"
        return found[0]
    if kind == "eval":
        found = [number(value) for value in client.run("MGET", *[f"{name}:{k}" for k in "abc"])]
        found.append(number(client.run("HGET", f"{name}:a:h", "n")))
        found.append(client.run("LLEN", f"{name}:a:l"))
        assert len(set(found)) == 1, f"{name}: torn script {found}"
        return found[0]
    if kind == "expire":
        found = number(client.run("GET", name))
        assert not found or client.run("PTTL", name) > 0, f"{name}: the deadline is gone"
        return found
    return number(client.run("GET", name))


def check(client, state, totals, context):
    for name, noted in state.items():
        found = find(client, name, noted["kind"])
        assert noted["acked"] <= found <= noted["sent"], (
            f"{context} {name}: acknowledged {noted['acked']}, found {found}, "
            f"sent {noted['sent']}")
        totals["checked"] += 1
        # The next round goes on from what is there.
        noted["acked"] = noted["sent"] = found


PESTS = ["BGSAVE", "BGREWRITEAOF", "BGREWRITEAOF", "preamble", "fsync", "stamps", "noappend",
         "kill", "scratch"]


# Snapshots that become the base too, beside rewrites.
REBASE_PESTS = ["BGSAVE", "BGSAVE", "BGSAVE", "BGREWRITEAOF", "preamble", "stamps", "kill"]


def disturb(rng, port, stop, seen, pests):
    """BGSAVE, BGREWRITEAOF and settings that change while clients write."""
    try:
        client = Client(port)
        while not stop.is_set():
            time.sleep(rng.uniform(0.0, 0.08))
            word = rng.choice(pests)
            try:
                if word == "preamble":
                    client.run("CONFIG", "SET", "aof-use-rdb-preamble", rng.choice(["yes", "no"]))
                elif word == "stamps":
                    client.run("CONFIG", "SET", "aof-timestamp-enabled", rng.choice(["yes", "no"]))
                elif word == "noappend":
                    client.run("CONFIG", "SET", "no-appendfsync-on-rewrite",
                               rng.choice(["yes", "no"]))
                elif word == "fsync":
                    if seen.get("change_policy"):
                        policy = rng.choice(["always", "everysec", "no"])
                        client.run("CONFIG", "SET", "appendfsync", policy)
                elif word == "kill":
                    child = children(seen["pid"])
                    if child and rng.random() < 0.3:
                        os.kill(rng.choice(child), signal.SIGKILL)
                elif word == "scratch":
                    client.run("DEBUG", "POPULATE", 2000, f"filler{rng.randrange(20)}", 100)
                else:
                    client.run(word)
                    seen[word] = seen.get(word, 0) + 1
            except (ServerError, ProcessLookupError):
                pass
    except (OSError, Gone):
        pass


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            own = file.read().split()
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                own += file.read().split()
        return sorted({int(child) for child in own})
    except OSError:
        return []


def write_and_kill(rng, server, state, totals, client, change_policy, seconds, pests):
    """A round: concurrent writers and disturbances, then signal 9."""
    writers = [Writer(kind, index, server.port, state, rng.choice([1, 1, 4, 16]))
               for index in range(2) for kind in KINDS if index == 0 or kind in ("set", "txn")]
    stop, seen = threading.Event(), {"pid": server.process.pid, "change_policy": change_policy}
    pest = threading.Thread(target=disturb, args=(rng, server.port, stop, seen, pests),
                            daemon=True)
    for thread in [*writers, pest]:
        thread.start()
    time.sleep(rng.uniform(*seconds))
    server.kill()
    stop.set()
    for thread in [*writers, pest]:
        thread.join(20)
        assert not thread.is_alive(), "a client hangs"
    refused = [text for writer in writers for text in writer.refused]
    assert not refused, f"a write was refused: {refused[0]}"
    totals["writes"] += sum(writer.acked_here for writer in writers)
    for word in ("BGSAVE", "BGREWRITEAOF"):
        totals[word] += seen.get(word, 0)


def policy_rounds(policy, rounds, seed, totals, seconds):
    rng = random.Random(f"{seed}/{policy}")
    server, state = Server(), {}
    rebase = policy == "rebase"
    options = ["--appendonly", "yes", "--appendfsync", "everysec" if rebase else policy,
               "--save", "1 1000", "--aof-rebase-on-save", "yes" if rebase else "no",
               "--stop-writes-on-bgsave-error", "no",
               "--auto-aof-rewrite-min-size", "200kb", "--auto-aof-rewrite-percentage", "50"]
    for index in range(rounds):
        context = f"seed {seed} policy {policy} round {index}:"
        try:
            while rng.random() < 0.3:
                server.start_and_kill(rng.uniform(0.0, 0.06), *options)
                totals["kills at the start"] += 1
            client = server.start(*options)
            check(client, state, totals, context)
            if rng.random() < 0.1:
                # Growth without end makes rounds slow.
                client.run("FLUSHALL")
                state.clear()
            client.close()
            write_and_kill(rng, server, state, totals, client, policy == "everysec", seconds,
                           REBASE_PESTS if rebase else PESTS)
        except AssertionError as error:
            report(server, context, error)
        totals["rounds"] += 1
    client = server.start(*options)
    check(client, state, totals, f"seed {seed} policy {policy} at the end:")
    totals["rebases"] = server.log_count("The snapshot is the new base")
    server.forget()


def report(server, context, error):
    print(f"{context} {error}\nfiles are in {server.dir}, the log is {server.log}", file=sys.stderr)
    print(server.log_tail(), file=sys.stderr)
    server.kill()
    raise SystemExit(1)


def snapshot_rounds(rounds, seed, totals):
    """`appendonly no`: what was there when SAVE was acknowledged is there after a kill."""
    rng = random.Random(f"{seed}/snapshot")
    server, state = Server(), {}
    for index in range(rounds):
        context = f"seed {seed} snapshot round {index}:"
        try:
            client = server.start("--appendonly", "no", "--save", "")
            for name, noted in state.items():
                found = find(client, name, noted["kind"])
                assert noted["saved"] <= found <= noted["sent"], (
                    f"{context} {name}: saved {noted['saved']}, found {found}")
                noted["acked"] = noted["sent"] = noted["saved"] = found
                totals["checked"] += 1
            writers = [Writer(kind, 0, server.port, state, 4) for kind in KINDS]
            for noted in state.values():
                noted.setdefault("saved", 0)
            for writer in writers:
                writer.start()
            for _ in range(rng.randrange(1, 4)):
                time.sleep(rng.uniform(0.02, 0.1))
                acked = {name: noted["acked"] for name, noted in state.items()}
                client.run("SAVE")
                for name, count in acked.items():
                    state[name]["saved"] = count
                if rng.random() < 0.5:
                    client.run("BGSAVE")
                    if rng.random() < 0.5:
                        time.sleep(rng.uniform(0.0, 0.05))
                        break
                    while client.info()["rdb_bgsave_in_progress"] == "1":
                        time.sleep(0.005)
            server.kill()
            for writer in writers:
                writer.join(20)
            totals["writes"] += sum(writer.acked_here for writer in writers)
        except AssertionError as error:
            report(server, context, error)
        totals["rounds"] += 1
    server.forget()


def switch_rounds(rounds, seed, totals):
    """`appendonly` is switched on and off by CONFIG SET while clients write, then comes the kill.

    What was acknowledged once the first base was complete must be there.
    """
    rng = random.Random(f"{seed}/switch")
    server, state = Server(), {}
    for index in range(rounds):
        context = f"seed {seed} switch round {index}:"
        try:
            on = index > 0
            client = server.start("--appendonly", "yes" if on else "no", "--save", "",
                                  "--appendfsync", rng.choice(["always", "everysec", "no"]))
            for name, noted in state.items():
                found = find(client, name, noted["kind"])
                assert noted["acked"] <= found <= noted["sent"], (
                    f"{context} {name}: acknowledged {noted['acked']}, found {found}, "
                    f"sent {noted['sent']}")
                noted["acked"] = noted["sent"] = found
                totals["checked"] += 1
            writers = [Writer(kind, 0, server.port, state, 4) for kind in KINDS]
            for writer in writers:
                writer.start()
            for _ in range(rng.randrange(0, 4)):
                client.run("CONFIG", "SET", "appendonly", "no")
                time.sleep(rng.uniform(0.0, 0.05))
                if rng.random() < 0.5:
                    try:
                        client.run(rng.choice(["BGSAVE", "BGREWRITEAOF"]))
                    except ServerError:
                        pass
                client.run("CONFIG", "SET", "appendonly", "yes")
                time.sleep(rng.uniform(0.0, 0.05))
            client.run("CONFIG", "SET", "appendonly", "yes")
            end = time.monotonic() + 30
            while True:
                info = client.info()
                busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
                if info["aof_enabled"] == "1" and all(info[name] == "0" for name in busy):
                    break
                assert time.monotonic() < end, "the first base is never complete"
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, 0.1))
            server.kill()
            for writer in writers:
                writer.join(20)
            refused = [text for writer in writers for text in writer.refused]
            assert not refused, f"a write was refused: {refused[0]}"
            totals["writes"] += sum(writer.acked_here for writer in writers)
        except AssertionError as error:
            report(server, context, error)
        totals["rounds"] += 1
    server.forget()


def adopt_rounds(rounds, seed, totals):
    """A lone snapshot, or a single file of an older server, meets `appendonly yes` and kills."""
    rng = random.Random(f"{seed}/adopt")
    for index in range(rounds):
        context = f"seed {seed} adopt round {index}:"
        server = Server()
        try:
            client = server.start("--appendonly", "no", "--save", "")
            keys = rng.randrange(1, 30_000)
            client.run("DEBUG", "POPULATE", keys, "key", 64)
            client.run("SAVE")
            server.kill()
            if index % 2:
                # The preamble of a single file is a snapshot.
                os.rename(os.path.join(server.dir, "dump.rdb"),
                          os.path.join(server.dir, "appendonly.aof"))
            options = ["--appendonly", "yes", "--save", ""]
            for _ in range(rng.randrange(0, 8)):
                server.start_and_kill(rng.uniform(0.0, 0.08), *options)
                totals["kills at the start"] += 1
            for added in range(2):
                client = server.start(*options)
                found = client.run("DBSIZE")
                assert found == keys + added, f"{context} {keys + added} keys, found {found}"
                client.run("SET", f"added{added}", 1)
                totals["writes"] += 1
                totals["checked"] += 1
                server.kill()
        except AssertionError as error:
            report(server, context, error)
        totals["rounds"] += 1
        server.forget()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="all",
                        choices=["always", "everysec", "no", "rebase", "snapshot", "switch", "adopt",
                                 "all"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--short", action="store_true", help="5 rounds for each policy")
    length.add_argument("--long", action="store_true", help="50 rounds for each policy")
    args = parser.parse_args()
    rounds = args.rounds or (50 if args.long else 5)
    seconds = (0.15, 1.5) if args.long else (0.15, 0.9)
    print(f"seed {args.seed}, {rounds} rounds for each policy", flush=True)
    policies = ["always", "everysec", "no", "rebase", "snapshot", "switch", "adopt"]
    for policy in policies if args.policy == "all" else [args.policy]:
        totals = {"rounds": 0, "checked": 0, "writes": 0, "BGSAVE": 0, "BGREWRITEAOF": 0,
                  "rebases": 0, "kills at the start": 0}
        began = time.monotonic()
        if policy == "snapshot":
            snapshot_rounds(rounds, args.seed, totals)
        elif policy == "switch":
            switch_rounds(rounds, args.seed, totals)
        elif policy == "adopt":
            adopt_rounds(rounds, args.seed, totals)
        else:
            policy_rounds(policy, rounds, args.seed, totals, seconds)
        took = time.monotonic() - began
        print(f"{policy}: {totals['rounds']} rounds, {totals['writes']} acknowledged writes, "
              f"{totals['checked']} writers checked, {totals['BGSAVE']} BGSAVE, "
              f"{totals['BGREWRITEAOF']} BGREWRITEAOF, {totals['rebases']} rebases, {totals['kills at the start']} more kills "
              f"at the start, nothing lost, {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
