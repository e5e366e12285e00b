"""The Kubeflow backend: looks for gaps, compiles, submits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.base import Compiled
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.gaps import find_gaps, find_notes
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.support import TABLE

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun, Submission
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile


class KubeflowBackend:
    """Runs flows on Kubeflow Pipelines, or under kfp's own local runner with ``host = "local"``."""

    name = "kubeflow"
    support = TABLE

    def gaps(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return every reason, beyond the support table, why this flow cannot run here."""
        return find_gaps(graph, profile)

    def notes(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return the pods of a run, the size of the pipeline and what to know about it."""
        return find_notes(graph, profile)

    def compile(self, graph: FlowGraph, profile: Profile) -> Compiled:
        """Translate the flow to a pipeline file for Kubeflow."""
        pipeline = compile_flow(graph, profile)
        return Compiled(files={f"{graph.name}.yaml": pipeline.data}, notes=find_notes(graph, profile, pipeline))

    def submit(self, run: PreparedRun) -> Submission:
        """Start the run on the server of the profile, or with kfp's local runner."""
        if options_of(run.profile).local:
            from flowbridge.backends.kubeflow.local import submit_local  # noqa: PLC0415  (the engine is loaded only to run)

            return submit_local(run)
        from flowbridge.backends.kubeflow.submit import submit  # noqa: PLC0415

        return submit(run)
