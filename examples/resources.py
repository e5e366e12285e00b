"""Declare what a step may use: it waits until the machine has it, and one that takes more memory than it said ends alone.

flowbridge run examples/resources.py
flowbridge run examples/resources.py --megabytes 600
"""

from __future__ import annotations

from flowbridge import each, flow, step


@step(cpu=1, memory="512Mi")
def hungry(megabytes: int) -> int:
    """Take some memory and touch every page of it."""
    taken = bytearray(megabytes * 2**20)
    for i in range(0, len(taken), 4096):
        taken[i] = 1
    return len(taken) // 2**20


@step(cpu=1, memory="128Mi")
def modest(n: int) -> int:
    """Run beside it, and finish whatever happens there."""
    return n * n


@step
def total(squares: list[int]) -> int:
    """Add them up."""
    return sum(squares)


@flow
def resources(megabytes: int = 100) -> int:
    """A hungry step beside modest ones."""
    hungry(megabytes)
    return total(modest.map(each([1, 2, 3])))
