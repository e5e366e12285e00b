"""Starting a run in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.engine.executors.inline import InlineExecutor
from flowbridge.engine.loop import Loop, Options
from flowbridge.engine.submission import LoopSubmission

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun


def submit(run: PreparedRun, name: str) -> LoopSubmission:
    """Make the loop of a run."""
    executor = InlineExecutor(run.store, run.graph, run.functions)
    return LoopSubmission(Loop(run, executor, None, Options(name)), wait=run.wait)
