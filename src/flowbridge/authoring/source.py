"""What only the source of a flow tells: tests that Python answers without asking the handle, and that would silently go one way."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator
from typing import Any


def silent_tests(function: Callable[..., Any], names: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield each ``x is None`` and ``isinstance(x, ...)`` on a parameter as text, with its line in the file.

    Args:
        function: The body of a flow.
        names: Its parameters. Those that the body gives another value are left alone.
    """
    plain = inspect.unwrap(function)
    try:
        source, first = inspect.getsourcelines(plain)
        tree = ast.parse(textwrap.dedent("".join(source)))
    except (OSError, TypeError, SyntaxError):  # no source (a REPL, a lambda in an expression): nothing to look at
        return
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    looked_at = set(names) - assigned
    for node in ast.walk(tree):
        if _is_silent(node, looked_at):
            yield ast.unparse(node), first + node.lineno - 1  # type: ignore[attr-defined]


def _is_silent(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Compare):
        return any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops) and isinstance(node.left, ast.Name) and node.left.id in names
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance" and node.args:
        return isinstance(node.args[0], ast.Name) and node.args[0].id in names
    return False
