"""Look at a flow and a backend together, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowbridge.backends.registry import get_backend
from flowbridge.backends.support import Emulated
from flowbridge.client.options import RunOptions
from flowbridge.client.prepare import gaps_of
from flowbridge.errors import UnsupportedError
from flowbridge.ir.features import features_of

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow
    from flowbridge.backends.base import Backend
    from flowbridge.ir.flow import FlowGraph


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        flow: Name of the flow.
        backend: Name of the backend.
        gaps: What stands in the way, one sentence each; empty: the flow can run.
        emulated: What flowbridge does itself, since the system behind the backend does not: feature and how.
        notes: What else to know: numbers of pods, sizes.
    """

    flow: str
    backend: str
    gaps: tuple[str, ...] = ()
    emulated: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the flow can run there."""
        return not self.gaps

    def __str__(self) -> str:
        lines = [f"Flow {self.flow!r} can run on {self.backend!r}." if self.ok else str(UnsupportedError(self.backend, self.gaps))]
        lines += [f"  emulated: {feature}: {how}" for feature, how in self.emulated]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def examine(flow: Flow[..., Any], **settings: Any) -> Report:
    """Look for everything that stands in the way of running a flow, and tell it.

    Raises:
        FlowError: The flow cannot be built; lists every problem.
        ConfigError: The configuration is wrong.
    """
    profile = RunOptions.of(settings).load_profile()
    graph = flow.trace().graph
    backend = get_backend(profile.backend)
    gaps = gaps_of(backend, graph, profile)
    notes = [] if gaps else backend.notes(graph, profile)
    return Report(graph.name, backend.name, tuple(gaps), _emulated(backend, graph), tuple(notes))


def check(flow: Flow[..., Any], **settings: Any) -> Report:
    """Look for everything that stands in the way of running a flow, and refuse it if there is anything.

    Raises:
        UsageError: The flow cannot be built, or the backend cannot run it (lists every gap).
    """
    report = examine(flow, **settings)
    if not report.ok:
        raise UnsupportedError(report.backend, report.gaps)
    return report


def _emulated(backend: Backend, graph: FlowGraph) -> tuple[tuple[str, str], ...]:
    found = []
    for feature in features_of(graph):
        support = backend.support[feature]
        if isinstance(support, Emulated):
            found.append((feature.value, support.how))
    return tuple(found)
