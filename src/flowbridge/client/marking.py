"""What the runs of a store refer to, read from their records: values with all they consist of, bundles, environments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts import layout
from flowbridge.artifacts.collect import RunFacts
from flowbridge.artifacts.reference import Reference
from flowbridge.client.lost import state_of
from flowbridge.errors import ArtifactDamagedError, ArtifactNotFoundError, RunNotFoundError
from flowbridge.records.files import Runs, read_many
from flowbridge.records.models import TaskRecord

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.records.files import RunFiles

_GATHERED = "gathered-"


def runs_of(store: Store) -> list[tuple[RunFacts, RunFiles]]:
    """Return every run of a store with what retention asks of it."""
    known = Runs(store.content)
    found = known.read(known.list())
    return list(zip(read_many(store.content, lambda files: facts_of(store, files), found), found, strict=True))


def facts_of(store: Store, files: RunFiles) -> RunFacts:
    """Return what retention asks of a run."""
    state, metrics = state_of(store, files)
    return RunFacts(files.flow, files.run_id, files.run().created, "running" if state == "pending" else state, files.tags(), metrics)


def references(files: RunFiles) -> Iterator[Reference]:
    """Yield every reference in the records of a run: of its flow, parameters, outputs, extras, gathered lists and checkpoints."""
    record = files.run()
    yield record.graph
    yield from (reference for _, reference in record.param_refs)
    listed = list(files.task_files())
    for task in files.read_tasks(listed):
        if isinstance(task, TaskRecord):
            yield from (reference for _, reference in (*task.outputs, *task.extras))
    for file in listed:
        if file.kind == "checkpoint":
            saved = files.checkpoint(file.step, file.index, file.attempt)
            yield from [saved.reference] if saved is not None else []
        elif file.kind.startswith(_GATHERED):
            gathered = files.gathered(file.step, file.index, file.kind[len(_GATHERED) :])
            yield from [gathered.reference] if gathered is not None else []


def paths_of(store: Store, files: RunFiles) -> dict[str, int]:
    """Return the path and bytes of all that a run refers to. The bytes of bundles, environments and tags are not known here: 0.

    Raises:
        ArtifactDamagedError: A record, or a list that tells what a value consists of, is damaged.
        RunNotFoundError: The run was removed meanwhile.
    """
    record = files.run()
    found = dict.fromkeys((*files.tag_files(), *(layout.environment(digest) for _, digest in record.locks)), 0)
    if record.bundle is not None:
        found[layout.bundle(record.bundle)] = 0
    found.update(_blobs(store, references(files)))
    return found


def cached_paths(store: Store, path: str) -> dict[str, int]:
    """Return the path and bytes of all that an entry of the cache of results refers to.

    Raises:
        ArtifactDamagedError: What it needs is not known.
    """
    try:
        found = list(_inside(json.loads(store.content.get(path))))
    except (ArtifactNotFoundError, ValueError, RecursionError):  # gone meanwhile, or no entry that anybody could use
        return {}
    try:
        return _blobs(store, iter(found))
    except ArtifactDamagedError as error:
        raise ArtifactDamagedError(f"What {path} needs is not known; remove that file, and the step is run again. {error}") from error


def _inside(value: Any) -> Iterator[Reference]:
    """Yield the references in JSON of any shape."""
    if isinstance(value, dict) and {"digest", "size", "serializer"} <= value.keys():
        yield Reference.model_validate(value)
        return
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _inside(inner)


def _blobs(store: Store, found: Iterator[Reference]) -> dict[str, int]:
    seen: set[str] = set()
    sizes: dict[str, int] = {}
    for reference in found:
        blobs = store.blobs_of(reference, seen, lenient=True)  # what a page that is gone named cannot be reached by anybody; the rest can
        sizes.update((layout.blob(digest), size) for digest, size in blobs)
    return sizes


def paths_of_all(store: Store, runs: Sequence[RunFiles]) -> list[dict[str, int]]:
    """Return what each of some runs refers to, nothing of one that was removed meanwhile; many are read at once where that helps."""

    def read(files: RunFiles) -> dict[str, int]:
        try:
            return paths_of(store, files)
        except RunNotFoundError:
            return {}

    return read_many(store.content, read, runs)


def live_paths(store: Store, runs: Sequence[RunFiles]) -> dict[str, int]:
    """Return the path and bytes of all that some runs and the cache of results refer to."""
    of_runs = paths_of_all(store, runs)
    entries = store.content.paths(f"{layout.CACHE}/")  # after the runs: a task that ends meanwhile may be told of by its entry only
    live: dict[str, int] = {}
    for found in (*of_runs, *read_many(store.content, lambda path: cached_paths(store, path), entries)):
        live.update(found)
    return live
