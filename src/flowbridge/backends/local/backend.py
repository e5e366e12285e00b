"""The local backend: looks for gaps, compiles, submits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.local.compile import compile_flow
from flowbridge.backends.local.resources import resource_gaps, store_gaps
from flowbridge.backends.local.status import notes_of
from flowbridge.backends.local.support import TABLE
from flowbridge.engine.here import container_gaps, placement_gaps, secret_gaps

if TYPE_CHECKING:
    from flowbridge.backends.base import Compiled, PreparedRun, Submission
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile


class LocalBackend:
    """Runs flows on this machine: each task in a fresh process, as many at once as their declared resources allow."""

    name = "local"
    support = TABLE
    enters_locks = True

    def driven_here(self, profile: Profile) -> bool:  # noqa: ARG002  (whatever the settings)
        """Tell that a run goes on in processes of this machine: it does."""
        return True

    def gaps(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return every reason, beyond the support table, why this flow cannot run here; with step names and the way out."""
        return [
            *resource_gaps(graph, profile),
            *secret_gaps(graph),
            *container_gaps(graph.steps),
            *placement_gaps(graph, profile),
            *store_gaps(profile),
        ]

    def notes(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return what to know about this machine and this flow."""
        return notes_of(graph, profile)

    def compile(self, graph: FlowGraph, profile: Profile) -> Compiled:  # noqa: ARG002  (nothing in the settings changes it)
        """Return the flow as JSON."""
        return compile_flow(graph)

    def submit(self, run: PreparedRun) -> Submission:
        """Start the run in this process, or prepare it to be run by whoever waits for it."""
        from flowbridge.backends.local.submit import submit  # noqa: PLC0415  (the engine is loaded only to run)

        return submit(run, self.name)
