"""What `flowbridge check` tells about a flow on Metaflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.metaflow.lower import lower
from flowbridge.backends.metaflow.options import options_of
from flowbridge.backends.metaflow.resources import MOST_RETRIES
from flowbridge.backends.metaflow.support import TABLE
from flowbridge.backends.support import Emulated
from flowbridge.ir.features import Feature, features_of

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile

_WORTH_SAYING = {Feature.MAP_PARALLEL, Feature.MEMORY_MAX, Feature.IMAGE, Feature.SECRETS, Feature.RETRY_DELAY}
_SHOWN = 5


def find_notes(graph: FlowGraph, profile: Profile) -> list[str]:
    """Return how many steps Metaflow sees, which were added and why, and what is done in a way of its own."""
    options = options_of(profile)
    lowered = lower(graph)
    notes = [
        f"Metaflow sees {len(lowered.steps)} steps for the flow's {len(graph.steps)}, start and end among them; target {options.target}"
    ]
    reasons = [f"{s.name}: {s.why}" for s in lowered.steps if s.why]
    notes += reasons[:_SHOWN]
    if len(reasons) > _SHOWN:
        notes.append(f"and {len(reasons) - _SHOWN} more such steps, each with its reason in the FlowSpec")
    for feature, users in features_of(graph).items():
        support = TABLE[feature]
        if feature in _WORTH_SAYING and isinstance(support, Emulated):
            notes.append(f"{feature.value} ({', '.join(users)}): {support.how}")
    many = [s.id for s in graph.steps if s.retry.retries > MOST_RETRIES]
    if many:
        notes.append(f"Metaflow retries at most {MOST_RETRIES} times; the last attempt makes the further ones itself ({', '.join(many)})")
    if options.compute != "local" and options.install is None:
        notes.append("the containers' images must hold flowbridge; or set `install` in the profile's metaflow settings")
    return notes
