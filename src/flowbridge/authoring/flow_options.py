"""The options of a flow: what stands in `@flow(...)`, and what `flow.options(...)` sets for a run or a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from flowbridge.authoring.environment import strings
from flowbridge.authoring.options import PLATFORMS, check_name, platform_settings
from flowbridge.errors import ConfigError
from flowbridge.ir.base import JsonValue
from flowbridge.ir.flow import Schedule

_CRON_FIELDS = 5


class FlowSettings(TypedDict, total=False):
    """What `@flow(...)` takes."""

    name: str
    tags: Sequence[str]
    schedule: str | Schedule | None
    timezone: str | None
    metaflow: Mapping[str, Any]
    kubeflow: Mapping[str, Any]
    platform: Mapping[str, Any]


class RunSettings(TypedDict, total=False):
    """What `flow.options(...)` takes."""

    backend: str
    profile: str
    store: str
    tags: Sequence[str]
    wait: bool
    on_failure: str
    max_parallel: int
    name: str
    after: Sequence[Any]
    parallel: int | None
    batch: int | None


_CALL = ("name", "after", "parallel", "batch")


@dataclass(frozen=True)
class FlowOptions:
    """The options of a flow, checked.

    Attributes:
        run: Options of its runs, handed to the client as they are.
        after: What a call inside another flow waits for.
        parallel: Items of a map over the flow at once.
        batch: Refused when it is used; kept so that the message can say why.
    """

    name: str = ""
    tags: tuple[str, ...] = ()
    schedule: Schedule | None = None
    platform: tuple[tuple[str, JsonValue], ...] = ()
    run: tuple[tuple[str, Any], ...] = ()
    after: tuple[Any, ...] = ()
    parallel: int | None = None
    batch: int | None = None

    def change(self, settings: Mapping[str, Any]) -> FlowOptions:
        """Return the options with what stands in `@flow(...)`.

        Raises:
            ConfigError: A name is unknown or a value malformed.
        """
        name = check_name(settings.get("name"), "flow")
        where = f"flow {name!r}"
        for key in settings:
            if key not in FlowSettings.__annotations__:
                raise ConfigError.unknown_key(key, FlowSettings.__annotations__, where)
        raw = {**settings.get("platform", {}), **{p: settings[p] for p in PLATFORMS if p in settings}}
        try:
            platform = platform_settings(raw)
        except TypeError as error:
            raise ConfigError(f"{where}: {error}") from None
        return replace(
            self,
            name=name,
            tags=strings("tags", settings.get("tags", ())),
            schedule=schedule_of(settings.get("schedule"), settings.get("timezone"), where),
            platform=platform,
        )

    def change_run(self, settings: Mapping[str, Any]) -> FlowOptions:
        """Return the options with what stands in `flow.options(...)`.

        Raises:
            ConfigError: A name is unknown or a value malformed.
        """
        where = f"flow {self.name!r}"
        for key, value in settings.items():
            if key not in RunSettings.__annotations__:
                raise ConfigError.unknown_key(key, RunSettings.__annotations__, where)
            _look_at(key, value, where)
        changed = {key: value for key, value in settings.items() if key not in _CALL}
        call: dict[str, Any] = {key: tuple(value) if key == "after" else value for key, value in settings.items() if key in _CALL}
        return replace(self, run=tuple({**dict(self.run), **changed}.items()), **call)


def _look_at(key: str, value: Any, where: str) -> None:
    """Look at what a single option is, as far as it can be told here.

    Raises:
        ConfigError: It is malformed.
    """
    if (
        key in {"parallel", "batch", "max_parallel"}
        and value is not None
        and (isinstance(value, bool) or not isinstance(value, int) or value < 1)
    ):
        raise ConfigError(f"{where}: {key}={value!r}: expected a whole number of at least 1")
    if key == "on_failure" and value not in ("finish", "stop"):
        raise ConfigError(f"{where}: on_failure={value!r}: expected 'finish' or 'stop'")
    if key == "wait" and not isinstance(value, bool):
        raise ConfigError(f"{where}: wait={value!r}: expected True or False")
    if key == "after" and type(value) not in (list, tuple):
        raise ConfigError(f"{where}: after={value!r}: expected a list of outputs: after=[x]")
    if key == "name":
        check_name(value, "flow")
    if key == "tags":
        strings("tags", value)


def schedule_of(schedule: Any, timezone: str | None, where: str) -> Schedule | None:
    """Return a schedule from how it is written.

    Raises:
        ConfigError: It is not five fields of cron, or there is a time zone and no schedule.
    """
    if schedule is None:
        if timezone is not None:
            raise ConfigError(f"{where}: timezone={timezone!r} without a schedule")
        return None
    if isinstance(schedule, Schedule):
        return schedule
    if not isinstance(schedule, str) or len(schedule.split()) != _CRON_FIELDS:
        raise ConfigError(
            f"{where}: schedule={schedule!r} is not five fields: minute hour day-of-month month day-of-week, such as '0 6 * * 1-5'"
        )
    return Schedule(cron=schedule, timezone=timezone)
