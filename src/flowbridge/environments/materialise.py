"""Environments on disk: made once per lock in a cache that all runs of the user share, and safe for many processes at once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import flowbridge
from flowbridge.environments.lock import EnvironmentLock
from flowbridge.environments.uv import cache_folder, call, find_or_fetch_uv

MARKER = "flowbridge-environment"
"""File in a finished environment; holds the digest of its lock. Its time is when the environment was last asked for."""

_LINK_FOLDER = "flowbridge-here"


def materialise(lock: EnvironmentLock, cache_dir: Path | None = None) -> Path:
    """Return the Python of the environment of a lock, made if it is not there yet.

    The environment holds the packages of the lock, and this flowbridge by a link, so that a step runs with the worker that started it.

    Args:
        lock: The lock.
        cache_dir: Where environments are kept; by default the user's cache folder.

    Raises:
        ConfigError: It can't be made; with the words of `uv`.
        MissingExtraError: There is no `uv`, and it can't be fetched.
    """
    cache = cache_folder(cache_dir)
    folder = cache / "made" / f"{lock.digest[:24]}-{_identity()}"
    python = folder / "bin" / "python"
    if _finished(folder, lock):
        return python
    with _alone(folder.with_name(folder.name + ".lock")):
        if not _finished(folder, lock):
            _make(lock, folder, cache)
    return python


def prune(older_than: float, cache_dir: Path | None = None) -> list[tuple[Path, int]]:
    """Remove environments that nobody has asked for in so many seconds; return each with its size in bytes."""
    made = cache_folder(cache_dir) / "made"
    removed: list[tuple[Path, int]] = []
    for folder in sorted(made.iterdir()) if made.is_dir() else ():
        if not folder.is_dir():
            continue
        with _alone(folder.with_name(folder.name + ".lock")):
            used = (folder / MARKER).stat().st_mtime if (folder / MARKER).exists() else folder.stat().st_mtime
            if time.time() - used > older_than:
                size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
                shutil.rmtree(folder)
                removed.append((folder, size))
    return removed


def inside(lock: EnvironmentLock) -> bool:
    """Say whether this process runs in the environment of a lock."""
    marker = Path(sys.prefix) / MARKER
    return marker.exists() and marker.read_text() == lock.digest


def _finished(folder: Path, lock: EnvironmentLock) -> bool:
    marker = folder / MARKER
    try:
        if marker.read_text() != lock.digest:
            return False
    except FileNotFoundError:
        return False
    with contextlib.suppress(OSError):  # another user's cache, read only
        os.utime(marker)
    return True


def _make(lock: EnvironmentLock, folder: Path, cache: Path) -> None:
    """Make an environment; its marker comes last, so that what a killed process leaves is made anew."""
    uv = find_or_fetch_uv(cache)
    shutil.rmtree(folder, ignore_errors=True)
    doing = f"The environment {lock.digest[:12]} on Python {lock.python} cannot be made"
    python = folder / "bin" / "python"
    call(["venv", "--quiet", "--no-project", "--python", _base_python(lock.python), str(folder)], doing=doing, uv=uv)
    text = folder / "lock.txt"
    text.write_text(lock.text, encoding="utf-8")
    call(["pip", "sync", "--quiet", "--python", str(python), str(text)], doing=doing, uv=uv)
    _link_flowbridge(folder)
    (folder / MARKER).write_text(lock.digest)


def _base_python(version: str) -> str:
    """This interpreter where it is of the right version: no other need be found or fetched."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return sys.executable if version in {own, f"{own}.{sys.version_info.micro}"} else version


def _link_flowbridge(folder: Path) -> None:
    """Make this flowbridge importable in an environment, and nothing else of where it is installed."""
    links = folder / _LINK_FOLDER
    links.mkdir()
    package = _package()
    (links / package.name).symlink_to(package)
    for metadata in _metadata_folders():
        (links / metadata.name).symlink_to(metadata)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / f"{_LINK_FOLDER}.pth").write_text(f"{links}\n")


def _package() -> Path:
    return Path(flowbridge.__path__[0]).resolve()


def _metadata_folders() -> list[Path]:
    """Folders with the metadata of the installed flowbridge, entry points included; none where it runs from its sources."""
    try:
        distribution = importlib.metadata.distribution("flowbridge")
    except importlib.metadata.PackageNotFoundError:
        return []
    files = [f for f in distribution.files or () if f.name == "METADATA"]
    return [Path(str(f.locate())).parent.resolve() for f in files]


def _identity() -> str:
    """Environments of different flowbridges are kept apart, since each links to its own."""
    return hashlib.sha256(str(_package()).encode()).hexdigest()[:8]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
