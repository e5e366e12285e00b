"""``flowbridge tag``: words to find a run by, given to it or taken from it at any time."""

from __future__ import annotations

from typing import Annotated

import typer

from flowbridge.cli import options
from flowbridge.cli.printing import print_json, say

HELP = "Show the tags of a run, give it more, or take some from it. A run tagged 'pinned' is never removed by gc."


def tag(
    run: options.RunName,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Tags to give it.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", "-r", help="A tag to take from it; also several times.")] = None,
    profile: options.Profile = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Change the tags of a run."""
    from flowbridge.client.runs import get_run

    found = get_run(run, store=store, profile=profile)
    if remove:
        found.untag(*remove)
    if tags:
        found.tag(*tags)
    now = found.tags
    if as_json:
        print_json({"id": found.id, "tags": list(now)})
    else:
        say(f"{found.id}  {', '.join(now) or '(no tags)'}")
