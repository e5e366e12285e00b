"""How many attempts a task has: those that `retries` allows, and those with more memory after running out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbridge.ir.flow import StepNode
    from flowbridge.ir.resources import Resources

OUT_OF_MEMORY = "out_of_memory"


def growths_of(resources: Resources) -> int:
    """Return how often the memory of a task can be doubled until it reaches `memory_max`; 0 where that is not declared."""
    count = 0
    while memory_at(resources, count) != memory_at(resources, count + 1):
        count += 1
    return count


def memory_at(resources: Resources, growths: int) -> int | None:
    """Return the memory of a task that ran out of it so many times: doubled each time, `memory_max` at most."""
    memory, most = resources.memory, resources.memory_max
    if memory is None or most is None:
        return memory
    return min(memory << growths, max(memory, most))


def with_memory(resources: Resources, growths: int) -> Resources:
    """Return the resources in force for a task that ran out of memory so many times."""
    memory = memory_at(resources, growths)
    return resources if memory == resources.memory else resources.model_copy(update={"memory": memory})


def last_attempt(node: StepNode) -> int:
    """Return the highest number that an attempt of a step can have."""
    return node.retry.retries + growths_of(node.resources)


def is_last(node: StepNode, attempt: int, growths: int, kind: str) -> bool:
    """Say whether no attempt follows one that failed.

    Args:
        node: The step.
        attempt: Its number.
        growths: How many attempts before it ran out of memory and were given more; they are no retries.
        kind: Why this one failed, as in `records.models.Reason`.
    """
    if kind == OUT_OF_MEMORY and growths < growths_of(node.resources):
        return False
    return attempt - growths >= node.retry.retries
