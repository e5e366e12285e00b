"""Starting a run on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.engine.executors.process import ProcessExecutor
from flowbridge.engine.ledger import Account
from flowbridge.engine.loop import Loop, Options
from flowbridge.engine.submission import LoopSubmission

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun


def submit(run: PreparedRun, name: str) -> LoopSubmission:
    """Make the loop of a run; the process that tasks are forked from is started at once, while this process may still have one thread."""
    account = Account.open(run.profile.machine)
    executor = ProcessExecutor(run, name)
    loop = Loop(run, executor, account, Options(name, run.max_parallel, account.capacity.memory))
    return LoopSubmission(loop, wait=run.wait, account=account)
