"""What the code around a step needs to be imported at all: packages that its module imports on top, pinned to what is installed here."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator
from functools import cache

_COMPANIONS = {"pandas": ("pyarrow",), "polars": ("pyarrow",)}
"""Packages that values of a package are written and read with, wherever they are installed."""

_OWN = "flowbridge"


def imports_in(source: str | bytes) -> set[str]:
    """Return the top-level names of the modules that a module imports when it is imported, the standard library left out.

    Imports inside functions run later, and those under ``if TYPE_CHECKING`` never: they are not needed to import the module.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:  # not to be imported anyhow; whoever runs it says so better
        return set()
    return {name for node in _on_import(tree) for name in _names(node)} - sys.stdlib_module_names - {_OWN}


def pinned(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the installed distributions of some modules as requirements, such as ``numpy==2.1.0``, sorted.

    What is not installed here, or was installed from a folder in development, is left out.
    """
    names = set(modules)
    names |= {c for n in names for c in _COMPANIONS.get(n, ())}
    distributions = {d for n in names for d in _distributions().get(n, ())}
    return tuple(sorted(f"{d}=={version}" for d in distributions if d != _OWN and (version := _indexed_version(d)) is not None))


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _indexed_version(distribution: str) -> str | None:
    """The version, if it can be had from an index: it was not installed from a folder or file."""
    try:
        found = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    return None if found.read_text("direct_url.json") or "+" in found.version else found.version


def _on_import(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and _for_checkers(child.test):
            for other in child.orelse:
                yield from _on_import(ast.Module([other], []))
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _on_import(child)


def _for_checkers(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [node.module.partition(".")[0]] if node.module and not node.level else []
