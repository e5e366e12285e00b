"""One attempt that is being run: its processes (one, or the members of a gang), what they hold, and what to start them with."""

from __future__ import annotations

import shutil
import socket
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.artifacts.folders import VARIABLE
from flowbridge.engine.limits import Confined, Verdict, confine, gpu_env, kill_tree
from flowbridge.ir.attempts import with_memory
from flowbridge.ir.control import MapNode
from flowbridge.ir.resources import Resources
from flowbridge.records.reasons import task_name

if TYPE_CHECKING:
    from flowbridge.engine.ledger import Lease
    from flowbridge.engine.scheduler import Task
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import Reason, TaskRecord

_NOTHING = Resources()


@dataclass
class Member:
    """One process.

    Attributes:
        number: Of its launch.
        rank: In the gang; 0 for a task of one process.
        confined: Its limits; None where it has no process of its own.
        env: Variables it is started with.
        pid: Once it is there.
        exit_code: Once it is gone.
    """

    number: int
    rank: int
    confined: Confined | None
    env: dict[str, str]
    pid: int | None = None
    gone: bool = False
    exit_code: int | None = None

    def kill(self) -> None:
        """Kill its whole process tree, if it is there."""
        if self.pid is None or self.gone:
            return
        if self.confined is not None:
            self.confined.kill()
        else:
            kill_tree(self.pid)


@dataclass
class Running:
    """One attempt.

    Attributes:
        resources: What each of its processes may use.
        scratch: Its temporary files, where they are limited.
        folder: Files that it loads, and its scratch folder; there only once it needs it.
        growths: How many attempts before it ran out of memory.
        began: When its first process was there, in seconds since the epoch.
        record: How it ended, once known; its processes may take a moment longer to go.
        ending: Why the driver kills it, if it does.
        verdict: The limit that it broke, if it did.
        peak: Most bytes of memory that were seen.
    """

    task: Task
    node: StepNode | MapNode
    lease: Lease | None
    resources: Resources = _NOTHING
    growths: int = 0
    members: list[Member] = field(default_factory=list)
    scratch: Path | None = None
    folder: Path | None = None
    began: float | None = None
    record: TaskRecord | None = None
    ending: Reason | None = None
    verdict: Verdict | None = None
    peak: int | None = None

    @property
    def name(self) -> str:
        """As people write it."""
        return task_name(self.task.step, self.task.index)

    @property
    def gone(self) -> bool:
        """All its processes are gone."""
        return all(member.gone for member in self.members)

    @property
    def exit_code(self) -> int | None:
        """Of the process that went wrong first, as far as that can be told."""
        return next((m.exit_code for m in self.members if m.exit_code), self.members[0].exit_code)

    def confine(self, numbers: list[int], folder: Path | None = None) -> None:
        """Make the limits of each member and what it is started with.

        Args:
            numbers: Of the launch of each member.
            folder: Where the task may put files, made when it does; None: one of a name that nobody knows yet.
        """
        resources = self.resources
        self.folder = folder or Path(tempfile.gettempdir()) / f"flowbridge-task-{uuid.uuid4().hex}"
        gang = _rendezvous(len(numbers)) if len(numbers) > 1 else {}
        env: dict[str, str] = {}
        if resources.disk is not None:
            self.scratch = Path(tempfile.mkdtemp(prefix="flowbridge-scratch-"))
            env["TMPDIR"] = str(self.scratch)
        env[VARIABLE] = str(self.scratch or self.folder)
        for rank, number in enumerate(numbers):
            confined = confine(resources, self.lease, label=self.name, scratch=self.scratch)
            own = place(rank, len(numbers)) if gang else {}
            self.members.append(Member(number, rank, confined, {**env, **gpu_env(self.lease, rank), **gang, **own}))

    def note_limits(self, member: Member) -> None:
        """Note what a member that is gone used, and whether it broke a limit."""
        if member.confined is not None:
            self.verdict = self.verdict or member.confined.verdict()
            peak = member.confined.peak()
            self.peak = peak if self.peak is None else max(self.peak, peak or 0)

    def kill(self, reason: Reason) -> None:
        """Kill all processes; the first reason stands."""
        self.ending = self.ending or reason
        for member in self.members:
            member.kill()

    def let_go(self) -> None:
        """Give back all that it holds."""
        for member in self.members:
            if member.confined is not None:
                member.confined.close()
        if self.lease is not None:
            self.lease.release()
        for folder in (self.scratch, self.folder):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def resources_of(node: StepNode | MapNode, growths: int, most: int | None = None) -> Resources:
    """Return what one process of a task may use.

    Args:
        node: Its step or map.
        growths: How often it ran out of memory before.
        most: Bytes of memory that the machine has; more than that is not asked for after running out of it.
    """
    if isinstance(node, MapNode):
        return _NOTHING
    resources = with_memory(node.resources, growths)
    if growths and most is not None and resources.memory is not None and resources.memory * node.nodes > most:
        return resources.model_copy(update={"memory": max(most // node.nodes, node.resources.memory or 0)})
    return resources


def nodes_of(node: StepNode | MapNode) -> int:
    """Return how many processes a task has."""
    return 1 if isinstance(node, MapNode) else node.nodes


def _rendezvous(size: int) -> dict[str, str]:
    """Return the variables by which the members of a gang on this machine find each other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return rendezvous("127.0.0.1", probe.getsockname()[1], size)


GANG_PORT = 29500
"""Of the first member of a gang in containers: the one that `torch.distributed` takes by itself, and Kubeflow Trainer opens
(`pkg/constants/constants.go`)."""


def rendezvous(address: str, port: int, size: int) -> dict[str, str]:
    """Return the variables by which the members of a gang find each other, for `torch.distributed` and `torchrun` alike.

    Args:
        address: Of the first member.
        port: There.
        size: Number of members.
    """
    count = str(size)
    return {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": count,
        "NNODES": count,
        "PET_MASTER_ADDR": address,
        "PET_MASTER_PORT": str(port),
        "PET_NNODES": count,
    }


def place(rank: int, size: int) -> dict[str, str]:
    """Return the variables that tell a member its place. Each sees its own GPUs only, so it is the first and only one of its node."""
    own = str(rank)
    return {
        "RANK": own,
        "NODE_RANK": own,
        "GROUP_RANK": own,
        "PET_NODE_RANK": own,
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "GROUP_WORLD_SIZE": str(size),
    }
