"""Translate a flow to the form of a backend, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.registry import get_backend
from flowbridge.client.deploying import compile_complete
from flowbridge.client.options import RunOptions
from flowbridge.client.prepare import refuse_gaps

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow
    from flowbridge.backends.base import Compiled


def compile(flow: Flow[..., Any], target: str | Path | None = None, **settings: Any) -> Compiled:  # noqa: A001  (the verb of the command)
    """Translate a flow.

    Args:
        flow: The flow.
        target: File to write to, further files go beside it; None: nothing is written.
        settings: Options of a run: backend, profile, store.

    Returns:
        What came out: its files by name, the main one first.

    Raises:
        UsageError: The flow cannot be built, or the backend cannot run it (lists every gap).
    """
    options = RunOptions.of(settings)
    profile = options.load_profile()
    traced, backend = flow.trace(), get_backend(profile.backend)
    refuse_gaps(backend, traced.graph, profile)
    compiled = compile_complete(backend, traced, profile, options)
    if target is not None:
        compiled.write(Path(target))
    return compiled
