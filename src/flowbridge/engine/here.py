"""What stands in the way of running a flow on this machine, whatever runs it: secrets that are not there, steps that belong elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flowbridge.errors import ConfigError
from flowbridge.settings import load_profile
from flowbridge.worker.containers import ENGINES, engine_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.settings import Profile

_HERE = ("local", "inline")


def secret_gaps(graph: FlowGraph) -> Iterator[str]:
    """Yield a sentence for each secret that is not there. Only names are ever looked at or shown."""
    for node in graph.steps:
        for secret in node.environment.secrets:
            if secret.name not in os.environ and secret.env not in os.environ:
                where = f"set the environment variable {secret.name} where the flow is started"
                yield f"step {node.id}: the secret {secret.name!r} is not there: {where}."


def container_gaps(steps: Iterable[StepNode]) -> Iterator[str]:
    """Yield one sentence if some of the steps that run here are programs in images, and nothing here runs containers."""
    names = [node.id for node in steps if node.container is not None]
    if names and engine_here() is None:
        which = f"step {names[0]} runs a program in an image" if len(names) == 1 else f"the steps {', '.join(names)} run programs in images"
        way = "install one, or run the flow on a backend whose system runs containers, such as 'kubeflow' with a server"
        yield f"{which}, which takes {' or '.join(ENGINES)}, and neither is installed here: {way}."


def placement_gaps(graph: FlowGraph, profile: Profile) -> Iterator[str]:
    """Yield a sentence for each step that is placed on something other than this machine."""
    for node in graph.steps:
        place = _place_of(node, profile)
        why = _elsewhere(place) if place is not None else None
        if why is not None:
            yield f"step {node.id} is placed at {place!r}, {why}."


def _place_of(node: StepNode, profile: Profile) -> str | None:
    """Return the place named for a step: by itself, or by the profile for its target, its id or its name."""
    for name in (node.target, node.id, node.name):
        if name is not None and name in profile.placement:
            return profile.placement[name]
    return node.target


def _elsewhere(place: str) -> str | None:
    """Return why a place is not this machine."""
    if place in _HERE:
        return None
    try:
        backend = load_profile(place).backend
    except ConfigError:
        return "which is neither this machine ('local') nor a profile: name one, or map it to one under placement in the profile"
    if backend in _HERE:
        return None
    return (
        f"whose backend is {backend!r}; single steps are not sent from this machine to another: run the whole flow with --profile {place}"
    )
