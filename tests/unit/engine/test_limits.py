"""Limits on real processes, by cgroup where this machine lets us, and by the watchdog everywhere."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowbridge.engine import cgroups, limits
from flowbridge.engine.cgroups import MemoryGroup, find_base
from flowbridge.engine.ledger_book import GPU_UNIT, Entry, Need
from flowbridge.engine.ledger_lease import Lease
from flowbridge.engine.limits import Confined, confine, gpu_env, thread_env
from flowbridge.engine.process_tree import is_alive
from flowbridge.ir.resources import Resources

MIB = 2**20
LIMIT = Resources(memory=100 * MIB)
SLEEP = "import time; time.sleep(600)"


@pytest.fixture(params=["cgroup", "watchdog"])
def keeper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who keeps the memory limit."""
    if request.param == "watchdog":
        monkeypatch.setattr(limits, "make_group", lambda limit: None)
    elif find_base(os.getpid()) is None:
        pytest.skip("NO CGROUP CAN BE MADE HERE: limits by the kernel are not tested")
    return str(request.param)


@contextlib.contextmanager
def task(confined: Confined, body: Callable[[], None]) -> Iterator[int]:
    """Run a body as a task: in a forked child that is the leader of a session of its own and enters its limits."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            confined.prepare_child()
            body()
            code = 0
        finally:
            os._exit(code)
    confined.watch(pid)
    try:
        yield pid
    finally:
        confined.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        confined.close()


def result(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def hog() -> None:
    kept = [bytearray(5 * MIB) for _ in range(40)]
    time.sleep(600)
    del kept


def hog_in_a_child() -> None:
    subprocess.run([sys.executable, "-c", f"kept = bytearray(200 * {MIB}); {SLEEP}"], check=False)
    time.sleep(600)  # a pool whose worker was killed waits for ever


def hog_together() -> None:
    for _ in range(4):
        subprocess.Popen([sys.executable, "-c", f"kept = bytearray(50 * {MIB}); {SLEEP}"])
    time.sleep(600)


def hog_out_of_the_session() -> None:
    subprocess.Popen([sys.executable, "-c", f"kept = bytearray(200 * {MIB}); {SLEEP}"], start_new_session=True)
    time.sleep(600)


def modest() -> None:
    kept = bytearray(40 * MIB)
    time.sleep(0.5)
    del kept


@pytest.mark.usefixtures("keeper")
@pytest.mark.parametrize("body", [hog, hog_in_a_child, hog_together, hog_out_of_the_session])
def test_twice_the_limit_ends_the_whole_task_and_nobody_else(body: Callable[[], None]) -> None:
    neighbour, offender = confine(LIMIT, None, label="neighbour"), confine(LIMIT, None, label="offender")
    with task(neighbour, modest) as good, task(offender, body) as bad:
        assert result(bad) == -signal.SIGKILL
        assert offender.out_of_memory()
        verdict = offender.verdict()
        assert verdict is not None
        assert (verdict.kind, verdict.declared) == ("out_of_memory", 100 * MIB)
        assert verdict.used >= 100 * MIB
        assert "memory=100Mi" in verdict.message
        assert result(good) == 0
        assert neighbour.verdict() is None


def test_ten_times_of_ten(keeper: str) -> None:
    for _ in range(10):
        neighbour, offender = confine(LIMIT, None, label="neighbour"), confine(LIMIT, None, label="offender")
        with task(neighbour, lambda: time.sleep(0.2)) as good, task(offender, hog) as bad:
            assert (result(bad), offender.out_of_memory()) == (-signal.SIGKILL, True)
            assert (result(good), neighbour.out_of_memory()) == (0, False)


def test_the_peak_is_what_was_held(keeper: str) -> None:
    confined = confine(LIMIT, None, label="modest")
    with task(confined, modest) as pid:
        assert result(pid) == 0
        peak = confined.peak()
        assert peak is not None
        assert 40 * MIB <= peak < 80 * MIB, "of the child alone: what it shares with the parent is the parent's"


def in_a_large_process(body: Callable[[], None]) -> None:
    """Run a body in a fork that holds 300 MiB: a stand-in for a template that has loaded a data set."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            loaded = bytearray(os.urandom(1 << 20)) * 300
            body()
            del loaded
            code = 0
        finally:
            os._exit(code)
    assert result(pid) == 0


@pytest.mark.usefixtures("keeper")
def test_what_a_template_loaded_is_not_the_tasks() -> None:
    def body() -> None:
        tasks = [confine(LIMIT, None, label=f"modest {i}") for i in range(2)]
        with task(tasks[0], modest) as one, task(tasks[1], lambda: time.sleep(0.2)) as two:
            assert (result(one), result(two)) == (0, 0)
            assert [t.verdict() for t in tasks] == [None, None]

    in_a_large_process(body)


def shared_with_forks(size: int, seconds: float) -> None:
    kept = bytearray(os.urandom(1 << 20)) * size
    children = [os.fork() for _ in range(3)]
    if 0 in children:
        time.sleep(seconds)
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    del kept


@pytest.mark.usefixtures("keeper")
def test_what_a_task_shares_with_its_own_forks_counts_once() -> None:
    within, over = confine(LIMIT, None, label="within"), confine(LIMIT, None, label="over")
    with task(within, lambda: shared_with_forks(60, 0.6)) as good, task(over, lambda: shared_with_forks(130, 60.0)) as bad:
        assert result(bad) == -signal.SIGKILL
        assert over.out_of_memory()
        assert result(good) == 0
        assert within.verdict() is None


def test_another_death_is_no_lack_of_memory(keeper: str) -> None:
    confined = confine(LIMIT, None, label="killed")
    with task(confined, lambda: os.kill(os.getpid(), signal.SIGKILL)) as pid:
        assert result(pid) == -signal.SIGKILL
        assert not confined.out_of_memory()


def test_pages_of_files_are_no_use_of_memory(tmp_path: Path) -> None:
    if find_base(os.getpid()) is None:
        pytest.skip("NO CGROUP CAN BE MADE HERE")

    def writes() -> None:
        with (tmp_path / "large").open("wb") as file:
            for _ in range(40):
                file.write(b"x" * 5 * MIB)
                file.flush()
                os.fsync(file.fileno())
        time.sleep(0.3)

    confined = confine(LIMIT, None, label="writes")
    with task(confined, writes) as pid:
        assert result(pid) == 0
        peak = confined.peak()
        assert peak is not None
        assert peak < 50 * MIB


def test_no_memory_declared_costs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "make_group", lambda limit: pytest.fail("no limit, no group"))
    confined = confine(Resources(cpu=2), None, label="free")
    with task(confined, lambda: None) as pid:
        assert result(pid) == 0
        assert confined.peak() is None
        assert confined.verdict() is None


def test_groups_are_gone_when_tasks_are_closed() -> None:
    base = find_base(os.getpid())
    if base is None:
        pytest.skip("NO CGROUP CAN BE MADE HERE")
    confined = confine(LIMIT, None, label="one")
    folder = Path(confined.child.group or "")
    assert folder.is_dir()
    with task(confined, lambda: None):
        pass
    assert not folder.exists()


def test_groups_of_dead_drivers_are_removed_with_what_runs_in_them() -> None:
    base = find_base(os.getpid())
    if base is None:
        pytest.skip("NO CGROUP CAN BE MADE HERE")
    code = (
        "import os, sys, time\n"
        "from flowbridge.engine.limits import confine\nfrom flowbridge.ir.resources import Resources\n"
        "confined = confine(Resources(memory=2**27), None, label='left')\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    confined.child.apply(parent_death=False); os.close(1); time.sleep(600)\n"
        "confined.watch(pid); print(confined.child.group, pid, flush=True); time.sleep(600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    folder, orphan = driver.stdout.readline().split()
    while int(orphan) not in MemoryGroup(Path(folder), base.version, 0).members():
        time.sleep(0.01)
    assert cgroups.sweep(base) == []
    driver.kill()
    driver.communicate()
    assert cgroups.sweep(base) == [Path(folder)]
    assert not Path(folder).exists()
    assert not is_alive(int(orphan), 0)


@pytest.mark.parametrize("version", [1, 2])
def test_where_groups_are_made_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """A made-up file system of the kernel, since a machine has one version of it only."""
    outer = tmp_path / "outer"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    if version == 1:
        for folder in (outer, inner):
            (folder / "memory.limit_in_bytes").write_text("")
    else:
        (outer / "cgroup.subtree_control").write_text("cpu memory pids")
        (inner / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr(cgroups, "cgroup_folders", lambda controller: [inner, outer, tmp_path])
    bases = cgroups._candidates()
    assert [(b.folder, b.version) for b in bases] == ([(inner, 1), (outer, 1)] if version == 1 else [(outer, 2)])


def test_a_group_of_version_2_ends_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    made: dict[str, str] = {}

    def write(path: Path, value: int) -> None:
        made[path.name] = str(value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroups, "_write", write)
        patch.setattr(cgroups.os, "access", lambda *_: True)
        group = cgroups._make(folder, 2, 100 * MIB)
    assert made == {"memory.max": str(100 * MIB), "memory.swap.max": "0", "memory.oom.group": "1"}
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    (folder / "memory.peak").write_text("12345\n")
    (folder / "memory.stat").write_text("anon 1000\nfile 500\nshmem 24\n")
    (folder / "cgroup.procs").write_text("12\n34\n")
    assert (group.oom_kills(), group.peak(), group.held(), group.members()) == (2, 12345, 1024, [12, 34])


def test_scratch_space_is_limited(tmp_path: Path) -> None:
    def fills() -> None:
        folder = tmp_path / "deep" / "folder"
        folder.mkdir(parents=True)
        for i in range(1000):
            (folder / str(i)).write_bytes(b"x" * MIB)
            time.sleep(0.005)

    confined = confine(Resources(disk=20 * MIB), None, label="fills", scratch=tmp_path)
    with task(confined, fills) as pid:
        assert result(pid) == -signal.SIGKILL
        verdict = confined.verdict()
        assert verdict is not None
        assert (verdict.kind, verdict.declared, confined.out_of_memory()) == ("out_of_disk", 20 * MIB, False)
        assert verdict.used > 20 * MIB
        assert (confined.disk_peak() or 0) >= verdict.used


def test_a_task_within_its_scratch_space_goes_on(tmp_path: Path) -> None:
    def fills() -> None:
        (tmp_path / "file").write_bytes(b"x" * 10 * MIB)
        time.sleep(1.2)

    confined = confine(Resources(disk=20 * MIB), None, label="fills", scratch=tmp_path)
    with task(confined, fills) as pid:
        assert result(pid) == 0
        assert confined.verdict() is None
        assert confined.disk_peak() == pytest.approx(10 * MIB, rel=0.01)


def test_a_share_of_a_gpu_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowbridge.engine.gpus.memory_of", lambda pids: 11 * 2**30)
    need = Need((("cpu", 1000),), 1, GPU_UNIT // 4)
    lease = Lease(Entry("l", "o", "r", "t", need, ("0",), 0.0), 1, 40 * 2**30, lambda: None)
    confined = confine(Resources(gpu=0.25), lease, label="shares")
    with task(confined, lambda: time.sleep(600)) as pid:
        assert result(pid) == -signal.SIGKILL
        verdict = confined.verdict()
        assert verdict is not None
        assert (verdict.kind, verdict.declared, verdict.used) == ("out_of_memory", 10 * 2**30, 11 * 2**30)
        assert "GPU memory" in verdict.message
        assert confined.gpu_peak() == 11 * 2**30


def test_variables_name_the_gpus_that_are_leased() -> None:
    whole = Lease(Entry("l", "o", "r", "t", Need((("cpu", 1000),), 2, GPU_UNIT), ("1", "0"), 0.0), 2, None, lambda: None)
    assert gpu_env(whole) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert gpu_env(whole, node=1) == {"CUDA_VISIBLE_DEVICES": "0"}
    half = Lease(Entry("l", "o", "r", "t", Need((("cpu", 1000),), 1, GPU_UNIT // 2), ("1",), 0.0), 1, None, lambda: None)
    assert gpu_env(half) == {"CUDA_VISIBLE_DEVICES": "1", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"}
    assert gpu_env(None) == {"CUDA_VISIBLE_DEVICES": ""}, "what is not leased is not seen"


@pytest.mark.parametrize(("cpu", "threads"), [(None, "1"), (0.5, "1"), (2, "2"), (3.9, "3")])
def test_variables_tell_libraries_how_many_threads_to_start(cpu: float | None, threads: str) -> None:
    env = thread_env(cpu)
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} <= set(env)
    assert set(env.values()) == {threads}


def test_a_child_keeps_to_its_cores_and_threads() -> None:
    core = min(os.sched_getaffinity(0))

    def look() -> None:
        assert os.sched_getaffinity(0) == {core}
        assert os.environ["OMP_NUM_THREADS"] == "1"
        assert Path("/proc/self/oom_score_adj").read_text().strip() == "300"

    lease = Lease(Entry("l", "o", "r", "t", Need((("cpu", 1000),)), (), 0.0, (core,)), 1, None, lambda: None)
    confined = confine(Resources(cpu=1), lease, label="pinned")
    with task(confined, look) as pid:
        assert result(pid) == 0


def test_libraries_that_were_imported_before_the_fork_start_no_more_threads_than_cores() -> None:
    numpy, pools = pytest.importorskip("numpy"), pytest.importorskip("threadpoolctl")
    assert numpy.ones(2).sum() == 2

    def look() -> None:
        assert {pool["num_threads"] for pool in pools.threadpool_info()} == {1}

    with task(confine(Resources(cpu=1), None, label="one"), look) as pid:
        assert result(pid) == 0
