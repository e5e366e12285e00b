"""Whether a task runs: what it needs is looked up, its conditions are looked at. The same for steps and for maps, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowbridge.ir.control import MapNode, bindings_of
from flowbridge.ir.describe import describe
from flowbridge.records import reasons
from flowbridge.worker.guards import first_false
from flowbridge.worker.lookup import Blocked, Skipped
from flowbridge.worker.places import Place, worst

if TYPE_CHECKING:
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import Index, Reason
    from flowbridge.worker.locate import Locator


@dataclass(frozen=True)
class Ready:
    """A task whose conditions hold and whose inputs (for a map: sources) exist."""

    inputs: tuple[tuple[str, Place], ...]


@dataclass(frozen=True)
class NotRun:
    """A task that will not run, and why."""

    reason: Reason


def decide(node: StepNode | MapNode, index: Index, locator: Locator, load: Callable[[Place], Any]) -> Ready | NotRun:
    """Say whether a task runs.

    In this order: what is blocked cancels the task, whatever else holds; a condition that does not hold, or reads a skipped value, skips
    it; an input that was skipped skips it.

    Args:
        node: The step or map.
        index: One position for each map around it.
        locator: Finds bindings.
        load: Returns a value that a condition reads.

    Raises:
        ConditionError: A condition cannot be told.
    """
    bindings = node.sources if isinstance(node, MapNode) else node.inputs
    inputs = [(name, locator.locate(binding, node.scope, index)) for name, binding in bindings]
    guarded = [locator.locate(x, node.scope, index) for guard in node.guards for x in bindings_of(guard)]
    trouble = worst([*guarded, *(place for _, place in inputs)])
    blocked = trouble if isinstance(trouble, Blocked) else locator.after(node.after, node.scope, index)
    if blocked is not None:
        return NotRun(blocked.reason)
    skipped = worst(guarded)
    if skipped is None and node.guards:
        values = iter(guarded)  # in the order in which `bindings_of` told them
        by_binding = {id(x): next(values) for guard in node.guards for x in bindings_of(guard)}
        false = first_false(node.guards, lambda binding: load(_there(by_binding[id(binding)])))
        if false is not None:
            return NotRun(reasons.condition_false(describe(false)))
    skipped = skipped or trouble
    if skipped is not None:
        return NotRun(reasons.skipped_input(skipped.step))
    return Ready(tuple((name, _there(place)) for name, place in inputs))


def _there(place: Any) -> Place:
    assert not isinstance(place, (Skipped, Blocked))
    return place  # type: ignore[no-any-return]
