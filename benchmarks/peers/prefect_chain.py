# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["prefect>=3.4"]
# ///
"""A chain of tasks under Prefect's process pool, each in a process of its own, recorded by a server of its own; prints seconds per task and per run."""

import json
import os
import time

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

from prefect import flow, task
from prefect.server.api.server import SubprocessASGIServer
from prefect.task_runners import ProcessPoolTaskRunner


@task
def count_on(x: int) -> int:
    return x + 1


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def chain(length: int) -> int:
    x = 0
    for _ in range(length):
        x = count_on.submit(x).result()
    return x


def run(length: int) -> float:
    began = time.perf_counter()
    assert chain(length) == length
    return time.perf_counter() - began


if __name__ == "__main__":
    with SubprocessASGIServer() as server:
        os.environ["PREFECT_API_URL"] = server.api_url
        run(1)
        first, second = run(10), run(40)
    cost = (second - first) / 30
    print(json.dumps({"cost": cost, "once": first - 10 * cost}))
