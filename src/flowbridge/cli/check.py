"""``flowbridge check FILE[:FLOW]``: everything that stands in the way of running a flow somewhere. Nothing runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from flowbridge.cli import options
from flowbridge.cli.printing import print_json

if TYPE_CHECKING:
    from flowbridge.client.inspection import Report

HELP = "Look for everything that stands in the way of running a flow on a backend. Nothing runs."


def check(
    target: options.Target,
    backend: options.Backend = None,
    profile: options.Profile = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Check a flow.

    Raises:
        typer.Exit: Something stands in the way.
    """
    from flowbridge.client.inspection import examine

    flow = options.load(target)
    options.build(flow)
    settings = {"backend": backend, "profile": profile, "store": store}
    report = examine(flow, **{**flow.run_options, **{k: v for k, v in settings.items() if v is not None}})
    if as_json:
        print_json(_data(report))
    else:
        print(report)
    if not report.ok:
        raise typer.Exit(2)


def _data(report: Report) -> dict[str, object]:
    return {**asdict(report), "ok": report.ok, "emulated": [{"feature": f, "how": how} for f, how in report.emulated]}
