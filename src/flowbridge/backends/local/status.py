"""What can be said of a flow before it runs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.local.support import TABLE
from flowbridge.backends.support import Emulated
from flowbridge.engine.capacity import Capacity
from flowbridge.ir.features import Feature, features_of
from flowbridge.ir.resources import format_bytes

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile

_WORTH_SAYING = {Feature.IMAGE, Feature.SCHEDULE, Feature.GPU_SHARE, Feature.SHM, Feature.DISK}


def notes_of(graph: FlowGraph, profile: Profile) -> list[str]:
    """Return what this machine has to give, and what of the flow is done in a way of its own here."""
    there = Capacity.detect(profile.machine)
    notes = [f"this machine has {there.cpu:g} cores, {format_bytes(there.memory)} of memory and {len(there.gpus) or 'no'} GPUs to give"]
    for feature, users in features_of(graph).items():
        support = TABLE[feature]
        if feature in _WORTH_SAYING and isinstance(support, Emulated):
            notes.append(f"{feature.value} ({', '.join(users)}): {support.how}")
    return notes
