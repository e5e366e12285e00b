"""Starts the pods of a gang as a TrainJob, waits for the record that its first member writes, and removes the TrainJob whatever happens."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from flowbridge.backends.kubeflow.gang import FAREWELL, TERMINATED
from flowbridge.backends.kubeflow.gang.cluster import CONFLICT, Cluster, ClusterError
from flowbridge.backends.kubeflow.gang.trainjob import (
    LAUNCHER,
    OVERRIDES,
    PATCHES,
    TASK,
    condition,
    failure,
    hopeless,
    job_name,
    launcher,
    task_label,
    train_job,
    waits,
)
from flowbridge.backends.kubeflow.resources import GRACE
from flowbridge.backends.kubeflow.supervise import died_record
from flowbridge.engine.endings import seconds
from flowbridge.errors import BackendError
from flowbridge.records import reasons
from flowbridge.records.models import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import TaskRecord
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession

Json = dict[str, Any]
POLL = 2.0
LOOK_AT_PODS = 5
"""Looks at the records for one look at the pods."""
PATIENCE = 600.0
"""Seconds that pods may wait for an image, or for a secret, that is not there."""
GOING = 120.0
"""Seconds that the pods of an attempt before have to go."""


@dataclass
class TrainJobGang:
    """The gang of one task.

    Attributes:
        run: The run.
        node: The step.
        template: What was compiled about its pods.
        arguments: Of this pod's own worker.
    """

    run: RunSession
    node: StepNode
    template: Json
    arguments: Sequence[str]
    cluster: Cluster = field(default_factory=Cluster)
    _told: str = ""
    _hopeless: float | None = None

    def attempt(self, order: WorkOrder) -> TaskRecord:
        """Make one attempt and return its record."""
        began = time.time()
        try:
            with _ended_by_signals():
                self._remove_older(order)
                name = self._create(order)
                try:
                    found = self._watch(order, name)
                finally:
                    self.cluster.delete(name)
        except BackendError as error:
            found = Reason(kind="error", message=f"the gang could not be run: {error}")
        if not isinstance(found, Reason):
            return found
        self._say(found.message)
        return self.run.files.end(died_record(order, self.node, found, began))

    # --- start ---------------------------------------------------------------------------------------------------------------

    def _create(self, order: WorkOrder) -> str:
        """Create the TrainJob and return its name. Trainer 2.1 takes some settings by another name than later versions do."""
        account = self.cluster.account()
        for form in (PATCHES, OVERRIDES):
            try:
                self._send(train_job(order, self.template, self.arguments, self.node.nodes, form=form, account=account))
                break
            except ClusterError as error:
                if form == OVERRIDES or PATCHES not in error.told:
                    raise
        name = job_name(order)
        self._say(f"TrainJob {name} with {self.node.nodes} nodes in namespace {self.cluster.namespace}")
        return name

    def _send(self, job: Json) -> None:
        """Create a TrainJob; one of that name that another pod left is removed first, one of our own was made by a request whose answer was lost."""
        try:
            self.cluster.create(job)
        except ClusterError as error:
            if error.code != CONFLICT:
                raise
            standing = self.cluster.job(job["metadata"]["name"])
            if standing is not None and standing["metadata"].get("annotations", {}).get(LAUNCHER) == launcher():
                return
            self._remove([job["metadata"]["name"]])
            self.cluster.create(job)

    def _remove_older(self, order: WorkOrder) -> None:
        """Remove what an attempt before left, whose pod was lost before it could clean up: two gangs of one task must not run at once."""
        name = job_name(order)
        selector = f"{TASK}={task_label(order)}"
        self._remove([job["metadata"]["name"] for job in self.cluster.jobs(selector) if job["metadata"]["name"] != name])

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.cluster.delete(name)
        until = time.monotonic() + GOING
        for name in names:
            while self.cluster.job(name) is not None:
                if time.monotonic() > until:
                    raise BackendError(
                        f"TrainJob {name} of an earlier attempt does not go; look at its pods: kubectl describe trainjob {name}"
                    )
                time.sleep(self.template.get("poll", POLL))

    # --- watch ---------------------------------------------------------------------------------------------------------------

    def _watch(self, order: WorkOrder, name: str) -> TaskRecord | Reason:
        """Wait for the attempt's record, or for a reason why there will be none."""
        began, looks = time.monotonic(), 0
        while True:
            record = self._record(order)
            if record is not None:
                self._let_end(name, record)
                return record
            job = self.cluster.job(name)
            reason = self._over(order, name, job) or self._late(time.monotonic() - began)
            if reason is None and looks % LOOK_AT_PODS == 0:
                reason = self._waiting(name)
            if reason is not None:
                return self._record(order) or reason  # written just before the pod ended
            looks += 1
            time.sleep(self.template.get("poll", POLL))

    def _record(self, order: WorkOrder) -> TaskRecord | None:
        return self.run.files.attempt(order.step, order.index, order.attempt)

    def _over(self, order: WorkOrder, name: str, job: Json | None) -> Reason | None:
        if job is None:
            return Reason(kind="lost_worker", message=f"somebody removed TrainJob {name} while it ran")
        if self.run.files.ended() is not None:
            return reasons.cancelled("the run was ended")
        if condition(job, "Failed"):
            return failure(job, self._pods(name))
        if condition(job, "Complete"):
            task = reasons.task_name(order.step, order.index)
            return Reason(kind="lost_worker", message=f"the gang of {task} ended without a result; see the logs of its pods")
        return None

    def _late(self, waited: float) -> Reason | None:
        """Say that the step's time is long over: its first member keeps it, unless it never came to run."""
        limit = self.run.graph.time_limit(self.node)
        if limit is None or waited < limit + GRACE:
            return None
        message = f"its pods did not all start and end within its timeout of {seconds(limit)} and {seconds(GRACE)} more"
        return Reason(kind="timeout", message=message, declared=limit, used=round(waited, 1))

    def _waiting(self, name: str) -> Reason | None:
        """Tell what pods wait for, when that changes; give up where it seldom comes."""
        waiting = waits(self._pods(name))
        told = "; ".join(f"pod {pod} waits: {why}" for pod, why in waiting)
        if told and told != self._told:
            self._say(told)
        self._told = told
        if not hopeless(waiting):
            self._hopeless = None
            return None
        self._hopeless = self._hopeless or time.monotonic()
        if time.monotonic() - self._hopeless < PATIENCE:
            return None
        return Reason(kind="lost_worker", message=f"the gang never got as far as the step: {told}")

    def _pods(self, name: str) -> list[Json]:
        """Return the gang's pods; none where this pod may not look at them."""
        with contextlib.suppress(ClusterError):
            return self.cluster.pods(name)
        return []

    def _let_end(self, name: str, record: TaskRecord) -> None:
        """Let the further members end by themselves, if the first has ended well."""
        until = time.monotonic() + FAREWELL
        while record.state != "failed" and time.monotonic() < until:
            job = self.cluster.job(name)
            if job is None or condition(job, "Complete") or condition(job, "Failed"):
                return
            time.sleep(self.template.get("poll", POLL))

    def _say(self, text: str) -> None:
        sys.stdout.write(f"flowbridge: {text}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Unwind when this pod is told to end, so that the gang's pods end too."""

    def leave(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
