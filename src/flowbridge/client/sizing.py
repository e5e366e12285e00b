"""What the steps of a flow declare against what they used over its last runs, and what to declare instead."""

from __future__ import annotations

import importlib.util
import io
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.client.runs import runs
from flowbridge.engine.decorator_diff import diff
from flowbridge.engine.right_sizing import Proposal, Use, by_function, measure_flow, propose
from flowbridge.errors import RunNotFoundError, suggest
from flowbridge.records.models import TaskRecord

if TYPE_CHECKING:
    from flowbridge.client.run import Run
    from flowbridge.client.runs import RunList


@dataclass(frozen=True)
class Sizing:
    """One flow.

    Attributes:
        flow: Its name.
        runs: Number of runs looked at.
        uses: Each step's use, in the order of the flow as it was run last.
        proposals: What to declare instead.
        diff: The same as a diff of the decorators, of those whose source is found.
    """

    flow: str
    runs: int
    uses: Sequence[Use]
    proposals: Sequence[Proposal]
    diff: str


def size_up(flow: str | None = None, *, limit: int = 20, store: str | None = None, profile: str | None = None) -> list[Sizing]:
    """Look at the last runs of one flow, or of every flow of a store.

    Args:
        flow: Name of the flow.
        limit: Runs of each flow to look at, the newest.
        store: URL of the store; None: the configured one.
        profile: Name of a profile.

    Raises:
        RunNotFoundError: There is no run of that flow.
    """
    listed = runs(flow=flow, store=store, profile=profile)
    if flow is not None and not listed:
        known = {run.flow for run in runs(store=store, profile=profile)}
        raise RunNotFoundError(
            f"The store has no run of a flow {flow!r}. Flows: {', '.join(sorted(known)) or 'none'}.{suggest(flow, known)}"
        )
    return [_sizing([run for run in listed if run.flow == name][:limit]) for name in dict.fromkeys(run.flow for run in listed)]


def _sizing(found: Sequence[Run[Any]] | RunList) -> Sizing:
    latest = found[0]
    records = [a for run in found for task in run.tasks for a in task.attempts if isinstance(a, TaskRecord)]
    uses = measure_flow(latest.graph, records)
    proposals = [p for p in map(propose, uses) if p is not None]
    parts = [_diff(latest, module, functions) for module, functions in by_function(latest.graph, proposals).items()]
    return Sizing(latest.flow, len(found), uses, proposals, "".join(parts))


def _diff(run: Run[Any], module: str, functions: Mapping[str, Mapping[str, str]]) -> str:
    """Return the diff of one module: of its file here, else of what the run took along."""
    path = _file_of(module)
    if path is not None:
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return diff(shown.as_posix(), path.read_text(encoding="utf-8"), functions)
    name, source = _bundled(run, module)
    return diff(name, source, functions) if source else ""


def _file_of(module: str) -> Path | None:
    """Return the file of a module that can be imported from the working directory; no code is run to find it."""
    parts = module.split(".")
    here = Path.cwd().joinpath(*parts).with_suffix(".py")
    if here.is_file():
        return here
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None:
        return Path(loaded)
    spec = importlib.util.find_spec(module) if len(parts) == 1 else None
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.has_location else None


def _bundled(run: Run[Any], module: str) -> tuple[str, str]:
    if run.record.bundle is None:
        return "", ""
    name = f"{module.replace('.', '/')}.py"
    with zipfile.ZipFile(io.BytesIO(run.bundle())) as archive:
        return (name, archive.read(name).decode()) if name in archive.namelist() else ("", "")
