"""What the engine on this machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.support import Emulated, Native, Support, Unsupported, complete
from flowbridge.ir.features import Feature

if TYPE_CHECKING:
    from collections.abc import Mapping

_OWN_ENVIRONMENT = Emulated("uv locks and makes the environment before the run starts; the step's tasks run with its interpreter")

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
        Feature.MAP_PARALLEL: Native(),
        Feature.MAP_BATCH: Native(),
        Feature.CONDITIONS: Native(),
        Feature.FIRST: Native(),
        Feature.RETRY: Native(),
        Feature.RETRY_DELAY: Native(),
        Feature.TIMEOUT: Native(),
        Feature.ALLOW_FAILURE: Native(),
        Feature.CACHE: Unsupported("results of earlier runs are not looked up yet", "ours", "Drop cache= for now."),
        Feature.CPU: Native(),
        Feature.MEMORY: Native(),
        Feature.MEMORY_MAX: Native(),
        Feature.GPU: Native(),
        Feature.GPU_SHARE: Emulated("several tasks are let onto one GPU; one that takes more than its share of the memory is ended"),
        Feature.GPU_TYPE: Native(),
        Feature.DISK: Emulated("the scratch folder is looked at while the step runs; one that outgrows it is ended"),
        Feature.SHM: Emulated("the machine's own /dev/shm; a flow that asks for more than it holds is refused"),
        Feature.CUSTOM_RESOURCES: Native(),
        Feature.GANG: Emulated("all processes of the gang run on this machine, each with GPUs of its own"),
        Feature.PACKAGES: _OWN_ENVIRONMENT,
        Feature.REQUIREMENTS: _OWN_ENVIRONMENT,
        Feature.PYTHON: _OWN_ENVIRONMENT,
        Feature.IMAGE: Emulated("the step runs in this Python; the image is for backends that run containers"),
        Feature.ENV: Native(),
        Feature.SECRETS: Emulated("taken from variables of the environment in which the flow is started"),
        Feature.CONTAINER: Emulated("the program runs under podman or docker"),
        Feature.PLACEMENT: Emulated("steps placed on this machine run; a flow with a step placed elsewhere is refused"),
        Feature.SCHEDULE: Emulated("a schedule starts deployments; this run starts now"),
        Feature.TAGS: Native(),
    }
)
