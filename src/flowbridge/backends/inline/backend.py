"""The inline backend: looks for gaps, compiles, submits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.inline.compile import compile_flow
from flowbridge.backends.inline.status import notes_of
from flowbridge.backends.inline.support import TABLE
from flowbridge.engine.here import container_gaps, placement_gaps, secret_gaps

if TYPE_CHECKING:
    from flowbridge.backends.base import Compiled, PreparedRun, Submission
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile


class InlineBackend:
    """Runs flows in this process, one task after the other: for debuggers, for tests, and for a store in memory."""

    name = "inline"
    support = TABLE

    def driven_here(self, profile: Profile) -> bool:  # noqa: ARG002  (whatever the settings)
        """Tell that a run goes on in processes of this machine: it does."""
        return True

    def gaps(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return every reason, beyond the support table, why this flow cannot run here; with step names and the way out."""
        return [*secret_gaps(graph), *container_gaps(graph.steps), *placement_gaps(graph, profile)]

    def notes(self, graph: FlowGraph, profile: Profile) -> list[str]:  # noqa: ARG002
        """Return what of the flow is done in a way of its own here."""
        return notes_of(graph)

    def compile(self, graph: FlowGraph, profile: Profile) -> Compiled:  # noqa: ARG002
        """Return the flow as JSON."""
        return compile_flow(graph)

    def submit(self, run: PreparedRun) -> Submission:
        """Prepare the run to be run by whoever waits for it."""
        from flowbridge.backends.inline.submit import submit  # noqa: PLC0415  (the engine is loaded only to run)

        return submit(run, self.name)
