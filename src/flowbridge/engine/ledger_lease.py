"""What the account hands out and shows: leases, and who holds or waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowbridge.engine.ledger_book import CPU_UNIT, CUSTOM_UNIT, GPU_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from flowbridge.engine.ledger_book import Entry, Owner, Room


@dataclass(frozen=True)
class Holder:
    """One who holds resources of this machine, or waits for them; for `flowbridge status`.

    Attributes:
        run: Id of the run.
        task: The task, as its scheduler names it.
        waiting: Whether it waits.
        cpu: Cores.
        memory: Bytes; None where none were declared.
        gpus: Ids of the GPUs held.
        gpu: Number of GPUs, or the share of one.
        custom: Amounts of named resources.
        lacking: What one who waits is short of: ``cpu``, ``memory``, ``gpu`` or the name of a resource.
        pid: Of the process that runs the flow.
        user: Name of its user.
        since: Seconds since the epoch.
    """

    run: str
    task: str
    waiting: bool
    cpu: float
    memory: int | None
    gpus: tuple[str, ...]
    gpu: float
    custom: tuple[tuple[str, float], ...]
    lacking: tuple[str, ...]
    pid: int
    user: str
    since: float


class Lease:
    """Resources that one task holds until `release`; a context manager too.

    Attributes:
        gpus: Ids of the GPUs, for `CUDA_VISIBLE_DEVICES`, each once.
        cpu: Cores, of all nodes together.
        memory: Bytes of all nodes together; None where none were declared.
        cores: The cores to stay on; empty where tasks are not kept to cores of their own.
        gpu_share: Of one GPU, where less than a whole one is held; 1 for whole ones, 0 for none.
        gpu_memory: Bytes of GPU memory that such a share allows; None for whole GPUs and where the size is not known.
    """

    def __init__(self, entry: Entry, nodes: int, gpu_size: int | None, give_back: Callable[[], None]) -> None:
        amounts = dict(entry.need.amounts)
        self.gpus: tuple[str, ...] = tuple(dict.fromkeys(entry.gpus))
        self.cpu: float = amounts["cpu"] / CPU_UNIT
        self.memory: int | None = amounts.get("memory")
        self.cores: tuple[int, ...] = entry.cores
        self.gpu_share: float = entry.need.size / GPU_UNIT
        self.gpu_memory: int | None = int(gpu_size * self.gpu_share) if gpu_size and 0 < self.gpu_share < 1 else None
        self._pieces = entry.gpus
        self._nodes = nodes
        self._give_back = give_back

    def gpus_of(self, node: int) -> tuple[str, ...]:
        """Return the GPUs of one node of a gang, counted from 0."""
        each = len(self._pieces) // self._nodes
        return self._pieces[node * each : (node + 1) * each]

    def release(self) -> None:
        """Give everything back; a second call does nothing."""
        self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def holder(entry: Entry, owner: Owner | None, room: Room | None) -> Holder:
    """Return what there is to show about a lease, or, with the room that is left, about one who waits."""
    amounts = dict(entry.need.amounts)
    return Holder(
        run=entry.run,
        task=entry.task,
        waiting=room is not None,
        cpu=amounts.get("cpu", 0) / CPU_UNIT,
        memory=amounts.get("memory"),
        gpus=tuple(dict.fromkeys(entry.gpus)),
        gpu=entry.need.pieces * entry.need.size / GPU_UNIT,
        custom=tuple((n.removeprefix("custom:"), a / CUSTOM_UNIT) for n, a in amounts.items() if n.startswith("custom:")),
        lacking=tuple(n.removeprefix("custom:") for n in room.lacking(entry.need)) if room else (),
        pid=owner.pid if owner else 0,
        user=owner.user if owner else "",
        since=entry.at,
    )
