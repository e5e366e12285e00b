"""Which modules of the user's own code a module reaches: a static walk over imports, nothing is imported."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")
OWN = __name__.partition(".")[0]


@dataclass(frozen=True)
class SourceModule:
    """One module that travels.

    Attributes:
        name: Dotted name it is imported by.
        path: Its source file; None for a namespace package, which has none.
        package: It may have submodules.
    """

    name: str
    path: Path | None
    package: bool = False

    @property
    def entry(self) -> str:
        """Name of its file in a bundle: the dotted name as a path, wherever it was found."""
        return self.name.replace(".", "/") + ("/__init__.py" if self.package else ".py")


@dataclass
class Reached:
    """What a walk found.

    Attributes:
        modules: By dotted name.
        compiled: Names of extension modules of the user's own, which cannot travel as source.
    """

    modules: dict[str, SourceModule]
    compiled: set[str]


@dataclass(frozen=True)
class _Found:
    path: Path | None
    places: tuple[str, ...] | None


def reach(names: Iterable[str]) -> Reached:
    """Return the modules of those names, and all modules of the user's own that they import, directly or not.

    The standard library, installed packages and flowbridge itself are left out: they are the environment's business.
    """
    reached = Reached({}, set())
    waiting = list(names)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting.extend(_take(name, reached))
    return reached


def _take(name: str, reached: Reached) -> Iterator[str]:
    """Add one module if it is the user's, and yield the names it needs."""
    top = name.partition(".")[0]
    if top != name and not _own_top(top):
        return
    found = find(name)
    if found is None or not is_own(name, found.path):
        return
    parent = name.rpartition(".")[0]
    if parent:
        yield parent
    if found.path is None:
        return
    if found.path.suffix != ".py":
        reached.compiled.add(name)
        return
    package = found.places is not None
    reached.modules[name] = SourceModule(name, found.path, package)
    yield from imports_of(found.path, name if package else parent)


def _own_top(top: str) -> bool:
    found = find(top)
    return found is not None and is_own(top, found.path)


def is_own(name: str, path: Path | None) -> bool:
    """Return whether a module is the user's own code: neither flowbridge, nor the standard library, nor installed."""
    top = name.partition(".")[0]
    if top in {OWN, "__main__", "__mp_main__"} or top in sys.stdlib_module_names:
        return False
    if path is None:
        return True
    if any(part in INSTALLED for part in path.parts):
        return False
    return not any(path.is_relative_to(root) for root in _stdlib())


@cache
def _stdlib() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[key]).resolve() for key in ("stdlib", "platstdlib") if key in paths})


def find(name: str) -> _Found | None:
    """Return where a module's source is, from what is loaded or from the finders, without importing anything."""
    module = sys.modules.get(name)
    if module is not None:
        file, places = getattr(module, "__file__", None), getattr(module, "__path__", None)
        if file is None and places is None:
            return None
        return _Found(Path(file).resolve() if file else None, tuple(places) if places is not None else None)
    parent = name.rpartition(".")[0]
    if not parent:
        return _ask_finders(name, None)
    above = find(parent)
    if above is None or above.places is None:
        return None
    return _ask_finders(name, above.places)


def _ask_finders(name: str, places: tuple[str, ...] | None) -> _Found | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, list(places) if places is not None else None)
        if spec is None:
            continue
        inside = spec.submodule_search_locations
        origin = Path(spec.origin).resolve() if spec.has_location and spec.origin else None
        if origin is None and inside is None:
            return None
        return _Found(origin, tuple(inside) if inside is not None else None)
    return None


def imports_of(path: Path, package: str) -> tuple[str, ...]:
    """Return the names a source file may import, as far as they can be read from it; `package` resolves relative ones."""
    stat = path.stat()
    return _imports(str(path), package, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _imports(path: str, package: str, _time: int, _size: int) -> tuple[str, ...]:
    try:
        tree = ast.parse(Path(path).read_bytes(), path)
    except (SyntaxError, ValueError):
        return ()
    return imported_names(tree, package)


def imported_names(tree: ast.AST, package: str) -> tuple[str, ...]:
    """Return every dotted name a syntax tree may import. What stands under ``if TYPE_CHECKING:`` is for checkers only."""
    found: dict[str, None] = {}
    for node in _running_nodes(tree):
        if isinstance(node, ast.Import):
            found.update(dict.fromkeys(a.name for a in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            if base:
                found[base] = None
                found.update(dict.fromkeys(f"{base}.{a.name}" for a in node.names if a.name != "*"))
    return tuple(found)


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the absolute name of the module an ``from ... import`` takes names from; empty where there is none."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    kept = parts[: len(parts) - (node.level - 1)]
    return ".".join([*kept, *([node.module] if node.module else [])]) if kept else ""


def _running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _for_checkers(node.test):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _for_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"
