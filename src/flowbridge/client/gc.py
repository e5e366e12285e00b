"""Clean a store: runs that retention lets go, and what no run refers to any more. Looked at first, removed only when asked."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts import layout
from flowbridge.artifacts.collect import GRACE, PINNED, Entry, Retention, RunFacts, cutoff, runs_to_remove, shares, unreferenced
from flowbridge.client.marking import live_paths, paths_of, paths_of_all, runs_of
from flowbridge.client.options import open_store, profile_of
from flowbridge.errors import ConfigError, RunNotFoundError, StoreError, suggest
from flowbridge.records.files import RunFiles, Runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowbridge.artifacts.store import Store

_SWEPT = ("blobs", "bundles", "environments", layout.TAGS)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_STATES = ("done", "failed", "cancelled")
UNREFERENCED = "(unreferenced)"


@dataclass(frozen=True)
class Plan:
    """What would go from a store.

    Attributes:
        runs: Runs whose records go.
        files: Files that no run that stays refers to.
        by_flow: Bytes of those files by the flow that referred to them.
    """

    runs: tuple[RunFacts, ...] = ()
    files: tuple[Entry, ...] = ()
    by_flow: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files that go."""
        return sum(size for _, size, _ in self.files)

    def row(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""
        return {
            "runs": [{"id": r.id, "flow": r.flow, "status": r.status, "created": r.created} for r in self.runs],
            "files": len(self.files),
            "bytes": self.size,
            "by_flow": self.by_flow,
        }


def gc(
    retention: Retention | None = None,
    *,
    remove: bool = False,
    grace: float = GRACE,
    store: str | None = None,
    profile: str | None = None,
) -> Plan:
    """Plan what can go from a store, and remove it where asked.

    Runs that have not ended, and runs tagged ``pinned``, always stay. A run whose driver died counts as ended; so does one of which nothing
    was heard for `GIVEN_UP` (30 days) and whose driver cannot be seen from here.

    Args:
        retention: Which runs may go; None: no run, only what none refers to.
        remove: Remove it; otherwise nothing is changed.
        grace: Seconds for which files that nothing refers to yet are left alone.
        store: URL of the store; None: the configured one.
        profile: Name of a profile.

    Raises:
        ConfigError: A condition is malformed, or names a flow or a metric that no run has.
        ArtifactDamagedError: A record of a run that stays is damaged: what it needs is not known, so nothing is removed.
    """
    opened = open_store(profile_of(profile, store=store))
    plan = make_plan(opened, retention or Retention(), grace=grace)
    return carry_out(opened, plan, grace=grace) if remove else plan


def retention_of(
    older_than: str | None,
    keep: int | None,
    *,
    flow: str | None = None,
    status: str | None = None,
    tag: str | None = None,
    best: Sequence[str] = (),
) -> Retention:
    """Return which runs may go, from what a user wrote.

    Raises:
        ConfigError: The age or the status is none.
    """
    if status is not None and status not in _STATES:
        raise ConfigError(f"Unknown status {status!r}; runs that can go are {', '.join(_STATES)}.{suggest(status, _STATES)}")
    return Retention(parse_age(older_than) if older_than is not None else None, keep, flow, status, tag, tuple(best))


def parse_age(text: str) -> float:
    """Return the seconds of an age such as ``12h``, ``30d`` or ``2w``.

    Raises:
        ConfigError: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is not an age; write a number and a unit, such as 12h, 30d or 2w")
    return float(found[1]) * _UNITS[found[2]]


def make_plan(store: Store, retention: Retention, *, grace: float = GRACE, now: float | None = None) -> Plan:
    """Plan what can go from a store; nothing is changed.

    Raises:
        ConfigError: A condition is malformed, or names a flow or a metric that no run has.
        ArtifactDamagedError: A record of a run that stays is damaged: what it needs is not known.
    """
    now = time.time() if now is None else now
    known = runs_of(store)
    flows = sorted({facts.flow for facts, _ in known})
    if retention.flow is not None and retention.flow not in flows:
        raise ConfigError(f"The store {store.url} has no run of a flow {retention.flow!r}.{suggest(retention.flow, flows)}")
    going = runs_to_remove([facts for facts, _ in known], retention, now)
    ids = {(run.flow, run.id) for run in going}
    stay = [(facts, files) for facts, files in known if (facts.flow, facts.id) not in ids]
    files = _sweep(store, stay, now, grace)
    return Plan(tuple(going), tuple(files), _attribute(store, [f for r, f in known if (r.flow, r.id) in ids], files))


def _sweep(store: Store, stay: list[tuple[RunFacts, RunFiles]], now: float, grace: float) -> list[Entry]:
    live = live_paths(store, [files for _, files in stay])
    before = cutoff((facts for facts, _ in stay), now, grace)
    entries = chain.from_iterable(store.content.entries(f"{folder}/") for folder in _SWEPT)
    leftovers = unreferenced(store.content.entries("", temporary=True), (), before)
    busy = any(facts.status == "running" for facts, _ in stay)
    return unreferenced(entries, live, before, busy=busy) + leftovers


def _attribute(store: Store, going: Iterable[RunFiles], files: Iterable[Entry]) -> dict[str, int]:
    sizes = {path: size for path, size, _ in files}
    by_flow: Counter[str] = Counter()
    for run in going:
        try:
            used = paths_of(store, run)
        except StoreError:  # it is damaged, which is no reason to keep it; what it referred to counts as unreferenced
            continue
        by_flow[run.flow] += sum(sizes.pop(path, 0) for path in used)
    rest = sum(sizes.values())
    return {**dict(sorted(by_flow.items())), **({UNREFERENCED: rest} if rest else {})}


def carry_out(store: Store, plan: Plan, *, grace: float = GRACE) -> Plan:
    """Remove what a plan names, and return what was removed.

    Records go first, so that nobody resumes a run whose values are going. Then what the runs need is read anew: a run that began since
    the plan was made keeps what it refers to, and one that was pinned since then stays.
    """
    runs = tuple(run for run in plan.runs if _remove_run(store, run))
    planned = {path for path, _, _ in plan.files}
    now = time.time()
    files = sorted(entry for entry in _sweep(store, runs_of(store), now, grace) if entry[0] in planned)
    gone = [entry for folder, of in groupby(files, _folder) for entry in _remove(store, folder, list(of))]
    return Plan(runs, tuple(gone), plan.by_flow)


def _remove_run(store: Store, run: RunFacts) -> bool:
    """Remove the records of a run, unless it was pinned, or removed, since it was looked at; return whether it was."""
    try:
        if PINNED in RunFiles(store.content, run.flow, run.id).tags():
            return False
    except RunNotFoundError:
        return False
    store.content.delete([layout.run_file(run.flow, run.id, "run")])
    for folder in (layout.run_dir(run.flow, run.id), layout.tags_dir(run.flow, run.id)):
        store.content.delete(store.content.paths(f"{folder}/"))
    return True


def _folder(entry: Entry) -> str:
    return entry[0].rpartition("/")[0]


def _remove(store: Store, folder: str, files: list[Entry]) -> list[Entry]:
    """Remove files of a folder, but for those that were written again since they were looked at; return those removed.

    Looking at all of a large store, and removing much of it, takes minutes; one folder takes a moment.
    """
    prefix = f"{folder}/" if folder else ""
    now = {path: changed for path, _, changed in store.content.entries(prefix, temporary=None)}
    old = [entry for entry in files if now.get(entry[0]) == entry[2]]
    store.content.delete([path for path, _, _ in old])
    return old


@dataclass(frozen=True)
class Usage:
    """What takes room in a store.

    Attributes:
        flows: Bytes that each flow alone refers to, its records included.
        runs: Number of runs of each flow.
        shared: Bytes that several flows refer to.
        unreferenced: Bytes that no run refers to.
        total: Bytes of everything.
    """

    flows: dict[str, int]
    runs: dict[str, int]
    shared: int
    unreferenced: int
    total: int


def du(*, store: str | None = None, profile: str | None = None) -> Usage:
    """Return what takes room in a store.

    Args:
        store: URL of the store; None: the configured one.
        profile: Name of a profile.

    Raises:
        ArtifactDamagedError: A record is damaged.
    """
    return usage_of(open_store(profile_of(profile, store=store)))


def usage_of(store: Store) -> Usage:
    """Return what takes room in a store."""
    sizes = {path: size for path, size, _ in store.content.entries("", temporary=None)}
    by_flow: dict[str, dict[str, int]] = defaultdict(dict)
    known = Runs(store.content)
    counts: Counter[str] = Counter()
    found = known.read(known.list())
    for files, used in zip(found, paths_of_all(store, found), strict=True):
        counts[files.flow] += 1
        by_flow[files.flow].update((path, sizes[path]) for path in used if path in sizes)
    for path, size in sizes.items():
        folder, _, rest = path.partition("/")
        if folder == layout.RUNS:
            by_flow[rest.partition("/")[0]][path] = size
    own, shared = shares(by_flow)
    total = sum(sizes.values())
    return Usage(dict(sorted(own.items())), dict(counts), shared, total - sum(own.values()) - shared, total)
