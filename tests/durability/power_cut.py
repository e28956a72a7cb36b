#!/usr/bin/env python3
"""Cuts the power under the server, again and again. Needs root.

The server's directory is an ext4 of its own, on a loop device over an image file. At a random
moment the server is stopped and the disk with it: what the block device has received is in the
image, what only the page cache holds is not. A copy of the image is mounted as after the cut (the
file system replays its journal), and the server must start on it.

`always`: every acknowledged write is there. `everysec`: every write that was acknowledged more than
two seconds before the cut. Under both no transaction and no script is torn. A control under
`appendfsync no` must lose something, or the cuts were none.
"""

import argparse
import bisect
import collections
import contextlib
import fcntl
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

import crash
from wire import Gone, Server, ServerError

MEGABYTES = 512
WINDOW = 2.0
# EXT4_IOC_SHUTDOWN, and its flag for a journal that is not flushed.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
# Among them what takes away ext4's own care for files that are renamed without a sync.
MOUNTS = ["defaults", "noauto_da_alloc", "noauto_da_alloc,commit=1", "noauto_da_alloc,nodelalloc",
          "noauto_da_alloc,data=writeback", "noauto_da_alloc,data=journal"]
PESTS = ["BGSAVE", "BGREWRITEAOF", "BGREWRITEAOF", "preamble", "stamps", "kill", "scratch"]


def tool(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip() if done.returncode == 0 else None


class Disk:
    """An image file, and where it is mounted."""

    def __init__(self, work):
        self.work, self.number = work, 0
        self.path = os.path.join(work, "mounted")
        os.mkdir(self.path)
        self.image = self.loop = None

    def make(self):
        """An empty file system."""
        self.discard()
        self.image = self.next_image()
        with open(self.image, "wb") as file:
            file.truncate(MEGABYTES << 20)
        tool("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)

    def next_image(self):
        self.number += 1
        return os.path.join(self.work, f"image{self.number}")

    def discard(self):
        self.umount()
        if self.image:
            os.remove(self.image)
            self.image = None

    def mount(self, options):
        self.loop = tool("losetup", "--find", "--show", self.image)
        tool("mount", "-t", "ext4", "-o", options, self.loop, self.path)

    def umount(self):
        if not self.loop:
            return
        for _ in range(200):
            mounted = os.path.ismount(self.path)
            if not mounted or tool("umount", self.path, check=False) is not None:
                break
            time.sleep(0.02)
        assert not os.path.ismount(self.path), f"{self.path} stays mounted"
        tool("losetup", "-d", self.loop)
        self.loop = None

    def written(self):
        """What the device has done so far and what is under way: the same twice is a still disk."""
        with open(f"/sys/block/{os.path.basename(self.loop)}/stat") as file:
            fields = file.read().split()
        return int(fields[4]), int(fields[6]), int(fields[8])

    def shut_down(self):
        """From here on nothing more goes to the device. False where that cannot be had."""
        try:
            held = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.ioctl(held, SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))
            return True
        except OSError:
            return False
        finally:
            os.close(held)

    def copy(self):
        """The image as it is: one moment of it, since nothing is written meanwhile."""
        target = self.next_image()
        for _ in range(500):
            before = self.written()
            if before[2] == 0:
                tool("cp", "--sparse=always", self.image, target)
                if self.written() == before:
                    return target
            time.sleep(0.002)
        raise AssertionError("the disk never rests")

    def become(self, copy):
        self.umount()
        os.remove(self.image)
        self.image = copy

    def used(self):
        stat = os.statvfs(self.path)
        return 1 - stat.f_bavail / stat.f_blocks


class Writer(crash.Writer):
    """Notes when each number was acknowledged. One kind more writes what fills many pages."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.base, self.times = self.state["acked"], []

    def commands(self, n):
        if self.kind != "big":
            return super().commands(n)
        time.sleep(0.01)
        return [("MULTI",), ("SET", f"{self.name_}:pad", b"%d " % n * random.randrange(20_000)),
                ("SET", self.name_, n), ("EXEC",)]

    def acknowledged(self):
        self.times.append(time.monotonic())
        super().acknowledged()

    def by(self, moment):
        """The last number that was acknowledged up to `moment`."""
        return self.base + bisect.bisect_right(self.times, moment)


def find(client, name, kind):
    found = crash.find(client, name, kind)
    if kind == "big":
        pad = client.run("GET", f"{name}:pad") or b""
        assert set(pad.split()) <= {b"%d" % found}, f"{name}: torn transaction"
    return found


def halt(pid):
    """Stops a process. The signal stops none of its threads before one of them has run to take it: on a
    busy machine the others work on for milliseconds. Who waits in the kernel stops when it comes back."""
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 20
    while True:
        states = {state_of(pid, task) for task in os.listdir(f"/proc/{pid}/task")} - {None}
        if "T" in states and states <= set("TDZX"):
            return
        assert time.monotonic() < until, f"the server does not stop: {states}"
        time.sleep(0.0005)


def state_of(pid, task):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/stat") as file:
        # The name before it may hold anything.
        return file.read().rpartition(")")[2].split()[0]
    return None


def cut(rng, disk, server):
    """Server and disk stand still. Returns until when acknowledgements count, the moment of the
    cut, and the image as it leaves it."""
    pid = server.process.pid
    # A disk that stops under the running server, too. What is acknowledged after that does not
    # count: ext4 lets syncs succeed that are under way in that instant (it drops the transaction,
    # and who waits for it finds that it is gone).
    moment = counted = time.monotonic()
    if rng.random() < 0.3 and disk.shut_down():
        time.sleep(rng.uniform(0.0, 0.02))
        halt(pid)
    else:
        moment = time.monotonic()
        halt(pid)
        # What the server had sent is on its way to the clients.
        counted = moment + 60
    forked = crash.children(pid)
    for child in forked:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP)
    if rng.random() < 0.8:
        disk.shut_down()
    copy = disk.copy()
    for child in forked:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    server.kill()
    return counted, moment, copy


class Cuts:
    """Rounds under one policy: start, look, write, cut."""

    def __init__(self, work, policy, seed):
        self.rng, self.policy, self.seed = random.Random(f"{seed}/{policy}"), policy, seed
        self.disk, self.state = Disk(work), {}
        self.server = Server(self.disk.path)
        self.totals, self.round = collections.Counter(), 0
        self.options = ["--appendonly", "yes", "--appendfsync", policy, "--save", "1 1000",
                        "--stop-writes-on-bgsave-error", "no", "--no-appendfsync-on-rewrite", "no",
                        "--auto-aof-rewrite-min-size", "200kb",
                        "--auto-aof-rewrite-percentage", "50"]

    def context(self):
        return f"seed {self.seed} policy {self.policy} cut {self.totals['cuts']}:"

    def start(self):
        """Mounts, starts, and finds what must be there."""
        self.mounted = self.rng.choice(MOUNTS)
        self.disk.mount(self.mounted)
        client = self.server.start(*self.options)
        for name, noted in self.state.items():
            found = find(client, name, noted["kind"])
            assert noted["owed"] <= found <= noted["sent"], (
                f"{name}: owed {noted['owed']}, acknowledged {noted['acked']}, found {found}, "
                f"sent {noted['sent']}")
            self.totals["lost"] += max(0, noted["acked"] - found)
            self.totals["checked"] += 1
            noted["acked"] = noted["sent"] = noted["owed"] = found
        return client

    def anew(self):
        self.disk.make()
        self.state.clear()

    def cut_at_start(self):
        """The power goes while the server starts: what it found stays owed."""
        self.disk.mount(self.rng.choice(MOUNTS))
        kept = self.server.start_and_wait(self.rng.uniform(0.0, 0.15), *self.options)
        if kept:
            _, _, copy = cut(self.rng, self.disk, self.server)
            self.disk.become(copy)
            self.totals["cuts"] += 1
            self.totals["cuts at the start"] += 1
        else:
            raise AssertionError(f"the server did not start:\n{self.server.log_tail()}")

    def write_and_cut(self, seconds):
        writers = [Writer(kind, index, self.server.port, self.state, self.rng.choice([1, 1, 4, 16]))
                   for index in range(2) for kind in crash.KINDS
                   if index == 0 or kind in ("set", "txn", "eval")]
        writers.append(Writer("big", 0, self.server.port, self.state, 1))
        stop, seen = threading.Event(), {"pid": self.server.process.pid}
        pest = threading.Thread(target=crash.disturb, daemon=True,
                                args=(random.Random(self.rng.random()), self.server.port, stop,
                                      seen, PESTS))
        for thread in [*writers, pest]:
            thread.start()
        time.sleep(self.rng.uniform(*seconds))
        counted, moment, copy = cut(self.rng, self.disk, self.server)
        stop.set()
        for thread in [*writers, pest]:
            thread.join(20)
            assert not thread.is_alive(), "a client hangs"
        self.disk.become(copy)
        for writer in writers:
            for text in writer.refused:
                # A disk that stops under the running server is told as such.
                assert "Input/output error" in text, f"a write was refused: {text}"
            owed = {"always": counted, "everysec": moment - WINDOW, "no": 0.0}[self.policy]
            writer.state["owed"] = writer.by(owed)
            if self.policy == "always":
                self.totals["late"] += writer.state["acked"] - writer.state["owed"]
                writer.state["acked"] = writer.state["owed"]
            self.totals["writes"] += writer.acked_here
        self.totals["cuts"] += 1
        for word in ("BGSAVE", "BGREWRITEAOF"):
            self.totals[word] += seen.get(word, 0)

    def enough(self, count):
        """`count` cuts while clients wrote. The control goes on until something was lost: what a
        cut catches depends on what the kernel had written by then."""
        writing = self.totals["cuts"] - self.totals["cuts at the start"]
        if self.policy == "no" and not self.totals["lost"]:
            return writing >= 5 * count
        return writing >= count

    def run(self, count, seconds):
        try:
            self.anew()
            while not self.enough(count):
                if self.rng.random() < 0.15:
                    self.cut_at_start()
                    continue
                client = self.start()
                full = self.disk.used() > 0.6
                client.close()
                if full or self.rng.random() < 0.05:
                    self.server.kill()
                    self.anew()
                    continue
                self.write_and_cut(seconds)
            self.start().close()
            self.tell()
            self.server.kill()
            self.disk.discard()
            os.remove(self.server.log)
        except (AssertionError, OSError, Gone, ServerError) as error:
            self.fail(error)

    def tell(self):
        with open(self.server.log, errors="replace") as log:
            self.totals["healed"] = len(re.findall(r"kept in \S*damaged-", log.read()))

    def fail(self, error):
        print(f"{self.context()} {error}", file=sys.stderr)
        self.server.kill()
        self.disk.umount()
        print(f"the image is {self.disk.image}, the log is {self.server.log}", file=sys.stderr)
        print(self.server.log_tail(), file=sys.stderr)
        os._exit(1)  # The writers' threads are no concern any more, and the files stay.


def able(work):
    """Why this machine cannot do it, if it cannot."""
    if os.geteuid() != 0:
        return "mounting needs root"
    for name in ("losetup", "mkfs.ext4", "mount", "umount"):
        if not shutil.which(name):
            return f"there is no {name}"
    disk = Disk(work)
    try:
        disk.make()
        disk.mount("defaults")
    except AssertionError as error:
        return str(error)
    finally:
        with contextlib.suppress(AssertionError):
            disk.discard()
        os.rmdir(disk.path)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--images", help="directory for the images; by default in memory")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--short", action="store_true", help="a few cuts")
    length.add_argument("--long", action="store_true", help="100 cuts always, 40 everysec")
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    work = tempfile.mkdtemp(prefix="rekeep-power-", dir=args.images or memory)
    reason = able(work)
    if reason:
        shutil.rmtree(work)
        print(f"skipped: {reason}")
        return
    print(f"seed {args.seed}", flush=True)
    lengths = {"no": (2, (0.4, 0.8)), "always": (5, (0.2, 1.0)), "everysec": (3, (2.1, 3.0))}
    if args.long:
        lengths = {"no": (4, (0.4, 0.8)), "always": (100, (0.2, 2.0)), "everysec": (40, (2.1, 4.5))}
    for policy, (count, seconds) in lengths.items():
        began = time.monotonic()
        place = os.path.join(work, policy)
        os.mkdir(place)
        cuts = Cuts(place, policy, args.seed)
        cuts.run(count, seconds)
        told = cuts.totals
        verdict = {"no": "as a control must", "always": "nothing may be",
                   "everysec": "within the window"}[policy]
        print(f"{policy}: {told['cuts']} cuts ({told['cuts at the start']} at the start), "
              f"{told['writes']} acknowledged writes ({told['late']} by a disk that had "
              f"stopped do not count), {told['lost']} lost ({verdict}), "
              f"{told['checked']} writers checked, {told['healed']} healed tails, "
              f"{told['BGSAVE']} BGSAVE, {told['BGREWRITEAOF']} BGREWRITEAOF, "
              f"{time.monotonic() - began:.0f} s", flush=True)
        if policy == "no" and not told["lost"]:
            raise SystemExit("the control lost nothing: these are no power cuts")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
