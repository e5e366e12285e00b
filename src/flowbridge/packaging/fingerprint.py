"""The digest of a step's code: the function and what it reaches in the user's own modules, name by name.

A whole-file digest would make every step of a file new when one of them is changed. Here a step's digest covers its own definition, the
definitions it names (also across modules), and the statements that run when those modules are imported. Comments, formatting, docstrings
and flowbridge's own decorators do not count: neither changes what the step computes.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

from flowbridge.packaging.modules import OWN, absolute, find, is_own

_WHOLE = "*"
_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class SourceTree:
    """A module, taken apart.

    Attributes:
        name: Dotted name.
        package: What its relative imports start from.
        bound: The top-level statements that give each name its value.
        imports: Where each imported name comes from: module and name, or the module as a whole.
        always: Statements that run on import and bind nothing.
        stars: Modules that all names are taken from.
    """

    name: str
    package: str
    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    always: list[ast.stmt] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)


def code_digest(function: Callable[..., Any]) -> str:
    """Return the digest of a function's code, ``sha256:<hex>``: the same in every process, on every machine, wherever the project is."""
    function = inspect.unwrap(function, stop=lambda f: not type(f).__module__.startswith(f"{OWN}."))
    walk = _Walk()
    module, qualname = getattr(function, "__module__", "") or "", getattr(function, "__qualname__", "")
    top = qualname.partition(".")[0]
    tree = tree_of(module) if "<" not in qualname else None
    if tree is not None and top in tree.bound:
        walk.name(module, top)
    else:
        walk.live(function)
    text = json.dumps([qualname, sorted(walk.parts)], ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def code_digests(functions: Mapping[str, Callable[..., Any]]) -> dict[str, str]:
    """Return the digest of each function, by its key."""
    return {key: code_digest(function) for key, function in functions.items()}


class _Walk:
    """Collects the parts that a digest covers."""

    def __init__(self) -> None:
        self.parts: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._live: set[int] = set()

    def name(self, module: str, name: str) -> None:
        """Add what a name of a module stands for, and all that this names in turn."""
        waiting = [(module, name)]
        while waiting:
            key = waiting.pop()
            if key in self._seen:
                continue
            self._seen.add(key)
            waiting.extend(self._take(*key))

    def _take(self, module: str, name: str) -> Iterator[tuple[str, str]]:
        parent = module.rpartition(".")[0]
        if parent:
            yield parent, ""
        tree = tree_of(module)
        if tree is None:
            return
        yield from self._add(tree, "", tree.always)
        if name == _WHOLE:
            yield from ((module, other) for other in (*tree.bound, *tree.imports))
        elif name in tree.bound:
            yield from self._add(tree, name, tree.bound[name])
        elif name in tree.imports:
            yield tree.imports[name]
        elif name and tree_of(f"{module}.{name}") is not None:
            yield f"{module}.{name}", _WHOLE
        elif name:
            yield from ((star, name) for star in tree.stars)

    def _add(self, tree: SourceTree, name: str, statements: list[ast.stmt]) -> Iterator[tuple[str, str]]:
        for statement in statements:
            self.parts.add(f"{tree.name}:{name}:{ast.unparse(_plain(statement, tree))}")
            yield from _named(statement, tree)

    def live(self, value: Any) -> None:
        """Add a function that no file defines at its top: from a notebook, a script, or inside another function."""
        if id(value) in self._live:
            return
        self._live.add(id(value))
        if inspect.ismodule(value):
            self.name(value.__name__, _WHOLE)
        elif inspect.isfunction(value):
            self._live_function(value)
        elif inspect.isclass(value):
            self._named_or(value, repr_of_class)
        elif callable(value) and hasattr(value, "__wrapped__"):
            self.live(value.__wrapped__)
        else:
            self.parts.add(f"value:{type(value).__qualname__}:{_stable(value)}")

    def _live_function(self, function: Any) -> None:
        if self._by_name(function):
            return
        self.parts.add(f"code:{_source(function)}")
        for name in sorted({n for code in _codes(function.__code__) for n in code.co_names}):
            if name in function.__globals__:
                self.live(function.__globals__[name])
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # a name that has no value yet
                self.live(cell.cell_contents)

    def _by_name(self, value: Any) -> bool:
        module, qualname = value.__module__ or "", value.__qualname__
        tree = tree_of(module) if "<" not in qualname else None
        top = qualname.partition(".")[0]
        if tree is None or top not in tree.bound:
            return not _belongs_to_user(module)
        self.name(module, top)
        return True

    def _named_or(self, value: Any, text: Callable[[Any], str]) -> None:
        if not self._by_name(value):
            self.parts.add(f"class:{text(value)}")


def _belongs_to_user(module: str) -> bool:
    if module in {"__main__", "__mp_main__", ""}:
        return True
    found = find(module)
    return found is None or is_own(module, found.path)


def repr_of_class(value: type) -> str:
    """Return the source of a class, or what it is made of where there is none."""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(value))))
    except (OSError, TypeError, SyntaxError):
        return repr((value.__qualname__, sorted(k for k in vars(value) if not k.startswith("__"))))


def _source(function: Any) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        first = tree.body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        first = None
    if isinstance(first, _DEFINITION):
        return ast.unparse(_plain(first, None))
    return repr([(c.co_code.hex(), c.co_names, [x for x in c.co_consts if not isinstance(x, CodeType)]) for c in _codes(function.__code__)])


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _stable(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        import cloudpickle  # noqa: PLC0415  (only for values that a notebook's step refers to)

        return hashlib.sha256(cloudpickle.dumps(value)).hexdigest()


# --- modules ---------------------------------------------------------------------------------------------------------------------


def tree_of(module: str) -> SourceTree | None:
    """Return a module of the user's, taken apart; None for what is installed, built in, or not written in Python."""
    found = find(module) if module else None
    if found is None or found.path is None or found.path.suffix != ".py" or not is_own(module, found.path):
        return None
    stat = found.path.stat()
    package = module if found.places is not None else module.rpartition(".")[0]
    return _tree(module, package, str(found.path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _tree(module: str, package: str, path: str, _time: int, _size: int) -> SourceTree | None:
    try:
        body = ast.parse(Path(path).read_bytes(), path).body
    except (SyntaxError, ValueError):
        return None
    tree = SourceTree(module, package)
    for statement in body:
        _sort_in(statement, tree)
    return tree


def _sort_in(statement: ast.stmt, tree: SourceTree) -> None:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        _import(statement, tree.package, tree.imports, tree.stars)
    elif _is_main_guard(statement) or _is_docstring(statement):
        return
    else:
        names = list(_binds(statement, tree))
        for name in names:
            tree.bound.setdefault(name, []).append(statement)
        if not names:
            tree.always.append(statement)


def _import(statement: ast.Import | ast.ImportFrom, package: str, imports: dict[str, tuple[str, str]], stars: list[str]) -> None:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, _WHOLE)
        return
    base = absolute(statement, package)
    for alias in statement.names:
        if alias.name == "*":
            stars.append(base)
        else:
            imports[alias.asname or alias.name] = (base, alias.name)


def _binds(statement: ast.stmt, tree: SourceTree) -> Iterator[str]:
    """Yield the names a top-level statement gives a value, imports under ``try`` or ``if`` included."""
    if isinstance(statement, _DEFINITION):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, _DEFINITION):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            _import(node, tree.package, tree.imports, tree.stars)
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names if alias.name != "*")


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(statement.test))


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _named(statement: ast.stmt, tree: SourceTree) -> Iterator[tuple[str, str]]:
    """Yield what a statement of a module refers to."""
    local: dict[str, tuple[str, str]] = {}
    stars: list[str] = []
    nodes = list(ast.walk(_plain(statement, tree)))
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _import(node, tree.package, local, stars)
    yield from local.values()
    yield from ((star, _WHOLE) for star in stars)
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    for name in names & (tree.bound.keys() | tree.imports.keys()):
        yield tree.name, name
    if tree.stars:
        yield from ((star, name) for star in tree.stars for name in names)


def _plain(statement: ast.stmt, tree: SourceTree | None) -> ast.stmt:
    """Return a copy without docstrings and without flowbridge's decorators."""
    copied = ast.parse(ast.unparse(statement)).body[0]
    for node in ast.walk(copied):
        if isinstance(node, _DEFINITION):
            node.decorator_list = [d for d in node.decorator_list if not _is_flowbridge(d, tree)]
            if _is_docstring(node.body[0]):
                node.body = node.body[1:] or [ast.Pass()]
    return copied


def _is_flowbridge(decorator: ast.expr, tree: SourceTree | None) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    while isinstance(target, ast.Attribute):
        target = target.value
    if not isinstance(target, ast.Name):
        return False
    if tree is None:
        return target.id in {"step", "flow", "flowbridge"}
    module, _ = tree.imports.get(target.id, ("", ""))
    return module.partition(".")[0] == OWN
