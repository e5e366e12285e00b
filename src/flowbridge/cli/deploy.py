"""``flowbridge deploy FILE[:FLOW]``: hand a flow over to a system that starts runs by itself; list and take back what was."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbridge.cli import options, parameters
from flowbridge.cli.printing import moment, print_json, print_table
from flowbridge.cli.run import REST
from flowbridge.cli.run import Command as RunCommand
from flowbridge.errors import UsageError

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow
    from flowbridge.authoring.traced import TracedFlow
    from flowbridge.backends.base import Deployed, Listed

HELP = (
    "Hand a flow over to a system that starts runs by itself, from its pages or by a schedule. The parameters of these runs are options: "
    "--NAME VALUE."
)


class Command(RunCommand):
    """Leaves the options that are the flow's to the flow."""


def deploy(
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(metavar="FILE[:FLOW]", help="A Python file (or module) and the flow in it.")] = None,
    backend: options.Backend = None,
    profile: options.Profile = None,
    store: options.Store = None,
    name: Annotated[str | None, typer.Option("--name", help="By which it goes there; one flow can be deployed several times.")] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="Five fields of cron, such as '0 6 * * 1-5', instead of the flow's own; or 'none'.")
    ] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="Of the schedule, such as Europe/Berlin.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-P", metavar="NAME=VALUE", help="A parameter whose name is an option of this command."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show what is deployed.")] = False,
    remove: Annotated[str | None, typer.Option("--remove", metavar="NAME", help="Take back what goes by this name. Runs stay.")] = None,
    as_json: options.Json = False,
) -> None:
    """Deploy a flow.

    Raises:
        UsageError: It is not clear what to do.
    """
    from flowbridge.client import deploying

    given = [what for what in (target, "--list" if listing else None, f"--remove {remove}" if remove else None) if what]
    if len(given) != 1:
        told = f"not {' and '.join(given)}" if given else "one of them is needed"
        raise UsageError(f"flowbridge deploy takes FILE[:FLOW], --list or --remove NAME: {told}")
    settings = {key: value for key, value in (("backend", backend), ("profile", profile), ("store", store)) if value is not None}
    if target is None:
        if context.meta[REST][0] or name or schedule or timezone or param:
            raise UsageError(f"{given[0]} takes --backend, --profile and --json, and nothing of a flow's")
        with _patience("Asking ..."):
            found = deploying.deployments(**settings) if remove is None else [deploying.undeploy(remove, **settings)]
        _show(found, as_json=as_json, removed=remove is not None)
        return
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():  # what the user's own code prints is no JSON
        flow = options.load(target)
        traced = options.build(flow)
        values = traced.coerce_some_text(parameters.given(context.meta[REST], param or [], traced.parameters))
        below = {k: v for k, v in flow.run_options.items() if k in ("backend", "profile", "store", "tags")}
        with _patience(f"Deploying {traced.graph.name} ..."):
            deployed = deploying.deploy(flow, values, name=name, schedule=schedule, timezone=timezone, **{**below, **settings})
    _tell(flow, deployed, deploying.scheduled(traced, schedule, timezone), as_json=as_json)


@contextlib.contextmanager
def _patience(words: str) -> Any:
    """Show on a terminal that something is being waited for."""
    if not sys.stdout.isatty():
        yield
        return
    from rich.console import Console

    with Console().status(words):
        yield


def _tell(flow: Flow[Any, Any], deployed: Deployed, traced: TracedFlow, *, as_json: bool) -> None:
    schedule = traced.graph.schedule
    if as_json:
        when = None if schedule is None else {"cron": schedule.cron, "timezone": schedule.timezone, "id": deployed.schedule}
        print_json({"flow": flow.name, "version": deployed.name, "id": deployed.id, "schedule": when, "url": deployed.url})
        return
    print(f"Deployed {flow.name} as {deployed.name}")
    if schedule is None:
        print("No schedule: runs are started there by hand")
    else:
        print(f"Schedule: {schedule.cron}{f' ({schedule.timezone})' if schedule.timezone else ''}")
    if deployed.url:
        print(deployed.url)


def _show(found: list[Listed], *, as_json: bool, removed: bool) -> None:
    if as_json:
        print_json(asdict(found[0]) if removed else [asdict(d) for d in found])
    elif removed:
        print(f"Removed {found[0].name}" + (" and its schedule" if found[0].cron else ""))
    elif found:
        head = ("name", "flow", "version", "schedule", "timezone", "on", "created", "url")
        print_table(head, [(d.name, d.flow, d.version, d.cron, d.timezone, d.on, moment(d.created), d.url) for d in found])
    else:
        print("Nothing is deployed. Deploy a flow: flowbridge deploy FILE --backend kubeflow")
