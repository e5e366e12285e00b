"""Options that several commands share, and how flows are loaded for them."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbridge.errors import FlowbridgeError

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow
    from flowbridge.authoring.traced import TracedFlow

Backend = Annotated[str | None, typer.Option("--backend", "-b", help="Where to run: inline, local, kubeflow, metaflow, or a plug-in.")]
Profile = Annotated[str | None, typer.Option("--profile", "-p", help="Profile of the configuration.")]
Store = Annotated[str | None, typer.Option("--store", help="Where values and records are: a folder or any fsspec URL.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Target = Annotated[str, typer.Argument(metavar="FILE[:FLOW]", help="A Python file (or module) and the flow in it.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, the start or the last part of it, or 'latest'.")]

_PACKAGE = str(Path(__file__).parent.parent)


def load(target: str) -> Flow[Any, Any]:
    """Import the flow that a user named.

    Raises:
        UsageError: There is none, or its file cannot be imported.
    """
    from flowbridge.packaging.locate import load_flow

    return load_flow(target)


def build(flow: Flow[Any, Any]) -> TracedFlow:
    """Build a flow; what its body raises is told as the user's own error.

    Raises:
        UsageError: It cannot be built.
    """
    from flowbridge.packaging.locate import UserCodeError

    try:
        return flow.trace()
    except FlowbridgeError:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_PACKAGE)]
        shown = "".join(traceback.format_list(frames)) + "".join(traceback.format_exception_only(error))
        raise UserCodeError(f"Flow {flow.name!r} cannot be built; its body raised:\n{shown.rstrip()}") from error


def no_runs(profile: str | None, store: str | None) -> str:
    """Say that a store has no runs; which store, as one that is not meant has none either."""
    from flowbridge.client.options import absolute, profile_of

    return f"No runs in the store {absolute(profile_of(profile, store=store).store)} yet. Start one: flowbridge run FILE"
