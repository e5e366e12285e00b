"""``flowbridge status``: who holds what of this machine, and who waits for what."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flowbridge.cli import options
from flowbridge.cli.printing import length, print_json, print_table, size

if TYPE_CHECKING:
    from flowbridge.engine.capacity import Capacity
    from flowbridge.engine.ledger_lease import Holder

HELP = "Show what this machine has to give, which tasks hold it, and which wait for it."


def status(profile: options.Profile = None, as_json: options.Json = False) -> None:
    """Show the account of this machine."""
    from flowbridge.client.options import profile_of
    from flowbridge.engine.ledger import Account

    account = Account.open(profile_of(profile).machine)
    holders = account.holders()
    if as_json:
        print_json({"machine": _machine(account.capacity), "tasks": [asdict(h) for h in holders]})
        return
    print(_line(account.capacity, [h for h in holders if not h.waiting]))
    if holders:
        print()
        print_table(("run", "task", "status", "cpu", "memory", "gpu", "other", "user", "pid", "since"), [_cells(h) for h in holders])
    else:
        print("Nothing runs.")


def _machine(capacity: Capacity) -> dict[str, Any]:
    return {"cpu": capacity.cpu, "memory": capacity.memory, "gpus": list(capacity.gpus), "custom": dict(capacity.custom)}


def _line(capacity: Capacity, holding: list[Holder]) -> str:
    parts = [
        f"cpu {sum(h.cpu for h in holding):g} of {capacity.cpu:g}",
        f"memory {size(sum(h.memory or 0 for h in holding))} of {size(capacity.memory)} declared",
        f"gpu {sum(h.gpu for h in holding):g} of {len(capacity.gpus)}",
    ]
    for name, amount in capacity.custom.items():
        parts.append(f"{name} {sum(dict(h.custom).get(name, 0.0) for h in holding):g} of {amount:g}")
    return "In use: " + ", ".join(parts)


def _cells(holder: Holder) -> list[Any]:
    state = f"waiting for {' and '.join(holder.lacking) or 'its turn'}" if holder.waiting else "running"
    gpu = f"{holder.gpu:g}" + (f" ({', '.join(holder.gpus)})" if holder.gpus else "") if holder.gpu else "-"
    custom = ", ".join(f"{name} {amount:g}" for name, amount in holder.custom) or "-"
    since = length(time.time() - holder.since)
    return [holder.run, holder.task, state, f"{holder.cpu:g}", size(holder.memory), gpu, custom, holder.user, holder.pid, since]
