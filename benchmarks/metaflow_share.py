"""What flowbridge adds to the time that Metaflow's own runtime takes per task: the same graph by hand and made by flowbridge, in turns.

    python benchmarks/metaflow_share.py [ROUNDS]

The graph is a chain and a map over a list that a step made; its functions do next to nothing, so that all time is overhead. Both are run by
the same Metaflow with the same number of workers, one after the other, as often as asked. Per task counts the time between Metaflow's own lines
"Task is starting" and "Task finished", so it holds the start of Python, all imports, and all that is read and written.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

CHAIN, WIDTH, WORKERS = 8, 12, 2

FUNCTIONS = """
def first(n: int) -> int:
    return n


def add(x: int) -> int:
    return x + 1


def numbers(x: int, n: int) -> list[int]:
    return list(range(n))


def square(x: int) -> int:
    return x * x


def total(xs: list[int]) -> int:
    return sum(xs)
"""

BY_HAND = (
    "from functions import add, first, numbers, square, total\nfrom metaflow import FlowSpec, Parameter, step\n\n\nclass ByHand(FlowSpec):\n"
    '    n = Parameter("n", type=int)\n\n    @step\n    def start(self):\n        self.next(self.first)\n\n'
    "    @step\n    def first(self):\n        self.value = first(self.n)\n        self.next(self.add_1)\n\n"
    + "".join(
        f"    @step\n    def add_{i}(self):\n        self.value = add(self.value)\n"
        f"        self.next(self.{f'add_{i + 1}' if i < CHAIN else 'numbers'})\n\n"
        for i in range(1, CHAIN + 1)
    )
    + "    @step\n    def numbers(self):\n        self.xs = numbers(self.value, self.n)\n        self.next(self.square, foreach='xs')\n\n"
    "    @step\n    def square(self):\n        self.y = square(self.input)\n        self.next(self.total)\n\n"
    "    @step\n    def total(self, inputs):\n        self.result = total([i.y for i in inputs])\n        self.next(self.end)\n\n"
    '    @step\n    def end(self):\n        print("result", self.result)\n\n\nif __name__ == "__main__":\n    ByHand()\n'
)

OURS = f"""
import logging
import sys

import functions as f
from flowbridge import each, flow, step

first, add, numbers, square, total = (step(g) for g in (f.first, f.add, f.numbers, f.square, f.total))


@flow
def ours(n: int) -> int:
    x = first(n)
    for _ in range({CHAIN}):
        x = add(x)
    return total(square.map(each(numbers(x, n))))


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stdout)
    run = ours.options(backend="metaflow", store=sys.argv[1]).run(n={WIDTH})
    print("result", run.result())
"""

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) \[(\d+/[^ ]+) \(pid \d+\)\] Task (is starting|finished)")


def run(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, list[float]]:
    """Run something, and return its wall time and the time of each Metaflow task in it, in seconds."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    said = done.stdout + done.stderr
    if done.returncode or f"result {sum(i * i for i in range(WIDTH))}" not in said:
        raise SystemExit(f"{command} failed:\n{said}")
    started: dict[str, datetime] = {}
    spans = []
    for when, task, what in _LINE.findall(said):
        at = datetime.fromisoformat(when)
        if what == "is starting":
            started[task] = at
        else:
            spans.append((at - started[task]).total_seconds())
    return wall, spans


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    walls: dict[str, list[float]] = {"by hand": [], "flowbridge": []}
    tasks: dict[str, list[float]] = {"by hand": [], "flowbridge": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "functions.py").write_text(FUNCTIONS)
        (folder / "by_hand.py").write_text(BY_HAND)
        (folder / "ours.py").write_text(OURS)
        env = {**os.environ, "METAFLOW_USER": "bench", "FLOWBRIDGE_METAFLOW__MAX_WORKERS": str(WORKERS)}
        hand = [sys.executable, "by_hand.py", "--no-pylint", "--datastore", "local", "--metadata", "local", "run", "--n", str(WIDTH)]
        commands = {"by hand": [*hand, "--max-workers", str(WORKERS)], "flowbridge": [sys.executable, "ours.py", str(folder / "store")]}
        for number in range(rounds + 1):
            for kind, command in commands.items():
                wall, spans = run(command, folder, env)
                if number:  # the first round fills caches
                    walls[kind].append(wall)
                    tasks[kind] += spans
    report(walls, tasks)


def report(walls: dict[str, list[float]], tasks: dict[str, list[float]]) -> None:
    """Print medians, spread and shares."""
    print(f"| {'':10} | tasks | per task, median (s) | p10 - p90 (s) | whole run, median (s) |")
    print("|---|---|---|---|---|")
    for kind, spans in tasks.items():
        low, high = statistics.quantiles(spans, n=10)[0], statistics.quantiles(spans, n=10)[-1]
        count = len(spans) // len(walls[kind])
        print(f"| {kind:10} | {count} | {statistics.median(spans):.3f} | {low:.3f} - {high:.3f} | {statistics.median(walls[kind]):.2f} |")
    for what, values in (("per task (median)", tasks), ("whole run", walls)):
        hand, ours = statistics.median(values["by hand"]), statistics.median(values["flowbridge"])
        print(f"share {what}: {(ours - hand) / hand:+.1%}")
    hand, ours = statistics.mean(tasks["by hand"]), statistics.mean(tasks["flowbridge"])
    print(f"share per task (mean): {(ours - hand) / hand:+.1%}")


if __name__ == "__main__":
    main()
