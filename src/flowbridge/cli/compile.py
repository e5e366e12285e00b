"""``flowbridge compile FILE[:FLOW] --backend B [-o OUT]``: a flow in the form of a backend, without running it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flowbridge.cli import options
from flowbridge.errors import UsageError

HELP = "Translate a flow to the form of a backend: pipeline YAML for kubeflow, a FlowSpec for metaflow. Nothing runs."


def compile(  # noqa: A001  (the verb of the command)
    target: options.Target,
    backend: options.Backend = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, further files go beside it; else standard output.")
    ] = None,
    profile: options.Profile = None,
    store: options.Store = None,
) -> None:
    """Compile a flow.

    Raises:
        UsageError: The file cannot be written.
    """
    from flowbridge.client import compiling

    flow = options.load(target)
    options.build(flow)
    settings = {"backend": backend, "profile": profile, "store": store}
    compiled = compiling.compile(flow, **{**flow.run_options, **{k: v for k, v in settings.items() if v is not None}})
    if output is None:
        sys.stdout.write(next(iter(compiled.files.values())).decode())
        for name in list(compiled.files)[1:]:
            print(f"Not shown: {name}; give -o to write it", file=sys.stderr)
    else:
        try:
            written = compiled.write(output)
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror or error}") from error
        for path in written:
            print(f"Wrote {path}")
    for note in compiled.notes:
        print(note, file=sys.stderr)
