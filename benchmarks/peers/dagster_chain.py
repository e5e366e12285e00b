# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["dagster"]
# ///
"""A chain of ops under Dagster's multiprocess executor; prints seconds per task and per run."""

import json
import tempfile
import time

from dagster import DagsterInstance, execute_job, in_process_executor, job, multiprocess_executor, op, reconstructable  # noqa: F401


@op
def start() -> int:
    return 0


@op
def count_on(x: int) -> int:
    return x + 1


@job(executor_def=multiprocess_executor)
def short() -> None:
    x = start()
    for _ in range(2):
        x = count_on(x)


@job(executor_def=multiprocess_executor)
def long() -> None:
    x = start()
    for _ in range(8):
        x = count_on(x)


def run(which: object) -> float:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, DagsterInstance.local_temp(folder) as instance:
        assert execute_job(reconstructable(which), instance=instance).success
        return time.perf_counter() - began


if __name__ == "__main__":
    first, second = run(short), run(long)
    cost = (second - first) / 6
    print(json.dumps({"cost": cost, "once": first - 3 * cost}))
