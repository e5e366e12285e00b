"""Where a run stands, held in a few bytes per task: one frame per map that has been expanded, and one for the flow itself.

A frame keeps per slot one byte per item (its status) and a count of what each item still waits for; there is no object per task.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from flowbridge.engine.plan import First, Per, Ref

if TYPE_CHECKING:
    from flowbridge.engine.plan import Child, Plan, Term

WAITING, READY, TAKEN, PRESENT, ABSENT, BLOCKED = range(6)
"""Statuses of a slot for one item: not decided, may be launched, launched, ended with a value, ended without one, never to have one."""

_READY = bytes([READY])


class Frame:
    """The items of one expanded map.

    Attributes:
        prefix: Indices of the enclosing maps.
        units: Number of items, or of batches.
        parent: Frame of the enclosing map, and which of its items this is inside of.
        slot: Slot of this map there.
        states: Of each slot, a status per item.
        waiting: Of each child with needs, the number of unmet ones per item.
        outer: Of each child, the number of unmet needs outside.
        left: Of each slot that is collected, the number of items that have not ended.
        spoilt: Of each slot that is collected, whether an item is blocked.
        item_left: Per item, the number of children that have not ended.
        items_left: Number of items that have not ended.
        frames: Frames inside, by slot of the map and item.
        head: Of each child, the item it stands in the queue with.
        open: With `parallel`, the items that have begun and not ended.
        attempts: Attempt number of those tasks that are not at their first.
    """

    __slots__ = (
        "attempts", "failed", "frames", "head", "item_left", "items_left", "left", "open", "outer", "parent", "parent_item",
        "plan", "prefix", "slot", "spoilt", "states", "units", "waiting",
    )  # fmt: skip

    def __init__(self, plan: Plan, units: int, parent: Frame | None = None, parent_item: int = 0, slot: int = 0) -> None:
        self.plan = plan
        self.units = units
        self.parent = parent
        self.parent_item = parent_item
        self.slot = slot
        self.prefix: tuple[int, ...] = parent.index(parent_item) if parent is not None else ()
        count = len(plan.children)
        self.states = [bytearray(units) for _ in plan.names]
        self.waiting = [_filled(len(child.needs), units) for child in plan.children]
        self.outer = [sum(1 for ref in child.outer if self.status(0, ref) < PRESENT) for child in plan.children]
        self.left = [units if lift is not None else 0 for lift in plan.lifts]
        self.spoilt = bytearray(len(plan.names))
        self.item_left = _filled(count, units)
        self.items_left = units
        self.frames: dict[tuple[int, int], Frame] = {}
        self.head: list[int | None] = [None] * count
        self.open: set[int] = set()
        self.attempts: dict[tuple[int, int], int] = {}
        self.failed = False

    def index(self, item: int) -> tuple[int, ...]:
        """Return the index of the tasks of an item."""
        return () if self.plan.map is None else (*self.prefix, item)

    def status(self, item: int, ref: Ref) -> int:
        """Return the status of a slot, here or in an enclosing frame."""
        frame: Frame = self
        for _ in range(ref.up):
            item = frame.parent_item
            assert frame.parent is not None
            frame = frame.parent
        return frame.states[ref.slot][item]

    def may_open(self, item: int) -> bool:
        """Tell whether `parallel` lets a task of this item begin."""
        parallel = self.plan.parallel
        return parallel is None or item in self.open or len(self.open) < parallel

    def next_ready(self, child: int) -> int | None:
        """Return the first item for which a child may be launched now."""
        states = self.states[child]
        parallel = self.plan.parallel
        if parallel is not None and len(self.open) >= parallel:
            return min((i for i in self.open if states[i] == READY), default=None)
        found = states.find(_READY)
        return None if found < 0 else found

    def inside(self, item: int, way: tuple[int, ...]) -> list[Frame]:
        """Return the frames that exist inside an item, by the slots of the maps on the way."""
        found = self.frames.get((way[0], item))
        frames = [] if found is None else [found]
        for slot in way[1:]:
            frames = [inner for frame in frames for (at, _), inner in frame.frames.items() if at == slot]
        return frames

    def task_of(self, child: int, item: int) -> tuple[str, tuple[int, ...], int]:
        """Return step id, index and attempt of a task."""
        return self.plan.children[child].id, self.index(item), self.attempts.get((child, item), 0)


def verdict(frame: Frame, child: Child, item: int) -> tuple[int, Ref | None]:
    """Return whether a task whose needs have all ended can run, and what stands in the way.

    Returns:
        `READY`, `ABSENT` (it is skipped) or `BLOCKED` (it is cancelled), and the slot that decided so.
    """
    for ref in child.after:
        if frame.status(item, ref) == BLOCKED:
            return BLOCKED, ref
    status, cause = _look(frame, item, child.value)
    return (READY if status == PRESENT else status), cause


def _look(frame: Frame, item: int, term: Term) -> tuple[int, Ref | None]:
    if isinstance(term, Ref):
        return frame.status(item, term), term
    if isinstance(term, First):
        choices = [_look(frame, item, choice) for choice in term.choices]
        blocked = next((one for one in choices if one[0] == BLOCKED), None)
        return blocked or next((one for one in choices if one[0] != ABSENT), choices[-1])
    if isinstance(term, Per):
        blocked = next(((BLOCKED, ref) for ref in term.parts if frame.status(item, ref) == BLOCKED), None)
        return blocked or ((ABSENT, term.map) if frame.status(item, term.map) == ABSENT else (PRESENT, None))
    return max((_look(frame, item, part) for part in term.parts), key=lambda one: one[0], default=(PRESENT, None))


def _filled(value: int, size: int) -> array[int]:
    return array("I", [value]) * size


__all__ = ["ABSENT", "BLOCKED", "PRESENT", "READY", "TAKEN", "WAITING", "Frame", "verdict"]
