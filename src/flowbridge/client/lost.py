"""Runs that nobody closed: whether whoever drove them is gone, and what is then known of them. Only reads, so any store will do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowbridge.artifacts import layout
from flowbridge.engine.drivers import Fate, fate_of_all
from flowbridge.errors import FlowbridgeError
from flowbridge.ir.flow import FlowGraph
from flowbridge.records.finish import would_end
from flowbridge.records.models import TaskRecord, TaskStarted
from flowbridge.records.reasons import task_name
from flowbridge.worker.session import flow_of

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Driver, RunEnd, RunState

SILENT = 3600.0
"""Seconds without a word after which that is worth saying of a run whose driver cannot be seen from here."""
GIVEN_UP = 30 * 86400.0
"""Seconds without a word after which such a run no longer keeps anything from being cleaned up."""
_SHOWN = 5


@dataclass(frozen=True)
class Lost:
    """A run whose driver died without closing it.

    Attributes:
        end: How it would be closed.
        attempts: All attempts; those that were on when the driver died are failed.
    """

    end: RunEnd
    attempts: tuple[TaskRecord | TaskStarted, ...]


def fate(files: RunFiles) -> Fate:
    """Tell whether whoever drives a run that has not ended still can go on."""
    return fate_of_all(_drivers(files))


def _drivers(files: RunFiles) -> tuple[Driver, ...]:
    """Return the processes that a run ends with, the one that carries it on first; none where it goes on elsewhere."""
    driver = files.run().driver
    if driver is None:
        return ()
    native = files.native()
    return (native.drivers if native is not None else ()) or (driver,)


def lost(files: RunFiles, graph: Callable[[], FlowGraph], now: Fate) -> Lost | None:
    """Return what is known of a run whose driver is gone; None while it may go on (as its `fate` is now), and where it was closed after all."""
    if now != "gone" or files.ended() is not None:  # it may have been closed since the caller looked, by its last breath
        return None
    at = last_word(files)
    end, attempts = would_end(graph(), files.read_tasks(), at=at)
    return Lost(end.model_copy(update={"message": _message(files, end.state, attempts, at)}), tuple(attempts))


def last_word(files: RunFiles) -> float:
    """Return when a run last wrote anything, in seconds since the epoch."""
    written = files.content.entries(f"{layout.run_dir(files.flow, files.run_id)}/")
    return max((changed for _, _, changed in written), default=files.run().created)


def silence(files: RunFiles, now: Fate) -> float | None:
    """Return for how long nothing was heard of a run that has not ended, where that is long and its driver can't be seen from here."""
    if now == "alive" or time.time() - files.run().created < SILENT:
        return None
    silent = time.time() - last_word(files)
    return silent if silent >= SILENT else None


def state_of(store: Store, files: RunFiles) -> tuple[RunState, dict[str, float]]:
    """Return state and metrics of a run as cleaning up counts it: one that nobody can carry on any more is over."""
    end = files.ended()
    if end is not None:
        return end.state, end.metrics
    try:
        now = fate(files)
    except FlowbridgeError:  # not even who drives it can be read: it may be going on
        return "running", {}
    try:
        gone = lost(files, lambda: flow_of(store, files.run()), now)
        if gone is not None:
            return gone.end.state, gone.end.metrics
        return ("failed" if (silence(files, now) or 0.0) >= GIVEN_UP else "running"), {}
    except FlowbridgeError:  # its records or its flow cannot be read, and nobody will mend them
        return ("failed" if now == "gone" else "running"), {}


def _message(files: RunFiles, state: RunState, attempts: list[TaskRecord | TaskStarted], at: float) -> str:
    run, driver = files.run_id, _drivers(files)[0]
    who = f" (process {driver.pid} on {driver.host})"
    heard = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    told = f"its driver{who} died without closing it: it was killed, or the machine was restarted. Last sign of life: {heard}."
    if state == "done":
        return f"{told} All tasks had ended."
    names = [task_name(a.step, a.index) for a in attempts if isinstance(a, TaskRecord) and a.reason and a.reason.kind == "lost_worker"]
    if names:
        told += f" Lost with it: {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''}."
    look = f"flowbridge logs {run} {names[0]}" if names else f"flowbridge show {run} --tasks"
    return f"{told} What had ended is in the store. Next: {look}; then run the flow again"
