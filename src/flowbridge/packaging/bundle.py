"""A code bundle: the modules that step functions reach, and functions pickled by value, in one zip file with the same bytes every time."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from flowbridge.errors import FlowError
from flowbridge.ir.flow import CodeRef
from flowbridge.packaging.loader import FORMATS, MANIFEST, BundleLoader, open_bundle
from flowbridge.packaging.modules import Reached, find, reach

__all__ = ["Bundle", "BundleLoader", "build", "code_of", "open_bundle"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_ROUNDS = 20


@dataclass(frozen=True)
class Bundle:
    """Code, ready to be put in a store.

    Attributes:
        digest: ``sha256:<hex>`` of `data`.
        data: The zip file.
        code: Where each step's function is found in it, by step id.
        notes: What could not be taken along, one sentence each.
    """

    digest: str
    data: bytes
    code: dict[str, CodeRef]
    notes: tuple[str, ...] = ()


def build(functions: Mapping[str, Callable[..., Any]], *, include: Sequence[str] = (), root: Path | None = None) -> Bundle:
    """Return the bundle of some step functions.

    Args:
        functions: The functions, by step id.
        include: Glob patterns, relative to `root`, of further files to take along (data files, modules imported by name at run time).
        root: Folder that the patterns start from; needed with `include`.

    Raises:
        FlowError: A function that has to be carried by value cannot be pickled; names the step and what stands in the way.
    """
    code = {step: code_of(function) for step, function in functions.items()}
    entries, problems = _pickles(functions, code)
    if problems:
        raise FlowError(problems)
    names = {ref.module for ref in code.values() if not ref.by_value}
    names.update(_modules_by_value(f for step, f in functions.items() if code[step].by_value))
    if FORMATS in entries:
        names.update(_modules_by_value(getattr(part, "__func__", part) for call in _formats() for part in call[:3]))
    reached = reach(sorted(names))
    for module in reached.modules.values():
        if module.path is not None:
            entries[module.entry] = module.path.read_bytes()
    if include and root is not None:
        entries.update(_included(include, root))
    entries[MANIFEST] = _manifest(code, entries)
    data = _zip(entries)
    return Bundle(f"sha256:{hashlib.sha256(data).hexdigest()}", data, code, _notes(reached))


def code_of(function: Callable[..., Any]) -> CodeRef:
    """Return where a function is found: by name if it can be imported elsewhere, else by value."""
    function = inspect.unwrap(function, stop=lambda f: not _is_step(f))
    module = getattr(function, "__module__", None) or "__main__"
    qualname = getattr(function, "__qualname__", type(function).__qualname__)
    return CodeRef(module=module, qualname=qualname, by_value=not _importable(module, qualname))


def _is_step(function: Callable[..., Any]) -> bool:
    """Tell flowbridge's own wrapper from a decorator of the user's."""
    return type(function).__module__.startswith("flowbridge.")


def _importable(module: str, qualname: str) -> bool:
    if module in {"", "__main__", "__mp_main__"} or "<" in qualname:
        return False
    found = find(module)
    if found is None or found.path is None or found.path.suffix != ".py":
        return False
    target: Any = sys.modules.get(module)
    for part in qualname.split("."):
        target = getattr(target, part, None)
    return callable(target)


def pickle_entry(step: str) -> str:
    """Return the name, inside a bundle, of the pickled function of a step."""
    return f"pickles/{step}.pkl"


def _pickles(functions: Mapping[str, Callable[..., Any]], code: Mapping[str, CodeRef]) -> tuple[dict[str, bytes], list[str]]:
    import cloudpickle  # noqa: PLC0415  (only needed for functions that cannot be imported)

    entries: dict[str, bytes] = {}
    problems: list[str] = []
    for step, function in functions.items():
        if not code[step].by_value:
            continue
        plain = inspect.unwrap(function, stop=lambda f: not _is_step(f))
        try:
            entries[pickle_entry(step)] = cloudpickle.dumps(plain, protocol=4)
        except Exception as error:  # noqa: BLE001  (pickling runs code of any class; every failure means the same)
            problems.append(
                f"step {step!r} is defined where it cannot be imported (a notebook, a script, inside a function), so it travels by value, "
                f"but something it refers to cannot be pickled: {error}. Make that object inside the step, or move the step into a module."
            )
    if entries and _formats():
        try:
            entries[FORMATS] = cloudpickle.dumps(_formats(), protocol=4)
        except Exception as error:  # noqa: BLE001  (the same)
            shown = ", ".join(call[0].__qualname__ for call in _formats())
            problems.append(
                f"the format of {shown} is registered in a notebook or script, so it travels by value, but it refers to something that cannot "
                f"be pickled: {error}. Make that object inside of save and load, or move class and register_serializer into a module."
            )
    return entries, problems


def _formats() -> list[tuple[Any, ...]]:
    """Return the formats that nobody registers where steps carried by value run: those of the notebook or script itself."""
    from flowbridge.artifacts.serializers.registry import registered_in  # noqa: PLC0415  (rarely needed)

    return registered_in("__main__")


def _modules_by_value(functions: Iterable[Callable[..., Any]]) -> set[str]:
    """Return the modules that pickled functions refer to by name."""
    found: set[str] = set()
    seen: set[int] = set()
    for function in functions:
        _refer(inspect.unwrap(function), found, seen, _ROUNDS)
    return found - {"__main__"}


def _refer(value: Any, found: set[str], seen: set[int], rounds: int) -> None:
    """Add the modules that a pickle of a value would import: those of what it names, not of what it carries."""
    if id(value) in seen or rounds == 0:
        return
    seen.add(id(value))
    if inspect.ismodule(value):
        found.add(value.__name__)
    elif inspect.isclass(value) or inspect.isroutine(value):
        plain = inspect.unwrap(value)
        module = getattr(plain, "__module__", None) or ""
        if _importable(module, getattr(plain, "__qualname__", "<")):
            found.add(module)
            return
        for part in _carried(plain, found):
            _refer(part, found, seen, rounds - 1)
    else:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set, frozenset)) else ()
        for part in (type(value), *parts):
            _refer(part, found, seen, rounds - 1)


def _carried(value: Any, found: set[str]) -> Iterable[Any]:
    """Return what goes into the pickle of a function or class that is carried by value."""
    if inspect.isclass(value):
        return [*value.__mro__[1:], *vars(value).values()]
    if not inspect.isfunction(value):
        return []
    names = {name for code in _codes(value.__code__) for name in code.co_names}
    found.update(name for name in names if name not in value.__globals__)  # imported inside, as far as names tell
    return [*(value.__globals__[n] for n in names if n in value.__globals__), *_cells(value)]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a name that has no value yet
            yield cell.cell_contents


def _included(patterns: Sequence[str], root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for pattern in patterns
        for path in sorted(root.glob(pattern))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _manifest(code: Mapping[str, CodeRef], entries: Mapping[str, bytes]) -> bytes:
    content: dict[str, Any] = {"version": 1, "code": {step: ref.model_dump(mode="json") for step, ref in code.items()}}
    if any(name.startswith("pickles/") for name in entries):
        content["python"] = list(sys.version_info[:2])
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _zip(entries: Mapping[str, bytes]) -> bytes:
    """Return a zip file: sorted, without times, owners or compression, whose output differs from one zlib to the next."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name])
    return target.getvalue()


def _notes(reached: Reached) -> tuple[str, ...]:
    return tuple(
        f"module {name!r} is compiled for this machine and does not travel with the code; install it where the steps run"
        for name in sorted(reached.compiled)
    )
