"""Proposals written into the source: `@step(...)` with other options, as a diff that people can read and `git apply` takes."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union


class Edit(NamedTuple):
    """A stretch of a source text (offsets in characters) and what stands there instead."""

    start: int
    end: int
    text: str


def rewrite(source: str, functions: Mapping[str, Mapping[str, str]]) -> str:
    """Return a module's source with other options in the decorators of its steps.

    Args:
        source: Of the module.
        functions: By qualified name of a function: option and value, as they are written in Python.

    Raises:
        SyntaxError: The source is no Python.
    """
    lines = _Lines(source)
    edits = [e for name, node in _functions(ast.parse(source)) if name in functions for e in _edits(node, functions[name], lines)]
    for edit in sorted(edits, reverse=True):
        source = source[: edit.start] + edit.text + source[edit.end :]
    return source


def diff(path: str, source: str, functions: Mapping[str, Mapping[str, str]]) -> str:
    """Return the unified diff of a rewrite; empty where there is no decorator to change.

    Args:
        path: As it is shown, relative to the project.
        source: Of the module.
        functions: As for `rewrite`.
    """
    before, after = source.splitlines(keepends=True), rewrite(source, functions).splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}"))


class _Lines:
    """Turns the places of `ast` (line, and offset in UTF-8 bytes) into offsets in the text."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)


_Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]  # noqa: UP007  (evaluated at run time)


def _functions(tree: ast.AST, prefix: str = "") -> Sequence[tuple[str, _Function]]:
    found: list[tuple[str, _Function]] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append((prefix + node.name, node))
            found += _functions(node, f"{prefix}{node.name}.<locals>.")
        elif isinstance(node, ast.ClassDef):
            found += _functions(node, f"{prefix}{node.name}.")
        else:
            found += _functions(node, prefix)
    return found


def _edits(function: _Function, options: Mapping[str, str], lines: _Lines) -> list[Edit]:
    decorator = next((d for d in function.decorator_list if _is_step(d)), None)
    if decorator is None or not options:
        return []
    call = _resources_call(decorator) or decorator
    if not isinstance(call, ast.Call):
        _, end = lines.span(call)
        return [Edit(end, end, f"({_written(options)})")]
    known = {k.arg: k.value for k in call.keywords if k.arg in options}
    edits = [Edit(*lines.span(value), options[name]) for name, value in known.items() if name is not None]
    new = {name: value for name, value in options.items() if name not in known}
    if new:
        arguments = [*call.args, *(k.value for k in call.keywords)]
        last = max((lines.span(a)[1] for a in arguments), default=lines.span(call)[1] - 1)
        edits.append(Edit(last, last, f"{', ' if arguments else ''}{_written(new)}"))
    return edits


def _written(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _is_step(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", None)) == "step"


def _resources_call(decorator: ast.expr) -> ast.Call | None:
    """``@step(resources=Resources(...))``: the inner call is the one to change."""
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    inner = next((k.value for k in keywords if k.arg == "resources"), None)
    return inner if isinstance(inner, ast.Call) else None
