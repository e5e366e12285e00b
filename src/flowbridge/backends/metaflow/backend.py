"""The Metaflow backend: looks for gaps, compiles, submits."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from flowbridge.backends.metaflow.gaps import find_gaps
from flowbridge.backends.metaflow.notes import find_notes
from flowbridge.backends.metaflow.support import TABLE

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.base import Compiled, Deployed, PreparedRun, Submission
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import RunRecord
    from flowbridge.settings import Profile


class MetaflowBackend:
    """Runs flows as Metaflow FlowSpecs: under its local scheduler, on Kubernetes or AWS Batch, or deployed."""

    name = "metaflow"
    support = TABLE

    def __init__(self) -> None:
        if find_spec("metaflow") is None:
            raise ModuleNotFoundError("No module named 'metaflow'", name="metaflow")

    enters_locks = True

    def driven_here(self, profile: Profile) -> bool:  # noqa: ARG002  (whatever the settings)
        """Tell that a run goes on in processes of this machine: it does."""
        return True

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

    def compile_deployable(self, graph: FlowGraph, record: RunRecord, store: Store, profile: Profile) -> Compiled:
        """Translate the flow with its code, so that runs of it can be started with Metaflow alone."""
        from flowbridge.backends.metaflow.targets import compile_for  # noqa: PLC0415

        return compile_for(graph, profile, store.get_bundle(record.bundle) if record.bundle else None)

    def deploy(self, graph: FlowGraph, record: RunRecord, store: Store, profile: Profile, *, name: str | None = None) -> Deployed:
        """Hand the flow over to the target of the profile: Argo Workflows, Step Functions or Airflow."""
        from flowbridge.backends.metaflow.targets import deploy  # noqa: PLC0415
        from flowbridge.errors import ConfigError  # noqa: PLC0415

        if record.bundle is None:
            raise ConfigError(f"The steps of flow {graph.name!r} cannot be taken elsewhere, so it cannot be deployed")
        return deploy(
            graph, profile, store.get_bundle(record.bundle), name=name, given={p: store.load(ref) for p, ref in record.param_refs}
        )

    def submit(self, run: PreparedRun) -> Submission:
        """Start the run."""
        from flowbridge.backends.metaflow.submit import submit  # noqa: PLC0415  (the engine is loaded only to run)

        return submit(run)
