"""``flowbridge runs``: the runs of a store, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbridge.cli import options
from flowbridge.cli.printing import length, moment, print_json, print_table, say

if TYPE_CHECKING:
    from flowbridge.client.run import Run

HELP = "List the runs of a store, newest first."


def runs(
    flow: Annotated[str | None, typer.Option("--flow", "-f", help="Of this flow only.")] = None,
    status: Annotated[str | None, typer.Option("--status", "-s", help="pending, running, done, failed or cancelled.")] = None,
    where: Annotated[str | None, typer.Option("--where", "-w", help='Such as "params.lr < 0.1 and metrics.auc > 0.9".')] = None,
    sort: Annotated[str | None, typer.Option("--sort", help="A field, such as metrics.auc; -metrics.auc for the greatest first.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    profile: options.Profile = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """List runs."""
    from flowbridge.client import runs as found

    listed = found.runs(flow=flow, status=status, where=where, order_by=sort, limit=limit, store=store, profile=profile)
    if as_json:
        print_json(listed.rows())
    elif listed:
        print_table(
            ("id", "flow", "status", "backend", "created", "took", "params", "metrics"),
            [_cells(*pair) for pair in zip(listed, listed.rows(), strict=True)],
        )
    else:
        say("No runs match." if any((flow, status, where)) else options.no_runs(profile, store))


def _cells(run: Run[Any], row: dict[str, Any]) -> list[Any]:
    silent = run.message if row["finished"] is None else None  # of a run that has not ended, that it is silent is all there is to say
    return [
        row["id"],
        row["flow"],
        row["status"] + (f" ({silent})" if silent else ""),
        row["backend"],
        moment(row["created"]),
        length(row["duration"]),
        row["params"],
        row["metrics"],
    ]
