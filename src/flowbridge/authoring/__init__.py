"""How users write flows: steps, flows, maps, conditions and options."""

from flowbridge.authoring.containers import container_step
from flowbridge.authoring.control import each, first, grid, otherwise, when
from flowbridge.authoring.decorators import Flow, Step, flow, step
from flowbridge.authoring.environment import Environment
from flowbridge.authoring.traced import TracedFlow
from flowbridge.ir.environment import Secret
from flowbridge.ir.flow import Schedule
from flowbridge.ir.resources import Resources

__all__ = [
    "Environment",
    "Flow",
    "Resources",
    "Schedule",
    "Secret",
    "Step",
    "TracedFlow",
    "container_step",
    "each",
    "first",
    "flow",
    "grid",
    "otherwise",
    "step",
    "when",
]
