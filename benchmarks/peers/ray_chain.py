# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["ray==2.*"]
# ///
"""A chain of tasks on ray, by reference; prints seconds per task and per run."""

import json
import time

import ray


@ray.remote
def count_on(x: int) -> int:
    return x + 1


def chain(length: int) -> float:
    began = time.perf_counter()
    x = ray.put(0)
    for _ in range(length):
        x = count_on.remote(x)
    assert ray.get(x) == length
    return time.perf_counter() - began


began = time.perf_counter()
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, logging_level="error", log_to_driver=False)
chain(10)
once = time.perf_counter() - began
print(json.dumps({"cost": (chain(200) - chain(20)) / 180, "once": once}))
