"""Values larger than memory, and of a class of one's own: made one after the other, mapped one by one, and kept in a format that outlives the class.

flowbridge run examples/values.py --days 40
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np

from flowbridge import each, flow, register_serializer, step


class Histogram:
    """Counts of values between edges."""

    def __init__(self, counts: np.ndarray, edges: np.ndarray) -> None:
        """Keep them."""
        self.counts = counts
        self.edges = edges

    def write(self, file: IO[bytes]) -> None:
        """Write both, in numpy's own format."""
        np.save(file, self.counts)
        np.save(file, self.edges)

    @classmethod
    def read(cls, file: IO[bytes]) -> Histogram:
        """Read what `write` wrote."""
        return cls(np.load(file), np.load(file))


# Without this line it would be pickled. The name stands in every store, so it stays when the class is moved or renamed.
register_serializer(Histogram, save=Histogram.write, load=Histogram.read, name="histogram")


@step
def measure(days: int) -> Iterator[np.ndarray]:
    """Make the values of one day after the other: they go into the store as they are made, and few are in memory at a time."""
    for day in range(days):
        yield 15 + 10 * np.sin(np.arange(day, day + 10_000))


@step
def count(values: np.ndarray) -> Histogram:
    """Count the values of one day; nothing else of the list is read."""
    return Histogram(*np.histogram(values, bins=8, range=(0, 30)))


@step
def add_up(days: list[Histogram]) -> int:
    """Add the counts of all days; of a long list, each item is read when its turn comes, and `days[-7:]` would read seven."""
    total = sum(day.counts for day in days)
    print(total)
    return int(total.sum())


@flow
def values(days: int = 7) -> int:
    """From many arrays to one number."""
    return add_up(count.map(each(measure(days)), batch=10))
