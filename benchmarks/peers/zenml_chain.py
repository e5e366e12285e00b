# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["zenml[local]"]
# ///
"""A chain of steps under ZenML's local orchestrator, caching off; prints seconds per task and per run."""

import json
import os
import time

os.environ.setdefault("ZENML_ANALYTICS_OPT_IN", "false")
os.environ.setdefault("ZENML_LOGGING_VERBOSITY", "ERROR")

from zenml import pipeline, step


@step(enable_cache=False)
def start() -> int:
    return 0


@step(enable_cache=False)
def count_on(x: int) -> int:
    return x + 1


@pipeline(enable_cache=False)
def chain(length: int) -> None:
    x = start()
    for _ in range(length):
        x = count_on(x)


def run(length: int) -> float:
    began = time.perf_counter()
    chain(length)
    return time.perf_counter() - began


if __name__ == "__main__":
    run(1)
    first, second = run(2), run(12)
    cost = (second - first) / 10
    print(json.dumps({"cost": cost, "once": first - 3 * cost}))
