#!/usr/bin/env python3
"""How GET grows: CPU time an operation and the 99th of 100 latencies at more and more clients (with the first number
of keys), and at more and more keys (with `--clients-for-keys`), of Redis and of Rekeep, interleaved; medians of the
rounds.

    benches/growth.py [--keys 1,10,30] [--clients 1,50,500,5000] [--rounds N] [--pipeline N] [--plot FILE.svg]

`--keys` is in millions (16 bytes each, with 64-byte values).
"""

import contextlib
import resource
import statistics
import subprocess

from server import Server, keys, pair, parser

COLORS = {"redis": "#c0392b", "rekeep": "#2471a3"}
FIGURES = ("ns of CPU an operation", "p99 in ms")


def measure(server, args, count, clients):
    """CPU nanoseconds an operation, and the 99th of 100 latencies in milliseconds."""
    requests = args.requests if clients > 1 else args.requests // 4
    before = server.cpu_ns()
    lines = subprocess.run(["redis-benchmark", "-p", str(server.port), "-c", str(clients), "-P", str(args.pipeline),
                            "-r", str(count), "-n", str(requests), "-t", "get", "--csv"],
                           capture_output=True, text=True, check=True).stdout.strip().splitlines()
    return (server.cpu_ns() - before) / requests, float(lines[-1].split(",")[6].strip('"'))


def compare(running, args, count, clients):
    """Medians of both figures by server."""
    rows = {server.name: [] for server in running}
    for _ in range(args.rounds):
        for server in running:
            rows[server.name].append(measure(server, args, count, clients))
    found = {name: [statistics.median(figures) for figures in zip(*measured)] for name, measured in rows.items()}
    (cpu, p99), (our_cpu, our_p99) = found["redis"], found["rekeep"]
    print(f"{count:10} keys {clients:5} clients   CPU/op: redis {cpu:7.0f} ns  rekeep {our_cpu:7.0f} ns  ratio "
          f"{our_cpu / cpu:4.2f}   p99: redis {p99:7.3f} ms  rekeep {our_p99:7.3f} ms  ratio {our_p99 / p99:4.2f}",
          flush=True)
    return found


def shown(figure):
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def panel(left, top, title, labels, lines):
    """One chart of the plot: lines over steps that are equally far from each other; it starts at zero."""
    width, height = 300, 170
    most = max(value for values in lines.values() for value in values) or 1
    steps = [left + 20 + at * (width - 40) / max(1, len(labels) - 1) for at in range(len(labels))]
    parts = [f'<text x="{left}" y="{top - 10}" font-weight="bold">{title}</text>',
             f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="#888"/>']
    parts += [f'<text x="{x:.0f}" y="{top + height + 16}" text-anchor="middle">{label}</text>'
              for x, label in zip(steps, labels)]
    for name, values in lines.items():
        points = [(x, top + height - value / most * (height - 20)) for x, value in zip(steps, values)]
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" '
                     f'stroke="{COLORS[name]}" stroke-width="2"/>')
        # The figure stands above the higher line and below the lower one.
        for at, (x, y) in enumerate(points):
            above = values[at] >= max(other[at] for other in lines.values())
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLORS[name]}"/><text x="{x:.1f}" '
                         f'y="{y + (-7 if above else 16):.1f}" text-anchor="middle" fill="{COLORS[name]}">'
                         f'{shown(values[at])}</text>')
    return "\n".join(parts)


def plot(path, charts):
    """`charts`: for each axis its title, labels and the figures found. A row each, a column for each figure."""
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="740" height="530" font-family="sans-serif" font-size="12">'
             '<rect width="740" height="530" fill="white"/>']
    parts += [f'<text x="{40 + 80 * at}" y="20" font-weight="bold" fill="{color}">{name}</text>'
              for at, (name, color) in enumerate(COLORS.items())]
    for row, (title, labels, found) in enumerate(charts):
        for at, figure in enumerate(FIGURES):
            lines = {name: [cell[name][at] for cell in found] for name in COLORS}
            parts.append(panel(40 + 360 * at, 60 + 240 * row, f"GET: {figure}, by {title}", labels, lines))
    with open(path, "w") as file:
        file.write("\n".join(parts) + "\n</svg>\n")


def main():
    words = parser(__doc__, 7616, rounds=3)
    words.add_argument("--keys", default="1,10,30", help="millions")
    words.add_argument("--clients", default="1,50,500,5000")
    words.add_argument("--clients-for-keys", type=int, default=50)
    words.add_argument("--pipeline", type=int, default=1)
    words.add_argument("--requests", type=int, default=200_000)
    words.add_argument("--plot", help="draws the table into this file")
    args = words.parse_args()
    counts = [int(float(word) * 1_000_000) for word in args.keys.split(",")]
    clients = [int(word) for word in args.clients.split(",")]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(Server(*words)) for words in pair(args)]
        by_keys, by_clients, filled = [], [], 0
        for count in counts:
            for server in running:
                keys(server, range(filled, count))
            filled = count
            if not by_clients:
                by_clients = [compare(running, args, count, number) for number in clients]
            by_keys.append(compare(running, args, count, args.clients_for_keys))
    if args.plot:
        plot(args.plot, [("millions of keys", args.keys.split(","), by_keys),
                         ("clients", args.clients.split(","), by_clients)])


if __name__ == "__main__":
    main()
