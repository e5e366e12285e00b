"""Open a code bundle: unpack it once into a local folder and import its functions from there."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import pickle
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowbridge.errors import ArtifactDamagedError, FlowbridgeError
from flowbridge.ir.flow import CodeRef

MANIFEST = "flowbridge-bundle.json"
FORMATS = "flowbridge-formats.pkl"


class CodeNotFoundError(FlowbridgeError, ImportError):
    """A step's function is not where the bundle says it is, or importing its module failed."""


def open_bundle(data: bytes, cache_dir: Path) -> BundleLoader:
    """Unpack a bundle, unless that has been done before, and return its loader.

    Args:
        data: The bytes of the bundle, already verified by the store.
        cache_dir: Local folder that keeps unpacked bundles, one folder for each digest.
    """
    digest = hashlib.sha256(data).hexdigest()
    folder = cache_dir / "bundles" / digest[:32]
    if not (folder / MANIFEST).is_file():
        _unpack(data, folder)
    return BundleLoader(folder)


def _unpack(data: bytes, folder: Path) -> None:
    """Unpack beside the folder and move it there, so that a half-unpacked bundle is never taken for a whole one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(partial)
        partial.replace(folder)
    except zipfile.BadZipFile as error:
        raise ArtifactDamagedError(
            f"The code bundle {folder.name} is not a zip file ({error}); run the flow again to store it anew"
        ) from error
    except OSError:
        if not (folder / MANIFEST).is_file():  # else another process was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class BundleLoader:
    """Imports functions from an unpacked bundle.

    Attributes:
        folder: Where it is unpacked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = json.loads((folder / MANIFEST).read_text())
        self._code = {step: CodeRef.model_validate(ref) for step, ref in manifest["code"].items()}
        self._python: list[int] | None = manifest.get("python")
        self._functions: dict[str, Callable[..., Any]] = {}

    def step(self, step: str, code: CodeRef | None = None) -> Callable[..., Any]:
        """Return the function of a step; `code` serves where the bundle does not list the step.

        Raises:
            CodeNotFoundError: There is no such function, or its module cannot be imported.
        """
        ref = self._code.get(step, code)
        if ref is None:
            raise CodeNotFoundError(f"The code bundle holds no function for step {step!r}")
        if step not in self._functions:
            self._functions[step] = self._unpickle(step) if ref.by_value else self.function(ref)
        return self._functions[step]

    def function(self, code: CodeRef) -> Callable[..., Any]:
        """Return a function by its place.

        Raises:
            CodeNotFoundError: There is no such function, or its module cannot be imported.
        """
        if code.by_value:
            return self._by_value(code)
        self._enter()
        try:
            target: Any = importlib.import_module(code.module)
        except ModuleNotFoundError as error:
            raise CodeNotFoundError(_missing_module(code, error)) from error
        for part in code.qualname.split("."):
            target = getattr(target, part, None)
        if not callable(target):
            raise CodeNotFoundError(f"Module {code.module!r} in the code bundle has no function {code.qualname!r}")
        return target  # type: ignore[no-any-return]

    def _by_value(self, code: CodeRef) -> Callable[..., Any]:
        for step, ref in self._code.items():
            if ref == code:
                return self.step(step)
        raise CodeNotFoundError(f"The code bundle holds no pickled function {code.qualname!r}")

    def _enter(self) -> None:
        """Put the bundle first on `sys.path`, and forget modules that came from another bundle."""
        place = str(self.folder)
        if place in sys.path:
            return
        others = str(self.folder.parent)
        sys.path[:] = [place, *(p for p in sys.path if not p.startswith(others))]
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(others + os.sep):
                del sys.modules[name]
        importlib.invalidate_caches()

    def _register_formats(self) -> None:
        """Register the formats of the notebook or script that the functions come from."""
        path = self.folder / FORMATS
        if path.exists():
            from flowbridge.artifacts.serializers.registry import register_all  # noqa: PLC0415  (rarely needed)

            register_all(pickle.loads(path.read_bytes()))

    def _unpickle(self, step: str) -> Callable[..., Any]:
        self._enter()
        path = self.folder / "pickles" / f"{step}.pkl"
        here = list(sys.version_info[:2])
        try:
            self._register_formats()
            return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]
        except ModuleNotFoundError as error:
            raise CodeNotFoundError(
                f"Step {step!r} needs the module {error.name!r}, which is not installed here; add it to packages=[...]"
            ) from error
        except Exception as error:
            if self._python is not None and self._python != here:
                made, now = (".".join(map(str, v)) for v in (self._python, here))
                raise CodeNotFoundError(
                    f"Step {step!r} was carried by value from Python {made} and cannot be read by Python {now}; "
                    f"use the same version (python={made!r}), or move the step into a module"
                ) from error
            raise


def _missing_module(code: CodeRef, error: ModuleNotFoundError) -> str:
    if error.name == code.module:
        return f"Module {code.module!r} is not in the code bundle"
    return (
        f"Importing {code.module!r} failed: it needs the module {error.name!r}, which is neither in the code bundle nor installed here; "
        f"add it to the step's packages=[...]"
    )
