"""`uv`: where it is, and calling it."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from flowbridge.errors import ConfigError, MissingExtraError

_PIP_SETTINGS = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
_OTHERS_BUSINESS = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON")


class EnvironmentRefusedError(ConfigError):
    """An environment can't be locked or made."""


def cache_folder(asked: Path | None = None) -> Path:
    """Return the folder that environments, locks and a fetched `uv` are kept in."""
    if asked is not None:
        return asked.expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flowbridge" / "environments"


def call(arguments: Sequence[str], *, doing: str, stdin: str | None = None, uv: Path | None = None) -> str:
    """Run `uv` and return what it prints.

    Args:
        arguments: For it.
        doing: What for, to begin an error with.
        stdin: Given to it.
        uv: The program; found if left out.

    Raises:
        ConfigError: It refused; the message carries its own words.
        MissingExtraError: There is no `uv`.
    """
    command = [str(uv or find_uv()), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=_environment(), check=False)
    if done.returncode != 0:
        said = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines())
        raise EnvironmentRefusedError(f"{doing}; uv says:\n{said}")
    return done.stdout


def find_uv() -> Path:
    """Return the `uv` program: of this environment, beside this interpreter, or on the PATH.

    Raises:
        MissingExtraError: There is none.
    """
    found = _from_package() or _beside() or shutil.which("uv")
    if found is None:
        raise MissingExtraError.needed("A step with packages of its own", "uv", "environments")
    return Path(found)


def find_or_fetch_uv(cache: Path) -> Path:
    """Return the `uv` program, fetched with pip into the cache if there is none, as in a container of a plain Python image.

    Raises:
        MissingExtraError: There is none, and pip can't fetch it.
    """
    fetched = cache / "uv" / "bin" / "uv"
    if fetched.exists():
        return fetched
    try:
        return find_uv()
    except MissingExtraError as missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(cache / "uv"), "uv"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not fetched.exists():
            last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise MissingExtraError(f"{missing}; fetching it with pip failed: {last}") from missing
        return fetched


@cache
def _from_package() -> str | None:
    try:
        return str(importlib.import_module("uv").find_uv_bin())
    except (ImportError, FileNotFoundError):
        return None


def _beside() -> str | None:
    return shutil.which("uv", path=str(Path(sys.executable).parent))


def _environment() -> dict[str, str]:
    """The variables `uv` sees: it reads none of pip's settings, so where only those are given they are handed on."""
    variables = {k: v for k, v in os.environ.items() if k not in _OTHERS_BUSINESS}
    if not any(v in variables for v in _UV_INDEXES):
        for pips, uvs in _PIP_SETTINGS.items():
            if variables.get(pips):
                variables.setdefault(uvs, variables[pips])
    return variables
