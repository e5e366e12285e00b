"""Metaflow's own modules, which carry no types; imported where they are needed (0.2 s), and in this folder only."""

from __future__ import annotations

import importlib
from typing import Any


def metaflow_module(name: str = "") -> Any:
    """Return Metaflow, or a module of it."""
    return importlib.import_module(f"metaflow.{name}" if name else "metaflow")


def current() -> Any:
    """Return what Metaflow knows of the running task."""
    return metaflow_module().current
