"""What may go from a store: pure planning over facts that the caller has read. Nothing is read or removed here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from flowbridge.artifacts.content import CHUNK

PINNED = "pinned"
"""The tag of runs that always stay."""
GRACE = 24 * 3600.0
"""Seconds for which a file that nothing refers to is left alone: a run that is being written has not said yet that it needs it."""

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
    """

    flow: str
    id: str
    created: float
    status: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retention:
    """Which runs may go: those that match everything that is set. With nothing set, none may.

    Attributes:
        older_than: Seconds since they were created.
        keep: The newest runs of each flow that stay, whatever else holds.
        flow: Of this flow only.
        status: Ended like this only.
        tag: With this tag only.
    """

    older_than: float | None = None
    keep: int | None = None
    flow: str | None = None
    status: str | None = None
    tag: str | None = None

    @property
    def selects(self) -> bool:
        """Whether anything is set."""
        return any(value is not None for value in (self.older_than, self.keep, self.flow, self.status, self.tag))


def runs_to_remove(runs: Sequence[RunFacts], retention: Retention, now: float) -> list[RunFacts]:
    """Return the runs that may go, oldest first. Runs that have not ended, and pinned ones, never do.

    Args:
        runs: All runs of the store; the newest are counted over all of a flow, also those that may not go.
        retention: Which may go.
        now: Seconds since the epoch.
    """
    if not retention.selects:
        return []
    newest = _newest(runs, retention.keep or 0)
    found = [run for run in runs if run.id not in newest[run.flow] and _may_go(run, retention, now)]
    return sorted(found, key=lambda run: run.created)


def _newest(runs: Sequence[RunFacts], count: int) -> dict[str, set[str]]:
    by_flow: dict[str, list[RunFacts]] = defaultdict(list)
    for run in runs:
        by_flow[run.flow].append(run)
    return {flow: {run.id for run in sorted(of, key=lambda r: r.created, reverse=True)[:count]} for flow, of in by_flow.items()}


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
