#!/usr/bin/env python3
"""Fills the disk under the server: a small tmpfs as its directory. Needs root.

Writes are refused with MISCONF, reads go on, nothing acknowledged is lost, and when there is space
again the server writes again without a restart; then it is killed, and everything is there.
"""

import argparse
import contextlib
import glob
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

from wire import Client, Gone, Server, ServerError

VALUE = b"x" * 700


@contextlib.contextmanager
def small_disk(megabytes):
    path = tempfile.mkdtemp(prefix="rekeep-full-")
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path]
    if subprocess.run(command, capture_output=True).returncode != 0:
        os.rmdir(path)
        print("skipped: a tmpfs cannot be mounted here")
        raise SystemExit(0)
    try:
        yield path
    finally:
        for _ in range(50):
            if subprocess.run(["umount", path], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        os.rmdir(path)


def fill(path, leave=0):
    """Takes all space but `leave` bytes."""
    name = os.path.join(path, "filler")
    with open(name, "ab") as file:
        stat = os.statvfs(path)
        size = max(0, stat.f_bavail * stat.f_frsize - leave)
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), file.tell(), size)
    return name


class Writer(threading.Thread):
    """Writes numbered keys; keeps count of what was acknowledged, and of refusals."""

    def __init__(self, port, index, transactions):
        super().__init__(daemon=True)
        self.port, self.index, self.transactions = port, index, transactions
        self.acked, self.sent, self.refused = 0, 0, None
        self.stop = False

    def run(self):
        with contextlib.suppress(OSError, Gone):
            client = Client(self.port, timeout=120)
            while not self.stop:
                n = self.acked + 1
                self.sent = n
                name = f"w{self.index}"
                if self.transactions:
                    replies = client.pipeline([
                        ("MULTI",), ("SET", f"{name}:{n % 400}", VALUE), ("SET", name, n),
                        ("INCR", f"{name}:count"), ("EXEC",)])
                else:
                    replies = client.pipeline([
                        ("SET", f"{name}:{n % 400}", VALUE), ("SET", name, n),
                        ("INCR", f"{name}:count")])
                errors = [reply for reply in replies if isinstance(reply, ServerError)]
                if errors:
                    self.refused = str(errors[0])
                    if not self.transactions:
                        self.sent = n  # Some of the three may have been accepted.
                    time.sleep(0.02)
                    # What was accepted of it is not known: begin anew under another name.
                    if not self.transactions:
                        return
                    continue
                self.acked = n


def value(client, *words):
    found = client.run(*words)
    return int(found) if found is not None else 0


def check(client, writers, context):
    for writer in writers:
        name = f"w{writer.index}"
        found, count = value(client, "GET", name), value(client, "GET", f"{name}:count")
        assert writer.acked <= found <= writer.sent, (
            f"{context}: {name} acknowledged {writer.acked}, found {found}, sent {writer.sent}")
        if writer.transactions:
            assert found == count, f"{context}: torn transaction {found} {count}"


def journal_on_full_disk(rng, policy, totals):
    # Large enough that the writers cannot fill it again once the filler has gone: they would wait.
    with small_disk(96) as disk:
        server = Server(disk)
        options = ["--appendonly", "yes", "--appendfsync", policy, "--save", "",
                   "--auto-aof-rewrite-percentage", "0"]
        try:
            reader = server.start(*options)
            reader.run("SET", "readable", "yes")
            for round in range(3):
                filler = fill(disk, rng.randrange(50_000, 400_000))
                writers = [Writer(server.port, round * 10 + at, at % 2 == 0) for at in range(4)]
                for writer in writers:
                    writer.start()
                until(lambda: misconf(reader), "no MISCONF although the disk is full")
                for _ in range(50):
                    assert reader.run("GET", "readable") == b"yes"
                refusal = misconf(reader)
                assert refusal == ("MISCONF Errors writing to the AOF file: "
                                   "No space left on device"), refusal
                assert reader.info()["aof_last_write_status"] == "err"
                if round == 1:
                    # Death with a full disk: what was acknowledged is there all the same.
                    server.kill()
                    join(writers)
                    os.remove(filler)
                    reader = server.start(*options)
                    check(reader, writers, f"{policy} killed while full")
                    totals["kills"] += 1
                    continue
                os.remove(filler)
                until(lambda: not misconf(reader), "no writes although there is space again")
                assert server.process.poll() is None
                assert reader.info()["aof_last_write_status"] == "ok"
                time.sleep(0.2)
                for writer in writers:
                    writer.stop = True
                join(writers)
                check(reader, writers, f"{policy} in memory")
                server.kill()
                totals["kills"] += 1
                reader = server.start(*options)
                check(reader, writers, f"{policy} after recovery and kill")
                totals["acked"] += sum(writer.acked for writer in writers)
                reader.run("FLUSHALL")
                reader.run("SET", "readable", "yes")
                rewrite(reader)
            reader.close()
        except (AssertionError, ServerError, Gone) as error:
            fail(server, f"{policy}: {error}")
        finally:
            server.forget()


def rewrite(client):
    client.run("BGREWRITEAOF")
    until(lambda: client.info()["aof_rewrite_in_progress"] == "0", "the rewrite does not end")


def misconf(client):
    """The refusal that writes meet, if they do. `DEL` of nothing writes nothing."""
    try:
        client.run("DEL", "nothing")
    except ServerError as error:
        return str(error)
    return None


def until(condition, complaint, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)


def join(writers):
    for writer in writers:
        writer.join(30)
        assert not writer.is_alive(), "a writer hangs"


def temps(disk):
    return [path for path in glob.glob(disk + "/**", recursive=True) if "temp-" in path]


def snapshots_on_full_disk(totals):
    with small_disk(16) as disk:
        server = Server(disk)
        options = ["--appendonly", "no", "--save", "3600 1000000"]
        try:
            client = server.start(*options)
            client.run("SET", "old", "1")
            client.run("SAVE")
            client.run("DEBUG", "POPULATE", 5000, "key", 900)
            client.run("CONFIG", "SET", "rdbcompression", "no")
            filler = fill(disk, 1_000_000)
            with open(os.path.join(disk, "dump.rdb"), "rb") as file:
                before = file.read()
            client.run("BGSAVE")
            until(lambda: client.info()["rdb_bgsave_in_progress"] == "0", "BGSAVE does not end")
            assert client.info()["rdb_last_bgsave_status"] == "err"
            assert "MISCONF Redis is configured to save RDB snapshots" in (misconf(client) or "")
            assert client.run("GET", "old") == b"1"
            try:
                client.run("SAVE")
                raise AssertionError("SAVE succeeds on a full disk")
            except ServerError:
                pass
            assert temps(disk) == [], temps(disk)
            with open(os.path.join(disk, "dump.rdb"), "rb") as file:
                assert file.read() == before, "the old snapshot has changed"
            os.remove(filler)
            client.run("BGSAVE")
            until(lambda: client.info()["rdb_bgsave_in_progress"] == "0", "BGSAVE does not end")
            assert client.info()["rdb_last_bgsave_status"] == "ok"
            assert misconf(client) is None
            client.run("SET", "new", "1")
            client.run("SAVE")
            server.kill()
            totals["kills"] += 1
            client = server.start(*options)
            assert client.run("DBSIZE") == 5002, client.run("DBSIZE")
        except (AssertionError, ServerError, Gone) as error:
            fail(server, f"snapshot: {error}")
        finally:
            server.forget()


def rewrites_on_full_disk(totals):
    with small_disk(16) as disk:
        server = Server(disk)
        options = ["--appendonly", "yes", "--save", "", "--auto-aof-rewrite-percentage", "0"]
        try:
            client = server.start(*options)
            for at in range(5000):
                client.send(("SET", f"k{at}", os.urandom(450)), ("INCR", "count"))
            for _ in range(10000):
                client.reply()
            for round in range(3):
                filler = fill(disk, 200_000)
                client.run("BGREWRITEAOF")
                until(lambda: client.info()["aof_rewrite_in_progress"] == "0", "does not end")
                assert client.info()["aof_last_bgrewrite_status"] == "err"
                assert temps(disk) == [], temps(disk)
                # There is room for records, and the journal goes on.
                assert misconf(client) is None
                client.run("INCR", "count")
                if round == 1:
                    server.kill()
                    totals["kills"] += 1
                    os.remove(filler)
                    client = server.start(*options)
                    assert client.run("GET", "count") == b"5002", client.run("GET", "count")
                else:
                    os.remove(filler)
            rewrite(client)
            assert client.info()["aof_last_bgrewrite_status"] == "ok"
            filler = fill(disk, 200_000)
            try:
                client.run("BGREWRITEAOF")
                raise AssertionError("a rewrite begins for which there is no room")
            except ServerError as error:
                assert "bytes left, and the file will need about" in str(error), error
            os.remove(filler)
            rewrite(client)
            assert client.info()["aof_last_bgrewrite_status"] == "ok"
            client.run("INCR", "count")
            # Full to the last byte: not even the manifest can be replaced.
            filler = fill(disk)
            with contextlib.suppress(ServerError):
                client.run("BGREWRITEAOF")
            time.sleep(0.3)
            os.remove(filler)
            until(lambda: not misconf(client), "no writes although there is space again")
            client.run("INCR", "count")
            rewrite(client)
            server.kill()
            totals["kills"] += 1
            client = server.start(*options)
            assert client.run("GET", "count") == b"5005", client.run("GET", "count")
            assert client.run("DBSIZE") == 5001
        except (AssertionError, ServerError, Gone) as error:
            fail(server, f"rewrite: {error}")
        finally:
            server.forget()


def fail(server, text):
    # The log goes with the server; what matters of it is told here.
    stat = os.statvfs(server.dir)
    left = f"{stat.f_bavail * stat.f_frsize} bytes left"
    print(f"{text} ({left})\n{server.log_tail(40)}", file=sys.stderr)
    raise SystemExit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for length in ("--short", "--long"):
        parser.add_argument(length, action="store_true", help="as the other loops take it; this one has one length")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("skipped: mounting a small tmpfs needs root")
        return
    print(f"seed {args.seed}", flush=True)
    rng, totals = random.Random(args.seed), {"kills": 0, "acked": 0}
    for policy in ("everysec", "always", "no"):
        journal_on_full_disk(rng, policy, totals)
        print(f"journal, {policy}: ok", flush=True)
    snapshots_on_full_disk(totals)
    print("snapshots: ok", flush=True)
    rewrites_on_full_disk(totals)
    print("rewrites: ok", flush=True)
    print(f"{totals['acked']} acknowledged writes, {totals['kills']} kills, nothing lost")


if __name__ == "__main__":
    main()
