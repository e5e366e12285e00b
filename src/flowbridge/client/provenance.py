"""Who started a run, where, and from which state of the code."""

from __future__ import annotations

import getpass
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 5


@dataclass(frozen=True)
class Commit:
    """The state of a git checkout.

    Attributes:
        hash: Of the commit; None where there is no checkout, or nothing was committed yet.
        dirty: Files that git knows differ from it.
    """

    hash: str | None = None
    dirty: bool = False


def commit_of(folder: Path) -> Commit:
    """Return the commit that a folder is checked out at; one call of git, which may be missing."""
    command = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Commit()
    if told.returncode != 0:
        return Commit()
    lines = told.stdout.splitlines()
    hashes = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")]
    known = hashes[0] if hashes and hashes[0] != "(initial)" else None
    return Commit(known, any(not line.startswith("#") for line in lines))


def user() -> str:
    """Return the name of the user, or an empty text where the system knows none (a container with a bare number)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def host() -> str:
    """Return the name of this machine."""
    return platform.node()


def python() -> str:
    """Return the version of Python, such as ``3.11.7``."""
    return platform.python_version()
