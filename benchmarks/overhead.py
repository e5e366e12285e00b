"""What a task costs beside its own work: flowbridge's backends, a bare fork, and the peers, side by side in one run.

    python benchmarks/overhead.py                          inline, local, a bare fork, Metaflow's local runtime where it is installed
    python benchmarks/overhead.py --peers ray dask dagster prefect zenml      also those, each in an environment that uv makes
    python benchmarks/overhead.py --compile                also kfp's SDK compiling 10, 100, 1000 tasks, beside flowbridge
    python benchmarks/overhead.py --output docs/performance.md                writes the tables between the markers of a page

The cost of a task is the difference of two runs of different length, over the difference in length: what every run costs once (starting
Python, importing, the store) is not in it, and is told beside it. Rounds of all subjects are interleaved, since a machine is never quite
quiet; the table shows the median and the least of them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import page

HERE = Path(__file__).parent
PEERS = ("ray", "dask", "dagster", "prefect", "zenml")
FORKS = 200


@dataclass
class Measured:
    """One subject.

    Attributes:
        what: What a task goes through.
        costs: Seconds per task, of each round.
        once: Seconds that a run costs beside its tasks, of each round.
    """

    name: str
    what: str
    costs: list[float] = field(default_factory=list)
    once: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds per task."""
        return statistics.median(self.costs)


def two_lengths(run: Callable[[int], float], short: int, long: int) -> tuple[float, float]:
    """Return seconds per task and seconds per run, from two runs of different length."""
    first, second = run(short), run(long)
    cost = (second - first) / (long - short)
    return cost, first - short * cost


def quiet_place() -> Path:
    """Give a folder for a store of its own, and an account that no other run takes part in."""
    folder = Path(tempfile.mkdtemp(prefix="flowbridge-bench-"))
    (folder / "account").mkdir()
    os.environ["FLOWBRIDGE_ACCOUNT_DIR"] = str(folder / "account")
    return folder


def run_chain(backend: str, length: int) -> float:
    """Run a chain and return the seconds it took."""
    import overhead_flows

    flow = overhead_flows.chain(length).options(backend=backend, store=str(quiet_place() / "store"))
    began = time.perf_counter()
    run = flow.run(0)
    took = time.perf_counter() - began
    assert run.result() == length, run.status
    return took


def run_map(name: str, items: int) -> float:
    """Run a map on `local` and return the seconds it took."""
    import overhead_flows

    flow = getattr(overhead_flows, name).options(backend="local", store=str(quiet_place() / "store"))
    began = time.perf_counter()
    run = flow.run(items)
    took = time.perf_counter() - began
    assert run.status == "done", run.message
    return took


def bare_fork() -> float:
    """Return the seconds of a fork and a wait, in a process that has imported the flow as a template has."""
    import overhead_flows  # noqa: F401

    from flowbridge.engine.executors import process  # noqa: F401  (what a template has in memory)

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        gc.collect()
        gc.freeze()
        began = time.perf_counter()
        for _ in range(FORKS):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
        os.write(write, str((time.perf_counter() - began) / FORKS).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        seconds = float(told.read())
    os.waitpid(pid, 0)
    return seconds


METAFLOW = """
from metaflow import FlowSpec, step
class Chain(FlowSpec):
    @step
    def start(self):
        self.x = 0
        self.next(self.s0)
{steps}
    @step
    def end(self):
        print(self.x)
if __name__ == "__main__":
    Chain()
"""
METAFLOW_STEP = """
    @step
    def s{i}(self):
        self.x += 1
        self.next(self.{next})
"""


def run_metaflow(length: int) -> float:
    """Run a chain under Metaflow's local runtime and return the seconds it took."""
    folder = Path(tempfile.mkdtemp(prefix="flowbridge-bench-"))
    steps = "".join(METAFLOW_STEP.format(i=i, next=f"s{i + 1}" if i + 1 < length else "end") for i in range(length))
    (folder / "chain.py").write_text(METAFLOW.format(steps=steps))
    environment = {**os.environ, "METAFLOW_USER": "bench", "METAFLOW_DEFAULT_METADATA": "local", "METAFLOW_HOME": str(folder)}
    began = time.perf_counter()
    subprocess.run([sys.executable, "chain.py", "--quiet", "run"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def run_peer(name: str) -> tuple[float, float]:
    """Run a peer's chain in an environment of its own; its script prints seconds per task and per run."""
    script = HERE / "peers" / f"{name}_chain.py"
    command = ["uv", "run", "--no-project", "--quiet", "--python", "3.11", str(script)]  # the script names what it needs (PEP 723)
    folder = Path(tempfile.mkdtemp(prefix="flowbridge-bench-"))
    cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    environment = {**os.environ, "HOME": str(folder), "UV_CACHE_DIR": cache}  # a home of its own: some peers keep state there
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return told["cost"], told["once"]


def subjects(arguments: argparse.Namespace) -> dict[str, tuple[str, Callable[[], tuple[float, float]]]]:
    """Return what is measured: by name, what a task goes through and how to measure it once."""
    size = arguments.size
    found: dict[str, tuple[str, Callable[[], tuple[float, float]]]] = {
        "a bare fork": ("fork and wait, of the process that `local` forks from", lambda: (bare_fork(), 0.0)),
        "flowbridge inline": (f"recorded; chain of {size}", lambda: two_lengths(lambda n: run_chain("inline", n), size // 10, size)),
        "flowbridge local": (
            f"isolated, recorded; chain of {size}",
            lambda: two_lengths(lambda n: run_chain("local", n), size // 10, size),
        ),
        "flowbridge local, map": (
            f"isolated, recorded; {2 * size} items",
            lambda: two_lengths(lambda n: run_map("mapped", n), size // 5, 2 * size),
        ),
        "flowbridge local, batches": (
            f"per item; {100 * size} items, 100 in a process",
            lambda: two_lengths(lambda n: run_map("batched", n), 5 * size, 100 * size),
        ),
        "flowbridge local, few batches": (
            f"per item; {size} items, 100 in a process",
            lambda: two_lengths(lambda n: run_map("batched", n), size // 5, size),
        ),
    }
    if not arguments.no_metaflow:
        found["Metaflow, local runtime"] = ("isolated, recorded; chain of 10", lambda: two_lengths(run_metaflow, 2, 10))
    what = {
        "ray": "no isolation per task, no records; chain of 200",
        "dask": "no isolation per task, no records; chain of 200",
        "dagster": "multiprocess executor: isolated, recorded; chain of 9",
        "prefect": "process pool, recorded; chain of 40",
        "zenml": "local orchestrator: recorded; chain of 12",
    }
    for peer in arguments.peers:
        found[peer] = (what[peer], lambda peer=peer: run_peer(peer))  # type: ignore[misc]
    return found


def measure(arguments: argparse.Namespace) -> list[Measured]:
    """Measure everything, round by round."""
    wanted = subjects(arguments)
    results = {name: Measured(name, what) for name, (what, _) in wanted.items()}
    for number in range(arguments.rounds):
        for name, (_, once) in wanted.items():
            try:
                cost, beside = once()
            except subprocess.CalledProcessError as error:
                print(f"{name} cannot be measured here: {error.stderr or error}", file=sys.stderr)
                continue
            results[name].costs.append(cost)
            results[name].once.append(beside)
            print(f"round {number + 1}: {name}: {cost * 1e3:.2f} ms a task", file=sys.stderr)
    return [result for result in results.values() if result.costs]


def table(results: list[Measured]) -> str:
    """Return the results as a table, each beside the bare fork."""
    fork = next(r for r in results if r.name == "a bare fork").median
    lines = ["| | what a task goes through | ms a task | least | times a bare fork | s a run |", "|---|---|---:|---:|---:|---:|"]
    for r in results:
        times = f"{r.median / fork:.2f}" if r.median < 10 * fork else f"{r.median / fork:.0f}"
        lines.append(
            f"| {r.name} | {r.what} | {r.median * 1e3:.2f} | {min(r.costs) * 1e3:.2f} | {times} | {statistics.median(r.once):.2f} |"
        )
    return "\n".join(lines)


def taken_on(arguments: argparse.Namespace) -> str:
    """Return where and how the table was taken."""
    load = os.getloadavg()[0]
    return (
        f"Taken with Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}; "
        f"{arguments.rounds} rounds, medians. `python benchmarks/overhead.py` takes it anew."
    )


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="length of the long chain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=[], choices=PEERS)
    parser.add_argument("--no-metaflow", action="store_true")
    parser.add_argument("--compile", action="store_true", help="also compile to Kubeflow, with kfp's SDK and with flowbridge")
    parser.add_argument("--output", type=Path, help="page to write the tables into")
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))
    with tempfile.TemporaryDirectory(prefix="flowbridge-bench-", ignore_cleanup_errors=True) as place:
        # nothing is removed before the end: ext4 passes over freed inodes one by one, so that files are then made ten times as slowly
        tempfile.tempdir = place
        results: Any = measure(arguments)
    tempfile.tempdir = None
    text = f"{table(results)}\n\n{taken_on(arguments)}"
    if arguments.compile:
        compiled = subprocess.run([sys.executable, str(HERE / "kubeflow_compile.py")], check=True, capture_output=True, text=True)
        text += f"\n\nCompiling a chain to Kubeflow's pipeline IR:\n\n{compiled.stdout.strip()}"
    print(text)
    if arguments.output is not None:
        page.write(arguments.output, "overhead", text)


if __name__ == "__main__":
    main()
