"""Takes up runs that another process started: to wait for them, or to end them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.local import PREFIX, attach_local
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.rest import Server
from flowbridge.backends.kubeflow.submit import ServerSubmission, located
from flowbridge.errors import UsageError

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun, Submission


def attach(run: PreparedRun) -> Submission:
    """Take up again a run that another process started, on a Kubeflow server or under kfp's local runner.

    Raises:
        ConfigError: No server is set.
        UsageError: The run was never submitted to one.
    """
    options = options_of(run.profile)
    native = run.files.native()
    if native is None or native.backend != "kubeflow":
        raise UsageError(f"Run {run.record.id} was not handed to Kubeflow, so there is nothing to take up")
    if native.id.startswith(PREFIX):
        return attach_local(run, native.id)
    tasks = compile_flow(run.graph, located(run.profile, run.store)).tasks
    return ServerSubmission(run=run, server=Server(options), native=native.id, options=options, tasks=tasks)
