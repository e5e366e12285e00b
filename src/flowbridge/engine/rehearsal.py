"""A task that does nothing, run by a freshly forked process while it waits for its order.

A fork shares the memory of its template until it touches it, page by page, and the first touch of a page costs a copy. A rehearsal
touches what every task touches, so that this is done before there is somebody who waits for the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flowbridge.ir.bindings import Constant, FromStep
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.ports import Port
from flowbridge.records.models import TaskRecord, TaskStarted
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.run import run_task
from flowbridge.worker.session import RunSession, Session

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Index, RunRecord

_GRAPH = FlowGraph(
    name="rehearsal",
    steps=(
        StepNode(
            id="say",
            name="say",
            code=CodeRef(module="flowbridge.engine.rehearsal", qualname="_say"),
            inputs=(("word", FromStep(step="before", output="result")), ("times", Constant(value=1))),
            outputs=(Port(name="result"),),
        ),
        StepNode(
            id="before", name="before", code=CodeRef(module="flowbridge.engine.rehearsal", qualname="_say"), outputs=(Port(name="result"),)
        ),
    ),
)


class Rehearsal:
    """What is needed for it; made in the template, so that a child only has to run it.

    Args:
        session: Of the real tasks.
        first: An order of the real run.
    """

    def __init__(self, session: Session, first: WorkOrder) -> None:
        real = session.run(first)
        files = _Nowhere(real.record, real.store)
        run = RunSession(real.store, cast("RunFiles", files), {"say": _say, "before": _say}, _GRAPH)
        self._session = _OneRun(run)
        self._order = first.model_copy(update={"step": "say", "index": ()}).model_dump_json()
        _ = run.locator, run.graph.steps_by_id, run.graph.maps_by_id

    def run(self) -> bytes:
        """Run it, and return its record as JSON. Nothing is written anywhere."""
        record = run_task(WorkOrder.model_validate_json(self._order), session=self._session)
        return record.model_dump_json().encode()


class _OneRun(Session):
    def __init__(self, run: RunSession) -> None:
        super().__init__(capture="none")
        self._one = run

    def run(self, order: WorkOrder) -> RunSession:  # noqa: ARG002  (there is only this one)
        return self._one


class _Nowhere:
    """Files of a run that are not there."""

    def __init__(self, record: RunRecord, store: Store) -> None:
        self._record = record.model_copy(update={"param_refs": ()})
        self._before = TaskRecord(step="before", state="done", finished=0.0, outputs=(("result", store.save("word")),))
        self.flow, self.run_id = record.flow, record.id

    def run(self) -> RunRecord:
        return self._record

    def start(self, started: TaskStarted) -> None:
        started.model_dump_json()

    def end(self, record: TaskRecord) -> TaskRecord:
        return TaskRecord.model_validate_json(record.model_dump_json())

    def result(self, step: str, index: Index, *, retries: int) -> TaskRecord | None:  # noqa: ARG002  (as the real one)
        return self._before


def _say(word: str = "", times: int = 1) -> str:
    return word * times
