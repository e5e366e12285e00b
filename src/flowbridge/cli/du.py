"""``flowbridge du``: what takes room in a store."""

from __future__ import annotations

from dataclasses import asdict

from flowbridge.cli import options
from flowbridge.cli.printing import print_json, print_table, size

HELP = "Show what takes room in a store, by flow."


def du(profile: options.Profile = None, store: options.Store = None, as_json: options.Json = False) -> None:
    """Show what takes room."""
    from flowbridge.client import gc as cleaning

    usage = cleaning.du(store=store, profile=profile)
    if as_json:
        print_json(asdict(usage))
        return
    rows: list[tuple[str, int | None, str]] = [(name, usage.runs.get(name, 0), size(count)) for name, count in usage.flows.items()]
    rows += [("(shared)", None, size(usage.shared)), ("(unreferenced)", None, size(usage.unreferenced)), ("(all)", None, size(usage.total))]
    print_table(("flow", "runs", "bytes"), rows)
