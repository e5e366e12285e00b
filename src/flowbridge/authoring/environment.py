"""`Environment(...)`, the wishes about what a step finds around it, and secrets, as users write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowbridge.errors import ConfigError
from flowbridge.ir.environment import EnvironmentWish, Secret

Secrets = Sequence[str | Secret] | Mapping[str, str]
"""Names, or environment variable -> ``"secret"`` or ``"secret/key"``."""


@dataclass(frozen=True)
class Environment:
    """What a step wants to find around it. Whatever is not given is as it is where the flow is run.

    Attributes:
        packages: Requirement specifiers, such as ``"scikit-learn==1.7.*"``.
        requirements: A requirements file, read when the flow is built; a relative path starts at the folder of the file with the step, else
            at the working directory.
        python: Version of Python, such as ``"3.11"``.
        image: Container image, where the backend runs containers.
        env: Environment variables.
        secrets: Secrets that become environment variables: names, or a mapping from the variable to ``"secret"`` or ``"secret/key"``.
    """

    packages: Sequence[str] = ()
    requirements: str | Path | None = None
    python: str | None = None
    image: str | None = None
    env: Mapping[str, str] | None = None
    secrets: Secrets = ()

    def wish(self, folder: Path | None = None) -> EnvironmentWish:
        """Return the same as data.

        Args:
            folder: Where a relative requirements path starts.

        Raises:
            ConfigError: A part is malformed, or the requirements file cannot be read.
        """
        return EnvironmentWish(
            packages=strings("packages", self.packages),
            requirements=() if self.requirements is None else read_requirements(Path(self.requirements), folder),
            python=python_version(self.python),
            image=self.image,
            env=variables(self.env or {}),
            secrets=secrets(self.secrets),
        )


def strings(option: str, values: Any) -> tuple[str, ...]:
    """Return some texts as a tuple.

    Raises:
        ConfigError: It is one text, or not all of them are texts.
    """
    if isinstance(values, (str, bytes)):
        raise ConfigError(f"{option}={values!r} is one text; write a list: {option}=[{values!r}]")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{option}: {value!r} is not a text that names something")
    return found


def python_version(version: Any) -> str | None:
    """Return a version of Python.

    Raises:
        ConfigError: It is not one; a number such as ``3.10`` has lost its last digit and is refused.
    """
    if version is None:
        return None
    parts = version.split(".") if isinstance(version, str) else []
    if not 2 <= len(parts) <= 3 or not all(p.isdigit() for p in parts):  # noqa: PLR2004  (3.11 or 3.11.4)
        raise ConfigError(f"python={version!r} is not a version of Python; write it as a text like '3.11'")
    return str(version)


def variables(values: Mapping[Any, Any]) -> tuple[tuple[str, str], ...]:
    """Return environment variables, sorted.

    Raises:
        ConfigError: A name or value is not a text.
    """
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name:
            raise ConfigError(f"env: {name!r}: {value!r} is not a variable; both name and value are texts")
    return tuple(sorted(values.items()))


def secrets(values: Secrets) -> tuple[Secret, ...]:
    """Return secrets as data.

    Raises:
        ConfigError: One is malformed.
    """
    if isinstance(values, Mapping):
        return tuple(_secret(env, place) for env, place in sorted(values.items()))
    if isinstance(values, str):
        raise ConfigError(f"secrets={values!r} is one text; write a list: secrets=[{values!r}]")
    return tuple(v if isinstance(v, Secret) else _secret(v, v) for v in values)


def _secret(env: Any, place: Any) -> Secret:
    if not isinstance(env, str) or not isinstance(place, str) or not env or not place:
        raise ConfigError(f"secrets: {env!r}: {place!r} is not a secret; write 'NAME', or {{'VARIABLE': 'secret/key'}}")
    name, _, key = place.partition("/")
    return Secret(env=env, name=name, key=key or None)


def read_requirements(path: Path, folder: Path | None, seen: frozenset[Path] = frozenset()) -> tuple[str, ...]:
    """Return the lines of a requirements file without comments, those of files it includes in their place.

    Raises:
        ConfigError: A file cannot be read, or includes itself.
    """
    found = next((p for p in ([folder / path] if folder else []) + [path] if p.is_file()), None)
    if found is None:
        raise ConfigError(
            f"requirements={str(path)!r}: there is no such file" + (f" in {folder} or" if folder else " in") + f" {Path.cwd()}"
        )
    if found.resolve() in seen:
        raise ConfigError(f"requirements file {found} includes itself")
    lines: list[str] = []
    for raw in found.read_text(encoding="utf-8").splitlines():
        line = raw.split(" #")[0].strip()
        if line.startswith(("-r ", "--requirement ")):
            lines.extend(read_requirements(Path(line.split(maxsplit=1)[1]), found.parent, seen | {found.resolve()}))
        elif line and not line.startswith("#"):
            lines.append(line)
    return tuple(lines)
