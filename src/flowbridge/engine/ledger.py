"""The machine-wide account: every flowbridge process of a machine takes cores, memory, GPUs and named resources from it.

A request is answered at once, with a lease or with None. Who gets None stands in the queue (`ledger_book` says in which order)
until he asks again and is served, or withdraws. The account is a file that all processes append to under a lock (`ledger_file`),
so there is no server to start; what a dead process held is taken back by whoever needs it next.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import threading
import time
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flowbridge.engine.capacity import Capacity, ImpossibleRequestError
from flowbridge.engine.ledger_book import Book, Entry, Need, Owner, Room, choose_cores, decide, entry_event, own_event
from flowbridge.engine.ledger_file import LedgerFile
from flowbridge.engine.ledger_lease import Holder, Lease, holder
from flowbridge.engine.ledger_places import Waker, account_path, wake
from flowbridge.engine.process_tree import is_alive, started_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowbridge.engine.capacity import Machine
    from flowbridge.engine.ledger_file import Changes
    from flowbridge.ir.resources import Resources

_LOOK_FOR_DEAD = 0.05
_ASK_AGAIN = 0.05
_TAKES_NOTHING = 5.0
_MISSED_TURN = 3.0
_LONGEST_WAIT = 0.5
_counter = itertools.count()

__all__ = ["Account", "Holder", "Lease"]


@dataclass
class _Waiting:
    """Tasks of one run that wait here for the same amounts; they stand in the queue as one."""

    entry: Entry
    tasks: dict[str, None]
    asked: float
    commits: int = -1


class Account:
    """One process's access to the account of its machine. Safe for threads; a forked child gets its own by itself."""

    def __init__(self, capacity: Capacity, path: Path) -> None:
        self.capacity = capacity
        self.path = path
        self._begin()

    @classmethod
    def open(cls, machine: Machine | None = None, directory: Path | None = None) -> Account:
        """Open the account of this machine.

        Args:
            machine: What the configuration declares about the machine; the rest is found out.
            directory: Where the account is kept; by default `FLOWBRIDGE_ACCOUNT_DIR`, else a folder that all users share.

        Raises:
            ConfigError: The folder cannot be used, or a declared amount is not an amount.
        """
        return cls(Capacity.detect(machine), account_path(directory))

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._file = LedgerFile(self.path)
        self._book = Book()
        self._mine: dict[str, Entry] = {}
        self._waiting: dict[tuple[str, Need], _Waiting] = {}
        self._idle: dict[str, float] = {}
        self._dead_checked = 0.0
        started = started_at(self._pid)
        self._owner = Owner(f"{self._pid}.{started}.{next(_counter)}.{time.time_ns():x}", self._pid, started, _user())
        self._waker = Waker(self.path, self._owner.id)
        self._numbers = itertools.count()
        self._offline = False
        self._commits = 0

    def impossible(self, resources: Resources, nodes: int = 1) -> str | None:
        """Return why this machine can never satisfy a request: a sentence with what is asked and what there is; else None."""
        return self.capacity.impossible(resources, nodes)

    def request(self, run: str, task: str, resources: Resources, nodes: int = 1) -> Lease | None:
        """Return a lease, or None if the task has to wait; it then stands in the queue until it is served or withdrawn.

        Raises:
            ImpossibleRequestError: This machine can never satisfy it.
        """
        need = Need.of(resources, nodes, self.capacity)
        with self._alone():
            waiting = self._waiting.get((run, need))
            if waiting is not None and self._answer_stands(waiting, task):
                return None
            now = time.time()
            asker = waiting.entry if waiting else Entry(self._new_id(), self._owner.id, run, task, need, (), now)
            with self._locked():
                gpus = self._decide(asker, now)
                if gpus is None:
                    self._refuse_impossible(task, resources, nodes)
                    self._wait(waiting, asker, task, now)
                    return None
                cores = choose_cores(self._book, self.capacity, need) if self.capacity.cores and resources.cpu is not None else ()
                entry = Entry(self._new_id(), self._owner.id, run, task, need, gpus, now, cores)
                self._take(waiting, entry)
            return Lease(entry, nodes, self.capacity.gpu_memory, partial(self._release, entry))

    def withdraw(self, run: str, task: str) -> None:
        """Leave the queue, if the task stands in it."""
        with self._alone():
            for key, waiting in list(self._waiting.items()):
                if key[0] == run and task in waiting.tasks:
                    del waiting.tasks[task]
                    if not waiting.tasks:
                        del self._waiting[key]
                        with self._locked():
                            self._commit([["drop", waiting.entry.id]])
                        self._wake_others(run)

    def leave(self, run: str) -> None:
        """Withdraw everything that a run waits for, and release everything that it holds."""
        for key, waiting in list(self._waiting.items()):
            for task in list(waiting.tasks) if key[0] == run else ():
                self.withdraw(run, task)
        for entry in [e for e in self._mine.values() if e.run == run]:
            self._release(entry)

    def wait_hint(self, timeout: float) -> None:
        """Return when it may be worth asking again: something was given back, or time has passed (`timeout` seconds at most)."""
        self._follow_fork()
        self._waker.wait(min(timeout, _LONGEST_WAIT))

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when it may be worth asking again; `wait_hint(0)` clears it. -1: there is none.

        Who waits on it must ask again every half second all the same, since nobody tells of a process that died.
        """
        self._follow_fork()
        return self._waker.fileno()

    def holders(self) -> list[Holder]:
        """Return all who hold something, then all who wait, in the order in which they come."""
        with self._alone():
            with self._locked():
                self._bury_the_dead(force=True)
            room = Room(self._book, self.capacity)
            queue, owners = self._book.queue(self.capacity, time.time()), self._book.owners
            return [holder(e, owners.get(e.owner), None) for e in self._book.leases.values()] + [
                holder(e, owners.get(e.owner), room) for e in queue
            ]

    def lacking(self, resources: Resources, nodes: int = 1) -> tuple[str, ...]:
        """Return what there is too little of for a request right now: ``cpu``, ``memory``, ``gpu`` or the name of a resource."""
        with self._alone():
            with self._locked():
                pass
            need = Need.of(resources, nodes, self.capacity)
            return tuple(n.removeprefix("custom:") for n in Room(self._book, self.capacity).lacking(need))

    def close(self) -> None:
        """Give back everything and leave the queue."""
        with self._alone():
            self._waker.close()
            if self._mine or self._waiting:
                with self._locked():
                    self._commit([["gone", self._owner.id]])
                self._wake_others()
            self._mine, self._waiting = {}, {}
            self._file.close()

    def _release(self, entry: Entry) -> None:
        with self._alone():
            if self._mine.pop(entry.id, None) is None:
                return
            with self._locked():
                self._commit([["free", entry.id]])
            self._wake_others(entry.run)

    def _refuse_impossible(self, task: str, resources: Resources, nodes: int) -> None:
        problem = self.capacity.impossible(resources, nodes)
        if problem:
            raise ImpossibleRequestError(f"{task} can never start: {problem}")

    def _decide(self, asker: Entry, now: float) -> tuple[str, ...] | None:
        """Decide on a request, after taking back what the dead hold if it would have to wait."""
        gpus = decide(self._book, self.capacity, asker, now, self._ignored(now))
        if gpus is None and self._bury_the_dead():
            gpus = decide(self._book, self.capacity, asker, now, self._ignored(now))
        return gpus

    def _take(self, waiting: _Waiting | None, entry: Entry) -> None:
        events = [entry_event("take", entry)]
        if waiting is not None:
            waiting.tasks.pop(entry.task, None)
            del self._waiting[entry.run, entry.need]
            events.append(["drop", waiting.entry.id])
        self._mine[entry.id] = entry
        self._commit(events)

    def _wait(self, waiting: _Waiting | None, asker: Entry, task: str, now: float) -> None:
        """Stand in the queue, or show in it that this process is still there if it has not asked for a while."""
        if waiting is None:
            waiting = self._waiting[asker.run, asker.need] = _Waiting(asker, {}, 0.0)
        waiting.tasks[task] = None
        if now - waiting.asked > _MISSED_TURN:
            self._waker.open()
            self._commit([entry_event("wait", asker)])
        waiting.asked = now
        waiting.commits = self._commits

    def _answer_stands(self, waiting: _Waiting, task: str) -> bool:
        """Say whether an equal request was turned down a moment ago and nothing has been written since, by others or by this process."""
        if time.time() - waiting.asked > _ASK_AGAIN or waiting.commits != self._commits or not self._file.unchanged():
            return False
        waiting.tasks[task] = None
        return True

    def _ignored(self, now: float) -> set[str]:
        """Return those in the queue who have not taken for seconds what they could have: their process sleeps or is stopped."""
        room = Room(self._book, self.capacity)
        idle = {}
        for entry in self._book.waits.values():
            since = self._idle.get(entry.id)
            lapsed = since is not None and now - since > _TAKES_NOTHING
            if lapsed or room.place(entry.need) is not None:
                idle[entry.id] = since if since is not None else now
        self._idle = idle
        return {i for i, since in idle.items() if now - since > _TAKES_NOTHING}

    def _bury_the_dead(self, *, force: bool = False) -> bool:
        """Take back what dead processes hold or wait for; say whether there was any. Looks every now and then only."""
        now = time.monotonic()
        if not force and now - self._dead_checked < _LOOK_FOR_DEAD:
            return False
        self._dead_checked = now
        dead = [o for o in self._book.owners.values() if not is_alive(o.pid, o.started)]
        unknown = {e.owner for e in (*self._book.leases.values(), *self._book.waits.values())} - self._book.owners.keys()
        gone = [o.id for o in dead] + sorted(unknown)
        Waker.sweep(self.path)
        if gone:
            self._commit([["gone", o] for o in gone])
        return bool(gone)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file's lock with the book up to date; without a file that can be written, keep the account of this process alone."""
        if self._offline:
            yield
            return
        try:
            held = self._file.locked()
            changes = held.__enter__()
        except OSError as error:
            self._go_offline(error)
            yield
            return
        try:
            self._catch_up(changes)
            yield
        finally:
            held.__exit__(None, None, None)

    def _catch_up(self, changes: Changes) -> None:
        if changes.restarted:
            self._book = Book()
        self._book.apply(changes.events)
        for event in changes.events:
            if event[0] == "wait":
                self._idle.pop(str(event[1]), None)
        if changes.restarted or ["gone", self._owner.id] in changes.events:
            self._tell_again()

    def _tell_again(self) -> None:
        """Write what this process holds and waits for into a file that does not have it: the old one was deleted or replaced."""
        missing = [["own", *self._owner]] if self._owner.id not in self._book.owners else []
        missing += [entry_event("take", e) for e in self._mine.values() if e.id not in self._book.leases]
        missing += [entry_event("wait", w.entry) for w in self._waiting.values() if w.entry.id not in self._book.waits]
        mine = {*self._mine, *(w.entry.id for w in self._waiting.values())}
        missing += [["free", e.id] for e in self._book.leases.values() if e.owner == self._owner.id and e.id not in mine]
        if missing:
            self._commit(missing)

    def _commit(self, events: list[list[Any]]) -> None:
        """Apply events to the book and append them. While locked."""
        self._commits += 1
        self._book.apply(events)
        if self._offline:
            return
        try:
            if self._file.wants_compaction:
                self._file.replace(self._snapshot())
            else:
                self._file.append(events)
        except OSError as error:
            self._go_offline(error)

    def _snapshot(self) -> list[list[Any]]:
        events = self._book.snapshot()
        return events if any(e[0] == "own" and e[1] == self._owner.id for e in events) else [own_event(self._owner), *events]

    def _go_offline(self, error: OSError) -> None:
        self._offline = True
        warnings.warn(
            f"The account of this machine, {self.path}, cannot be written ({error.strerror or error}); until this process ends, "
            "resources are counted for it alone. Free some disk space or set FLOWBRIDGE_ACCOUNT_DIR.",
            RuntimeWarning,
            stacklevel=2,
        )

    def _wake_others(self, run: str | None = None) -> None:
        """Wake all who wait, but for this process's own `run`, which is awake."""
        for owner in {e.owner for e in self._book.waits.values() if e.owner != self._owner.id or e.run != run}:
            wake(self.path, owner)

    def _alone(self) -> threading.Lock:
        """Return the lock to hold while working, of the process that this is now."""
        self._follow_fork()
        return self._mutex

    def _follow_fork(self) -> None:
        """In a forked child: start with an account of its own, leaving the parent's leases to the parent."""
        if self._pid != os.getpid():
            self._file.close()
            self._waker.abandon()
            self._begin()

    def _new_id(self) -> str:
        return f"{self._owner.id}.{next(self._numbers)}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return str(os.getuid())
