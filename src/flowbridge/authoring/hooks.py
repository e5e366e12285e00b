"""Where running, checking and compiling a flow are handed in from above, so that authoring imports nothing of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowbridge.errors import UsageError

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow


class Hooks(Protocol):
    """What a flow can be asked for. `options` are those of `Flow.options`."""

    def run(self, flow: Flow[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """Run a flow with arguments."""

    def check(self, flow: Flow[..., Any], options: Mapping[str, Any]) -> Any:
        """Look for everything that stands in the way of running a flow."""

    def compile(self, flow: Flow[..., Any], target: str | Path | None, options: Mapping[str, Any]) -> Any:
        """Translate a flow to the form of a backend."""


_installed: list[Hooks] = []


def install(hooks: Hooks) -> None:
    """Use these from now on; the root package does so when it is imported."""
    _installed[:] = [hooks]


def installed() -> Hooks:
    """Return the hooks in use.

    Raises:
        UsageError: None were installed: parts of flowbridge are missing.
    """
    if not _installed:
        importlib.import_module("flowbridge")
    if not _installed:
        raise UsageError("Only the authoring part of flowbridge is there; a flow can be built, but not run, checked or compiled.")
    return _installed[0]
