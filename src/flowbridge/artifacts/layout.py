"""Every path in a store is made here, and nowhere else. Paths are relative to the store and use ``/``."""

from __future__ import annotations

from flowbridge.artifacts.digests import name_of

Index = tuple[int, ...]

RUNS = "runs"
BLOBS = "blobs"
CACHE = "cache"
TAGS = "tags"


def blob(digest: str) -> str:
    """Return the path of the bytes that have a digest (``<algorithm>:<hex>``)."""
    name = name_of(digest)
    return f"{BLOBS}/{name[:2]}/{name}"


def bundle(digest: str) -> str:
    """Return the path of a code bundle."""
    return f"bundles/{name_of(digest)}.zip"


def environment(digest: str) -> str:
    """Return the path of an environment lock."""
    return f"environments/{name_of(digest)}.txt"


def cache(key: str) -> str:
    """Return the path of a cache entry."""
    return f"{CACHE}/{key}.json"


def flow_dir(flow: str) -> str:
    """Return the folder of a flow's runs."""
    return f"{RUNS}/{flow}"


def run_dir(flow: str, run: str) -> str:
    """Return the folder of a run."""
    return f"{RUNS}/{flow}/{run}"


def run_file(flow: str, run: str, kind: str) -> str:
    """Return the path of a record of a whole run: ``run``, ``native``, ``end`` or ``summary``."""
    return f"{RUNS}/{flow}/{run}/{kind}.json"


def tags_dir(flow: str, run: str) -> str:
    """Return the folder of what was said of a run's tags since it began: beside the runs, so that one look tells which of many have any."""
    return f"{TAGS}/{flow}/{run}"


def tag_file(flow: str, run: str, digest: str) -> str:
    """Return the path of what was said of one tag; it goes by its digest, as a tag may hold anything."""
    return f"{tags_dir(flow, run)}/{name_of(digest)}.json"


def tasks_dir(flow: str, run: str) -> str:
    """Return the folder of a run's task records."""
    return f"{RUNS}/{flow}/{run}/tasks"


def task_file(flow: str, run: str, step: str, index: Index, attempt: int, kind: str) -> str:
    """Return the path of a record of one attempt: ``start``, ``end``, ..."""
    return f"{RUNS}/{flow}/{run}/tasks/{step}/{format_index(index)}/{attempt}.{kind}.json"


def parse_task_file(path: str) -> tuple[str, Index, int, str]:
    """Return step, index, attempt and kind of the path of a task's record.

    Raises:
        ValueError: It is not such a path.
    """
    parts = path.split("/")
    if len(parts) < 3:  # noqa: PLR2004  (step, index, file)
        raise ValueError(f"{path!r} is not the path of a task's record")
    step, index, name = parts[-3:]
    attempt, kind, _ = name.split(".")
    return step, parse_index(index), int(attempt), kind


def log_dir(flow: str, run: str, step: str, index: Index, attempt: int | None = None) -> str:
    """Return what the paths of a task's log begin with, of one attempt or of all."""
    base = f"{RUNS}/{flow}/{run}/logs/{step}/{format_index(index)}/"
    return base if attempt is None else f"{base}{attempt}."


def log_part(flow: str, run: str, step: str, index: Index, attempt: int, part: int) -> str:
    """Return the path of one part of an attempt's log; parts sort by name."""
    return f"{log_dir(flow, run, step, index, attempt)}{part:06d}.log"


def format_index(index: Index) -> str:
    """Return an index as it stands in paths: ``_`` for none, ``3``, ``3.1``."""
    return ".".join(map(str, index)) or "_"


def parse_index(text: str) -> Index:
    """Return the index that a text in a path stands for.

    Raises:
        ValueError: It is not an index.
    """
    return () if text == "_" else tuple(map(int, text.split(".")))
