"""What a backend can do, as data: one complete table per backend, read by checks, errors, docs and tests alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowbridge.ir.features import Feature, features_of

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph


@dataclass(frozen=True)
class Native:
    """The system behind the backend does it itself."""


@dataclass(frozen=True)
class Emulated:
    """flowbridge does it in a way of its own."""

    how: str


@dataclass(frozen=True)
class Unsupported:
    """It is refused before anything runs.

    Attributes:
        reason: Why, as half a sentence.
        whose: ``ours``: not built yet. ``upstream``: the system lacks it. ``never``: it makes no sense there.
        instead: The way out, as a full sentence.
    """

    reason: str
    whose: Literal["ours", "upstream", "never"]
    instead: str = ""


Support = Native | Emulated | Unsupported


def complete(table: Mapping[Feature, Support]) -> Mapping[Feature, Support]:
    """Return the table as it is, if it has a line for every feature.

    Raises:
        TypeError: A feature is missing; raised when the backend is imported, so it cannot be forgotten.
    """
    missing = [f.name for f in Feature if f not in table]
    if missing:
        raise TypeError("support table lacks " + ", ".join(missing))
    return table


def table_gaps(flow: FlowGraph, table: Mapping[Feature, Support]) -> list[str]:
    """Return one sentence per feature the flow uses and the table refuses, with the steps that use it."""
    gaps = []
    for feature, users in features_of(flow).items():
        support = table[feature]
        if isinstance(support, Unsupported):
            shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")  # noqa: PLR2004
            gaps.append(f"{feature.value}, used by {shown}: {support.reason}. {support.instead}".rstrip())
    return gaps


def as_markdown(table: Mapping[Feature, Support]) -> str:
    """Return the table as the page of a backend shows it."""
    lines = ["| feature | | how |", "|---|---|---|"]
    for feature in Feature:
        support = table[feature]
        if isinstance(support, Native):
            kind, how = "yes", ""
        elif isinstance(support, Emulated):
            kind, how = "emulated", support.how
        else:
            kind, how = f"no ({support.whose})", f"{support.reason}. {support.instead}".strip()
        lines.append(f"| {feature.value} | {kind} | {how} |")
    return "\n".join(lines) + "\n"


def markdown(tables: Mapping[str, Mapping[Feature, Support]]) -> str:
    """Return what backends can do as a Markdown table, a column for each; what is emulated, and why something is refused, as notes below."""
    notes: list[str] = []
    lines = [f"| | {' | '.join(tables)} |", f"|---|{'---|' * len(tables)}"]
    for feature in Feature:
        cells = [_cell(table[feature], name, feature, notes) for name, table in tables.items()]
        lines.append(f"| {feature.value} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))])


def _cell(support: Support, backend: str, feature: Feature, notes: list[str]) -> str:
    if isinstance(support, Native):
        return "native"
    if isinstance(support, Emulated):
        notes.append(f"{backend}, {feature.value}: {support.how}.")
        return f"emulated ({len(notes)})"
    notes.append(f"{backend}, {feature.value}: {support.reason}. {support.instead}".rstrip())
    return f"no ({len(notes)})"
