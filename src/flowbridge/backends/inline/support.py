"""What running inside the caller's own process can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.support import Emulated, Native, Support, Unsupported, complete
from flowbridge.ir.features import Feature

if TYPE_CHECKING:
    from collections.abc import Mapping

_USE_LOCAL = "Run it with the backend 'local'."
_ONE_PROCESS = "all steps share one process, which has no limits of its own"
_ONE_PYTHON = Unsupported("all steps share the Python that is running", "never", "Install the packages here, or drop them for this run.")
_ALL_GPUS = Emulated("not leased: the step sees the GPUs that this process sees")
_NOT_HELD = Emulated("known to the step, not held: all steps share this process")

TABLE: Mapping[Feature, Support] = complete(
    {
        Feature.STEPS: Native(),
        Feature.ANY_DAG: Native(),
        Feature.ORDER: Native(),
        Feature.MULTIPLE_OUTPUTS: Native(),
        Feature.MAP: Native(),
        Feature.MAP_DYNAMIC: Native(),
        Feature.MAP_NESTED: Native(),
        Feature.MAP_FLOW: Native(),
        Feature.MAP_PARALLEL: Emulated("tasks run one at a time anyhow"),
        Feature.MAP_BATCH: Native(),
        Feature.CONDITIONS: Native(),
        Feature.FIRST: Native(),
        Feature.RETRY: Emulated("an attempt runs in the same process as the one before"),
        Feature.RETRY_DELAY: Native(),
        Feature.TIMEOUT: Unsupported("a step cannot be ended without ending this process", "never", _USE_LOCAL),
        Feature.ALLOW_FAILURE: Native(),
        Feature.CACHE: Unsupported("results of earlier runs are not looked up yet", "ours", "Drop cache= for now."),
        Feature.CPU: _NOT_HELD,
        Feature.MEMORY: _NOT_HELD,
        Feature.MEMORY_MAX: Unsupported(_ONE_PROCESS, "never", _USE_LOCAL),
        Feature.GPU: _ALL_GPUS,
        Feature.GPU_SHARE: _ALL_GPUS,
        Feature.GPU_TYPE: _ALL_GPUS,
        Feature.DISK: _NOT_HELD,
        Feature.SHM: _NOT_HELD,
        Feature.CUSTOM_RESOURCES: _NOT_HELD,
        Feature.GANG: Unsupported("a gang is several processes", "never", _USE_LOCAL),
        Feature.PACKAGES: _ONE_PYTHON,
        Feature.REQUIREMENTS: _ONE_PYTHON,
        Feature.PYTHON: _ONE_PYTHON,
        Feature.IMAGE: Emulated("the step runs in this Python; the image is for backends that run containers"),
        Feature.ENV: Emulated("set while the step runs, put back afterwards"),
        Feature.SECRETS: Emulated("taken from variables of the environment"),
        Feature.CONTAINER: Emulated("the program runs under podman or docker"),
        Feature.PLACEMENT: Emulated("steps placed on this machine run; a flow with a step placed elsewhere is refused"),
        Feature.SCHEDULE: Emulated("a schedule starts deployments; this run starts now"),
        Feature.TAGS: Native(),
    }
)
