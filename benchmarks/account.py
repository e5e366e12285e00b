"""What the account of a machine costs a task, alone and in a crowd, and whether runs share it fairly.

python benchmarks/account.py
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from flowbridge.engine.ledger import Account
from flowbridge.ir.resources import Resources

ONE = Resources()
MACHINE = SimpleNamespace(cpu=2, memory="16Gi", gpus=[], gpu_memory=None, custom={})
SECONDS = 3.0


def alone(folder: Path, pairs: int = 5000) -> float:
    """Return the microseconds of a request and a release that nobody disputes."""
    account = Account.open(MACHINE, folder)
    began = time.perf_counter()
    for number in range(pairs):
        lease = account.request("run", str(number), ONE)
        assert lease is not None
        lease.release()
    took = time.perf_counter() - began
    account.close()
    return took / pairs * 1e6


def denied(folder: Path, requests: int = 5000) -> float:
    """Return the microseconds of a request that is turned down, for a map with many tasks that all wait."""
    account = Account.open(MACHINE, folder)
    held = [account.request("run", f"held{i}", ONE) for i in range(2)]
    began = time.perf_counter()
    for number in range(requests):
        assert account.request("run", str(number), ONE) is None
    took = time.perf_counter() - began
    assert all(held)
    account.close()
    return took / requests * 1e6


def crowd(folder: Path, processes: int, hold: float) -> list[int]:
    """Return how many leases each of some processes got that all want one of two cores, over and over."""
    pipes = []
    for number in range(processes):
        reads, writes = os.pipe()
        if os.fork() == 0:
            os.write(writes, str(_take(Account.open(MACHINE, folder), f"run{number}", hold)).encode())
            os._exit(0)
        os.close(writes)
        pipes.append(reads)
    counts = []
    for reads in pipes:
        with os.fdopen(reads) as pipe:
            counts.append(int(pipe.read()))
        os.wait()
    return counts


def _take(account: Account, run: str, hold: float) -> int:
    count, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        lease = account.request(run, "task", ONE)
        if lease is None:
            account.wait_hint(1)
            continue
        time.sleep(hold)
        lease.release()
        count += 1
    account.close()
    return count


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = sorted(alone(folder) for _ in range(5))
        print(f"request and release, nobody else there: {statistics.median(costs):.0f} us ({costs[0]:.0f}-{costs[-1]:.0f})")
        print(f"a request that is turned down again:    {denied(folder):.0f} us")
        for processes in (2, 4, 8):
            counts = crowd(folder, processes, hold=0.005)
            share = f"the least got {min(counts) / (sum(counts) / processes):.2f} of an even share"
            print(f"{processes} processes on 2 cores, 5 ms each: {sum(counts) / SECONDS:.0f} leases/s of {2 / 0.005:.0f} at best; {share}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
