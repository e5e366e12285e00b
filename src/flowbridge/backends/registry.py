"""Backends by name: entry points of the group ``flowbridge.backends``, looked up and imported at first use."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from flowbridge.errors import BackendNotFoundError, ConfigError, MissingExtraError

if TYPE_CHECKING:
    from flowbridge.backends.base import Backend

GROUP = "flowbridge.backends"
BUILT_IN = {
    "inline": "flowbridge.backends.inline.backend:InlineBackend",
    "local": "flowbridge.backends.local.backend:LocalBackend",
    "metaflow": "flowbridge.backends.metaflow.backend:MetaflowBackend",
    "kubeflow": "flowbridge.backends.kubeflow.backend:KubeflowBackend",
}
"""Those that come with flowbridge; also declared as entry points, so that all are found alike."""


def backend_names() -> list[str]:
    """Return the names of all backends that are installed, sorted."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


@cache
def get_backend(name: str) -> Backend:
    """Return the backend of that name.

    Raises:
        BackendNotFoundError: No backend goes by it.
        ConfigError: Two plug-ins claim it.
        MissingExtraError: A package that it needs is not installed.
    """
    point = _entry_point(name)
    try:
        backend: Backend = point.load()()
    except ImportError as error:
        raise _what_to_install(name, point, error) from error
    return backend


def _entry_point(name: str) -> EntryPoint:
    found = {point.value: point for point in entry_points(group=GROUP) if point.name == name}
    if name in BUILT_IN:
        found.setdefault(BUILT_IN[name], EntryPoint(name, BUILT_IN[name], GROUP))
    if not found:
        raise BackendNotFoundError.unknown(name, backend_names())
    if len(found) > 1:
        claims = " and ".join(f"{value} (from {_source(point)})" for value, point in sorted(found.items()))
        raise ConfigError(f"Two plug-ins claim the backend name {name!r}: {claims}. Uninstall one of them.")
    return next(iter(found.values()))


def _source(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "flowbridge"


def _what_to_install(name: str, point: EntryPoint, error: ImportError) -> MissingExtraError:
    missing = (error.name or "").split(".")[0]
    if name in {"metaflow", "kubeflow"} and missing and missing != "flowbridge":
        return MissingExtraError.needed(f"Backend {name!r}", missing, name)
    needs = f"the package {missing!r}, which is not installed" if missing else str(error)
    return MissingExtraError(f"Backend {name!r} (from {_source(point)}) cannot be imported: it needs {needs}")
