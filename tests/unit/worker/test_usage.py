from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowbridge.worker import usage
from flowbridge.worker.usage import Meter

MIB = 2**20


SINCE = """
from flowbridge.worker.usage import Meter
large = bytearray(400 << 20)
del large
meter = Meter()
kept = bytearray(50 << 20)
print(meter.read().peak_memory)
"""


def test_memory_is_that_since_the_meter_was_made() -> None:
    """In a process of its own: this one may be larger than what is measured."""
    told = subprocess.run([sys.executable, "-c", SINCE], capture_output=True, text=True, check=True)
    peak = int(told.stdout)
    assert peak >= 50 * MIB
    if Path("/proc/self/clear_refs").exists():
        assert peak < 300 * MIB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("limited", [True, False])
def test_a_group_made_for_the_task_tells_of_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, limited: bool
) -> None:
    """A made-up file system of the kernel, since a machine has one version of it only."""
    name = "flowbridge-4026531836-12-345-6"
    folder = tmp_path / "memory" / "outer" / name if version == 1 else tmp_path / "outer" / name
    folder.mkdir(parents=True)
    limit = (str(900 * MIB) if limited else str(2**63 - 4096)) if version == 1 else (str(900 * MIB) if limited else "max")
    (folder / ("memory.limit_in_bytes" if version == 1 else "memory.max")).write_text(f"{limit}\n")
    (folder / ("memory.max_usage_in_bytes" if version == 1 else "memory.peak")).write_text(f"{500 * MIB}\n")
    cache, shared = ("total_cache", "total_shmem") if version == 1 else ("file", "shmem")
    (folder / "memory.stat").write_text(f"{cache} {200 * MIB}\n{shared} {50 * MIB}\n")
    (tmp_path / "cgroup").write_text(f"4:memory:/outer/{name}\n0::/\n" if version == 1 else f"0::/outer/{name}\n")
    monkeypatch.setattr(usage, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(usage, "_GROUPS", tmp_path)
    peak = Meter().read().peak_memory
    assert (peak == 350 * MIB) is limited


def test_gpu_memory_is_what_torch_took(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 2, max_memory_reserved=lambda device: (device + 1) * MIB)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert Meter().read().gpu_memory == 3 * MIB
    cuda.is_initialized = lambda: False
    assert Meter().read().gpu_memory is None


def test_gpu_memory_is_what_jax_took_and_asking_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: {"peak_bytes_in_use": 7 * MIB})
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(local_devices=lambda: [device, SimpleNamespace(platform="cpu")]))
    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", SimpleNamespace(_backends={}))
    assert Meter().read().gpu_memory is None
    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", SimpleNamespace(_backends={"gpu": device}))
    assert Meter().read().gpu_memory == 7 * MIB
