"""The work order: the only thing that passes between a scheduler and a task."""

from __future__ import annotations

from flowbridge.ir.base import FrozenModel


class WorkOrder(FrozenModel):
    """Which task to run, and nothing else: everything further is read from the store.

    Attributes:
        store: URL of the store.
        flow: Name of the flow.
        run: Id of the run.
        step: Id of a step, or of a map (then the task is its expansion).
        index: One index per map in the scope; of a batched map, the last is the number of the batch.
        attempt: Counted from 0.
        backend: Name of the backend that gave the order.
        native: The task's name in the system behind the backend.
        growths: How many attempts before this one ran out of memory and were given more (`ir.attempts`).
    """

    store: str
    flow: str
    run: str
    step: str
    index: tuple[int, ...] = ()
    attempt: int = 0
    backend: str = "local"
    native: str | None = None
    growths: int = 0
