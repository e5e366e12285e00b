"""`gc` again and again beside runs that are being written: nothing that a run needs goes, and what nobody needs does."""

import subprocess
import sys
import time

import numpy as np
import pytest

from flowbridge import each, flow, get_run
from tests.unit.client.test_gc import age, arrays, grow

CLEANER = """
import sys, time
from pathlib import Path
from flowbridge.artifacts.collect import Retention
from flowbridge.client.gc import gc
store, over = sys.argv[1], Path(sys.argv[2])
rounds = files = runs = 0
while not over.exists():
    done = gc(Retention(keep=2), remove=True, grace=60, store=store)
    rounds, files, runs = rounds + 1, files + len(done.files), runs + len(done.runs)
print(rounds, files, runs)
"""
RUNS = 10


@flow
def growing(n: int = 3, seed: int = 0) -> list[np.ndarray]:
    return grow.map(each(arrays(n, seed)))


@pytest.mark.slow
def test_runs_beside_a_cleaner_that_never_rests(store, tmp_path):
    old = [growing.options(backend="inline").run(seed=seed).id for seed in range(100, 104)]
    age(store)
    over = tmp_path / "over"
    cleaner = subprocess.Popen([sys.executable, "-c", CLEANER, store, over], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for seed in range(RUNS):
            run = growing.options(backend="inline").run(seed=seed)
            assert run.status == "done", run.message
            values = get_run(run.id).result()
            assert [a[0] for a in values] == [seed * 100 + i + 0.5 for i in range(3)]
            assert [a.sum() for a in values] == [30_000 * a[0] for a in values]
            time.sleep(0.1)
    finally:
        over.touch()
        told, errors = cleaner.communicate(timeout=120)
    assert cleaner.returncode == 0, errors
    rounds, files, runs = map(int, told.split())
    assert rounds > 1
    assert runs >= len(old), "the old runs went"
    assert files >= len(old) * 6, "and so did their values"
