"""What a backend is: a support table and three verbs (look for gaps, compile, submit)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flowbridge.ir.features import Feature

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.support import Support
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import RunRecord, RunState
    from flowbridge.settings import Profile

Listener = Callable[[Any], None]


def tell_nobody(event: Any) -> None:
    """Listen to events of a run that nobody asked about."""
    del event


@dataclass(frozen=True)
class PreparedRun:
    """A run whose flow, parameters and code bundle are in the store and whose `run.json` is written. Nothing has started.

    Attributes:
        graph: The flow.
        record: What `run.json` says.
        store: Where values are.
        files: The records of this run.
        profile: The settings in force.
        functions: The step functions by step id, where the run was started from the process that holds them; else None.
        listener: Told of every `TaskStarted` and `TaskRecord` as they become known, from any thread.
        wait: The caller will wait for the end in this thread; if not, the run must go on without him.
        max_parallel: At most so many tasks at once, where the backend is asked to hold back.
    """

    graph: FlowGraph
    record: RunRecord
    store: Store
    files: RunFiles
    profile: Profile
    functions: Mapping[str, Callable[..., Any]] | None = None
    listener: Listener = tell_nobody
    wait: bool = True
    max_parallel: int | None = None


@dataclass(frozen=True)
class Compiled:
    """What a backend made of a flow: files by relative name, the one a user wants first."""

    files: Mapping[str, bytes]
    notes: Sequence[str] = ()

    def write(self, target: Path) -> list[Path]:
        """Write the files: the first to `target` itself, any further ones beside it.

        Returns:
            The paths written, the main one first.
        """
        paths = [target if i == 0 else target.parent / name for i, name in enumerate(self.files)]
        for path, content in zip(paths, self.files.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return paths


class Submission(Protocol):
    """A run that was handed to a backend."""

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is over (or `timeout` seconds) and return its state."""

    def cancel(self) -> None:
        """End the run: running tasks are stopped with their whole process tree, waiting ones never start."""


class Backend(Protocol):
    """One way to run flows. Found by name through the entry-point group ``flowbridge.backends``; made without arguments.

    A backend may have three more methods. ``driven_here(profile) -> bool`` tells that its runs go on in processes of this machine: then
    `run.json` names the process that starts one, and readers can tell when it has died (``RunNative.drivers`` names others in its place). ``admit(profile, *, max_parallel) -> Profile`` refuses, before anything is written, what cannot be
    started here and now (a package is missing), and returns the profile with what it fills in. ``attach(run) -> Submission`` takes up a run
    that another process started.
    """

    name: str
    support: Mapping[Feature, Support]

    def gaps(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return every reason, beyond the support table, why this flow cannot run here; with step names and the way out."""

    def notes(self, graph: FlowGraph, profile: Profile) -> list[str]:
        """Return what `flowbridge check` should tell besides: counts of pods, sizes, what is emulated and how."""

    def compile(self, graph: FlowGraph, profile: Profile) -> Compiled:
        """Translate the flow to the backend's own form."""

    def submit(self, run: PreparedRun) -> Submission:
        """Start the run. Either it exists on both sides after this returns, or on none."""


class DeployingBackend(Backend, Protocol):
    """A backend whose system starts runs by itself: from its own pages, or by a schedule.

    `record` is like that of a run, without an id: its parameters are the defaults, and its bundle is in the store already.
    """

    def compile_deployable(self, graph: FlowGraph, record: RunRecord, store: Store, profile: Profile) -> Compiled:
        """Translate the flow so that runs of it can be started there, and put into the store what they need."""

    def deploy(self, graph: FlowGraph, record: RunRecord, store: Store, profile: Profile, *, name: str | None = None) -> Deployed:
        """Hand the flow over under a name, its own unless another is given; its schedule, if it has one, starts.

        What was deployed under that name before is replaced.
        """


class ListingBackend(DeployingBackend, Protocol):
    """A backend that also knows what was handed over to its system, and takes it back."""

    def deployments(self, profile: Profile) -> list[Listed]:
        """Return the flows that were handed over."""

    def undeploy(self, name: str, profile: Profile) -> Listed:
        """Take a flow back: no schedule starts runs of it any more. Runs that were started stay."""


@dataclass(frozen=True)
class Deployed:
    """A flow that was handed over.

    Attributes:
        name: By which its version goes there.
        id: By which it is found there.
        schedule: By which its schedule is found there; None where it has none.
        url: Of its page.
    """

    name: str
    id: str
    schedule: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Listed:
    """A flow that was handed over earlier, as its system tells of it.

    Attributes:
        name: It goes by this name there, and is removed by it.
        flow: The flow's own name.
        version: Name of the version that was handed over last.
        cron: Five fields; None where nothing starts runs by itself.
        timezone: Of these; None for that of the system.
        on: Whether the schedule starts runs.
        created: When that version came, in ISO 8601.
        url: Of its page.
    """

    name: str
    flow: str
    version: str | None = None
    cron: str | None = None
    timezone: str | None = None
    on: bool | None = None
    created: str | None = None
    url: str | None = None
