"""What a flow asks of this machine, and what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.engine.capacity import Capacity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile


def resource_gaps(graph: FlowGraph, profile: Profile) -> Iterator[str]:
    """Yield a sentence for each step that asks for more than this machine can ever give."""
    capacity = Capacity.detect(profile.machine)
    for node in graph.steps:
        why = capacity.impossible(node.resources, node.nodes)
        if why is not None:
            yield f"step {node.id}: {why}."


def store_gaps(profile: Profile) -> Iterator[str]:
    """Yield a sentence if the store cannot be seen by other processes."""
    if profile.store.startswith("memory:"):
        yield f"the store {profile.store} lives in one process only, and each task runs in its own: use a folder, or the backend 'inline'."
