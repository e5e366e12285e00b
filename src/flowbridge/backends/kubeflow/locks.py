"""Locked environments of steps: locked where the run was prepared, kept in the store, made in the pod."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.environments import EnvironmentLock, interpreter, materialise, wants_own
from flowbridge.errors import ConfigError

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import RunRecord


def refuse_local_packages(record: RunRecord, store: Store) -> None:
    """Refuse environments with packages that only this machine has.

    Raises:
        ConfigError: A step has one.
    """
    for step, digest in record.locks:
        local = _read(store, digest).local
        if local:
            raise ConfigError(
                f"step {step} asks for packages that only this machine has: {', '.join(local)}. Pods cannot install them; "
                f"publish them to an index, or put them into the step's image"
            )


def interpreter_for(node: StepNode, record: RunRecord, store: Store) -> Path:
    """Return the interpreter a step runs with in this pod: this one, or that of its environment, which is made if need be."""
    if not wants_own(node.environment):
        return Path(sys.executable)
    digest = dict(record.locks).get(node.id)
    if digest is None:  # the machine that prepared the run has the Python that the step wishes for, and this one has not
        return interpreter(node.environment)
    return materialise(_read(store, digest))


def _read(store: Store, digest: str) -> EnvironmentLock:
    return EnvironmentLock.parse(store.get_environment(digest).decode())
