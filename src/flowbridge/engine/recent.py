"""Records of tasks that ended a moment ago, to be handed to tasks that need them: they need not be read back from the store.

Nothing is kept only here: a record, and every output that it names, is in the store before anybody is told of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from flowbridge.ir.graph import dependencies, shared_depth

if TYPE_CHECKING:
    from flowbridge.engine.scheduler import Task
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import Index, TaskRecord

_KEPT = 512
_LARGEST = 16 * 1024
_AT_ONCE = 8


class Recent:
    """The last few hundred final records, as JSON, and which of them a task will ask for."""

    def __init__(self, graph: FlowGraph) -> None:
        self._graph = graph
        self._kept: OrderedDict[tuple[str, Index], bytes] = OrderedDict()
        self._needs: dict[str, tuple[tuple[str, int], ...]] = {}

    def keep(self, record: TaskRecord, text: bytes) -> None:
        """Keep a record, if others may need it and it is small."""
        if not record.final or len(text) > _LARGEST:
            return
        self._kept[record.step, record.index] = text
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def known_to(self, task: Task) -> tuple[bytes, ...]:
        """Return those records that a task will look at and that are kept."""
        needs = self._needs.get(task.step)
        if needs is None:
            needs = self._needs[task.step] = self._needs_of(task.step)
        found = (self._kept.get((name, task.index[:depth])) for name, depth in needs)
        return tuple(text for text in found if text is not None)

    def _needs_of(self, step: str) -> tuple[tuple[str, int], ...]:
        """Return the steps and maps of which a task reads one record each, with the length of its index."""
        node = self._graph.node(step)
        found = []
        for name in dependencies(node):
            other = self._graph.node(name)
            whole = name in node.scope or shared_depth(node.scope, other.scope) == len(other.scope)
            batched = any(self._graph.maps_by_id[m].batch for m in (*node.scope, *other.scope))
            if whole and not batched:
                found.append((name, len(other.scope)))
        return tuple(found[:_AT_ONCE])
