"""What can be said of a flow before it runs in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.inline.resources import NOT_HELD
from flowbridge.backends.inline.support import TABLE
from flowbridge.backends.support import Emulated
from flowbridge.ir.features import Feature, features_of

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph

_WORTH_SAYING = NOT_HELD | {Feature.RETRY, Feature.IMAGE, Feature.SCHEDULE}


def notes_of(graph: FlowGraph) -> list[str]:
    """Return what of the flow is done in a way of its own here."""
    uses = ((feature, users, TABLE[feature]) for feature, users in features_of(graph).items() if feature in _WORTH_SAYING)
    return [f"{feature.value} ({', '.join(users)}): {how.how}" for feature, users, how in uses if isinstance(how, Emulated)]
