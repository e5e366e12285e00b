"""Locked environments of steps: locked where the run is submitted, kept in the store, made in the pod."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.backends.kubeflow.bootstrap import drivers
from flowbridge.environments import EnvironmentLock, interpreter, lock, materialise, wants_own
from flowbridge.errors import ConfigError

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.kubeflow.options import KubeflowOptions
    from flowbridge.ir.environment import EnvironmentWish
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.settings import Profile


def place_locks(graph: FlowGraph, store: Store, profile: Profile, options: KubeflowOptions) -> dict[str, str]:
    """Lock the environments of a flow's steps, put the locks into the store, and return the digest of each by the step's id.

    Raises:
        ConfigError: An environment cannot be locked, or holds packages that only this machine has.
    """
    known: dict[EnvironmentWish, str] = {}
    found = {}
    for node in graph.steps:
        wish = node.environment
        if not (wish.packages or wish.requirements or wish.python):
            continue
        if wish not in known:
            known[wish] = _place(node, store, drivers(profile, options))
        found[node.id] = known[wish]
    return found


def _place(node: StepNode, store: Store, also: list[str]) -> str:
    locked = lock(node.environment, also=also)
    if locked.local:
        raise ConfigError(
            f"step {node.id} asks for packages that only this machine has: {', '.join(locked.local)}. Pods cannot install them; "
            f"publish them to an index, or put them into the step's image"
        )
    return store.put_environment(locked.text.encode())


def interpreter_for(node: StepNode, digest: str | None, store: Store) -> Path:
    """Return the interpreter a step runs with in this pod: this one, or that of its environment, which is made if need be.

    Args:
        node: The step.
        digest: Of its lock in the store; None where it was compiled without one, and is locked here.
        store: The store.
    """
    if not wants_own(node.environment):
        return Path(sys.executable)
    if digest is None:
        return interpreter(node.environment)
    return materialise(EnvironmentLock.parse(store.get_environment(digest).decode()))
