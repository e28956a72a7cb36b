"""What the tests with real peers share: servers on private ports, in directories of their own.

REKEEP             the binary under test       (target/release/rekeep)
REDIS_SERVER       a real server               (redis-server)
PORT_BASE          where free ports are sought (17100)
REKEEP_CONTAINER   NAME:PORT of a running container, for the tests that `served` gives a server

Everything started here is ended here, by its process id.
"""
import atexit, contextlib, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, threading, time

from contents import Client, Problem

ROOT = pathlib.Path(__file__).resolve().parents[2]
REKEEP = os.environ.get('REKEEP', str(ROOT / 'target/release/rekeep'))
REDIS_SERVER = os.environ.get('REDIS_SERVER', 'redis-server')
LEGACY = ROOT / 'tests/data/dumps/legacy'
# The command line of docker-compose.yml.
COMPOSE = ('--save 900 1 --save 300 10 --save 60 10000 --appendonly yes --appendfsync everysec '
           '--auto-aof-rewrite-percentage 100 --auto-aof-rewrite-min-size 64mb '
           '--aof-use-rdb-preamble yes').split()
START_SECONDS, STOP_SECONDS = 30, 30

_next_port = int(os.environ.get('PORT_BASE', 17100))
_counting = threading.Lock()
_scratch = None
_running = []


def free_port():
    """The next port of our range on which nobody listens."""
    global _next_port
    while True:
        with _counting:
            _next_port += 1
            port = _next_port
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(('127.0.0.1', port))
                return port


def scratch(name):
    """A new directory; all of them vanish at the end."""
    global _scratch
    if _scratch is None:
        _scratch = pathlib.Path(tempfile.mkdtemp(prefix='rekeep-peers-'))
    return pathlib.Path(tempfile.mkdtemp(prefix=name + '-', dir=_scratch))


@atexit.register
def _clean():
    for server in list(_running):
        server.kill()
    if _scratch is not None:
        shutil.rmtree(_scratch, ignore_errors=True)


class DidNotStart(Exception):
    """The server ended by itself; its log is the text."""


class Server:
    """A running server; `kind` is REKEEP or REDIS_SERVER."""

    def __init__(self, kind, directory, *options, port=None):
        self.kind, self.dir, self.options = kind, pathlib.Path(directory), options
        self.port = port or free_port()
        self.log = self.dir.with_suffix(self.dir.suffix + '.log')
        self.start()

    def start(self):
        # Two threads run commands, however few cores there are.
        threads = ['--io-threads', 2] if self.kind == REKEEP else []
        argv = [self.kind, '--port', self.port, '--dir', self.dir, '--bind', '127.0.0.1',
                '--enable-debug-command', 'yes', *threads, *self.options]
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen([str(word) for word in argv], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        _running.append(self)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                _running.remove(self)
                raise DidNotStart(self.said())
            with contextlib.suppress(OSError, EOFError):
                if Client(self.port).answer('PING') == 'PONG':
                    return
            time.sleep(0.03)
        self.kill()
        raise TimeoutError(f'{self.kind} does not answer:\n{self.said()}')

    def said(self):
        return self.log.read_text(errors='replace')

    def client(self):
        return Client(self.port)

    def wait(self, field, wanted):
        """Until a field of INFO persistence has this value."""
        client, end = self.client(), time.monotonic() + 60
        while time.monotonic() < end:
            info = client('INFO', 'persistence')
            have = dict(line.split(':', 1) for line in info.split('\r\n') if ':' in line)
            if have[field] == str(wanted):
                return have
            time.sleep(0.02)
        raise TimeoutError(f'{field} is {have[field]}, not {wanted}')

    def kill(self):
        """As a crash would."""
        self._end(signal.SIGKILL)

    def stop(self):
        """As an operator would; gives the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how):
        if self in _running:
            _running.remove(self)
            self.process.send_signal(how)
            try:
                return self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise TimeoutError(f'{self.kind} does not stop:\n{self.said()}') from None
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def rekeep(directory, *options, **more):
    return Server(REKEEP, directory, *options, **more)


def redis(directory, *options, **more):
    return Server(REDIS_SERVER, directory, *options, **more)


class Container:
    """A server in a container that somebody else started; killed and started again as a whole."""

    def __init__(self, name, port):
        self.name, self.port = name, int(port)

    def client(self):
        return Client(self.port)

    def kill(self):
        self._docker('kill')

    def start(self):
        self._docker('start')
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError, EOFError):
                if self.client().answer('PING') == 'PONG':
                    return
            time.sleep(0.05)
        raise TimeoutError(f'the container {self.name} does not answer')

    def _docker(self, verb):
        subprocess.run(['docker', verb, self.name], check=True, stdout=subprocess.DEVNULL)


def served(name):
    """A server with the compose line: the container, if one is named, or a process."""
    if 'REKEEP_CONTAINER' in os.environ:
        return Container(*os.environ['REKEEP_CONTAINER'].split(':'))
    return rekeep(scratch(name), *COMPOSE)


def main(cases):
    """Runs the cases, or those whose names are given; a line for each."""
    wanted, failed = sys.argv[1:], 0
    for case in cases:
        name = case.__name__
        if wanted and not any(word in name for word in wanted):
            continue
        began, before = time.monotonic(), list(_running)
        try:
            case()
            verdict = 'ok'
        except Exception as problem:  # Each case is told of; the rest still run.
            failed += 1
            verdict = f'FAILED: {type(problem).__name__}: {problem}'
            if os.environ.get('TRACE'):
                import traceback
                traceback.print_exc()
        print(f'  {name.replace("_", " ")}: {verdict} ({time.monotonic() - began:.1f} s)', flush=True)
        for server in [server for server in _running if server not in before]:
            server.kill()
    sys.exit(1 if failed else 0)


def same(have, want, what):
    if have != want:
        raise Problem(f'{what}: {have!r:.600} instead of {want!r:.600}')
