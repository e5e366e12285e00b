"""Flows that the tests of the client run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flowbridge import each, first, flow, log_metric, log_table, otherwise, step, when


class Pair(NamedTuple):
    value: int
    twice: int


@dataclass
class Summary:
    total: int
    largest: int


@step
def numbers(n: int) -> list[int]:
    print("making", n)
    return list(range(n))


@step(retries=1)
def double(x: int, limit: int) -> Pair:
    print("doubling", x)
    log_metric("value", x)
    if x >= limit:
        raise ValueError(f"{x} is too large")
    return Pair(x, 2 * x)


@step
def summarise(pairs: list[Pair]) -> Summary:
    log_metric("total", sum(p.twice for p in pairs))
    log_table("pairs", [{"value": p.value} for p in pairs])
    return Summary(sum(p.twice for p in pairs), max(p.value for p in pairs))


@step
def both(n: int) -> tuple[int, str]:
    return n, str(n)


@step
def nothing(n: int) -> None:
    print("nothing", n)


@flow(tags=["nightly"])
def doubling(n: int = 3, limit: int = 100) -> Summary:
    """Double some numbers."""
    return summarise(double.map(each(numbers(n)), limit=limit))


@flow
def parts(n: int) -> tuple[int, str]:
    a, b = both(n)
    nothing(a)
    return a, b


@flow
def choosing(n: int) -> list[int]:
    with when(n > 2):
        large = numbers(n)
    with otherwise():
        small = numbers(1)
    return first(large, small)
