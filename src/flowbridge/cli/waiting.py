"""What the steps of a local run wait for, as the account of this machine has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from flowbridge.errors import FlowbridgeError

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun

_EVERY = 1.0

Waits = Mapping[str, tuple[str, ...]]


def waits_of(prepared: PreparedRun, backend: str) -> Callable[[], Waits] | None:
    """Return what tells, for each step of a run, the resources it waits for; None where no account of this machine counts."""
    if backend != "local":
        return None
    from flowbridge.engine.ledger import Account

    account = Account.open(prepared.profile.machine)
    known: dict[str, tuple[str, ...]] = {}
    asked = [0.0]

    def look() -> Waits:
        if time.monotonic() - asked[0] >= _EVERY:
            asked[0] = time.monotonic()
            known.clear()
            try:
                holders = account.holders()
            except (FlowbridgeError, OSError):  # the account is shown beside the run; the run itself tells what is wrong with it
                return known
            known.update({h.task.partition("/")[0]: h.lacking for h in holders if h.waiting and h.run == prepared.record.id})
        return known

    return look
