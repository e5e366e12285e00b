"""Locked environments: the packages that a step wishes for, resolved once, and made on any machine by `uv`."""

from flowbridge.environments.imports import imports_in, pinned
from flowbridge.environments.interpreter import enter, go_on_in, interpreter, wants_own
from flowbridge.environments.lock import EnvironmentLock, lock
from flowbridge.environments.materialise import materialise, prune

__all__ = ["EnvironmentLock", "enter", "go_on_in", "imports_in", "interpreter", "lock", "materialise", "pinned", "prune", "wants_own"]
