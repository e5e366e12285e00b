"""Functions of the steps in flows that really run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def load(path: str) -> tuple[int, int]:
    return len(path), 2


def train(data: int, x: float) -> float:
    return data * x


def select(train: list[float]) -> float:
    return max(train)


def publish(select: float) -> None:
    print("published", select)


def plan() -> list[int]:
    return [1, 2, 0]


def count_up(x: int) -> list[int]:
    return list(range(x))


def one_more(x: int) -> int:
    return x + 1


def total(leaf: list[int] | None = None, row: list[int] | None = None) -> int:
    return sum(leaf if leaf is not None else row or [])


def same(x: Any) -> Any:
    return x


def not_two(x: int) -> int:
    if x == 2:
        raise ValueError("two is not allowed")
    return x


def same_unused(unused: int) -> int:
    return unused


def same_used(used: list[int]) -> list[int]:
    return used


def no() -> bool:
    return False


def left() -> str:
    return "left"


def right(ask: bool) -> str:
    return f"right {ask}"


def fail() -> int:
    raise RuntimeError("this step always fails")


def third_time(marks: str) -> int:
    """Fail twice; each try leaves a mark in a folder."""
    tries = len(list(Path(marks).iterdir()))
    (Path(marks) / str(tries)).touch()
    if tries < 2:
        raise RuntimeError(f"try {tries}")
    return tries


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def vanish() -> int:
    os._exit(7)


def wait_for(**needs: Any) -> list[str]:
    return sorted(needs)


def nothing() -> int:
    return 1


def tell() -> dict[str, float]:
    from flowbridge.worker.context import log_metric, log_table

    log_metric("accuracy", 0.93)
    log_table("scores", [{"name": "a", "score": 1}])
    return {"a": 1.0}


def total_of(a: list[int]) -> int:
    return sum(a)


def same_a(a: Any) -> Any:
    return a


def eat(size: int) -> int:
    held = bytearray(size)
    for start in range(0, size, 4096):
        held[start] = 1
    time.sleep(0.5)
    return len(held)
