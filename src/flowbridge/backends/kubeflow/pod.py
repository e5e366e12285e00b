"""What runs in a pod: find the run (or begin it), run one task with the worker, and tell Kubeflow what it wants to know.

Nothing of kfp is imported here. The task is named by the executor input, which the server fills in.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowbridge.errors import FlowbridgeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowbridge.artifacts.store import Store
    from flowbridge.records.models import TaskRecord
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession, Session

Json = dict[str, Any]
RUN, JOB, STEP, UNITS = "run-id", "job-id", "step-id", "Output"
BACKEND = "kubeflow"
OPTIONS, TRUST = "FLOWBRIDGE_STORE_OPTIONS", "FLOWBRIDGE_TRUST"
"""Settings of the pod and of the worker that it may start. What must not stand in a pipeline comes in here from a Kubernetes secret."""


@dataclass(frozen=True)
class Job:
    """What the server tells a pod.

    Attributes:
        store: URL of the store.
        flow: Name of the flow.
        deployment: Digest of the deployment that runs begun on the server belong to.
        does: ``task``, ``items``, ``check`` or ``finish``; ``member`` in the pods of a gang.
        attempt: As the server counts; None where it does not.
        soft: Whether a failure stays in the records.
        executor_input: Inputs, and where outputs go.
        gang: What the pods of its gang are like; in these, its size.
        arguments: All arguments.
    """

    store: str
    flow: str
    deployment: str | None
    does: str
    attempt: int | None
    soft: bool
    executor_input: Json
    gang: Json | None = None
    arguments: tuple[str, ...] = ()

    @property
    def inputs(self) -> Json:
        """The input parameters, by name."""
        values: Json = self.executor_input.get("inputs", {}).get("parameterValues", {})
        return values

    @property
    def run_id(self) -> str:
        """The run: the one flowbridge submitted, or one of its own for a run begun on the server."""
        given = self.inputs.get(RUN)
        return str(given) if given else f"kfp-{self.inputs[JOB]}"

    @property
    def index(self) -> tuple[int, ...]:
        """One position for each map around the task. kfp's local runner writes whole numbers as floats."""
        found: list[int] = []
        while (value := self.inputs.get(f"index-{len(found)}")) is not None:
            found.append(int(float(value)))
        return tuple(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the task that the arguments name.

    Returns:
        0: Kubeflow shall see the task as done. 1: it failed. 2: it could not be run at all.
    """
    job = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(job)
    except FlowbridgeError as error:
        sys.stderr.write(f"flowbridge: {error}\n")
        return 2


def parse(arguments: Sequence[str]) -> Job:
    """Read the arguments of a pod; those of the bootstrap are passed over."""
    parser = argparse.ArgumentParser(prog="flowbridge pod")
    parser.add_argument("marker", nargs="*")
    for name in ("--store", "--flow", "--interface", "--executor-input"):
        parser.add_argument(name, required=True)
    parser.add_argument("--options", default="{}")
    for name in ("--deployment", "--gang"):
        parser.add_argument(name)
    parser.add_argument("--attempt", default="0")
    parser.add_argument("--distrust", action="store_true")
    parser.add_argument("--soft", action="store_true")
    given, _ = parser.parse_known_args(arguments)
    os.environ[OPTIONS] = json.dumps({**json.loads(given.options), **json.loads(os.environ.get(OPTIONS, "{}"))})
    if given.distrust:
        os.environ[TRUST] = "false"
    return Job(
        store=given.store,
        flow=given.flow,
        deployment=given.deployment,
        does=given.interface.split("/", 1)[0],
        attempt=int(given.attempt) if given.attempt.isdigit() else None,
        soft=given.soft,
        executor_input=json.loads(given.executor_input),
        gang=json.loads(given.gang) if given.gang else None,
        arguments=tuple(arguments),
    )


def _run(job: Job) -> int:
    from flowbridge.backends.kubeflow.begin import find_or_begin  # noqa: PLC0415  (loaded after the arguments were found to be right)
    from flowbridge.worker.session import open_store  # noqa: PLC0415

    store = open_store(job.store)
    find_or_begin(job, store)
    actions = {"task": _task, "items": _items, "check": _check, "finish": _finish, "member": _member}
    return actions[job.does](job, store)


def _session(job: Job, store: Store) -> tuple[Session, RunSession, WorkOrder]:
    from flowbridge.worker.order import WorkOrder  # noqa: PLC0415
    from flowbridge.worker.session import Session  # noqa: PLC0415

    session = Session(store)
    order = WorkOrder(
        store=job.store,
        flow=job.flow,
        run=job.run_id,
        step=job.inputs.get(STEP, ""),
        index=job.index,
        attempt=job.attempt or 0,
        backend=BACKEND,
        native=os.environ.get("KFP_POD_NAME"),
    )
    return session, session.run(order), order


def _execute(job: Job, store: Store) -> tuple[TaskRecord, RunSession]:
    """Run the task and return its record."""
    from flowbridge.backends.kubeflow.supervise import execute, stopped  # noqa: PLC0415
    from flowbridge.worker.__main__ import claim_next  # noqa: PLC0415

    session, run, order = _session(job, store)
    halted = stopped(run, order)
    if halted is not None:
        why = "" if halted.reason is None else halted.reason.message
        sys.stderr.write(f"flowbridge: {order.step}: {why}\n")  # a retry in Kubeflow's pages leaves no record to say it
        return halted, run
    if job.attempt is None:
        order = claim_next(order, session)
    if job.gang is not None:
        from flowbridge.backends.kubeflow.gang.run import execute_gang  # noqa: PLC0415  (only a gang's launcher needs it)

        return execute_gang(order, session, run, job.gang, job.arguments), run
    return execute(order, session, run), run


def _member(job: Job, store: Store) -> int:
    """Run one member of a gang."""
    from flowbridge.backends.kubeflow.gang.member import run_member  # noqa: PLC0415  (only the pods of a gang need it)

    _, run, order = _session(job, store)
    gang: Json = job.gang or {}
    order = order.model_copy(update={"growths": gang["growths"], "native": os.environ.get("HOSTNAME")})
    return run_member(order, run, gang["size"], gang["first"])


def _task(job: Job, store: Store) -> int:
    from flowbridge.backends.kubeflow.lineage import write_outputs  # noqa: PLC0415

    record, run = _execute(job, store)
    write_outputs(job.executor_input, record, run)
    return _exit_code(job, record)


def _items(job: Job, store: Store) -> int:
    """Expand a map and tell the server the units it loops over; a map that is not run has none."""
    from flowbridge.records.expected import units_of  # noqa: PLC0415

    record, run = _execute(job, store)
    units = units_of(run.graph.maps_by_id[record.step], record)
    write_executor_output(job.executor_input, {"parameterValues": {UNITS: list(range(units))}})
    return _exit_code(job, record)


def _exit_code(job: Job, record: TaskRecord) -> int:
    from flowbridge.worker.__main__ import is_well  # noqa: PLC0415

    if is_well(record) or (job.soft and record.final):
        return 0
    return 1


def _check(job: Job, store: Store) -> int:
    """Fail where something failed that the server was not to see."""
    _, run, _ = _session(job, store)
    bad = [r for r in run.files.tasks() if getattr(r, "state", "") in {"failed", "cancelled"} and _counts(r)]
    for record in bad:
        sys.stderr.write(f"flowbridge: {record.step} {list(record.index) or ''} {getattr(record, 'state', '')}\n")
    return 1 if bad else 0


def _counts(record: Any) -> bool:
    return bool(record.final and not record.allowed)


def _finish(job: Job, store: Store) -> int:
    """Write the end of the run."""
    from flowbridge.backends.kubeflow.closing import close  # noqa: PLC0415

    _, run, _ = _session(job, store)
    end = close(run, str(job.inputs[JOB]))
    sys.stdout.write(f"flowbridge: run {job.run_id} {end.state}{f': {end.message}' if end.message else ''}\n")
    return 0


def write_executor_output(executor_input: Mapping[str, Any], output: Json) -> None:
    """Write what the task gives Kubeflow, where it asked for it."""
    path = executor_input.get("outputs", {}).get("outputFile")
    if not path:
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120  (pathlib is not loaded yet in a pod)
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(output, file, allow_nan=False)  # the launcher fails the task for what JSON does not have


if __name__ == "__main__":
    raise SystemExit(main())
