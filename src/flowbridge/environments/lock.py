"""Locks: the exact packages that a step's wishes come to, as a text that `uv` (or pip) can make an environment of anywhere.

A lock holds for all platforms, with the hash of every file. It holds what the step wishes for and, in the same resolution, what the
worker needs at least (`NEEDS`, wide bounds), so that a step's own pins always decide.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from flowbridge.environments.uv import EnvironmentRefusedError, cache_folder, call, find_uv
from flowbridge.errors import ConfigError
from flowbridge.ir.base import FrozenModel
from flowbridge.ir.environment import EnvironmentWish
from flowbridge.ir.fingerprint import canonical_json

NEEDS = (
    "pydantic>=2.7",
    "cloudpickle>=2.2",
    "fsspec>=2023.6",
    "psutil>=5.9",
    "blake3>=0.4",
    "typing_extensions>=4.8",
    "tomli>=2.0; python_version < '3.11'",
)
"""What `flowbridge.worker` and the template of the local engine import; a part of the dependencies of flowbridge itself."""

_HEAD = "# flowbridge environment lock, version 1"
_PYTHON = "# python "
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INPUTS_VERSION = 1


class EnvironmentLock(FrozenModel):
    """A locked environment.

    Attributes:
        digest: SHA-256 of `text`, as lowercase hex.
        text: The lock: a requirements file with exact versions, hashes and markers, and the version of Python on top.
        python: Version of Python, such as ``3.11``.
    """

    digest: str
    text: str
    python: str

    @classmethod
    def of(cls, requirements: str, python: str) -> EnvironmentLock:
        """Make a lock of resolved requirements."""
        text = f"{_HEAD}\n{_PYTHON}{python}\n{requirements.strip()}\n"
        return cls(digest=_digest(text), text=text, python=python)

    @classmethod
    def parse(cls, text: str) -> EnvironmentLock:
        """Return the lock that a text is.

        Raises:
            ConfigError: It is none.
        """
        lines = text.splitlines()
        if len(lines) < 2 or lines[0] != _HEAD or not lines[1].startswith(_PYTHON):  # noqa: PLR2004  (two lines on top)
            raise ConfigError(f"This is no environment lock that this version of flowbridge can read; it begins with {text[:60]!r}.")
        return cls(digest=_digest(text), text=text, python=lines[1].removeprefix(_PYTHON).strip())

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages, such as ``numpy==2.1.0``, without hashes and markers."""
        lines = (line.split(";")[0].split("\\")[0].strip() for line in self.text.splitlines())
        return tuple(line for line in lines if line and not line.startswith(("#", "-")))

    @property
    def local(self) -> tuple[str, ...]:
        """The packages that are files or folders of the machine it was locked on, and can't be had on another."""
        return tuple(p for p in self.packages if "file:" in p or p.startswith((".", "/")))


def lock(
    wish: EnvironmentWish, *, also: Iterable[str] = (), cache_dir: Path | None = None, refresh: bool = False, offline: bool = False
) -> EnvironmentLock:
    """Return the locked environment that a wish comes to.

    It is resolved once: later calls with equal arguments on this machine return the same lock, also without a network.

    Args:
        wish: What the step declares. Without `python`, it is the version that runs this.
        also: Further requirements that give way to the wish, such as `imports.pinned` returns: of packages that the wish names they are
            left out, and if their versions contradict it, any version will do.
        cache_dir: Where locks are remembered; by default the user's cache folder.
        refresh: Resolve anew.
        offline: Use only what `uv` has in its own cache.

    Raises:
        ConfigError: There is no such set of packages, or a requirement is malformed; with the words of `uv`.
        MissingExtraError: There is no `uv`.
    """
    python = wish.python or f"{sys.version_info.major}.{sys.version_info.minor}"
    wished = [*wish.packages, *wish.requirements]
    soft = _not_named(also, wished)
    inputs = canonical_json([_INPUTS_VERSION, python, wished, soft, NEEDS, _indexes()])
    known = cache_folder(cache_dir) / "locks" / f"{hashlib.sha256(inputs).hexdigest()[:32]}.txt"
    if known.exists() and not refresh:
        return EnvironmentLock.parse(known.read_text(encoding="utf-8"))
    made = EnvironmentLock.of(_resolve(wished, soft, python, offline=offline), python)
    _write(known, made.text)
    return made


def _resolve(wished: Sequence[str], soft: Sequence[str], python: str, *, offline: bool) -> str:
    doing = f"The environment with {', '.join(wished) or 'no packages'} on Python {python} (and {', '.join(NEEDS)} for flowbridge's worker) cannot be locked"
    if not soft:
        return _compile([*wished, *NEEDS], python, doing, offline=offline)
    try:
        return _compile([*wished, *soft, *NEEDS], python, doing, offline=offline)
    except EnvironmentRefusedError:
        loose = [match.group() for match in map(_NAME.match, soft) if match]
        return _compile([*wished, *loose, *NEEDS], python, doing, offline=offline)


def _compile(requirements: Sequence[str], python: str, doing: str, *, offline: bool) -> str:
    command = ["pip", "compile", "-", "--universal", "--python-version", python, "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--quiet", "--python", sys.executable] if python == f"{sys.version_info.major}.{sys.version_info.minor}" else ["--quiet"]
    return call([*command, *(["--offline"] if offline else [])], doing=doing, stdin="\n".join(requirements), uv=find_uv())


def _not_named(also: Iterable[str], wished: Sequence[str]) -> list[str]:
    named = {_normal(match.group()) for match in map(_NAME.match, (*wished, *NEEDS)) if match}
    return sorted({a for a in also if (match := _NAME.match(a)) is not None and _normal(match.group()) not in named})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _indexes() -> list[str]:
    """Where packages come from decides what a wish comes to; a digest, since such addresses may hold passwords."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
    values = [os.environ.get(n, "") for n in names]
    return [hashlib.sha256("\n".join(values).encode()).hexdigest()] if any(values) else []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file that readers find whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)
