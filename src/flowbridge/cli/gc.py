"""``flowbridge gc``: what can go from a store, and its removal."""

from __future__ import annotations

from typing import Annotated

import typer

from flowbridge.cli import options
from flowbridge.cli.printing import count, print_json, print_table, say, size

HELP = (
    "Show what can go from a store, and remove it with --yes. Runs that have not ended, and runs tagged 'pinned', always stay. "
    "A run whose driver died has ended; so has one elsewhere of which nothing was heard for 30 days."
)


def gc(
    older_than: Annotated[str | None, typer.Option("--older-than", help="Runs created longer ago, such as 30d or 12h.")] = None,
    keep: Annotated[int | None, typer.Option("--keep", min=0, help="The newest runs of each flow that stay.")] = None,
    flow: Annotated[str | None, typer.Option("--flow", "-f", help="Runs of this flow only.")] = None,
    status: Annotated[str | None, typer.Option("--status", "-s", help="Runs that are done, failed or cancelled only.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="Runs with this tag only.")] = None,
    best: Annotated[
        list[str] | None,
        typer.Option(
            "--best", metavar="METRIC[:min|max]", help="The best run of each flow by a metric stays: auc, loss:min; also several times."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
    profile: options.Profile = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Clean a store."""
    from flowbridge.client import gc as cleaning

    retention = cleaning.retention_of(older_than, keep, flow=flow, status=status, tag=tag, best=best or ())
    plan = cleaning.gc(retention, remove=yes, store=store, profile=profile)
    if as_json:
        print_json({**plan.row(), "removed": yes})
        return
    if plan.by_flow:
        counts = {name: sum(run.flow == name for run in plan.runs) for name in plan.by_flow}
        print_table(("flow", "runs", "bytes"), [(name, counts[name], size(held)) for name, held in plan.by_flow.items()])
    told = f"{count(len(plan.runs), 'run')} and {count(len(plan.files), 'file')}, {size(plan.size)}"
    if not plan.runs and not plan.files:
        say("Nothing can go.")
    else:
        say(f"Removed {told}." if yes else f"{told} can go. Nothing is removed yet: the same command with --yes does it.")
