"""Limits that hold around one task: memory of its whole process tree, its share of a GPU, scratch space, threads and cores.

The kernel keeps the memory limit where a cgroup can be made, else the watchdog does. A step that declares neither memory nor
disk costs nothing here.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flowbridge.engine.cgroups import MemoryGroup, enter, make_group
from flowbridge.engine.process_tree import adopt_orphans, die_with_parent, kill_tree
from flowbridge.engine.watchdog import Watched, inherited_by, watchdogs
from flowbridge.ir.resources import format_bytes

if TYPE_CHECKING:
    from flowbridge.engine.ledger import Lease
    from flowbridge.ir.resources import Resources

__all__ = ["ChildSetup", "Confined", "Verdict", "confine", "gpu_env", "kill_tree", "thread_env"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
_KILL_ME_FIRST = "300"
_CACHE_NOISE = 0.05
_leftovers: list[MemoryGroup] = []


@dataclass(frozen=True)
class Verdict:
    """A limit that a task broke.

    Attributes:
        kind: As in `records.models.Reason`.
        message: One sentence for people, without the step's name.
        declared: Bytes.
        used: Bytes.
    """

    kind: Literal["out_of_memory", "out_of_disk"]
    message: str
    declared: int
    used: int


@dataclass(frozen=True)
class ChildSetup:
    """What a fresh child does to itself before any code of the user runs; can be pickled and sent to whoever forks.

    Attributes:
        group: Folder of the cgroup to enter.
        cpus: Cores to stay on.
        threads: Number of threads that numeric libraries may start.
    """

    group: str | None = None
    cpus: tuple[int, ...] | None = None
    threads: int | None = None

    def apply(self, *, parent_death: bool = True) -> None:
        """Enter the limits, in the process that calls this.

        Args:
            parent_death: Have this process killed when the thread that forked it ends.

        Raises:
            OSError: The limits can't be entered; the task must not run then.
        """
        if parent_death:
            die_with_parent()
        adopt_orphans()
        if self.group is not None:
            enter(Path(self.group))
        if self.cpus is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cpus)
        if self.threads is not None:
            limit_threads(self.threads)
        _volunteer()


@dataclass
class Confined:
    """The limits around one task. Make it with `confine`, and `close` it when the task's processes have ended.

    Attributes:
        label: Names the task.
        child: What its root process does to itself first.
    """

    label: str
    child: ChildSetup
    _resources: Resources
    _group: MemoryGroup | None = None
    _gpu_memory: int | None = None
    _scratch: Path | None = None
    _watched: Watched | None = None
    _pid: int | None = None

    def prepare_child(self) -> None:
        """Enter the limits: called in the child right after the fork, before any code of the user."""
        self.child.apply()

    def watch(self, pid: int) -> None:
        """Begin to look at the task, whose root process this is."""
        self._pid = pid
        disk = self._resources.disk if self._scratch is not None else None
        memory = self._resources.memory
        if memory is None and disk is None and self._gpu_memory is None:
            return
        inherited = inherited_by(pid) if memory is not None and self._group is None else 0
        self._watched = Watched(pid, memory, inherited, self._group, self._gpu_memory, self._scratch, disk)
        watchdogs().add(self._watched)

    def peak(self) -> int | None:
        """Return the most bytes of memory that the task's processes held together; None if nothing measured it."""
        seen = self._watched.peak if self._watched else 0
        most = self._group.peak() if self._group else None
        if self._group is None or most is None:
            return seen or None
        if self._group.oom_kills() or most <= self._group.limit * _CACHE_NOISE or not seen:
            return most
        cached = most - seen  # page cache that the kernel would have dropped at need is no use of memory
        return seen if cached > most * _CACHE_NOISE else most

    def gpu_peak(self) -> int | None:
        """Return the most bytes of GPU memory seen, where its share of a GPU is looked at."""
        return (self._watched.gpu_peak or None) if self._watched else None

    def disk_peak(self) -> int | None:
        """Return the most bytes of scratch space seen, where it is limited."""
        return (self._watched.disk_peak or None) if self._watched else None

    def out_of_memory(self) -> bool:
        """Say whether the task, or a process of it, was ended for going over its memory."""
        verdict = self.verdict()
        return verdict is not None and verdict.kind == "out_of_memory"

    def out_of_disk(self) -> bool:
        """Say whether the task was ended for going over its scratch space."""
        verdict = self.verdict()
        return verdict is not None and verdict.kind == "out_of_disk"

    def verdict(self) -> Verdict | None:
        """Return which limit the task broke, if it did; to be asked before `close`."""
        over = self._watched.over if self._watched else None
        used = self._watched.used if self._watched else 0
        if over == "disk" and self._resources.disk:
            return _verdict("out_of_disk", "scratch space", "disk", self._resources.disk, used)
        if over == "gpu_memory" and self._gpu_memory:
            return _verdict("out_of_memory", "GPU memory", "gpu", self._gpu_memory, used)
        killed = self._group is not None and self._group.oom_kills() > 0
        if self._resources.memory and (killed or over == "memory"):
            used = (self._group.peak() if self._group else None) or used
            return _verdict("out_of_memory", "memory", "memory", self._resources.memory, used)
        return None

    def kill(self) -> bool:
        """Kill all processes of the task; say whether none is left."""
        if self._pid is None:
            return True
        return kill_tree(self._pid, also=self._group.members if self._group else None)

    def close(self) -> None:
        """Look no more, and remove the group with whatever is left in it."""
        if self._watched is not None:
            watchdogs().remove(self._watched)
        if self._group is not None:
            _remove(self._group)


def confine(resources: Resources, lease: Lease | None, *, label: str, scratch: Path | None = None) -> Confined:
    """Make the limits around one task.

    Args:
        resources: What the task declares; of a gang, what one node does.
        lease: What it holds; None outside the account.
        label: Names the task in messages.
        scratch: Its scratch folder, if its size is to be limited.
    """
    group = make_group(resources.memory) if resources.memory else None
    gpu_memory = lease.gpu_memory if lease is not None else None
    threads = _threads(resources.cpu) if resources.cpu is not None else None
    cores = lease.cores if lease is not None and lease.cores else None
    child = ChildSetup(str(group.folder) if group else None, cores, threads)
    return Confined(label, child, resources, group, gpu_memory, scratch)


def thread_env(cpu: float | None) -> dict[str, str]:
    """Return the variables by which numeric libraries learn how many threads to start: whole cores, one at least."""
    return dict.fromkeys(_THREAD_VARIABLES, str(_threads(cpu if cpu is not None else 1)))


def gpu_env(lease: Lease | None, node: int = 0) -> dict[str, str]:
    """Return the variables by which libraries learn which GPUs they may use: those leased, and none without a lease of any."""
    gpus = lease.gpus_of(node) if lease is not None else ()
    variables = {"CUDA_VISIBLE_DEVICES": ",".join(dict.fromkeys(gpus))}
    if lease is not None and 0 < lease.gpu_share < 1:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{lease.gpu_share:.4g}"  # else JAX takes three quarters of the GPU at its start
    return variables


def limit_threads(threads: int) -> None:
    """Keep numeric libraries to a number of threads: those not imported yet by variables, those imported by their own calls."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    if "numpy" in sys.modules or "scipy" in sys.modules:
        _limit_loaded_pools(threads)


def _limit_loaded_pools(threads: int) -> None:
    try:
        import threadpoolctl  # noqa: PLC0415  (there with scikit-learn; without it, variables set by the driver must do)
    except ImportError:
        return
    threadpoolctl.threadpool_limits(threads)


def _threads(cpu: float) -> int:
    return max(1, int(cpu))


def _volunteer() -> None:
    """Have the kernel pick a task, not its driver, if the whole machine runs out of memory."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # no such thing on this system
        return
    try:
        os.write(fd, _KILL_ME_FIRST.encode())
    except PermissionError:  # a container may forbid it: it only matters when the limits of other programs fail
        return
    finally:
        os.close(fd)


def _verdict(kind: Literal["out_of_memory", "out_of_disk"], what: str, option: str, declared: int, used: int) -> Verdict:
    message = f"out of {what}: it declares {option}={format_bytes(declared)} and used {format_bytes(max(used, declared))}"
    return Verdict(kind, message, declared, used)


def _remove(group: MemoryGroup) -> None:
    """Remove a group now, or with the next one if a dead process in it has not been reaped yet."""
    _leftovers[:] = [left for left in _leftovers if not left.remove(patience=0)]
    if not group.remove():
        _leftovers.append(group)
