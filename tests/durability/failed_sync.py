#!/usr/bin/env python3
"""Syncs fail for a while, then the disk works again: writes are refused meanwhile, and come back by themselves.

    failed_sync.py --short | --long [--seed N]

A small library that is loaded before the C library's makes fdatasync and fsync fail with EIO while a file is there (it
needs a C compiler). No sync that follows a failed one may make its data count as durable: what was acknowledged, and
what a client was told is not there, is looked for after a kill. `always` and `everysec` in turn.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

from wire import Client, Gone, Server, ServerError

SICK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>
static int sick(void) { return access(SWITCH, F_OK) == 0; }
int fdatasync(int fd) {
    if (sick()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
int fsync(int fd) {
    if (sick()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"""


def library(home):
    """The library, and the file that makes it fail."""
    switch = home / "sick"
    (home / "sick.c").write_text(SICK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", f'-DSWITCH="{switch}"', "-o", home / "sick.so", home / "sick.c",
                    "-ldl"], check=True)
    return home / "sick.so", switch


def attempt(port, n):
    """Whether INCR was acknowledged; none where it is not known."""
    client = Client(port)
    client.sock.settimeout(1.0)
    try:
        assert client.run("INCR", "n") == n, f"INCR is not {n}"
        return True
    except ServerError as error:
        assert str(error).startswith("MISCONF"), error
        return False
    except (OSError, Gone):
        return None
    finally:
        client.close()


def round_of(policy, seconds, server, switch):
    """A failure of so many seconds; says how long writes were refused after it."""
    client = server.start("--appendonly", "yes", "--save", "", "--appendfsync", policy)
    held = int(client.run("GET", "n") or 0)
    for _ in range(20):
        held = client.run("INCR", "n")
    switch.touch()
    sent = held
    end, refused = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        # Who waits for the disk is told nothing, and his write may be there or not.
        answer = attempt(server.port, sent + 1)
        if answer is not False:
            sent += 1
        if answer:
            held = sent
        refused += answer is False
        time.sleep(0.05)
    assert client.run("GET", "n") is not None, "reads go on"
    assert refused, "no write was refused"
    switch.unlink()
    began = time.monotonic()
    while True:
        answer = attempt(server.port, sent + 1)
        if answer is not False:
            sent += 1
        if answer:
            held = sent
            break
        assert time.monotonic() - began < 60, "writes are refused for ever"
        time.sleep(0.05)
    took = time.monotonic() - began
    parts = list((pathlib.Path(server.dir) / "appendonlydir").iterdir())
    for _ in range(20):
        held = sent = client.run("INCR", "n")
    server.kill()
    client = server.start("--appendonly", "yes", "--save", "")
    found = int(client.run("GET", "n"))
    assert held <= found <= sent, f"{held} acknowledged, {found} found, {sent} sent"
    server.kill()
    return took, len(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--short", action="store_true", help="4 rounds")
    how.add_argument("--long", action="store_true", help="40 rounds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    if not shutil.which("cc"):
        print("skipped: there is no C compiler")
        return
    home = pathlib.Path(tempfile.mkdtemp(prefix="rekeep-sick-"))
    made, switch = library(home)
    os.environ["LD_PRELOAD"] = str(made)
    chance, rounds = random.Random(asked.seed), 40 if asked.long else 4
    server = Server()
    longest = most = 0
    try:
        for index in range(rounds):
            policy, seconds = ("always", "everysec")[index % 2], chance.uniform(2.5, 6)
            took, parts = round_of(policy, seconds, server, switch)
            longest, most = max(longest, took), max(most, parts)
    except AssertionError as error:
        raise SystemExit(f"seed {asked.seed}: {error}\n{server.log_tail()}") from None
    finally:
        server.kill()
        shutil.rmtree(home, ignore_errors=True)
    anew = server.log_count("could not be synced is written anew")
    server.forget()
    print(f"{rounds} rounds, writes came back after at most {longest:.1f} s, {anew} times by a copy of the increment, "
          f"at most {most} files, nothing lost (seed {asked.seed})")


if __name__ == "__main__":
    main()
