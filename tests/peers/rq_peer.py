#!/usr/bin/env python3
"""RQ with our server: jobs, retries, dependencies and a schedule run to their ends through kills -9."""
import datetime, os, subprocess, sys, time

import redis
import rq
from rq import Queue, Retry
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import (DeferredJobRegistry, FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry,
                         StartedJobRegistry)

from contents import Problem
from house import ROOT, main, same, scratch, served
from rq_tasks import note, second_time

SERVER, HOME, SECONDS = served('rq'), scratch('jobs'), 50
ONE_PROCESS, FORKS = 'rq.worker.SimpleWorker', 'rq.worker.Worker'


class Workers:
    """Worker processes; one that ends, as RQ's do when the server is away for long, is started again."""

    def __init__(self, queue, kinds, *options):
        self.queue, self.kinds, self.options = queue, kinds, options
        self.running = [None] * len(kinds)

    def __enter__(self):
        self.mend()
        return self

    def __exit__(self, *_):
        for process in filter(None, self.running):
            process.terminate()
        for process in filter(None, self.running):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def mend(self):
        for number, (kind, process) in enumerate(zip(self.kinds, self.running)):
            if process is None or process.poll() is not None:
                argv = [sys.executable, '-m', 'rq.cli', 'worker', '--url', f'redis://127.0.0.1:{SERVER.port}/2',
                        '--worker-class', kind, *self.options, self.queue]
                with open(HOME / f'{self.queue}.log', 'ab') as log:
                    self.running[number] = subprocess.Popen(
                        argv, cwd=ROOT / 'tests/peers', stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                        env={**os.environ, 'OBJC_DISABLE_INITIALIZE_FORK_SAFETY': 'YES'})


class Jobs:
    """What was acknowledged as queued, and where RQ says it is."""

    def __init__(self, name):
        self.client = redis.Redis(port=SERVER.port, db=2)
        self.queue = Queue(name, connection=self.client, default_timeout=100)
        self.folder = HOME / name
        self.folder.mkdir()
        self.sent = {}

    def options(self, **more):
        number = len(self.sent)
        self.sent[f'job-{number}'] = number
        return {'args': (str(self.folder / f'job-{number}'), number), 'job_id': f'job-{number}',
                'retry': Retry(max=20), 'result_ttl': -1, **more}

    def finished(self):
        """Who is; none of them may be there that has not run."""
        done = self.client.zrange(FinishedJobRegistry(queue=self.queue).key, 0, -1)
        done = {name.decode() for name in done}
        for name in done:
            if not (self.folder / name).exists():
                raise Problem(f'{name} is counted as done, but never ran')
        return done

    def nothing_lost(self):
        places = [self.client.lrange(self.queue.key, 0, -1),
                  self.client.lrange(IntermediateQueue(self.queue.key, self.client).key, 0, -1)]
        for kind in (DeferredJobRegistry, FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry,
                     StartedJobRegistry):
            places.append(self.client.zrange(kind(queue=self.queue).key, 0, -1))
        found = {name.decode().split(':')[0] for place in places for name in place}
        same(sorted(self.sent.keys() - found), [], 'jobs that are nowhere')

    def take_back(self):
        """What a dead worker held is queued again; RQ does it by itself after minutes."""
        self.nothing_lost()
        held = IntermediateQueue(self.queue.key, self.client)
        for name in held.get_job_ids():
            held.remove(name)
            self.queue.push_job_id(name)
        StartedJobRegistry(queue=self.queue).cleanup(timestamp=time.time() + 10**6)
        failed = FailedJobRegistry(queue=self.queue)
        for name in failed.get_job_ids():
            failed.requeue(name)

    def work_off(self, workers, kills=()):
        """Until all is done; the server dies whenever so many jobs are."""
        end, kills = time.monotonic() + SECONDS, list(kills)
        last, progress = -1, time.monotonic()
        while len(done := self.finished()) < len(self.sent):
            if kills and len(done) >= kills[0]:
                kills.pop(0)
                SERVER.kill()
                time.sleep(0.3)
                SERVER.start()
                self.nothing_lost()
                progress = time.monotonic()
            if len(done) != last:
                last, progress = len(done), time.monotonic()
            if time.monotonic() - progress > 3:
                workers.__exit__()
                self.take_back()
                progress = time.monotonic()
            if time.monotonic() > end:
                log = (HOME / f'{workers.queue}.log').read_text()[-3000:]
                raise TimeoutError(f'{len(done)} of {len(self.sent)} jobs are done\n{log}')
            workers.mend()
            time.sleep(0.02)
        same(kills, [], 'kills that were due')
        for name, number in self.sent.items():
            same(Job.fetch(name, connection=self.client).return_value(), number * number, name)


def jobs_retries_and_dependencies_run_through_kills():
    jobs = Jobs('through')
    for _ in range(60):
        jobs.queue.enqueue_call(note, **jobs.options())
    for _ in range(10):
        jobs.queue.enqueue_call(second_time, **jobs.options())
    before = 'job-0'
    for _ in range(10):
        before = jobs.queue.enqueue_call(note, **jobs.options(depends_on=before)).id
    with Workers('through', [ONE_PROCESS, ONE_PROCESS, FORKS]) as workers:
        jobs.work_off(workers, [10, 45])


def what_was_queued_and_scheduled_outlives_a_kill():
    jobs = Jobs('later')
    for _ in range(20):
        jobs.queue.enqueue_call(note, **jobs.options())
    with jobs.client.pipeline() as pipe:
        for _ in range(20):
            jobs.queue.enqueue_call(note, **jobs.options(), pipeline=pipe)
        pipe.execute()
    for _ in range(10):
        options = jobs.options()
        words = {'args': options.pop('args'), **options}
        jobs.queue.enqueue_in(datetime.timedelta(seconds=1), note, **words)
    SERVER.kill()
    SERVER.start()
    same(jobs.queue.count, 40, 'queued')
    same(jobs.client.zcard(ScheduledJobRegistry(queue=jobs.queue).key), 10, 'scheduled')
    jobs.nothing_lost()
    with Workers('later', [ONE_PROCESS], '--with-scheduler') as workers:
        jobs.work_off(workers)


if __name__ == '__main__':
    print(f'  RQ {rq.VERSION}, redis-py {redis.__version__}')
    main([jobs_retries_and_dependencies_run_through_kills, what_was_queued_and_scheduled_outlives_a_kill])
