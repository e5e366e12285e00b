"""Declared resources: steps see what they declare, and nothing holds them to it, since all share one process."""

from __future__ import annotations

from flowbridge.ir.features import Feature

NOT_HELD = frozenset(
    {
        Feature.CPU,
        Feature.MEMORY,
        Feature.DISK,
        Feature.SHM,
        Feature.GPU,
        Feature.GPU_SHARE,
        Feature.GPU_TYPE,
        Feature.CUSTOM_RESOURCES,
    }
)
"""What is said of a flow that declares it, before it runs."""
