"""The Metaflow backend: looks for gaps, compiles, submits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.metaflow.gaps import find_gaps
from flowbridge.backends.metaflow.notes import find_notes
from flowbridge.backends.metaflow.support import TABLE

if TYPE_CHECKING:
    from flowbridge.backends.base import Compiled, PreparedRun, Submission
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile


class MetaflowBackend:
    """Runs flows as Metaflow FlowSpecs: under its local scheduler, on Kubernetes or AWS Batch, or deployed."""

    name = "metaflow"
    support = TABLE
    enters_locks = True

    def gaps(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return every reason, beyond the support table, why this flow cannot run here; with step names and the way out."""
        return find_gaps(graph, profile)

    def notes(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return how many steps Metaflow sees, which were added and why, and what is done in a way of its own."""
        return find_notes(graph, profile)

    def compile(self, graph: FlowGraph, profile: Profile) -> Compiled:
        """Translate the flow to a FlowSpec file and, for a target that is deployed, to its artefact."""
        from flowbridge.backends.metaflow.targets import compile_for  # noqa: PLC0415  (starts Metaflow for targets)

        return compile_for(graph, profile)

    def submit(self, run: PreparedRun) -> Submission:
        """Start the run."""
        from flowbridge.backends.metaflow.submit import submit  # noqa: PLC0415  (the engine is loaded only to run)

        return submit(run)
