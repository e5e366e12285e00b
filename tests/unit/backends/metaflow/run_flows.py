"""Flows that the tests of real runs run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from flowbridge import context, each, first, flow, log_metric, log_param, otherwise, step, when


class Halves(NamedTuple):
    """Two lists."""

    left: list[int]
    right: list[int]


@step(tags=["data"])
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def halve(xs: list[int]) -> Halves:
    log_param("middle", len(xs) // 2)
    log_metric("length", len(xs))
    print("halving", xs)
    return Halves(xs[: len(xs) // 2], xs[len(xs) // 2 :])


@step(retries=5)
def stubborn(x: int) -> int:
    if context().attempt < 5:
        raise RuntimeError(f"attempt {context().attempt}")
    return x


@step
def double(x: int) -> int:
    return 2 * x


@step
def plus(x: int, y: int) -> int:
    return x + y


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@flow
def row(x: int, width: int) -> int:
    return total(plus.map(each(numbers(width)), y=x))


@step
def spans(x: int) -> list[float]:
    began = time.time()
    time.sleep(0.2)
    return [began, time.time()]


@step
def busiest(found: list[list[float]]) -> int:
    return max(sum(1 for a, b in found if a <= began < b) for began, _ in found)


@flow(tags=["everything"])
def everything(n: int, names: dict[str, list[int]], run: float = 0.5) -> dict[str, Any]:
    """Shapes of every kind in one flow."""
    xs = numbers(n)
    halves = halve(xs)
    with when(run > 0.4):
        taken = double(stubborn(n))
    with otherwise():
        left = double(1)
    rows = row.options(parallel=2).map(each(halves.right), width=2)
    return {  # type: ignore[return-value]
        "left": total(halves.left),
        "taken": first(taken, left),
        "rows": rows,
        "nothing": double.map(each(names["none"])),
        "busiest": busiest(spans.options(parallel=2).map(each(xs))),
    }


@step
def up_to(x: int) -> list[int]:
    return list(range(x))


@step(retries=1)
def twice(x: int) -> int:
    if not context().attempt:
        raise RuntimeError("the first attempt")
    return 2 * x


@flow
def triangle(x: int) -> int:
    return plus(total(twice.map(each(up_to(x)))), y=x)


@flow
def triangles(n: int = 3) -> dict[str, Any]:
    """Maps in maps, several steps inside of each."""
    xs = numbers(n)
    return {"rows": triangle.map(each(xs)), "lanes": triangle.options(parallel=2).map(each(xs))}  # type: ignore[return-value]


@step(nodes=2, cpu=0.5)
def gang(x: int) -> list[str]:
    print("member", os.environ["RANK"])
    return [os.environ["RANK"], os.environ["WORLD_SIZE"]]


@step(memory="150Mi", memory_max="600Mi")
def hungry(size: int) -> int:
    kept = bytearray(size * 2**20)
    kept[::4096] = b"x" * len(kept[::4096])
    return context().attempt


@step(memory="150Mi", allow_failure=True)
def greedy(size: int) -> int:
    kept = bytearray(size * 2**20)
    kept[::4096] = b"x" * len(kept[::4096])
    return len(kept)


@flow
def limits(size: int) -> list[Any]:
    return [gang(size), hungry(size), first(greedy(size), double(-1))]  # type: ignore[return-value]


@step
def shaky(x: int, flag: str) -> int:
    if x == 1 and not Path(flag).exists():
        raise ValueError("the flag is missing")
    return x


@flow
def failing(n: int, flag: str) -> int:
    return plus(total(shaky.map(each(numbers(n)), flag)), double(n))


@step
def fail(x: int) -> int:
    raise ValueError("no good")


@step
def slow(x: int) -> int:
    time.sleep(1)
    return x


@flow
def stopping(n: int) -> int:
    return plus(fail(n), double(double(slow(n))))


@step
def sleeps(marker: str) -> None:
    Path(marker).write_text(str(os.getpid()))
    time.sleep(600)


@flow
def endless(marker: str) -> None:
    sleeps(marker)


@step(cpu=2, memory="2Gi", retries=2, timeout="1h", image="python:3.11", env={"A": "{{secret}}"})
def square(x: int) -> int:
    return x * x


@flow(schedule="0 6 * * 1")
def deployed(n: int = 3) -> int:
    return total(square.map(each(numbers(n))))


@step(secrets={"HUB_TOKEN": "hub/token"})
def look() -> list[str]:
    return [os.environ["HUB_TOKEN"], os.environ.get("CUDA_VISIBLE_DEVICES", "")]


@flow
def in_container() -> list[str]:
    return look()
