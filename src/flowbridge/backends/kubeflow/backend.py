"""The Kubeflow backend: looks for gaps, compiles, submits."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from flowbridge.backends.base import Compiled
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.gaps import find_gaps, find_notes
from flowbridge.backends.kubeflow.options import LOCAL, options_of
from flowbridge.backends.kubeflow.support import TABLE
from flowbridge.errors import MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.base import Deployed, Listed, PreparedRun, Submission
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import RunRecord
    from flowbridge.settings import Profile


NO_LIMIT = "max_parallel: Kubeflow has no limit for the tasks of one run. Use parallel= on maps, or leave it out."


class KubeflowBackend:
    """Runs flows on Kubeflow Pipelines, or under kfp's own local runner with ``host = "local"``."""

    name = "kubeflow"
    support = TABLE
    enters_locks = True
    """Pods run steps in the environments that the client locks and keeps in the store."""

    def driven_here(self, profile: Profile) -> bool:
        """Tell whether a run goes on in processes of this machine: under kfp's own local runner it does."""
        return options_of(profile).local

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

    def attach(self, run: PreparedRun) -> Submission:
        """Take up again a run that another process started, to wait for it or to end it."""
        from flowbridge.backends.kubeflow.attach import attach  # noqa: PLC0415

        return attach(run)

    def compile_deployable(self, graph: FlowGraph, record: RunRecord, store: Store, profile: Profile) -> Compiled:
        """Translate the flow so that runs of it can be started in Kubeflow's pages, and put into the store what they need."""
        from flowbridge.backends.kubeflow.schedule import deployable  # noqa: PLC0415  (a store is opened only to deploy)

        pipeline = deployable(graph, record, store, profile)
        return Compiled(files={f"{graph.name}.yaml": pipeline.data}, notes=find_notes(graph, profile, pipeline))

    def deploy(self, graph: FlowGraph, record: RunRecord, store: Store, profile: Profile, *, name: str | None = None) -> Deployed:
        """Upload the flow to the server of the profile, and start its recurring run where it has a schedule."""
        from flowbridge.backends.kubeflow.schedule import deploy  # noqa: PLC0415

        return deploy(graph, record, store, profile, name=name)

    def deployments(self, profile: Profile) -> list[Listed]:
        """Return the flows that were uploaded to the server of the profile."""
        from flowbridge.backends.kubeflow.deployed import deployments  # noqa: PLC0415

        return deployments(profile)

    def undeploy(self, name: str, profile: Profile) -> Listed:
        """Remove an uploaded flow and its recurring run from the server of the profile."""
        from flowbridge.backends.kubeflow.deployed import undeploy  # noqa: PLC0415

        return undeploy(name, profile)

    def admit(self, profile: Profile, *, max_parallel: int | None = None) -> Profile:
        """Refuse a run that cannot start here and now, before anything is written. Where no host is named, kfp's local runner serves."""
        if max_parallel is not None:
            raise UnsupportedError(self.name, [NO_LIMIT])
        if options_of(profile).host is None:
            profile = profile.model_copy(update={"kubeflow": {**profile.kubeflow, "host": LOCAL}})
        if options_of(profile).local and importlib.util.find_spec("kfp") is None:
            raise MissingExtraError.needed("Running Kubeflow pipelines on this machine (kubeflow.host = 'local')", "kfp", "kubeflow")
        if options_of(profile).local and options_of(profile).local_runner == "docker":
            from flowbridge.backends.kubeflow.local_docker import why_not  # noqa: PLC0415

            reason = why_not()
            if reason is not None:
                raise UnsupportedError(self.name, [f"kubeflow.local_runner = 'docker': {reason}."])
        return profile

    def submit(self, run: PreparedRun) -> Submission:
        """Start the run on the server of the profile, or with kfp's local runner."""
        options = options_of(run.profile)
        if run.max_parallel is not None:
            raise UnsupportedError(self.name, [NO_LIMIT])
        if options.flavor == "vertex" and not options.local:
            from flowbridge.backends.kubeflow.vertex import submit_vertex  # noqa: PLC0415

            return submit_vertex(run)
        if options.local:
            from flowbridge.backends.kubeflow.local import submit_local  # noqa: PLC0415  (the engine is loaded only to run)

            return submit_local(run)
        from flowbridge.backends.kubeflow.submit import submit  # noqa: PLC0415

        return submit(run)
