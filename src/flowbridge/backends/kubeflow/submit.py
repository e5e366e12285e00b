"""Starts runs on a Kubeflow server and follows them: states come from flowbridge's own records, the server only completes them."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowbridge.backends.base import PreparedRun
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.components import RUN
from flowbridge.backends.kubeflow.gaps import size_gaps
from flowbridge.backends.kubeflow.locks import refuse_local_packages
from flowbridge.backends.kubeflow.options import KubeflowOptions, options_of
from flowbridge.backends.kubeflow.parameters import shown
from flowbridge.backends.kubeflow.rest import AccessDeniedError, NotOnServerError, Server, ServerUnreachableError
from flowbridge.backends.kubeflow.status import complete, failures, is_over, message_of, waiting
from flowbridge.backends.kubeflow.wheel import place_wheel
from flowbridge.engine.endings import seconds
from flowbridge.errors import UnsupportedError
from flowbridge.records import reasons
from flowbridge.records.finish import finalise
from flowbridge.records.models import RunNative, TaskRecord
from flowbridge.records.watch import Watcher

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.kubeflow.compile import Pipeline
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import Reason, RunState
    from flowbridge.settings import Profile

Json = dict[str, Any]
SERVER_EVERY = 5
"""Looks at the records for one look at the server."""
GRACE = 30.0
"""Seconds that the last task may still take to write the end of the run after the server says it is over."""
PATIENCE = 600.0
"""Seconds that a server may be away before a run's follower gives up; the run goes on."""


def submit(run: PreparedRun) -> ServerSubmission:
    """Start a run on a Kubeflow server.

    Raises:
        ConfigError: No server is set, or a credential is missing.
        UnsupportedError: With its parameters the run would be larger than the server takes.
        BackendError: The server did not answer, did not let us in, or refused; then it has no such run.
    """
    options = options_of(run.profile)
    server = Server(options)
    refuse_local_packages(run.record, run.store)
    pipeline = complete_pipeline(run.graph, run.store, run.profile, options)
    too_large = size_gaps(run.graph, pipeline, run.record.params)
    if too_large:
        raise UnsupportedError("kubeflow", too_large)
    experiment = server.experiment(options.experiment or run.graph.name)
    native = server.create_run(run_request(run, pipeline, options, experiment))
    try:
        run.files.set_native(RunNative(backend="kubeflow", id=native, url=server.page(native, options.ui)))
    except BaseException:
        server.terminate(native)
        raise
    return ServerSubmission(run=run, server=server, native=native, options=options, tasks=pipeline.tasks)


def complete_pipeline(
    graph: FlowGraph, store: Store, profile: Profile, options: KubeflowOptions, *, deployment: str | None = None
) -> Pipeline:
    """Compile a flow, and put flowbridge as a wheel into the store where its pods need one."""
    return compile_flow(graph, located(profile, store), deployment=deployment, wheel=place_wheel(options, store))


def located(profile: Profile, store: Store) -> Profile:
    """Return the profile with the store's full URL: a path that begins here means nothing in a pod."""
    return profile.model_copy(update={"store": store.url})


def run_request(run: PreparedRun, pipeline: Pipeline, options: KubeflowOptions, experiment: str) -> Json:
    """Return what is sent to start a run."""
    request: Json = {
        "display_name": f"{run.graph.name} {run.record.id}",
        "experiment_id": experiment,
        "pipeline_spec": source(pipeline),
        "runtime_config": {"parameters": {RUN: run.record.id, **shown_parameters(run.graph, run.record.params)}},
    }
    if options.pipeline_root:
        request["runtime_config"]["pipeline_root"] = options.pipeline_root
    if options.service_account:
        request["service_account"] = options.service_account
    return request


def source(pipeline: Pipeline) -> Json:
    """Return a pipeline in the form of a request: with its platform settings, where it has any."""
    if not pipeline.platform:
        return pipeline.spec
    return {"pipeline_spec": pipeline.spec, "platform_spec": pipeline.platform}


def shown_parameters(graph: FlowGraph, params: Json) -> Json:
    """Return the parameters as Kubeflow's pages show them; the run itself has them from the store."""
    return {p.name: shown(p, params.get(p.name, p.default)) for p in graph.parameters}


@dataclass
class ServerSubmission:
    """A run on a Kubeflow server.

    Attributes:
        run: What was submitted.
        server: Where.
        native: Its id there.
        options: The profile's settings.
        tasks: Name on the server of each step's task.
    """

    run: PreparedRun
    server: Server
    native: str
    options: KubeflowOptions
    tasks: dict[str, str]
    _watcher: Watcher = field(init=False)
    _away: float | None = None
    _over: float | None = None

    def __post_init__(self) -> None:
        """Begin to follow the records."""
        self._watcher = Watcher(self.run.files)

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is over (or `timeout` seconds) and return its state.

        Raises:
            ServerUnreachableError: The server has been away for long; the run may still go on.
        """
        until = None if timeout is None else time.monotonic() + timeout
        looks = 0
        while True:
            self._tell()
            ended = self.run.files.ended()
            if ended is not None:
                self._tell()
                self._explain()
                return ended.state
            if looks % SERVER_EVERY == 0:
                self._look()
            looks += 1
            if self._late():
                self._give_up()
                continue
            if until is not None and time.monotonic() >= until:
                return "running"
            time.sleep(self.options.poll if until is None else max(0.0, min(self.options.poll, until - time.monotonic())))

    def cancel(self) -> None:
        """End the run on the server, and close its records."""
        self._end(None)

    def _end(self, why: Reason | None) -> None:
        self.server.terminate(self.native)
        finalise(self.run.graph, self.run.files, cancelled=True, left=why)
        self._tell()

    def _give_up(self) -> None:
        """End a run that is past its deadline, and say what it waited for."""
        told: Json = {}
        with contextlib.suppress(ServerUnreachableError, AccessDeniedError, NotOnServerError):
            told = self.server.run(self.native)
        names = sorted({step for step, name in self.tasks.items() if name in waiting(told)})
        until = f"the run was past its deadline of {seconds(self.options.deadline or 0)}"
        waited = f"; Kubeflow still waited for {', '.join(names)}" if names else ""
        sys.stderr.write(f"flowbridge: {self.run.record.id}: {until} and is cancelled{waited}\n")
        self._end(reasons.cancelled(until))

    def _explain(self) -> None:
        """Add what the server says of tasks whose pods never told their end."""
        lost = [r for r in self.run.files.tasks() if isinstance(r, TaskRecord) and r.reason is not None and r.reason.kind == "lost_worker"]
        if not lost:
            return
        with contextlib.suppress(ServerUnreachableError, AccessDeniedError, NotOnServerError):
            said = failures(self.server.run(self.native))
            for step in dict.fromkeys(r.step for r in lost):
                if self.tasks.get(step) in said:
                    sys.stderr.write(f"flowbridge: Kubeflow says of {step}: {said[self.tasks[step]]}\n")

    def _tell(self) -> None:
        for event in self._watcher.poll():
            self.run.listener(event)

    def _late(self) -> bool:
        """Say whether the run is past its deadline: the server never gives up on a pod that cannot be scheduled."""
        return self.options.deadline is not None and time.time() > self.run.record.created + self.options.deadline

    def _look(self) -> None:
        """Ask the server, and close the run where it is over there and nothing will close it any more."""
        try:
            told = self.server.run(self.native)
        except (ServerUnreachableError, AccessDeniedError):
            self._away = self._away or time.monotonic()
            if time.monotonic() - self._away > PATIENCE:
                raise
            return
        except NotOnServerError:  # somebody deleted it there
            told = {"state": "CANCELED"}
        self._away = None
        if not is_over(told):
            return
        self._over = self._over or time.monotonic()
        waited = time.monotonic() - self._over >= GRACE or told["state"] == "CANCELED"
        if self.run.files.ended() is None and waited:
            complete(self.run.graph, self.run.files, told, self.tasks)
            end = finalise(self.run.graph, self.run.files, cancelled=told["state"] == "CANCELED")
            if message_of(told) and end.state == "failed":
                sys.stderr.write(f"flowbridge: Kubeflow says of run {self.native}: {message_of(told)}\n")
