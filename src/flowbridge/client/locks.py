"""Locked environments of a run's steps: resolved before anything is written, kept in the store, named in `run.json`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from flowbridge.environments import imports_in, lock, pinned, wants_own
from flowbridge.packaging.bundle import code_of
from flowbridge.packaging.modules import reach

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.environments import EnvironmentLock
    from flowbridge.ir.flow import FlowGraph


def lock_steps(graph: FlowGraph, functions: Mapping[str, Callable[..., Any]], store: Store) -> dict[str, EnvironmentLock]:
    """Lock the environment of every step that has one of its own.

    A step's environment also gets what its module imports on top and what opens the store, in the versions installed here, as far as
    that does not contradict what the step asks for.

    Raises:
        ConfigError: There is no such set of packages.
        MissingExtraError: There is no `uv`.
    """
    drivers = _opens(store)
    return {
        node.id: lock(node.environment, also=pinned([*drivers, *(needed_by(functions[node.id]) if node.id in functions else ())]))
        for node in graph.steps
        if node.container is None and wants_own(node.environment)
    }


def put_locks(locks: Mapping[str, EnvironmentLock], store: Store) -> tuple[tuple[str, str], ...]:
    """Write locks into the store; return the digest of each by the step's id, as `RunRecord.locks` has it."""
    return tuple((step, store.put_environment(locked.text.encode())) for step, locked in locks.items())


def needed_by(function: Callable[..., Any]) -> set[str]:
    """Return the top-level names of modules that must be there for a function to be loaded elsewhere."""
    code = code_of(function)
    own = {code.module} if not code.by_value else set()
    found: set[str] = set()
    if code.by_value:
        for name in _modules_of(inspect.unwrap(function)):
            own.add(name)
            found.add(name.partition(".")[0])
    reached = reach(sorted(own)).modules
    for module in reached.values():
        if module.path is not None:
            found |= imports_in(module.path.read_bytes())
    return found - {name.partition(".")[0] for name in reached} - {"__main__"}


def _modules_of(function: Callable[..., Any]) -> Iterator[str]:
    """The modules that a function carried by value refers to, in its code and its annotations."""
    globals_, code = getattr(function, "__globals__", {}), getattr(function, "__code__", None)
    names = set(_names(code)) if code is not None else set()
    for annotation in getattr(function, "__annotations__", {}).values():
        if isinstance(annotation, str):
            names |= {n.id for n in ast.walk(ast.parse(annotation, mode="eval")) if isinstance(n, ast.Name)}
        elif isinstance(annotation, type):
            yield annotation.__module__
    for name in names & globals_.keys():
        value = globals_[name]
        module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(module, str):
            yield module


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _opens(store: Store) -> list[str]:
    """The packages that open the store's file system, and those it is chained to, where these are not fsspec itself."""
    if store.content.local or "://" not in store.url:
        return []
    import fsspec  # noqa: PLC0415  (loaded by the store already)

    protocols = [part.partition("://")[0] for part in store.url.split("::") if "://" in part]
    return [fsspec.get_filesystem_class(protocol).__module__.partition(".")[0] for protocol in protocols]
