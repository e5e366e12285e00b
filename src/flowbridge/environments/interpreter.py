"""From a wish, or a lock, to the interpreter that a step runs with; on a laptop and in a container alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from flowbridge.environments.lock import EnvironmentLock, lock
from flowbridge.environments.materialise import inside, materialise
from flowbridge.ir.environment import EnvironmentWish


def wants_own(wish: EnvironmentWish) -> bool:
    """Say whether a step needs an environment of its own: it names packages, or another Python than the one that runs this."""
    return bool(wish.packages or wish.requirements) or not _is_this_python(wish.python)


def interpreter(wish: EnvironmentWish, *, also: Iterable[str] = (), cache_dir: Path | None = None) -> Path:
    """Return the Python that a step with this wish runs with: this one where it wishes for nothing, else that of its environment.

    Args:
        wish: What the step declares.
        also: Further requirements that give way to the wish; see `lock`.
        cache_dir: Where locks and environments are kept; by default the user's cache folder.

    Raises:
        ConfigError: The environment can't be locked or made.
        MissingExtraError: There is no `uv`.
    """
    if not wants_own(wish):
        return Path(sys.executable)
    return materialise(lock(wish, also=also, cache_dir=cache_dir), cache_dir)


def enter(locked: EnvironmentLock | str, arguments: Sequence[str], *, cache_dir: Path | None = None) -> None:
    """Go on in a locked environment: this process becomes its Python with these arguments. Returns only if it is in there already.

    Args:
        locked: The lock, or its text.
        arguments: For Python, such as ``["-m", "flowbridge.worker", order]``.
        cache_dir: Where environments are kept; by default the user's cache folder.

    Raises:
        ConfigError: The text is no lock, or the environment can't be made.
        MissingExtraError: There is no `uv`, and it can't be fetched.
    """
    locked = EnvironmentLock.parse(locked) if isinstance(locked, str) else locked
    if inside(locked):
        return
    go_on_in(materialise(locked, cache_dir), arguments)


def go_on_in(python: Path, arguments: Sequence[str]) -> NoReturn:
    """Become another Python with these arguments."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(python, [str(python), *arguments])  # noqa: S606  (this very process goes on there, without a shell)


def _is_this_python(version: str | None) -> bool:
    if version is None:
        return True
    own = sys.version_info[:3]
    return tuple(int(p) for p in version.split(".")) == own[: version.count(".") + 1]
