# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["dask", "distributed"]
# ///
"""A chain of tasks on dask.distributed, by future; prints seconds per task and per run."""

import json
import time

from distributed import Client


def count_on(x: int, _number: int) -> int:
    return x + 1


def chain(client: Client, length: int) -> float:
    began = time.perf_counter()
    x = client.submit(int, 0, pure=False)
    for number in range(length):
        x = client.submit(count_on, x, number, pure=False)
    assert x.result() == length
    return time.perf_counter() - began


if __name__ == "__main__":
    began = time.perf_counter()
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        chain(client, 10)
        once = time.perf_counter() - began
        print(json.dumps({"cost": (chain(client, 200) - chain(client, 20)) / 180, "once": once}))
