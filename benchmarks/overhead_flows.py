"""Flows whose steps do nothing, so that all the time they take is overhead. A module of its own, as users' flows are."""

from __future__ import annotations

from typing import Any

import numpy  # noqa: F401, ICN001  (flows import such things, and a process that has is dearer to fork)

from flowbridge import Flow, each, flow, step


@step
def count_on(x: int) -> int:
    return x + 1


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def total(xs: list[int]) -> int:
    return sum(xs)


def chain(length: int) -> Flow[Any, int]:
    """Return a flow of so many steps, one after the other."""

    def body(x: int) -> int:
        for _ in range(length):
            x = count_on(x)
        return x

    return flow(name=f"chain_{length}")(body)


@flow
def mapped(n: int) -> int:
    """One task per item."""
    return total(count_on.map(each(numbers(n))))


@flow
def batched(n: int) -> int:
    """A hundred items per task."""
    return total(count_on.map(each(numbers(n)), batch=100))
