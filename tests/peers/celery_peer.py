#!/usr/bin/env python3
"""Celery with our server as broker and result store: tasks, retries, groups, chords and other canvases, and kills -9 in between."""
import atexit, contextlib, os, pathlib, subprocess, sys, time

from house import main, same, scratch, served

SERVER = served('celery')
os.environ['REDIS_URL'] = f'redis://127.0.0.1:{SERVER.port}/1'

from celery import chain, chord, group  # noqa: E402, needs the address
from redis import RedisError  # noqa: E402
from celery_tasks import add, app, mark_and_sleep, refuse, third_time, total, twice  # noqa: E402

HERE, HOME = pathlib.Path(__file__).parent, scratch('worker')
SECONDS = 60


@contextlib.contextmanager
def worker(queue):
    """A worker process on a queue."""
    argv = [sys.executable, '-m', 'celery', '-A', 'celery_tasks', 'worker', '--concurrency', '2', '--pool', 'threads',
            '--queues', queue, '--hostname', f'{queue}@here', '--loglevel', 'INFO', '--without-mingle', '--without-gossip']
    with open(HOME / f'{queue}.log', 'ab') as log:
        process = subprocess.Popen(argv, cwd=HERE, stdout=log, stderr=log, env={**os.environ, 'C_FORCE_ROOT': '1'})
    atexit.register(process.kill)
    try:
        yield process
    except Exception as problem:
        raise type(problem)(f'{problem}\n{(HOME / f"{queue}.log").read_text()[-3000:]}') from problem
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def awaited(results):
    """The values, asked for again where the server was away."""
    end = time.monotonic() + SECONDS
    values = {}
    while len(values) < len(results):
        for number, result in enumerate(results):
            with contextlib.suppress(ConnectionError, RedisError):
                if number not in values and result.ready():
                    values[number] = result.result
        if time.monotonic() > end:
            raise TimeoutError(f'{len(results) - len(values)} of {len(results)} tasks did not end')
        time.sleep(0.05)
    return [values[number] for number in range(len(results))]


def tasks_retries_groups_and_chords():
    with worker('celery'):
        same(add.delay(2, 3).get(timeout=SECONDS), 5, 'a task')
        same(third_time.delay().get(timeout=SECONDS), 2, 'retries')
        failed = refuse.delay()
        same(repr(failed.get(timeout=SECONDS, propagate=False)), "ValueError('on purpose')", 'a failure')
        same(group(add.s(n, n) for n in range(50))().get(timeout=SECONDS), [2 * n for n in range(50)], 'a group')
        same(chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=SECONDS), 10, 'a chain')
        same(chord((add.s(n, 1) for n in range(30)), total.s())().get(timeout=SECONDS), 465, 'a chord')
        same(add.apply_async((1, 1), countdown=1).get(timeout=SECONDS), 2, 'a countdown')


def what_was_queued_outlives_a_kill():
    sent = [add.apply_async((n, 1), queue='later') for n in range(200)]
    with app.pool.acquire(block=True) as broker:
        same(broker.default_channel.client.llen('later'), 200, 'queued')
    SERVER.kill()
    SERVER.start()
    with worker('later'):
        same(awaited(sent), [n + 1 for n in range(200)], 'the results')


def a_worker_works_on_after_a_kill():
    """The server dies while two tasks run and four wait."""
    marks = [HOME / f'mark-{n}' for n in range(6)]
    with worker('through'):
        sent = [mark_and_sleep.apply_async((str(mark), 2), queue='through') for mark in marks]
        end = time.monotonic() + SECONDS
        while sum(mark.exists() for mark in marks) < 2:
            if time.monotonic() > end:
                raise TimeoutError('no task began')
            time.sleep(0.02)
        time.sleep(0.3)
        SERVER.kill()
        time.sleep(0.3)
        SERVER.start()
        same(awaited(sent), [str(mark) for mark in marks], 'the results')


def canvases():
    """Flows of every shape with the values that they end with; the keys are their names."""
    def numbers(count):
        return [twice.s(n) for n in range(count)]

    return {
        'a chord in a chain': (chain(add.s(1, 1), twice.s(), group(add.s(n) for n in range(5)), total.s(), add.s(1)), 31),
        'a chord of chains': (chord([chain(add.s(n, 1), twice.s()) for n in range(10)], total.s()), 110),
        'a chord of chords': (chord([chord(numbers(5), total.s()) for _ in range(4)], total.s()), 80),
        'chord after chord': (chain(group(numbers(6)), total.s(), group(add.s(n) for n in range(4)), total.s()), 126),
        'a group of chords': (group(chord(numbers(n), total.s()) for n in range(2, 6)), [2, 6, 12, 20]),
        'starmap': (add.starmap([(n, n) for n in range(10)]), [2 * n for n in range(10)]),
        'chunks': (add.chunks([(n, 1) for n in range(9)], 3).group(), [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        'a chord with retries': (chord([third_time.s() for _ in range(5)], total.s()), 10),
    }


def finished(sent):
    """The values of group results and plain results, by name."""
    end, values = time.monotonic() + SECONDS, {}
    while len(values) < len(sent):
        for name, result in sent.items():
            with contextlib.suppress(ConnectionError, RedisError):
                if name not in values and result.ready():
                    values[name] = result.get(timeout=SECONDS)
        if time.monotonic() > end:
            raise TimeoutError(f'not done: {sorted(sent.keys() - values)}')
        time.sleep(0.05)
    return values


def canvases_outlive_a_kill_before_they_begin():
    wanted = canvases()
    sent = {name: canvas.apply_async(queue='canvas') for name, (canvas, _) in wanted.items()}
    SERVER.kill()
    SERVER.start()
    # What follows within a canvas goes to the queue that has no name of its own.
    with worker('canvas,celery'):
        same(finished(sent), {name: value for name, (_, value) in wanted.items()}, 'the results')


def chords_run_on_after_a_kill_between_their_parts():
    """The server dies twice while parts of chords are done and others run; bodies begin after all parts, once."""
    marks = [HOME / f'part-{n}' for n in range(8)]
    with worker('parts,celery'):
        parts = [twice.s(n, str(mark), 1.5).set(queue='parts') for n, mark in enumerate(marks)]
        sent = {'one': chord(parts[:4], total.s())(), 'chained': (group(parts[4:]) | total.s() | twice.s())()}
        # Two run at once: nobody is between two steps when both have just begun.
        for due in (4, 6):
            end = time.monotonic() + SECONDS
            while sum(mark.exists() for mark in marks) < due:
                if time.monotonic() > end:
                    raise TimeoutError(f'fewer than {due} parts began')
                time.sleep(0.02)
            time.sleep(0.3)
            same([name for name, result in sent.items() if due == 4 and result.ready()], [], 'chords done early')
            SERVER.kill()
            time.sleep(0.3)
            SERVER.start()
        same(finished(sent), {'one': 12, 'chained': 88}, 'the results')


if __name__ == '__main__':
    import celery
    print(f'  Celery {celery.__version__}')
    main([tasks_retries_groups_and_chords, what_was_queued_outlives_a_kill, a_worker_works_on_after_a_kill,
          canvases_outlive_a_kill_before_they_begin, chords_run_on_after_a_kill_between_their_parts])
