"""Metaflow's own resume: it clones the tasks that it keeps and runs the others again, under a new run id; flowbridge keeps a run of that too.

Metaflow does not say which tasks it cloned. But whatever a task needs has ended before it starts; so what has no record in the new run by then
was cloned, and its record is brought over from the run before.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from flowbridge.errors import RunNotFoundError
from flowbridge.ir.graph import ancestors
from flowbridge.records.files import RunFiles
from flowbridge.records.models import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from flowbridge.artifacts.store import Store
    from flowbridge.worker.session import RunSession

_KEPT = ("done", "cached", "skipped")


def make_run(store: Store, flow: str, origins: Sequence[str], new: str) -> None:
    """Make the record of the new run, unless another task of it has.

    Raises:
        RunNotFoundError: None of the runs that may be the one before is in the store.
    """
    for origin in origins:
        try:
            before = RunFiles(store.content, flow, origin).run()
        except RunNotFoundError:
            if origin == origins[-1]:
                raise
            continue
        record = before.model_copy(update={"id": new, "origin": origin, "created": time.time(), "backend": "metaflow"})
        with suppress(FileExistsError):
            RunFiles.create(store.content, record)
        return


def bring_what(run: RunSession, node: str) -> None:
    """Bring over the records of everything that a step or map needs, as far as it was not run again; of all steps for an empty id."""
    origin = run.record.origin
    if origin is None:
        return
    wanted: Collection[str] | None = ancestors(run.graph, node) if node else None
    here = {(r.step, r.index) for r in run.files.read_tasks() if isinstance(r, TaskRecord)}
    for record in RunFiles(run.store.content, run.files.flow, origin).tasks():
        if not isinstance(record, TaskRecord) or (record.step, record.index) in here or (wanted is not None and record.step not in wanted):
            continue
        if (record.final and record.state in _KEPT) or (record.final and record.allowed):
            run.files.end(record.model_copy(update={"why": f"kept from run {origin}, which Metaflow resumed"}))
