"""Interpreters of steps that have an environment of their own: made from the locks of the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.environments import EnvironmentLock, interpreter, materialise, wants_own
from flowbridge.ir.control import MapNode

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import RunRecord


def interpreters(record: RunRecord, store: Store) -> dict[str, Path]:
    """Return the interpreter of each step that has one of its own, by the step's id; environments that are not there yet are made.

    Raises:
        ConfigError: An environment can't be made.
        MissingExtraError: There is no `uv`.
        StoreError: A lock is not in the store.
    """
    made: dict[str, Path] = {}
    for _, digest in record.locks:
        if digest not in made:
            made[digest] = materialise(EnvironmentLock.parse(store.get_environment(digest).decode()))
    return {step: made[digest] for step, digest in record.locks}


def interpreter_of(node: StepNode | MapNode, record: RunRecord, store: Store) -> Path | None:
    """Return the interpreter of one step, from its lock in the run or, where a run has none, from its wishes; None: this one.

    Raises:
        ConfigError: Its environment can't be made.
        MissingExtraError: There is no `uv`.
        StoreError: Its lock is not in the store.
    """
    if isinstance(node, MapNode) or node.container is not None or not wants_own(node.environment):
        return None
    digest = dict(record.locks).get(node.id)
    if digest is None:
        return interpreter(node.environment)
    return materialise(EnvironmentLock.parse(store.get_environment(digest).decode()))


def own_paths() -> tuple[str, ...]:
    """Return what the import path of this process has beyond its interpreter: folders of the user's own code."""
    places = {Path(p).resolve() for p in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
    own = (Path(p or ".").resolve() for p in sys.path if p == "" or Path(p).exists())
    return tuple(str(p) for p in own if not any(p.is_relative_to(place) for place in places))
