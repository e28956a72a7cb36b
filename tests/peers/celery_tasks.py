"""The application that celery_peer.py runs: broker and results in the server at REDIS_URL."""
import os, pathlib, time

from celery import Celery

app = Celery('tasks', broker=os.environ['REDIS_URL'], backend=os.environ['REDIS_URL'])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True,
                broker_connection_max_retries=None, redis_retry_on_timeout=True,
                broker_transport_options={'visibility_timeout': 600}, worker_hijack_root_logger=False)


@app.task
def add(one, other):
    return one + other


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def third_time(self):
    """Fails twice."""
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def refuse():
    raise ValueError('on purpose')


@app.task
def mark_and_sleep(path, seconds):
    pathlib.Path(path).touch()
    time.sleep(seconds)
    return path


@app.task
def twice(number, path=None, seconds=0):
    """Leaves a mark first, if it is to."""
    if path:
        pathlib.Path(path).touch()
    time.sleep(seconds)
    return 2 * number
