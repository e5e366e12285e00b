"""``flowbridge resources [FLOW]``: declared against used, and what to declare instead."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbridge.cli import options
from flowbridge.cli.printing import length, print_json, print_table, say, size

if TYPE_CHECKING:
    from flowbridge.client.sizing import Sizing
    from flowbridge.engine.right_sizing import Spread, Use

HELP = "Show what the steps of a flow declare against what they used, and propose what to declare instead, as a diff."


def resources(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="Name of a flow; else every flow of the store.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Runs of each flow to look at, the newest.")] = 20,
    profile: options.Profile = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Show resources."""
    from flowbridge.client.sizing import size_up

    found = size_up(flow, limit=limit, store=store, profile=profile)
    if as_json:
        print_json([_data(sizing) for sizing in found])
    elif not found:
        say(options.no_runs(profile, store))
    else:
        for sizing in found:
            _show(sizing)


def _show(sizing: Sizing) -> None:
    say(f"Flow {sizing.flow}, {sizing.runs} {'run' if sizing.runs == 1 else 'runs'}")
    head = ("step", "attempts", "memory declared", "p50/p95/max", "cpu declared", "p50/p95/max", "took p50/p95/max")
    print_table(head, [_cells(use) for use in sizing.uses])
    for proposal in sizing.proposals:
        say(f"{proposal.step}: {' '.join(proposal.reasons)}")
    say(f"\n{sizing.diff}" if sizing.diff else "")


def _cells(use: Use) -> list[Any]:
    declared = use.declared
    attempts = f"{use.attempts}" + (f", {use.out_of_memory} out of memory" if use.out_of_memory else "")
    return [
        use.step,
        attempts,
        size(declared.memory),
        _spread(use.memory, lambda v: size(int(v))),
        f"{declared.cpu:g}" if declared.cpu is not None else "-",
        _spread(use.cores, lambda v: f"{v:.2g}"),
        _spread(use.wall, length),
    ]


def _spread(spread: Spread | None, shown: Any) -> str:
    return " / ".join(shown(v) for v in (spread.p50, spread.p95, spread.max)) if spread is not None else "-"


def _data(sizing: Sizing) -> dict[str, Any]:
    return {
        "flow": sizing.flow,
        "runs": sizing.runs,
        "steps": [{**asdict(use), "declared": use.declared.model_dump(mode="json", exclude_defaults=True)} for use in sizing.uses],
        "proposals": [asdict(proposal) for proposal in sizing.proposals],
        "diff": sizing.diff,
    }
