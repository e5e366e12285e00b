"""Typed, decorated DAGs of Python steps that run on a laptop, on Kubeflow Pipelines and on Metaflow, unchanged.

Importing this does next to nothing: each public name is loaded from its room at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flowbridge.authoring import hooks as _hooks

if TYPE_CHECKING:
    from flowbridge.artifacts.reference import Reference
    from flowbridge.artifacts.serializers.registry import register_serializer
    from flowbridge.authoring.containers import container_step
    from flowbridge.authoring.control import each, first, grid, otherwise, when
    from flowbridge.authoring.decorators import Flow, Step, flow, step
    from flowbridge.authoring.environment import Environment
    from flowbridge.client.compiling import compile  # noqa: A004  (the verb of the command and of `Flow.compile`)
    from flowbridge.client.inspection import check
    from flowbridge.client.run import Run
    from flowbridge.client.runs import get_run, runs
    from flowbridge.errors import FlowbridgeError, FlowError, ParameterError, RunFailedError, UnsupportedError
    from flowbridge.ir.resources import Resources
    from flowbridge.settings import Profile, load_profile
    from flowbridge.worker.context import Context, checkpoint, context, log_figure, log_metric, log_param, log_table

    __version__: str

_PLACES = {
    "Context": "flowbridge.worker.context",
    "Environment": "flowbridge.authoring.environment",
    "Flow": "flowbridge.authoring.decorators",
    "FlowError": "flowbridge.errors",
    "FlowbridgeError": "flowbridge.errors",
    "ParameterError": "flowbridge.errors",
    "Profile": "flowbridge.settings",
    "Reference": "flowbridge.artifacts.reference",
    "Resources": "flowbridge.ir.resources",
    "Run": "flowbridge.client.run",
    "RunFailedError": "flowbridge.errors",
    "Step": "flowbridge.authoring.decorators",
    "UnsupportedError": "flowbridge.errors",
    "check": "flowbridge.client.inspection",
    "checkpoint": "flowbridge.worker.context",
    "compile": "flowbridge.client.compiling",
    "container_step": "flowbridge.authoring.containers",
    "context": "flowbridge.worker.context",
    "each": "flowbridge.authoring.control",
    "first": "flowbridge.authoring.control",
    "flow": "flowbridge.authoring.decorators",
    "get_run": "flowbridge.client.runs",
    "grid": "flowbridge.authoring.control",
    "load_profile": "flowbridge.settings",
    "log_figure": "flowbridge.worker.context",
    "log_metric": "flowbridge.worker.context",
    "log_param": "flowbridge.worker.context",
    "log_table": "flowbridge.worker.context",
    "otherwise": "flowbridge.authoring.control",
    "register_serializer": "flowbridge.artifacts.serializers.registry",
    "runs": "flowbridge.client.runs",
    "step": "flowbridge.authoring.decorators",
    "when": "flowbridge.authoring.control",
}

__all__ = [
    "Context",
    "Environment",
    "Flow",
    "FlowError",
    "FlowbridgeError",
    "ParameterError",
    "Profile",
    "Reference",
    "Resources",
    "Run",
    "RunFailedError",
    "Step",
    "UnsupportedError",
    "__version__",
    "check",
    "checkpoint",
    "compile",
    "container_step",
    "context",
    "each",
    "first",
    "flow",
    "get_run",
    "grid",
    "load_profile",
    "log_figure",
    "log_metric",
    "log_param",
    "log_table",
    "otherwise",
    "register_serializer",
    "runs",
    "step",
    "when",
]


class _Client:
    """Hands what runs, checks and compiles flows down to those that write them; loaded at first use."""

    def run(self, flow: Any, args: Any, kwargs: Any, options: Any) -> Any:
        start = importlib.import_module("flowbridge.client.start")
        return start.run(flow, args, kwargs, options)

    def check(self, flow: Any, options: Any) -> Any:
        inspection = importlib.import_module("flowbridge.client.inspection")
        return inspection.check(flow, **options)

    def compile(self, flow: Any, target: Any, options: Any) -> Any:
        compiling = importlib.import_module("flowbridge.client.compiling")
        return compiling.compile(flow, target, **options)


_hooks.install(_Client())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("flowbridge")
    elif name in _PLACES:
        value = getattr(importlib.import_module(_PLACES[name]), name)
    else:
        raise AttributeError(f"module 'flowbridge' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
