"""What one step of the generated FlowSpec does, but for Metaflow itself: the tasks of its index, and the lists of the maps after it.

A request and its answer are JSON, so that they pass to the warm helper (`warm`) and back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow import resumed
from flowbridge.backends.metaflow.attempt import Gang, Surroundings, attempt, delay_left
from flowbridge.backends.metaflow.index import EMPTY, is_empty, is_lane, lane_of, lanes
from flowbridge.backends.metaflow.inputs import inputs_of
from flowbridge.backends.metaflow.lower import lower
from flowbridge.backends.metaflow.resources import metaflow_retries
from flowbridge.ir.attempts import OUT_OF_MEMORY, growths_of, last_attempt
from flowbridge.ir.control import MapNode
from flowbridge.records.expected import indices, units_of
from flowbridge.records.finish import finalise
from flowbridge.worker.expand import expand_cheaply
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.session import RunSession

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import Index, TaskRecord
    from flowbridge.settings import Profile
    from flowbridge.worker.session import Session

Place = tuple["int | str", ...]


@dataclass(frozen=True)
class Request:
    """What a step asks for.

    Attributes:
        verb: ``task``, ``items`` or ``finish``.
        store: URL of the store.
        flow: Name of the flow.
        run: Id of the run.
        node: Id of the step or map.
        place: The map index as it passes through Metaflow: a number per map, or ``"2/8"``, the third of eight lanes.
        attempt: Metaflow's count of this task's attempts, from 0.
        origins: The run that Metaflow resumed, by the ids that it may have; empty where it is no resumed run.
        lanes: Of a list: at most so many lanes, or ``"each"``: one for each item.
        native: The task's pathspec in Metaflow.
        here: The task runs on this machine, so it takes its share of the machine's account.
        gang: Of a gang of containers: rank, size and the address of the first.
    """

    verb: str
    store: str
    flow: str
    run: str
    node: str = ""
    place: Place = ()
    attempt: int = 0
    origins: tuple[str, ...] = ()
    lanes: int | str | None = None
    native: str | None = None
    here: bool = True
    gang: tuple[int, int, str] | None = None

    @classmethod
    def of(cls, data: dict[str, Any]) -> Request:
        """Make a request of JSON's data."""
        gang = data.get("gang")
        return cls(**{**data, "place": tuple(data["place"]), "origins": tuple(data["origins"]), "gang": tuple(gang) if gang else None})

    def around(self, session: Session, profile: Profile, folder: Path | None = None) -> Surroundings:
        """Return what the task shares with others of its process, its files in `folder`."""
        return Surroundings(session, profile, here=self.here, gang=Gang(*self.gang) if self.gang else None, folder=folder)

    def data(self) -> dict[str, Any]:
        """Return the request as JSON's data."""
        return asdict(self)


@dataclass
class Answer:
    """What became of it.

    Attributes:
        state: Of the task; of several in a lane, the worst; ``""`` where there was none.
        reason: Why it did not end done, as a sentence.
        again: An error for Metaflow to retry on.
        stop: An error that ends the Metaflow run at once.
        outputs: References by name, of a single task.
        metrics: Last value of each metric.
        items: The places that a foreach goes over.
        about: What the card shows.
    """

    state: str = ""
    reason: str | None = None
    again: str | None = None
    stop: str | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    items: list[list[int | str]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return the answer as JSON's data."""
        return asdict(self)


def perform(request: Request, around: Surroundings) -> Answer:
    """Do what a step asks for."""
    order = WorkOrder(
        store=request.store,
        flow=request.flow,
        run=request.run,
        step=request.node,
        attempt=request.attempt,
        backend="metaflow",
        native=request.native,
    )
    run = around.session.run(order)
    if request.origins:
        resumed.make_run(run.store, request.flow, request.origins, request.run)
        resumed.bring_what(run, request.node)
    if request.verb == "finish":
        return _finish(run)
    node = run.graph.node(request.node)
    if isinstance(node, MapNode):
        return _items(run, node, request, order, around)
    return _tasks(run, node, request, order, around)


# --- tasks -------------------------------------------------------------------------------------------------------------------


def _tasks(run: RunSession, node: StepNode, request: Request, order: WorkOrder, around: Surroundings) -> Answer:
    answer = Answer()
    in_lane = any(is_lane(part) for part in request.place)
    for index in places(run, node, request.place):
        record = _task(run, node, request, order.model_copy(update={"index": index}), around, alone=in_lane)
        if record.state == "failed" and not record.final:
            return Answer("failed", _words(record), again=_words(record))
        _add(answer, record, single=not in_lane)
        answer.about["inputs"] = inputs_of(node, run.record)
        if record.state == "failed" and not record.allowed and run.record.on_failure == "stop":
            answer.stop = _words(record)
            return answer
    return answer


def _task(run: RunSession, node: StepNode, request: Request, order: WorkOrder, around: Surroundings, *, alone: bool) -> TaskRecord:
    """Run the attempts of one task that this attempt of Metaflow's stands for, and return the record of the last."""
    known = run.files.result(node.id, order.index, retries=last_attempt(node))
    if known is not None:
        return known
    number = 0 if alone else request.attempt
    while True:
        before = run.files.attempt(node.id, order.index, number - 1) if number else None
        time.sleep(delay_left(node, number, before.finished if before is not None else None))
        growths = _growths(run, node, order.index, number)
        record = attempt(order.model_copy(update={"attempt": number, "growths": growths}), node, around)
        if record.final or record.state != "failed" or (not alone and number < metaflow_retries(node)):
            return record
        number += 1


def _growths(run: RunSession, node: StepNode, index: Index, number: int) -> int:
    """Return how many attempts before this one ran out of memory and are not counted as retries."""
    if not growths_of(node.resources):
        return 0
    before = [run.files.attempt(node.id, index, n) for n in range(number)]
    return sum(1 for r in before if r is not None and r.reason is not None and r.reason.kind == OUT_OF_MEMORY)


def places(run: RunSession, node: StepNode | MapNode, place: Place) -> Iterator[Index]:
    """Yield the index of every task that a place stands for: one, none for an empty map, several for a lane."""
    if is_empty(place):
        return
    cut = next((i for i, part in enumerate(place) if is_lane(part)), None)
    if cut is None:
        yield tuple(int(part) for part in place)
        return
    lane, count = lane_of(str(place[cut]))
    outer = tuple(int(part) for part in place[:cut])
    for index in indices(run.graph, node.scope[cut:], run.locator.lookup.record, outer):
        if index[cut] % count == lane:
            yield index


# --- lists -------------------------------------------------------------------------------------------------------------------


def _items(run: RunSession, node: MapNode, request: Request, order: WorkOrder, around: Surroundings) -> Answer:
    if is_empty(request.place):
        return Answer(items=[[*request.place, EMPTY]])
    answer = Answer()
    for index in places(run, node, request.place):
        record = run.files.result(node.id, index, retries=0) or expand_cheaply(run.graph, node, index, run.files, run.store)
        if record is None:
            record = attempt(order.model_copy(update={"index": index, "attempt": 0}), node, around)
        _add(answer, record, single=False)
        count = units_of(node, record)
        most = count if isinstance(request.lanes, str) else request.lanes
        found: list[int | str] = lanes(count, most) if most is not None else list(range(count))
        answer.items.extend([*index, part] for part in found or [EMPTY])
    return answer


# --- answers -----------------------------------------------------------------------------------------------------------------

_WORST = ("failed", "cancelled", "skipped", "cached", "done", "")


def _add(answer: Answer, record: TaskRecord, *, single: bool) -> None:
    worse = _WORST.index(record.state) < _WORST.index(answer.state)
    if worse:
        answer.state = record.state
        answer.reason = record.reason.message if record.reason else None
    answer.metrics.update(record.metrics)
    if single:
        answer.outputs = {name: ref.model_dump(mode="json", exclude_defaults=True) for name, ref in record.outputs}
        answer.about = record.model_dump(mode="json", exclude_defaults=True, exclude={"outputs", "series"})


def _words(record: TaskRecord) -> str:
    reason = record.reason
    what = (f"{reason.error}: " if reason.error and reason.error not in reason.message else "") + reason.message if reason else record.state
    return f"step {record.step}{list(record.index) if record.index else ''}, attempt {record.attempt}: {what}"


def _finish(run: RunSession) -> Answer:
    end = finalise(run.graph, run.files)
    failed = {r.step for r in run.files.tasks() if getattr(r, "state", "") == "failed" and not getattr(r, "allowed", False)}
    first = next((s.name for s in lower(run.graph).steps if any(c.node in failed for c in s.calls)), None) if failed else None
    return Answer(end.state, end.message, metrics=end.metrics, about={"counts": end.counts, "failed": first})
