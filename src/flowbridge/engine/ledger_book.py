"""Who holds and who waits for what on this machine, and who may take what next. Pure: events and a clock in, decisions out.

Order among those who wait: whoever has waited longer than `PATIENCE` comes first, oldest first; then runs that hold little before
runs that hold much; then oldest first. Someone behind may go ahead as long as that takes nothing from those in front of him:

- what those in front could take at once is left to them;
- the first who can't be served is kept the room he is short of, and after `PATIENCE` all he asks for, so that a large request
  is not starved by small ones that fit beside it, and yet cores do not idle while it waits for memory only.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from flowbridge.engine.capacity import Capacity
    from flowbridge.ir.resources import Resources

PATIENCE = 10.0
CPU_UNIT, GPU_UNIT, CUSTOM_UNIT = 1000, 10_000, 1_000_000
_EXACT = 1e-9


class Owner(NamedTuple):
    """A process that holds or waits."""

    id: str
    pid: int
    started: int
    user: str


class Need(NamedTuple):
    """What one request takes, in whole units so that sums are exact.

    Attributes:
        amounts: Of divisible things: ``cpu`` in thousandths of a core, ``memory`` in bytes, ``custom:NAME`` in millionths.
        pieces: Number of GPU pieces.
        size: Of each piece, `GPU_UNIT` being a whole GPU.
        kind: Type of GPU asked for; empty text for any.
    """

    amounts: tuple[tuple[str, int], ...]
    pieces: int = 0
    size: int = 0
    kind: str = ""

    @classmethod
    def of(cls, resources: Resources, nodes: int, capacity: Capacity) -> Need:
        """Return the need of a task; one that declares no cpu counts as one core (or all, on less)."""
        cpu = resources.cpu if resources.cpu is not None else min(1.0, capacity.cpu)
        amounts = {"cpu": round(cpu * CPU_UNIT) * nodes}
        if resources.memory:
            amounts["memory"] = resources.memory * nodes
        for name, units in resources.custom:
            amounts[f"custom:{name}"] = round(units * CUSTOM_UNIT) * nodes
        pieces, size = _gpu_pieces(resources.gpu, nodes)
        return cls(tuple(sorted(amounts.items())), pieces, size, resources.gpu_type or "" if pieces else "")


def _gpu_pieces(gpu: float | None, nodes: int) -> tuple[int, int]:
    if not gpu:
        return 0, 0
    if gpu < 1:
        return nodes, int(gpu * GPU_UNIT + _EXACT)
    return round(gpu) * nodes, GPU_UNIT


class Entry(NamedTuple):
    """One lease, or one who waits.

    Attributes:
        gpus: Of a lease: the GPU of each piece.
        at: Seconds since the epoch.
        cores: Of a lease: the cores that it is kept to, if it is.
    """

    id: str
    owner: str
    run: str
    task: str
    need: Need
    gpus: tuple[str, ...]
    at: float
    cores: tuple[int, ...] = ()


@dataclass
class Book:
    """The state that the events of a ledger add up to."""

    owners: dict[str, Owner] = field(default_factory=dict)
    leases: dict[str, Entry] = field(default_factory=dict)
    waits: dict[str, Entry] = field(default_factory=dict)

    def apply(self, events: Iterable[list[Any]]) -> None:
        """Take in events; one that makes no sense (another version, a damaged line) is passed over."""
        for event in events:
            with contextlib.suppress(TypeError, ValueError, IndexError):
                self._apply(event)

    def _apply(self, event: list[Any]) -> None:
        what, key = event[0], str(event[1])
        if what == "take":
            self.leases[key] = _entry(event)
        elif what == "free":
            self.leases.pop(key, None)
        elif what == "wait":
            self.waits[key] = _entry(event)
        elif what == "drop":
            self.waits.pop(key, None)
        elif what == "own":
            self.owners[key] = Owner(key, int(event[2]), int(event[3]), str(event[4]))
        elif what == "gone":
            self.forget(key)

    def forget(self, owner: str) -> None:
        """Take back all that an owner held or waited for."""
        self.owners.pop(owner, None)
        self.leases = {k: e for k, e in self.leases.items() if e.owner != owner}
        self.waits = {k: e for k, e in self.waits.items() if e.owner != owner}

    def snapshot(self) -> list[list[Any]]:
        """Return events that add up to this state, owners without anything left out."""
        entries = [*self.leases.values(), *self.waits.values()]
        active = {e.owner for e in entries}
        return [
            *(own_event(o) for o in self.owners.values() if o.id in active),
            *(entry_event("take", e) for e in self.leases.values()),
            *(entry_event("wait", e) for e in self.waits.values()),
        ]

    def shares(self, capacity: Capacity) -> dict[str, float]:
        """Return the largest share of any one resource that each run holds."""
        held: dict[str, dict[str, int]] = {}
        for lease in self.leases.values():
            mine = held.setdefault(lease.run, {})
            for name, amount in (*lease.need.amounts, ("gpu", lease.need.pieces * lease.need.size)):
                mine[name] = mine.get(name, 0) + amount
        there = {**totals(capacity), "gpu": len(capacity.gpus) * GPU_UNIT}
        return {run: max(a / max(there.get(n, 0), 1) for n, a in mine.items()) for run, mine in held.items()}

    def queue(self, capacity: Capacity, now: float) -> list[Entry]:
        """Return those who wait, in the order in which they come."""
        shares = self.shares(capacity)

        def turn(entry: Entry) -> tuple[bool, float, float]:
            late = now - entry.at > PATIENCE
            return not late, 0.0 if late else shares.get(entry.run, 0.0), entry.at

        return sorted(self.waits.values(), key=turn)


def own_event(owner: Owner) -> list[Any]:
    """Return the event by which an owner makes itself known."""
    return ["own", *owner]


def entry_event(what: str, entry: Entry) -> list[Any]:
    """Return the event of a lease (``take``) or of one who waits (``wait``)."""
    return [
        what,
        entry.id,
        entry.owner,
        entry.run,
        entry.task,
        list(entry.need),
        list(entry.gpus),
        round(entry.at, 4),
        *([list(entry.cores)] if entry.cores else []),
    ]


def _entry(event: list[Any]) -> Entry:
    amounts, pieces, size, kind = event[5]
    need = Need(tuple((str(n), int(a)) for n, a in amounts), int(pieces), int(size), str(kind))
    cores = tuple(int(c) for c in event[8]) if len(event) > 8 else ()  # noqa: PLR2004  (the place after the eighth)
    return Entry(str(event[1]), str(event[2]), str(event[3]), str(event[4]), need, tuple(str(g) for g in event[6]), float(event[7]), cores)


def totals(capacity: Capacity) -> dict[str, int]:
    """Return what there is, in the units of `Need.amounts`."""
    return {
        "cpu": round(capacity.cpu * CPU_UNIT),
        "memory": capacity.memory,
        **{f"custom:{name}": round(units * CUSTOM_UNIT) for name, units in capacity.custom.items()},
    }


class Room:
    """What is left of a machine, while a decision is made."""

    def __init__(self, book: Book, capacity: Capacity) -> None:
        self._capacity = capacity
        self._free = totals(capacity)
        self._gpus = dict.fromkeys(capacity.gpus, GPU_UNIT)
        for lease in book.leases.values():
            self.take(lease.need, lease.gpus)

    def take(self, need: Need, gpus: tuple[str, ...]) -> None:
        """Count a need as taken, its GPU pieces from these GPUs."""
        for name, amount in need.amounts:
            self._free[name] = self._free.get(name, 0) - amount
        for gpu in gpus:
            if gpu in self._gpus:
                self._gpus[gpu] -= need.size

    def keep(self, need: Need, *, all_of_it: bool) -> None:
        """Keep room for one who can't be served yet: what he is short of, or all he asks for."""
        for name, amount in need.amounts:
            left = self._free.get(name, 0)
            if all_of_it or left < amount:
                self._free[name] = left - amount
        if need.pieces and (all_of_it or self._place_gpus(need) is None):
            emptiest = sorted(self._capacity.gpus_of_kind(need.kind or None), key=lambda g: -self._gpus[g])
            for position in range(need.pieces if emptiest else 0):
                self._gpus[emptiest[position % len(emptiest)]] -= need.size

    def lacking(self, need: Need) -> list[str]:
        """Return the names of what there is too little of."""
        short = [name for name, amount in need.amounts if self._free.get(name, 0) < amount]
        return [*short, "gpu"] if need.pieces and self._place_gpus(need) is None else short

    def place(self, need: Need) -> tuple[str, ...] | None:
        """Return the GPU of each piece if there is room for all of a need (empty without GPUs), else None."""
        if any(self._free.get(name, 0) < amount for name, amount in need.amounts):
            return None
        return self._place_gpus(need) if need.pieces else ()

    def _place_gpus(self, need: Need) -> tuple[str, ...] | None:
        """Fill GPUs that are in use already before breaking into a free one."""
        left = {g: self._gpus[g] for g in self._capacity.gpus_of_kind(need.kind or None)}
        chosen: list[str] = []
        for _ in range(need.pieces):
            fitting = [g for g, room in left.items() if room >= need.size]
            if not fitting:
                return None
            best = min(fitting, key=lambda g: left[g])
            left[best] -= need.size
            chosen.append(best)
        return tuple(chosen)


def choose_cores(book: Book, capacity: Capacity, need: Need) -> tuple[int, ...]:
    """Return as many cores as a need has (rounded up), those with the fewest leases first; none where tasks are not kept to cores."""
    held = [core for lease in book.leases.values() for core in lease.cores]
    count = -(-dict(need.amounts)["cpu"] // CPU_UNIT)
    return tuple(sorted(sorted(capacity.cores, key=lambda core: (held.count(core), core))[:count]))


def decide(book: Book, capacity: Capacity, asker: Entry, now: float, ignored: Collection[str] = ()) -> tuple[str, ...] | None:
    """Return the GPUs that a request gets (an empty tuple if it asks for none), or None if it has to wait.

    Args:
        book: Who holds and waits.
        capacity: What there is, as the asker sees it.
        asker: The request; it may stand in the queue already, by its id.
        now: Seconds since the epoch.
        ignored: Ids of those in the queue who don't take what they could have.
    """
    room, empty = Room(book, capacity), Room(Book(), capacity)
    if asker.id not in book.waits:
        book = Book(book.owners, book.leases, {**book.waits, asker.id: asker})
    kept = False
    for other in book.queue(capacity, now):
        if other.id == asker.id:
            break
        if other.id in ignored or empty.place(other.need) is None:  # who asks for more than there is waits for ever: nobody waits with him
            continue
        gpus = room.place(other.need)
        if gpus is not None:
            room.take(other.need, gpus)
        elif not kept and Room(Book(), capacity).place(other.need) is not None:  # else he waits for another machine than this
            room.keep(other.need, all_of_it=now - other.at > PATIENCE)
            kept = True
    return room.place(asker.need)
