"""``python -m flowbridge.worker ORDER``: run one task. ORDER is the JSON text of a work order, or flags that make one up."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Sequence

from pydantic import ValidationError

from flowbridge.errors import FlowbridgeError
from flowbridge.records.models import TaskRecord, TaskStarted
from flowbridge.worker.gang import run_far_member
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.run import run_task
from flowbridge.worker.session import Session

NEXT = "next"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the task that the arguments name.

    Returns:
        0: done, skipped, cancelled because of another step, or failed and allowed to. 1: failed. 2: the order was wrong.
    """
    given = _parser().parse_args(arguments)
    try:
        session = Session()
        order = _order(given, session)
        if given.rank:
            return 0 if run_far_member(order, given.rank, session=session) is None else 1
        record = run_task(order, session=session)
    except (FlowbridgeError, ValidationError) as error:
        sys.stderr.write(f"flowbridge worker: {error}\n")
        return 2
    return 0 if is_well(record) else 1


def is_well(record: TaskRecord) -> bool:
    """Return whether a scheduler should see a task as successful, so that what comes after it is started."""
    return record.state != "failed" or (record.allowed and record.final)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flowbridge.worker", description="Run one task of a run.")
    parser.add_argument("order", nargs="?", help="the work order as JSON; instead of it, the flags below")
    for name in ("store", "flow", "run", "step"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--index", default="", help="positions such as 3.1; empty or _ outside of maps")
    parser.add_argument("--attempt", default="0", help="counted from 0; 'next': the first one that nobody has begun")
    parser.add_argument("--backend", default="local")
    parser.add_argument("--native", help="the task's name in the system that started it")
    parser.add_argument("--rank", type=int, default=0, help="of a gang: which member this is; only the first, 0, writes the record")
    return parser


def parse_index(text: str) -> tuple[int, ...]:
    """Return an index from ``3.1``, ``3,1``, or nothing."""
    return tuple(int(part) for part in text.replace(",", ".").split(".") if part not in {"", "_"})


def _order(given: argparse.Namespace, session: Session) -> WorkOrder:
    if given.order:
        return WorkOrder.model_validate_json(given.order)
    missing = [name for name in ("store", "flow", "run", "step") if getattr(given, name) is None]
    if missing:
        raise FlowbridgeError(f"no order was given, and --{', --'.join(missing)} missing")
    counted = given.attempt != NEXT
    order = WorkOrder(
        store=given.store,
        flow=given.flow,
        run=given.run,
        step=given.step,
        index=parse_index(given.index),
        attempt=int(given.attempt) if counted else 0,
        backend=given.backend,
        native=given.native,
    )
    return order if counted else claim_next(order, session)


def claim_next(order: WorkOrder, session: Session) -> WorkOrder:
    """Return the order with the first attempt that nobody has begun, now begun: for systems that do not count attempts."""
    files = session.run(order).files
    attempt = 0
    while not files.claim(
        TaskStarted(
            step=order.step,
            index=order.index,
            attempt=attempt,
            started=time.time(),
            host=socket.gethostname(),
            pid=os.getpid(),
            native=order.native,
        )
    ):
        attempt += 1
    return order.model_copy(update={"attempt": attempt})


if __name__ == "__main__":
    raise SystemExit(main())
