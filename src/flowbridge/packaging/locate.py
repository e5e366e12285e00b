"""Find a flow from what a user typed: ``FILE[:FLOW]`` or ``module:FLOW``; and the root of the project a file belongs to."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flowbridge.errors import FlowbridgeError, UsageError, suggest

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow

MARKERS = ("flowbridge.toml", "pyproject.toml", ".git")


class FlowNotFoundError(UsageError, LookupError):
    """No file, module or flow goes by that name, or more than one might be meant."""


class UserCodeError(UsageError):
    """The user's file or module raised an error while it was imported."""


@dataclass(frozen=True)
class Target:
    """What a user typed, taken apart.

    Attributes:
        place: A path or the dotted name of a module.
        flow: Name of the flow; None where the only flow is meant.
        is_file: Whether `place` is a path.
    """

    place: str
    flow: str | None
    is_file: bool


def project_root(path: Path) -> Path:
    """Return the nearest folder above a file or folder that holds flowbridge.toml, pyproject.toml or .git, else its own folder."""
    path = path.resolve()
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.parents):
        if any((folder / marker).exists() for marker in MARKERS):
            return folder
    return start


def parse_target(text: str) -> Target:
    """Take ``FILE[:FLOW]`` or ``module[:FLOW]`` apart."""
    place, flow = text, None
    head, separator, tail = text.rpartition(":")
    if separator and head and not ("/" in tail or "\\" in tail):
        place, flow = head, tail or None
    is_file = place.endswith(".py") or "/" in place or "\\" in place or Path(place).exists()
    return Target(place, flow, is_file)


def load_flow(text: str) -> Flow[Any, Any]:
    """Import the file or module a user named, and return the flow in it.

    Raises:
        FlowNotFoundError: The file, module or flow is not there, or several flows are and none was named.
        UserCodeError: Importing raised; the message holds the user's own traceback.
    """
    target = parse_target(text)
    module = load_file(Path(target.place)) if target.is_file else load_module(target.place)
    return choose(flows_in(module), target)


def load_file(path: Path) -> ModuleType:
    """Import a file under the name that other code would import it by, its import root put on `sys.path`.

    Raises:
        FlowNotFoundError: There is no such file.
        UserCodeError: Importing it raised.
    """
    if not path.is_file():
        raise FlowNotFoundError(_no_file(path))
    path = path.resolve()
    name, root = module_name(path)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    loaded = sys.modules.get(name)
    if loaded is not None:
        if Path(getattr(loaded, "__file__", None) or "").resolve() == path:
            return loaded
        name = _free_name(name)
    return _import_file(name, path)


def module_name(path: Path) -> tuple[str, Path]:
    """Return the dotted name of a file (packages are the folders with an ``__init__.py``) and the folder it is imported from."""
    folder, parts = path.parent, [path.stem.replace(".", "_")]
    if path.stem == "__init__":
        parts = []
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder


def load_module(name: str) -> ModuleType:
    """Import a module by its dotted name, also from the working directory.

    Raises:
        FlowNotFoundError: There is no such module.
        UserCodeError: Importing it raised.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    return _import(name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise FlowNotFoundError(
                f"There is no module {name!r}: not installed, and not under {Path.cwd()}. "
                f"Name a file (like flows/train.py:FLOW) or a module that can be imported."
            ) from None
        raise _failed(name, error) from error
    except FlowbridgeError:
        raise
    except Exception as error:
        raise _failed(name, error) from error


def flows_in(module: ModuleType) -> dict[str, Flow[Any, Any]]:
    """Return the flows of a module by name: those defined in it, or, where there are none, those it imports."""
    from flowbridge.authoring.decorators import Flow  # noqa: PLC0415  (only when a flow is looked for)

    found = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    own = {name: value for name, value in found.items() if getattr(value, "__module__", None) == module.__name__}
    return own or found


def choose(flows: dict[str, Flow[Any, Any]], target: Target) -> Flow[Any, Any]:
    """Return the flow that is meant: the one named, else the only one, else the one that goes by the name of its file.

    Raises:
        FlowNotFoundError: None is, or it is not clear which.
    """
    distinct = {id(f): f for f in flows.values()}
    if target.flow is not None:
        for name, value in flows.items():
            if target.flow in {name, value.name}:
                return value
        known = ", ".join(sorted(flows)) or "none"
        raise FlowNotFoundError(f"{target.place} has no flow {target.flow!r}; its flows: {known}.{suggest(target.flow, flows)}")
    if not distinct:
        raise FlowNotFoundError(f"{target.place} defines no flow. A flow is a function decorated with @flow from flowbridge.")
    named = flows.get(Path(target.place).stem if target.is_file else target.place.rpartition(".")[2])
    if named is not None:  # others beside it are most often parts of it
        return named
    if len(distinct) > 1:
        shown = "\n".join(f"  {target.place}:{name}" for name in sorted(flows))
        raise FlowNotFoundError(f"{target.place} defines {len(distinct)} flows; say which:\n{shown}")
    return next(iter(distinct.values()))


def _import_file(name: str, path: Path) -> ModuleType:
    parent = name.rpartition(".")[0]
    if parent:
        return _import(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FlowNotFoundError(f"{path} is not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, FlowbridgeError) or not isinstance(error, Exception):
            raise
        raise _failed(str(path), error) from error
    return module


def _free_name(name: str) -> str:
    """Return a name that is not taken: a file may be called like a module that is loaded already (``random.py``)."""
    number = 2
    while f"{name}_{number}" in sys.modules:
        number += 1
    return f"{name}_{number}"


def _no_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"There is no file {path} (there is no folder {folder} either)"
    near = suggest(path.name, [p.name for p in folder.glob("*.py")])
    return f"There is no file {path}.{near}"


def _failed(place: str, error: BaseException) -> UserCodeError:
    """Return an error that shows the user's frames only."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__ and "importlib" not in f.filename]
    shown = "".join(traceback.format_list(frames)) + "".join(traceback.format_exception_only(error))
    return UserCodeError(f"Importing {place} failed:\n{shown.rstrip()}")
