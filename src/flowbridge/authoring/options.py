"""The options of a step: what users write, checked and turned into data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import ValidationError

from flowbridge.authoring import environment as e
from flowbridge.errors import ConfigError
from flowbridge.ir.base import JsonValue
from flowbridge.ir.environment import EnvironmentWish
from flowbridge.ir.policies import CachePolicy, Retry
from flowbridge.ir.resources import Resources, parse_duration

if TYPE_CHECKING:
    from flowbridge.authoring.environment import Environment, Secrets

PLATFORMS = ("metaflow", "kubeflow")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_LONGEST_NAME = 100  # a folder of a store bears it, with the names of its groups before it; file systems hold 255 bytes


class CommonSettings(TypedDict, total=False):
    """What steps of every kind take."""

    name: str
    cpu: float | str | None
    memory: int | str | None
    memory_max: int | str | None
    gpu: float | None
    gpu_type: str | None
    disk: int | str | None
    shm: int | str | None
    custom: Mapping[str, float]
    resources: Resources
    retries: int
    retry_delay: float | str
    backoff: float
    timeout: float | str | None
    allow_failure: bool
    cache: bool | str
    packages: Sequence[str]
    requirements: str | Path | None
    python: str | None
    env: Mapping[str, str]
    secrets: Secrets
    environment: Environment
    nodes: int
    target: str | None
    tags: Sequence[str]
    metaflow: Mapping[str, Any]
    kubeflow: Mapping[str, Any]
    platform: Mapping[str, Any]


class StepSettings(CommonSettings, total=False):
    """What `@step(...)` takes."""

    image: str | None


class CallSettings(StepSettings, total=False):
    """What `step.options(...)` takes besides: options of one call."""

    after: Sequence[Any]
    parallel: int | None
    batch: int | None


@dataclass(frozen=True)
class StepOptions:
    """The options of a step, checked.

    Attributes:
        after: What this call waits for besides its data: handles, or ids of steps.
        parallel: Items of a map at once.
        batch: Items of a map per task.
        folder: Where a relative requirements path starts.
    """

    name: str = ""
    resources: Resources = field(default_factory=Resources)
    retry: Retry = field(default_factory=Retry)
    timeout: float | None = None
    allow_failure: bool = False
    cache: CachePolicy | None = None
    environment: EnvironmentWish = field(default_factory=EnvironmentWish)
    nodes: int = 1
    target: str | None = None
    tags: tuple[str, ...] = ()
    platform: tuple[tuple[str, JsonValue], ...] = ()
    after: tuple[Any, ...] = ()
    parallel: int | None = None
    batch: int | None = None
    folder: Path | None = None

    def change(self, settings: Mapping[str, Any], known: Sequence[str], where: str) -> StepOptions:
        """Return the options with some changed.

        Args:
            settings: What the user wrote.
            known: The names that may stand there.
            where: Names the step in messages.

        Raises:
            ConfigError: A name is unknown or a value malformed.
        """
        changed = self
        for name in settings:
            if name not in known:
                raise ConfigError.unknown_key(name, known, where)
        for name in sorted(settings, key=lambda n: n not in {"resources", "environment"}):
            try:
                changed = _CHANGES[name](changed, name, settings[name])
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{where}: {name}={settings[name]!r}: {_reason(error)}") from None
        return changed


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(part["msg"].removeprefix("Value error, ") for part in error.errors())
    return str(error)


def check_name(name: object, what: str) -> str:
    """Return a name of a step or flow.

    Raises:
        ConfigError: It is not made of letters, digits and underscores alone.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a {what}: names are made of the letters a to z, digits and underscores, and begin with no digit. "
            f"Give it one with name='...'"
        )
    if len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"{name[:20]}... cannot be the name of a {what}: it has {len(name)} letters, and {_LONGEST_NAME} are the most, for folders bear it. "
            f"Give it one with name='...'"
        )
    return name


Change = Callable[[StepOptions, str, Any], StepOptions]


def _resource(options: StepOptions, name: str, value: Any) -> StepOptions:
    declared = {**options.resources.model_dump(), name: value}
    return replace(options, resources=Resources(**declared))


def _set(options: StepOptions, name: str, value: Any) -> StepOptions:
    changed: dict[str, Any] = {name: value}
    return replace(options, **changed)


def _count(options: StepOptions, name: str, value: Any) -> StepOptions:
    if not (value is None and name in {"parallel", "batch"}) and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError("expected a whole number of at least 1")
    return _set(options, name, value)


def _retry(options: StepOptions, name: str, value: Any) -> StepOptions:
    if name == "retries" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError("expected a whole number, 0 or more")
    if name == "backoff" and not (isinstance(value, (int, float)) and value >= 1):
        raise ValueError("expected a factor of at least 1")
    key = {"retries": "retries", "retry_delay": "delay", "backoff": "backoff"}[name]
    amount = value if key != "delay" else (0.0 if value == 0 else parse_duration(value))
    return replace(options, retry=Retry(**{**options.retry.model_dump(), key: amount}))


def _timeout(options: StepOptions, name: str, value: Any) -> StepOptions:
    return _set(options, name, None if value is None else parse_duration(value))


def _flag(options: StepOptions, name: str, value: Any) -> StepOptions:
    if not isinstance(value, bool):
        raise TypeError("expected True or False")
    return _set(options, name, value)


def _cache(options: StepOptions, name: str, value: Any) -> StepOptions:
    if isinstance(value, bool):
        return replace(options, cache=CachePolicy() if value else None)
    return _set(options, name, CachePolicy(lifetime=parse_duration(value)))


def _wish(options: StepOptions, name: str, value: Any) -> StepOptions:
    made = e.Environment(**{name: value}).wish(options.folder)
    return replace(options, environment=options.environment.model_copy(update={name: getattr(made, name)}))


def _text(options: StepOptions, name: str, value: Any) -> StepOptions:
    if value is not None and (not isinstance(value, str) or not value):
        raise TypeError("expected a text")
    return _set(options, name, value)


def _platform(options: StepOptions, name: str, value: Any) -> StepOptions:
    changed = value if name == "platform" else {name: value}
    return replace(options, platform=platform_settings({**dict(options.platform), **changed}))


def platform_settings(settings: Mapping[str, Any]) -> tuple[tuple[str, JsonValue], ...]:
    """Return raw settings for single backends, sorted by backend.

    Raises:
        TypeError: They are not made of what JSON holds.
    """
    for backend, value in settings.items():
        if not isinstance(value, Mapping) or not _is_json(value):
            raise TypeError(f"settings for {backend!r} are a dict of texts, numbers, lists and dicts")
    return tuple(sorted((backend, dict(value)) for backend, value in settings.items() if value))


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_json(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or isinstance(value, (str, int, float, bool))


def _exactly(kind: type) -> Change:
    def change(options: StepOptions, name: str, value: Any) -> StepOptions:
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__}(...), got a {type(value).__name__}")
        made = value.wish(options.folder) if isinstance(value, e.Environment) else value
        return _set(options, name, made)

    return change


def _after(options: StepOptions, name: str, value: Any) -> StepOptions:
    if type(value) not in (list, tuple):
        raise TypeError(f"expected a list of outputs: {name}=[x]")
    return replace(options, after=tuple(value))


_CHANGES: dict[str, Change] = {
    "name": lambda o, _, v: replace(o, name=check_name(v, "step")),
    **dict.fromkeys(("cpu", "memory", "memory_max", "gpu", "gpu_type", "disk", "shm", "custom"), _resource),
    "resources": _exactly(Resources),
    **dict.fromkeys(("retries", "retry_delay", "backoff"), _retry),
    "timeout": _timeout,
    "allow_failure": _flag,
    "cache": _cache,
    **dict.fromkeys(("packages", "requirements", "python", "image", "env", "secrets"), _wish),
    "environment": _exactly(e.Environment),
    "nodes": _count,
    "target": _text,
    "tags": lambda o, n, v: replace(o, tags=e.strings(n, v)),
    **dict.fromkeys((*PLATFORMS, "platform"), _platform),
    "after": _after,
    "parallel": _count,
    "batch": _count,
}
STEP_SETTINGS = tuple(StepSettings.__annotations__)  # of a TypedDict, those of its bases included
CALL_SETTINGS = (*STEP_SETTINGS, "after", "parallel", "batch")
