"""What may go from a store: pure planning over facts that the caller has read. Nothing is read or removed here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from flowbridge.artifacts.content import CHUNK
from flowbridge.errors import ConfigError, suggest

PINNED = "pinned"
"""The tag of runs that always stay."""
GRACE = 24 * 3600.0
"""Seconds for which a file that nothing refers to is left alone: a run that is being written has not said yet that it needs it."""

Item = TypeVar("Item")
Entry = tuple[str, int, float]
"""Path, bytes, and time of last change in seconds since the epoch."""


@dataclass(frozen=True)
class RunFacts:
    """What retention asks of a run.

    Attributes:
        flow: Name of its flow.
        id: Its id.
        created: Seconds since the epoch.
        status: ``done``, ``failed``, ``cancelled``; ``running`` where no end is written.
        tags: Its tags.
        metrics: Last value of each of its metrics.
    """

    flow: str
    id: str
    created: float
    status: str
    tags: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Retention:
    """Which runs may go: those that match everything that is set. With nothing set, none may.

    Attributes:
        older_than: Seconds since they were created.
        keep: The newest runs of each flow that stay, whatever else holds.
        best: Metrics by which the best done run of each flow stays, whatever else holds: ``auc`` (or ``auc:max``), ``loss:min``.
        flow: Of this flow only.
        status: Ended like this only.
        tag: With this tag only.
    """

    older_than: float | None = None
    keep: int | None = None
    flow: str | None = None
    status: str | None = None
    tag: str | None = None
    best: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether anything is set."""
        return bool(self.best) or any(value is not None for value in (self.older_than, self.keep, self.flow, self.status, self.tag))


def runs_to_remove(runs: Sequence[RunFacts], retention: Retention, now: float) -> list[RunFacts]:
    """Return the runs that may go, oldest first. Runs that have not ended, and pinned ones, never do.

    Args:
        runs: All runs of the store; the newest are counted over all of a flow, also those that may not go.
        retention: Which may go.
        now: Seconds since the epoch.

    Raises:
        ConfigError: No run has a metric by which the best one is to stay.
    """
    if not retention.selects:
        return []
    spared = _spared(runs, retention)
    found = [run for run in runs if (run.flow, run.id) not in spared and _may_go(run, retention, now)]
    return sorted(found, key=lambda run: run.created)


def _spared(runs: Sequence[RunFacts], retention: Retention) -> set[tuple[str, str]]:
    """Return flow and id of the runs that stay because they are among the newest, or the best, of their flow."""
    by_flow: dict[str, list[RunFacts]] = defaultdict(list)
    for run in sorted(runs, key=lambda r: r.created, reverse=True):
        by_flow[run.flow].append(run)
    newest = [run for of in by_flow.values() for run in of[: retention.keep or 0]]
    best = [run for metric in retention.best for run in _best(by_flow, metric)]
    return {(run.flow, run.id) for run in newest + best}


def best_of(items: Iterable[Item], metric: str, mode: str, metrics_of: Callable[[Item], Mapping[str, float]]) -> Item | None:
    """Return the item with the greatest (``max``) or least (``min``) value of a metric, the first of equals; None where no item has it."""
    having = [(value, item) for item in items if not math.isnan(value := metrics_of(item).get(metric, math.nan))]
    return (min if mode == "min" else max)(having, key=lambda pair: pair[0])[1] if having else None


def _best(by_flow: Mapping[str, Sequence[RunFacts]], wanted: str) -> list[RunFacts]:
    """Return the best of each flow's done runs by a metric, the newest of equals; flows that do not have it have none."""
    name, _, mode = wanted.removeprefix("metrics.").partition(":")
    if mode not in {"", "max", "min"}:
        raise ConfigError(f"The best run by {wanted!r}: write the metric, then :max or :min, such as loss:min")
    done = [[run for run in of if run.status == "done"] for of in by_flow.values()]
    found = [best for of in done if (best := best_of(of, name, mode, lambda run: run.metrics)) is not None]
    if not found:  # mistyped, it would spare nothing, and what was to stay would go
        known = sorted({metric for of in done for run in of for metric in run.metrics})
        raise ConfigError(f"No run that is done has a metric {name!r}; they have {', '.join(known) or 'none'}.{suggest(name, known)}")
    return found


def _may_go(run: RunFacts, retention: Retention, now: float) -> bool:
    if run.status == "running" or PINNED in run.tags:
        return False
    return (
        (retention.older_than is None or run.created < now - retention.older_than)
        and retention.flow in {None, run.flow}
        and retention.status in {None, run.status}
        and (retention.tag is None or retention.tag in run.tags)
    )


def cutoff(runs: Iterable[RunFacts], now: float, grace: float = GRACE) -> float:
    """Return the time before which a file must have been written for it to go.

    What was written since the oldest run that has not ended began may be needed by it, however long ago that is.
    """
    return min([now - grace, *(run.created for run in runs if run.status == "running")])


def unreferenced(entries: Iterable[Entry], live: Collection[str], before: float, *, busy: bool = False) -> list[Entry]:
    """Return the entries that nothing refers to and that were written before a time.

    Args:
        entries: Files of the store.
        live: Paths that are needed.
        before: Seconds since the epoch, from :func:`cutoff`.
        busy: Some run has not ended. Large blobs then stay: a writer that finds the one it has leaves it as it is, with its old time.
    """
    return [entry for entry in entries if entry[0] not in live and entry[2] < before and not (busy and entry[1] >= CHUNK)]


def shares(by_flow: dict[str, dict[str, int]]) -> tuple[dict[str, int], int]:
    """Return the bytes that each flow alone refers to, and those that several do.

    Args:
        by_flow: Of each flow, paths and their bytes.
    """
    users: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = {}
    for paths in by_flow.values():
        sizes.update(paths)
        for path in paths:
            users[path] += 1
    own = {flow: sum(size for path, size in paths.items() if users[path] == 1) for flow, paths in by_flow.items()}
    return own, sum(size for path, size in sizes.items() if users[path] > 1)
