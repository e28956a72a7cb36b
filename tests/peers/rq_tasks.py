"""The jobs that rq_peer.py queues: each leaves a line in its file for every time that it ran."""
import pathlib, time


def note(path, number):
    time.sleep(0.02)
    with open(path, 'a', encoding='ascii') as marks:
        marks.write(f'{number}\n')
    return number * number


def second_time(path, number):
    """Fails once."""
    first = not pathlib.Path(path).exists()
    note(path, number)
    if first:
        raise ValueError('on purpose')
    return number * number
