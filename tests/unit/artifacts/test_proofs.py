"""What `benchmarks/store.py` counts at full size, at a size for every day."""

from pathlib import Path

import numpy as np
import pytest

from flowbridge import each, flow, step

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def proofs(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("FLOWBRIDGE_CACHE_DIR", str(tmp_path / "cache"))
    import store_proofs

    return store_proofs


@pytest.mark.parametrize("mib", [0.1, 2, 9])
def test_a_task_reads_its_own_item(proofs, tmp_path, mib):
    found = proofs.count_read(tmp_path, 10, mib)
    assert len(found.each) == 10
    assert min(found.each) >= 1
    assert max(found.each) <= (1.1 if mib >= 1 else 1.2)  # beside the item, a page of references
    assert found.whole <= (0 if mib >= 9 else 11 * mib * (1 << 20))


def test_the_whole_of_a_list_is_not_read_by_each_task_of_a_map(proofs, tmp_path):
    count, size = 12, 300_000

    @step
    def arrays(n: int) -> list[np.ndarray]:
        return [np.full(size // 8, i, float) for i in range(n)]

    @step
    def first_of(a: np.ndarray) -> float:
        return float(a[0])

    @flow
    def firsts(n: int) -> list[float]:
        return first_of.map(each(arrays(n)))

    proofs.CountingFileSystem.read = 0
    run = firsts.options(backend="inline", store=f"counted://{tmp_path}/store").run(count)
    assert run.result() == list(range(count))
    assert count * size <= proofs.CountingFileSystem.read <= 2 * count * size, "each task reading all would be twelve times as much"


def test_every_damage_of_a_run_is_noticed_and_told(proofs, tmp_path):
    found = proofs.count_damages(tmp_path, 150, seed=1)
    assert found.unnoticed == []
    assert found.tracebacks == []
    assert found.detected == 150
    assert {"record", "blob", "bundle"} <= found.kinds.keys()


def test_a_hundred_processes_lose_nothing(proofs, tmp_path):
    written, sound, left = proofs.count_written(tmp_path, 100)
    assert (written, sound, left) == (600, 600, 0)
