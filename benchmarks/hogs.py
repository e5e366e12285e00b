"""A step that allocates twice its limit dies alone within a second or two, while its neighbours finish: how often, and how fast.

    python benchmarks/hogs.py [ROUNDS] [--watchdog] [--engine]

Each round runs one hog beside two neighbours. `--watchdog` tries it without cgroups; `--engine` through whole runs of a flow.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flowbridge import flow, step
from flowbridge.engine import limits
from flowbridge.engine.cgroups import find_base
from flowbridge.engine.limits import Confined, confine
from flowbridge.ir.resources import Resources

MIB = 2**20
LIMIT = 128 * MIB


def hog() -> None:
    """Take twice the limit, as fast as memory can be touched, and stay."""
    kept = bytearray(2 * LIMIT)
    time.sleep(60)
    del kept


def neighbour() -> None:
    """Take half of the limit for a while."""
    kept = bytearray(LIMIT // 2)
    time.sleep(0.3)
    del kept


def start(body: Callable[[], None]) -> tuple[int, Confined]:
    """Fork a task."""
    confined = confine(Resources(memory=LIMIT), None, label=body.__name__)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            confined.prepare_child()
            body()
            code = 0
        finally:
            os._exit(code)
    confined.watch(pid)
    return pid, confined


def once() -> tuple[bool, float]:
    """Run one round; return whether all went as it should, and how long the hog lived."""
    neighbours = [start(neighbour) for _ in range(2)]
    began = time.perf_counter()
    pid, confined = start(hog)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lived = time.perf_counter() - began
    good = code == -signal.SIGKILL and confined.out_of_memory()
    for other, limits_of_other in neighbours:
        good &= os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0 and limits_of_other.verdict() is None
        limits_of_other.close()
    confined.close()
    return good, lived


@step(memory="128Mi", cpu=0.1)
def greedy() -> int:
    """Take twice the limit."""
    return len(bytearray(2 * LIMIT))


@step(memory="128Mi", cpu=0.1)
def modest(number: int) -> int:
    """Take half of the limit for a while."""
    kept = bytearray(LIMIT // 2)
    time.sleep(0.3)
    return len(kept) + number


@flow
def crowd() -> tuple[int, int]:
    """A hog beside two neighbours."""
    greedy()
    return modest(1), modest(2)


def run_once() -> tuple[bool, float]:
    """Run the flow; return whether the records say what they should, and how long the hog lived."""
    run = crowd.run()
    record = run["greedy"][0].record
    good = record is not None and record.state == "failed" and record.reason is not None and record.reason.kind == "out_of_memory"
    others = [t.state for name in ("modest", "modest_2") for t in run[name]]
    lived = record.finished - record.started if record is not None and record.started is not None else float("nan")
    return good and others == ["done", "done"], lived


def main() -> int:
    """Run all rounds and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=100)
    parser.add_argument("--watchdog", action="store_true")
    parser.add_argument("--engine", action="store_true")
    options = parser.parse_args()
    if options.watchdog:
        limits.make_group = lambda limit: None  # noqa: ARG005
    base = find_base(os.getpid())
    keeper = "watchdog" if options.watchdog or base is None else f"cgroup v{base.version}"
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(FLOWBRIDGE_STORE=str(Path(folder) / "store"), FLOWBRIDGE_ACCOUNT_DIR=str(Path(folder) / "account"))
        rounds = [run_once() if options.engine else once() for _ in range(options.rounds)]
    lives = sorted(lived for _, lived in rounds)
    print(
        f"{keeper}{', through the engine' if options.engine else ''}: {sum(good for good, _ in rounds)} of {len(rounds)} as they should be; "
        f"the hog lived {statistics.median(lives):.3f} s in the middle, {lives[-1]:.3f} s at most"
    )
    return 0 if all(good for good, _ in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
