"""Which task may run next: a function of the graph and of what has ended, without clocks, files or processes.

Feed it how tasks end (`on`), ask what may start (`classes`, `peek`, `take`). Each costs the same however large the run is: maps are
expanded lazily, and all tasks of a step stand in the queue as one entry.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flowbridge.engine.frames import ABSENT, BLOCKED, PRESENT, READY, TAKEN, WAITING, Frame, verdict
from flowbridge.engine.plan import make_plans
from flowbridge.ir.control import MapNode

if TYPE_CHECKING:
    from flowbridge.engine.plan import Child, Ref
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.records.models import Index, TaskRecord

_Entry = tuple[int, tuple[int, ...], int, int, Frame, int, int]


@dataclass(frozen=True, order=True)
class Task:
    """One attempt that may start: of a step, or of a map (then it is its expansion)."""

    step: str
    index: Index
    attempt: int = 0

    @property
    def key(self) -> tuple[str, Index]:
        """Step and index."""
        return self.step, self.index


class Verdict(NamedTuple):
    """Tasks that will never be launched: those of `step` whose index is `prefix` and a number from `first` to `last`.

    Attributes:
        state: ``skipped`` or ``cancelled``.
        cause: Id of the step that was skipped, failed or was cancelled.
        how: What became of that step: ``skipped``, ``failed`` or ``cancelled``.
    """

    step: str
    prefix: Index
    first: int | None
    last: int
    state: str
    cause: str
    how: str

    def indices(self) -> Iterator[Index]:
        """Yield the index of each task."""
        if self.first is None:
            yield self.prefix
        else:
            yield from ((*self.prefix, i) for i in range(self.first, self.last + 1))


class _Ended(NamedTuple):
    """Work still to be done: a slot has ended for the items from `item` up to `stop`."""

    frame: Frame
    slot: int
    item: int
    stop: int
    status: int


def by_resources(node: StepNode | MapNode) -> Hashable:
    """Return what all tasks have in common that are admitted alike: if one has to wait, so have the others."""
    return "map" if isinstance(node, MapNode) else (node.resources, node.nodes)


class Scheduler:
    """The state of one run.

    Attributes:
        known: Number of tasks known so far, by step or map id; grows as maps are expanded.
        verdicts: Tasks that were found to be skipped or cancelled without launching; taken out by the caller.
        running: Tasks taken and not ended.
    """

    def __init__(self, graph: FlowGraph, *, key: Callable[[StepNode | MapNode], Hashable] = by_resources) -> None:
        self._plans = make_plans(graph)
        nodes: tuple[StepNode | MapNode, ...] = (*graph.steps, *graph.maps)
        self._keys = {node.id: key(node) for node in nodes}
        self._queues: dict[Hashable, list[_Entry]] = {}
        self._delayed: list[tuple[float, int, Frame, int, int]] = []
        self._serial = 0
        self._work: deque[_Ended] = deque()
        self.known: Counter[str] = Counter()
        self.verdicts: deque[Verdict] = deque()
        self.running: dict[tuple[str, Index], tuple[Frame, int, int]] = {}
        self.stopped = False
        self._failed: set[str] = set()
        self._cancelled: set[str] = set()
        self._root = Frame(self._plans[None], 1)
        self._enter(self._root)
        self._drain()

    # --- what may start ------------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Every task has ended, or none will start any more and none is running."""
        over = self._root.items_left == 0 or not self._root.plan.children
        return over or (self.stopped and not self.running)

    def stop(self) -> None:
        """Let nothing more start."""
        self.stopped = True
        self._queues.clear()
        self._delayed.clear()

    def classes(self) -> list[Hashable]:
        """Return the classes that have a task ready, the one with the most urgent task first."""
        heads = [(queue[0][:4], key) for key in list(self._queues) if (queue := self._clean(key))]
        return [key for _, key in sorted(heads, key=lambda head: head[0])]

    def peek(self, key: Hashable) -> Task | None:
        """Return the most urgent task of a class, without taking it."""
        queue = self._clean(key)
        if not queue:
            return None
        _, _, _, _, frame, child, item = queue[0]
        return Task(*frame.task_of(child, item))

    def take(self, key: Hashable) -> Task:
        """Take the most urgent task of a class: it counts as running until `on` hears of its end.

        Raises:
            IndexError: The class has no task ready.
        """
        queue = self._clean(key)
        _, _, _, _, frame, child, item = heapq.heappop(queue)
        frame.states[child][item] = TAKEN
        if frame.plan.parallel is not None:
            frame.open.add(item)
        self._stand(frame, child)
        task = Task(*frame.task_of(child, item))
        self.running[task.key] = (frame, child, item)
        return task

    def give_back(self, task: Task) -> None:
        """Undo a `take`: the task did not start after all."""
        frame, child, item = self.running.pop(task.key)
        self._ready(frame, child, item)

    def next_due(self) -> float | None:
        """Return when the next retry may start."""
        return self._delayed[0][0] if self._delayed else None

    def wake(self, now: float) -> None:
        """Make those retries ready whose delay is over."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, frame, child, item = heapq.heappop(self._delayed)
            self._ready(frame, child, item)

    # --- what has ended ------------------------------------------------------------------------------------------------------

    def on(self, record: TaskRecord, now: float) -> None:
        """Take in how an attempt ended.

        Raises:
            KeyError: No such task is running.
        """
        frame, child, item = self.running.pop((record.step, record.index))
        if not record.final:
            self._retry(frame, child, item, record.attempt + 1, now)
            return
        frame.attempts.pop((child, item), None)
        if record.state in {"done", "cached"}:
            self._succeed(frame, child, item, record.count)
        elif record.state == "skipped" or (record.state == "failed" and record.allowed):
            self._end(frame, child, item, ABSENT)
        else:
            (self._failed if record.state == "failed" else self._cancelled).add(record.step)
            self._end(frame, child, item, BLOCKED)
        self._drain()

    def _retry(self, frame: Frame, child: int, item: int, attempt: int, now: float) -> None:
        frame.attempts[child, item] = attempt
        frame.states[child][item] = WAITING
        if self.stopped:
            return
        delay = frame.plan.children[child].retry.delay_before(attempt)
        if delay > 0:
            self._serial += 1
            heapq.heappush(self._delayed, (now + delay, self._serial, frame, child, item))
        else:
            self._ready(frame, child, item)

    def _succeed(self, frame: Frame, child: int, item: int, count: int | None) -> None:
        node = frame.plan.children[child].node
        if not isinstance(node, MapNode):
            self._end(frame, child, item, PRESENT)
            return
        units = -(-(count or 0) // (node.batch or 1))
        if units == 0:
            self._end(frame, child, item, PRESENT)
            return
        inner = Frame(self._plans[node.id], units, frame, item, child)
        if not inner.plan.children:
            self._end(frame, child, item, PRESENT)
            return
        frame.frames[child, item] = inner
        self._enter(inner)

    def _end(self, frame: Frame, child: int, item: int, status: int) -> None:
        for slot in frame.plan.through.get(child, ()):
            self._work.append(_Ended(frame, slot, item, item + 1, status))
        self._work.append(_Ended(frame, child, item, item + 1, status))

    # --- how an end spreads --------------------------------------------------------------------------------------------------

    def _enter(self, frame: Frame) -> None:
        for child in frame.plan.children:
            self.known[child.id] += frame.units
            if not child.needs and not frame.outer[child.number]:
                self._decide_all(frame, child)

    def _drain(self) -> None:
        work = self._work
        while work:
            ended = work.pop()
            if ended.item + 1 < ended.stop:
                work.append(ended._replace(item=ended.item + 1))
            self._spread(ended.frame, ended.slot, ended.item, ended.status)

    def _spread(self, frame: Frame, slot: int, item: int, status: int) -> None:
        plan = frame.plan
        frame.states[slot][item] = status
        for user in plan.users[slot]:
            waiting = frame.waiting[user]
            waiting[item] -= 1
            if not waiting[item] and not frame.outer[user]:
                self._decide(frame, plan.children[user], item)
        for way, user in plan.inner[slot]:
            for inner in frame.inside(item, way):
                inner.outer[user] -= 1
                if not inner.outer[user]:
                    self._release(inner, inner.plan.children[user])
        if plan.lifts[slot] is not None:
            self._lift(frame, slot, status)
        if slot < len(plan.children):
            self._close(frame, item, status)

    def _lift(self, frame: Frame, slot: int, status: int) -> None:
        frame.left[slot] -= 1
        if status == BLOCKED:
            frame.spoilt[slot] = 1
        if frame.left[slot]:
            return
        lifted, parent = frame.plan.lifts[slot], frame.parent
        if parent is not None and lifted is not None:
            at = frame.parent_item
            self._work.append(_Ended(parent, lifted, at, at + 1, BLOCKED if frame.spoilt[slot] else PRESENT))

    def _close(self, frame: Frame, item: int, status: int) -> None:
        frame.failed = frame.failed or status == BLOCKED
        frame.item_left[item] -= 1
        if frame.item_left[item]:
            return
        frame.items_left -= 1
        if item in frame.open:
            frame.open.discard(item)
            for child in range(len(frame.plan.children)):
                self._stand(frame, child)
        parent = frame.parent
        if not frame.items_left and parent is not None:
            del parent.frames[frame.slot, frame.parent_item]
            at = frame.parent_item
            self._work.append(_Ended(parent, frame.slot, at, at + 1, BLOCKED if frame.failed else PRESENT))

    # --- how a task becomes ready --------------------------------------------------------------------------------------------

    def _release(self, frame: Frame, child: Child) -> None:
        """Everything outside that a child waited for has ended."""
        if not child.needs:
            self._decide_all(frame, child)
            return
        waiting, states = frame.waiting[child.number], frame.states[child.number]
        for item in range(frame.units):
            if not waiting[item] and states[item] == WAITING:
                self._decide(frame, child, item)

    def _decide_all(self, frame: Frame, child: Child) -> None:
        status, cause = verdict(frame, child, 0)
        if status == READY:
            frame.states[child.number] = bytearray([READY]) * frame.units
            self._stand(frame, child.number)
            return
        self._refuse(frame, child, 0, frame.units, status, cause)

    def _decide(self, frame: Frame, child: Child, item: int) -> None:
        status, cause = verdict(frame, child, item)
        if status == READY:
            self._ready(frame, child.number, item)
        else:
            self._refuse(frame, child, item, item + 1, status, cause)

    def _refuse(self, frame: Frame, child: Child, item: int, stop: int, status: int, cause: Ref | None) -> None:
        state = "skipped" if status == ABSENT else "cancelled"
        first = None if frame.plan.map is None else item
        prefix = () if frame.plan.map is None else frame.prefix
        name = _named(frame, cause)
        how = "failed" if state == "cancelled" and (name in self._failed or name not in self._cancelled) else state
        self.verdicts.append(Verdict(child.id, prefix, first, stop - 1, state, name, how))
        if state == "cancelled":
            self._cancelled.add(child.id)
        for slot in frame.plan.through.get(child.number, ()):
            self._work.append(_Ended(frame, slot, item, stop, status))
        self._work.append(_Ended(frame, child.number, item, stop, status))

    def _ready(self, frame: Frame, child: int, item: int) -> None:
        if self.stopped:
            return
        frame.states[child][item] = READY
        head = frame.head[child]
        if (head is None or item < head) and frame.may_open(item):
            self._push(frame, child, item)

    def _stand(self, frame: Frame, child: int) -> None:
        """Put a child into the queue with the first item for which it may be launched."""
        if self.stopped:
            return
        item = frame.next_ready(child)
        if item is None:
            frame.head[child] = None
        elif item != frame.head[child]:
            self._push(frame, child, item)

    def _push(self, frame: Frame, child: int, item: int) -> None:
        frame.head[child] = item
        self._serial += 1
        node = frame.plan.children[child]
        entry = (node.urgency[0], frame.index(item), node.urgency[1], self._serial, frame, child, item)
        heapq.heappush(self._queues.setdefault(self._keys[node.id], []), entry)

    def _clean(self, key: Hashable) -> list[_Entry]:
        """Drop what no longer stands at the head of a queue, and return the queue."""
        queue = self._queues.get(key)
        if queue is None:
            return []
        while queue:
            _, _, _, _, frame, child, item = queue[0]
            if frame.head[child] != item or frame.states[child][item] != READY:
                heapq.heappop(queue)
            elif not frame.may_open(item):
                heapq.heappop(queue)
                self._stand(frame, child)
            else:
                return queue
        del self._queues[key]
        return []


def _named(frame: Frame, cause: Ref | None) -> str:
    if cause is None:
        return ""
    for _ in range(cause.up):
        assert frame.parent is not None
        frame = frame.parent
    return frame.plan.names[cause.slot]
