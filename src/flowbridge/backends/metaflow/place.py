"""Where single steps run: the target of the flow, or the place that a step or the profile names for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.metaflow.options import Compute, options_of
from flowbridge.errors import FlowbridgeError

if TYPE_CHECKING:
    from flowbridge.backends.metaflow.options import MetaflowOptions
    from flowbridge.ir.flow import StepNode
    from flowbridge.settings import Profile

PLACES: dict[str, Compute] = {"local": "local", "kubernetes": "kubernetes", "batch": "batch"}
_HERE = ("local", "inline")


class PlaceError(FlowbridgeError, ValueError):
    """A step names a place that Metaflow cannot run it at."""


def place_name(node: StepNode, profile: Profile) -> str | None:
    """Return the place named for a step: by itself, or by the profile for its id or its name."""
    return node.target or profile.placement.get(node.id) or profile.placement.get(node.name)


def compute_of(node: StepNode, profile: Profile, options: MetaflowOptions) -> Compute:
    """Return where a step runs.

    Raises:
        PlaceError: The place is none that Metaflow can run a step at.
    """
    if any(backend == "metaflow" and isinstance(raw, dict) and "kubernetes" in raw for backend, raw in node.platform):
        return "kubernetes"
    if any(backend == "metaflow" and isinstance(raw, dict) and "batch" in raw for backend, raw in node.platform):
        return "batch"
    name = place_name(node, profile)
    if name is None:
        return options.compute
    found = _compute(name)
    if found is None:
        raise PlaceError(
            f"step {node.id} is placed at {name!r}, which is neither one of Metaflow's places (local, kubernetes, batch) nor a profile "
            f"whose backend is local or metaflow"
        )
    return found


def _compute(name: str) -> Compute | None:
    if name in PLACES:
        return PLACES[name]
    from flowbridge.settings import load_profile  # noqa: PLC0415  (reads files: only where a profile is named)

    try:
        profile = load_profile(name)
    except FlowbridgeError:
        return None
    if profile.backend in _HERE:
        return "local"
    return options_of(profile).compute if profile.backend == "metaflow" else None
