"""What a template or a new Python needs for the tasks of a run, how it gets ready with it, and whether it may be forked."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.packaging.loader import open_bundle
from flowbridge.worker.logs import spool_path
from flowbridge.worker.run import host
from flowbridge.worker.session import Session

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile
    from flowbridge.worker.order import WorkOrder


@dataclass(frozen=True)
class TemplateSetup:
    """What a template needs to know; sent to one that is not forked from the driver.

    Attributes:
        first: An order of the run, from which the store and the run are known.
        graph: The flow.
        profile: The settings in force.
        bundle: The code bundle; None where there is none.
        path: Import path of the driver.
        fork: Import the flow and fork; else start a new Python for each task.
        shares_store: The store may be opened before a fork: it is a folder of this machine, so there are no connections and no threads.
        folder: Where each task has a folder, named for the number of its launch.
        only: Ids of the steps that run with the interpreter of this template; None: all but those that have one of their own.
    """

    first: WorkOrder
    graph: FlowGraph
    profile: Profile
    bundle: bytes | None = None
    path: tuple[str, ...] = ()
    fork: bool = True
    shares_store: bool = False
    only: frozenset[str] | None = None
    folder: Path | None = None

    def serves(self, step: str) -> bool:
        """Say whether a step runs here."""
        return self.only is None or step in self.only


def session_of(setup: TemplateSetup, functions: Mapping[str, Callable[..., Any]]) -> Session:
    """Open the store and return what tasks work with."""
    from flowbridge.artifacts.store import Store  # noqa: PLC0415  (fsspec may start threads: not before it is known who forks)

    profile = setup.profile
    cache = Path(profile.cache_dir).expanduser() if profile.cache_dir else None
    store = Store.open(
        setup.first.store, options=profile.store_options, trust=profile.trust, cache_dir=cache, cache_size=profile.cache_size
    )
    return Session(store, functions=functions, graph=setup.graph, capture="spool")


def functions_of(setup: TemplateSetup, only: str | None = None) -> dict[str, Callable[..., Any]]:
    """Import the functions of the steps (or of one) from the code bundle; those that can't be are left to the tasks that need them."""
    sys.path[:0] = [p for p in setup.path if p not in sys.path]
    if setup.bundle is None:
        return {}
    cache = setup.profile.cache_dir
    loader = open_bundle(setup.bundle, Path(cache).expanduser() if cache else Path(tempfile.gettempdir()) / "flowbridge-code")
    found: dict[str, Callable[..., Any]] = {}
    for node in setup.graph.steps:
        if (
            node.code is None
            or only not in {None, node.id}
            or not setup.serves(node.id)
            or (node.code.by_value and not setup.profile.trust)
        ):
            continue
        try:
            found[node.id] = loader.step(node.id, node.code)
        except (Exception, SystemExit):  # noqa: BLE001, S112  (the task's own attempt meets it again, and records it)
            continue
    return found


def warm(session: Session, first: WorkOrder, serves: Callable[[str], bool] = lambda _: True) -> None:
    """Import the functions of the steps that run here, so that children find them; what can't be imported is told by the task itself."""
    run = session.run(first)
    for node in run.graph.steps:
        if node.code is None or not serves(node.id):
            continue
        try:
            run.hints(node)
        except (Exception, SystemExit):  # noqa: BLE001, S112  (the task's own attempt meets it again, and records it)
            continue
    _ = run.record, run.locator, run.graph.steps_by_id, run.graph.maps_by_id, host()
    spool_path(first.flow, first.run, "", (), 0)


def unsafe_to_fork() -> list[str]:
    """Return why this process should not be forked: threads of its own, or a GPU context. Empty: it can be."""
    found = []
    others = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
    if others:
        found.append(f"threads were started when the flow was imported ({', '.join(others[:3])})")
    if _has_gpu_context():
        found.append("a GPU was used when the flow was imported")
    return found


def _has_gpu_context() -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    fds = Path("/proc/self/fd")
    if not fds.exists():
        return False
    return any(_target(fd).startswith("/dev/nvidia") for fd in fds.iterdir())


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed in the meantime
        return ""


def kept_in_memory(content: bytes) -> int:
    """Return the descriptor of a nameless file with that content, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("flowbridge-setup")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return descriptor


def read_kept(descriptor: int) -> bytes:
    """Return the content of such a file; other processes may read it at the same time."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)
