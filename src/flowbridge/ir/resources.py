"""Declared resources, in the forms Kubernetes uses for quantities, kept as exact numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, field_validator

from flowbridge.errors import ConfigError
from flowbridge.ir.base import FrozenModel

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_QUANTITY = re.compile(r"^\s*(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*(?P<unit>[A-Za-z]*)\s*$")
_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_bytes(text: str | float) -> int:
    """Return the number of bytes in a Kubernetes quantity such as ``"4Gi"``, ``"500M"`` or ``1024``.

    Raises:
        ValueError: The text is not a quantity, or not a whole positive number of bytes.
    """
    match = None if isinstance(text, bool) else _QUANTITY.match(str(text))
    if match is None:
        raise ValueError(_bad_bytes(text))
    unit = match["unit"]
    factor = 1 if not unit else _BINARY.get(unit) or _DECIMAL.get(unit)
    if factor is None:
        raise ValueError(_bad_bytes(text))
    size = int(Decimal(match["number"]) * factor)
    if size <= 0:
        raise ValueError(_bad_bytes(text))
    return size


def _bad_bytes(text: object) -> str:
    return f"{text!r} is not an amount of memory; write it like '512Mi', '4Gi' or '1.5G' (bytes as a plain number)"


def parse_cpu(text: str | float) -> float:
    """Return the number of cores in ``2``, ``0.5``, ``"2"`` or ``"500m"`` (thousandths).

    Raises:
        ValueError: The text is not a positive number of cores.
    """
    raw = str(text).strip()
    try:
        cores = Decimal(raw[:-1]) / 1000 if raw.endswith("m") else Decimal(raw)
    except InvalidOperation:
        cores = Decimal(-1)
    if isinstance(text, bool) or not cores.is_finite() or cores <= 0:
        raise ValueError(f"{text!r} is not a number of cores; write it like 2, 0.5 or '500m'")
    return float(cores)


def parse_duration(text: str | float) -> float:
    """Return the seconds in ``"30s"``, ``"2h"``, ``"1h30m"``, ``"7d"`` or a plain number of seconds.

    Raises:
        ValueError: The text is not a positive length of time.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool) and text > 0:
        return float(text)
    raw = str(text).strip()
    parts = list(_DURATION.finditer(raw))
    if not parts or "".join(p.group(0) for p in parts) != raw:
        raise ValueError(f"{text!r} is not a length of time; write it like '30s', '2h' or '1h30m'")
    return sum(float(p["number"]) * _SECONDS[p["unit"]] for p in parts)


def format_bytes(size: int) -> str:
    """Return a size for people, such as ``"4Gi"`` or ``"1.5Mi"``."""
    for unit, factor in reversed(_BINARY.items()):
        if size >= factor:
            amount = size / factor
            return f"{amount:.0f}{unit}" if amount == int(amount) else f"{amount:.1f}{unit}"
    return f"{size}B"


class Resources(FrozenModel):
    """What one task may use. None means: not declared.

    Amounts may be given as numbers or in the forms that Kubernetes uses: ``Resources(cpu="500m", memory="4Gi")``; they are kept as numbers.

    Attributes:
        cpu: Cores.
        memory: Bytes; a limit that holds.
        memory_max: Bytes that a task may get when it is retried after running out of memory.
        gpu: Number of GPUs; below one is a share of one GPU's memory.
        gpu_type: Kind of GPU, as the cluster or the machine names it.
        disk: Bytes of scratch space.
        shm: Bytes of shared memory (``/dev/shm``).
        custom: Amounts of resources that the user named and declared in the configuration.
    """

    cpu: float | None = Field(default=None, gt=0)
    memory: int | None = Field(default=None, gt=0)
    memory_max: int | None = Field(default=None, gt=0)
    gpu: float | None = Field(default=None, gt=0)
    gpu_type: str | None = None
    disk: int | None = Field(default=None, gt=0)
    shm: int | None = Field(default=None, gt=0)
    custom: tuple[tuple[str, float], ...] = ()

    if TYPE_CHECKING:

        def __init__(  # noqa: PLR0913  (what users may write; below is what pydantic sees)
            self,
            *,
            cpu: float | str | None = None,
            memory: int | str | None = None,
            memory_max: int | str | None = None,
            gpu: float | None = None,
            gpu_type: str | None = None,
            disk: int | str | None = None,
            shm: int | str | None = None,
            custom: Mapping[str, float] | tuple[tuple[str, float], ...] = (),
        ) -> None: ...

    else:

        def __init__(self, **amounts: Any) -> None:
            """Check and keep the amounts.

            Raises:
                ConfigError: One is unknown or malformed.
            """
            for name in amounts:
                if name not in type(self).model_fields:
                    raise ConfigError.unknown_key(name, type(self).model_fields, "Resources(...)")
            try:
                super().__init__(**amounts)
            except ValidationError as error:
                wrong = [f"{e['loc'][0]}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
                raise ConfigError("; ".join(wrong)) from None

    @field_validator("memory", "memory_max", "disk", "shm", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return value if value is None else parse_bytes(value)

    @field_validator("cpu", mode="before")
    @classmethod
    def _cores(cls, value: Any) -> Any:
        return value if value is None else parse_cpu(value)

    @field_validator("gpu", mode="before")
    @classmethod
    def _gpus(cls, value: Any) -> Any:
        if value is None:
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0 or (value > 1 and value % 1):
            raise ValueError(f"{value!r} is not a number of GPUs; write it like 1, 2, or 0.5 for a share of one")
        return value

    @field_validator("custom", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return tuple(sorted(value.items())) if isinstance(value, Mapping) else value
