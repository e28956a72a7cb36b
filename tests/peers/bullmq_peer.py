#!/usr/bin/env python3
"""BullMQ on our server: plain, prioritized, delayed, repeated jobs and flows run to their ends through kills -9.

MODULES is the folder into which the packages of bullmq/package.json were installed (target/peers/bullmq).
"""
import json, os, pathlib, queue, subprocess, threading, time

from contents import Problem
from house import ROOT, main, same, served

SERVER, SECONDS = served('bullmq'), 50
SCRIPT = pathlib.Path(__file__).parent / 'bullmq/queues.js'
MODULES = pathlib.Path(os.environ.setdefault('MODULES', str(ROOT / 'target/peers/bullmq')))


def killed():
    SERVER.kill()
    time.sleep(0.3)
    SERVER.start()


def node(case, heard):
    """Runs a case of the script; `heard` sees its lines and may write to it."""
    process = subprocess.Popen(['node', SCRIPT, str(SERVER.port), case], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, bufsize=1)
    lines, complaints = queue.Queue(), []
    readers = [threading.Thread(target=lambda: [lines.put(line.strip()) for line in process.stdout], daemon=True),
               threading.Thread(target=lambda: complaints.extend(process.stderr), daemon=True)]
    for reader in readers:
        reader.start()
    end, last = time.monotonic() + SECONDS, None
    try:
        while process.poll() is None or not lines.empty():
            if time.monotonic() > end:
                raise TimeoutError(f'{case} does not end')
            try:
                last = lines.get(timeout=0.05)
            except queue.Empty:
                continue
            heard(last, process)
    finally:
        process.kill()
        process.wait()
        readers[1].join(5)
    if process.returncode != 0 or last != 'well':
        raise Problem(f'{case}: {"".join(complaints)[-3000:]}')


def jobs_of_every_kind_run_through_kills():
    due = [0, 20, 60]

    def heard(line, _):
        if due and line.startswith('done ') and int(line.split()[1]) >= due[0]:
            due.pop(0)
            killed()

    node('through', heard)
    same(due, [], 'kills that were due')


def what_was_queued_outlives_a_kill():
    def heard(line, process):
        if line == 'queued':
            killed()
            process.stdin.write('\n')

    node('later', heard)


if __name__ == '__main__':
    version = json.loads((MODULES / 'node_modules/bullmq/package.json').read_text())['version']
    print(f'  BullMQ {version}')
    main([jobs_of_every_kind_run_through_kills, what_was_queued_outlives_a_kill])
