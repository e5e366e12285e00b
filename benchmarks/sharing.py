"""Two runs at once on one machine: where both want most of its memory they take turns, and a GPU step of one runs beside CPU steps of the other.

    python benchmarks/sharing.py                                     prints both time lines
    python benchmarks/sharing.py --output docs/performance.md        and writes them between the markers of a page

Two processes of `flowbridge run` are started together for each. The machine is declared, so that the time lines are the same wherever this
runs: 2 cores, 1 GiB of memory, one GPU. What is shown comes from the records of the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import page

from flowbridge import each, flow, step

WIDTH = 60
SECONDS = 0.5
CONFIG = """
[profiles.shared]
store = "{folder}/store"
[profiles.shared.machine]
cpu = 2
memory = "1Gi"
gpus = ["0"]
"""


@step(cpu=0.5, memory="700Mi")
def greedy(n: int) -> int:
    """Hold 70 % of the machine's memory for a while."""
    time.sleep(SECONDS)
    return n


@step(cpu=1, gpu=1)
def on_gpu(n: int) -> str:
    """Hold the GPU for a while."""
    time.sleep(SECONDS)
    return f"{n} on GPU {os.environ['CUDA_VISIBLE_DEVICES']}"


@step(cpu=1)
def on_cpu(n: int) -> str:
    """Hold one core for a while; it sees no GPU."""
    time.sleep(SECONDS)
    return f"{n} on no GPU{os.environ.get('CUDA_VISIBLE_DEVICES', '')}"


@flow
def memory() -> list[int]:
    """Four tasks that each want 70 % of the memory."""
    return greedy.map(each([0, 1, 2, 3]))


@flow
def gpu() -> list[str]:
    """Four tasks on the GPU."""
    return on_gpu.map(each([0, 1, 2, 3]))


@flow
def cpu() -> list[str]:
    """Four tasks on one core each."""
    return on_cpu.map(each([0, 1, 2, 3]))


class Spell(NamedTuple):
    """The time in which one task ran, in seconds since the first began."""

    line: str
    began: float
    ended: float


def together(flows: Sequence[str], folder: Path) -> list[Spell]:
    """Start one run of each flow at the same time and return when their tasks ran."""
    (folder / "flowbridge.toml").write_text(CONFIG.format(folder=folder))
    surroundings = {**os.environ, "FLOWBRIDGE_ACCOUNT_DIR": str(folder / "account")}
    cli = [sys.executable, "-m", "flowbridge"]
    started = [
        subprocess.Popen(
            [*cli, "run", f"{__file__}:{name}", "--profile", "shared", "--json"], cwd=folder, env=surroundings, stdout=subprocess.PIPE
        )
        for name in flows
    ]
    told = [json.loads(process.communicate()[0]) for process in started]
    found = []
    for number, run in enumerate(told, start=1):
        shown = subprocess.run(
            [*cli, "show", run["id"], "--profile", "shared", "--json"], cwd=folder, env=surroundings, stdout=subprocess.PIPE, check=True
        )
        for task in json.loads(shown.stdout)["tasks"]:
            if task["status"] != "done":
                raise SystemExit(f"{task['step']} of {run['flow']} ended as {task['status']}")
            if task["step"] in {"greedy", "on_gpu", "on_cpu"}:
                found.append(Spell(f"run {number}, {task['step']}", _seconds(task["started"]), _seconds(task["finished"])))
    first = min(s.began for s in found)
    return sorted(Spell(s.line, s.began - first, s.ended - first) for s in found)


def overlap(spells: Sequence[Spell], one: str, other: str) -> float:
    """Return for how many seconds tasks of two lines ran at the same time."""
    pairs = [(a, b) for a in spells for b in spells if a.line == one and b.line == other]
    return sum(max(0.0, min(a.ended, b.ended) - max(a.began, b.began)) for a, b in pairs)


def draw(spells: Sequence[Spell]) -> list[str]:
    """Return a line of text for each run and step: its tasks by number, dots where none ran."""
    scale = WIDTH / max(s.ended for s in spells)
    lines = {s.line: ["."] * WIDTH for s in spells}
    seen: dict[str, int] = {}
    for spell in sorted(spells, key=lambda s: s.began):
        seen[spell.line] = seen.get(spell.line, 0) + 1
        for place in range(int(spell.began * scale), min(WIDTH, max(int(spell.ended * scale), int(spell.began * scale) + 1))):
            lines[spell.line][place] = str(seen[spell.line])
    width = max(map(len, lines))
    return [f"{name:<{width}}  {''.join(places)}" for name, places in sorted(lines.items())]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def main() -> int:
    """Run both, show the time lines, and say whether they are as promised."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", type=Path, help="a page to write into")
    chosen = options.parse_args()
    told, kept = [], True
    for flows, title in (
        (("memory", "memory"), "Each task wants 70 % of the memory"),
        (("gpu", "cpu"), "One run on the GPU, one beside it"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            spells = together(flows, Path(folder))
        one, other = sorted({s.line for s in spells})
        shared = overlap(spells, one, other)
        kept = kept and (shared == 0 if flows[0] == flows[1] else shared > SECONDS)
        told += [f"{title} (at once for {shared:.2f} s of {max(s.ended for s in spells):.1f} s):", "", "```", *draw(spells), "```", ""]
    print("\n".join(told))
    if chosen.output:
        page.write(chosen.output, "sharing", "\n".join(told))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
