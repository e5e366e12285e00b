"""What Metaflow does for each feature of a flow, one line each. What depends on the target is in `gaps`."""

from __future__ import annotations

from flowbridge.backends.support import Emulated, Native, Unsupported, complete
from flowbridge.ir.features import Feature

_HERE = "on this machine by the worker"
_ACCOUNT = "tasks on this machine take it from the machine's account; on Kubernetes and AWS Batch, @resources asks for it"

TABLE = complete(
    {
        Feature.STEPS: Native(),
        Feature.ANY_DAG: Emulated("brought into series-parallel form: joins, each with its reason, where the graph is not"),
        Feature.ORDER: Native(),
        Feature.MULTIPLE_OUTPUTS: Native(),
        Feature.MAP: Native(),
        Feature.MAP_DYNAMIC: Native(),
        Feature.MAP_NESTED: Native(),
        Feature.MAP_FLOW: Native(),
        Feature.MAP_PARALLEL: Emulated(
            "a foreach over as many lanes as may run at once; each takes its items through the steps one after the other"
        ),
        Feature.MAP_BATCH: Emulated("a foreach over the batches; the worker takes the items of a batch one after the other"),
        Feature.CONDITIONS: Emulated(
            "the guarded steps run and record that they are skipped; no switch is needed, so every target takes them"
        ),
        Feature.FIRST: Emulated("the worker takes the first value that is there"),
        Feature.RETRY: Emulated("@retry up to Metaflow's 4; the last attempt makes any further ones itself"),
        Feature.RETRY_DELAY: Emulated(
            "the worker waits before an attempt; on Kubernetes and AWS Batch, @retry waits the whole minutes of it"
        ),
        Feature.TIMEOUT: Emulated("the task is ended with all it started at its timeout; @timeout stands behind it, a minute later"),
        Feature.ALLOW_FAILURE: Emulated("the failure is recorded and Metaflow's task ends well"),
        Feature.CACHE: Unsupported("results of earlier runs are not looked up yet", "ours", "Drop cache= for now."),
        Feature.CPU: Emulated(_ACCOUNT),
        Feature.MEMORY: Emulated(f"{_ACCOUNT}; a limit that holds"),
        Feature.MEMORY_MAX: Emulated(
            "a retry after running out of memory gets more; Kubernetes and AWS Batch are asked for memory_max at once"
        ),
        Feature.GPU: Emulated(_ACCOUNT),
        Feature.GPU_SHARE: Emulated("on this machine only"),
        Feature.GPU_TYPE: Emulated(
            "on this machine by the account, on Kubernetes by a node selector, on AWS Batch by a queue (gpu_queues)"
        ),
        Feature.DISK: Emulated(f"a limit {_HERE}; @resources(disk=) on Kubernetes"),
        Feature.SHM: Emulated("checked against what this machine has; @resources(shared_memory=) on Kubernetes and AWS Batch"),
        Feature.CUSTOM_RESOURCES: Emulated("on this machine only, from its account"),
        Feature.GANG: Native(),
        Feature.PACKAGES: Emulated("the task runs with an interpreter that has them, made by uv"),
        Feature.REQUIREMENTS: Emulated("the task runs with an interpreter that has them, made by uv"),
        Feature.PYTHON: Emulated("the task runs with that interpreter, made by uv"),
        Feature.IMAGE: Emulated("@kubernetes(image=) and @batch(image=); on this machine the step runs in this Python"),
        Feature.ENV: Native(),
        Feature.SECRETS: Emulated("from this machine's environment; @kubernetes(secrets=) and @secrets elsewhere"),
        Feature.CONTAINER: Emulated("the worker starts the program with podman or docker"),
        Feature.PLACEMENT: Native(),
        Feature.SCHEDULE: Native(),
        Feature.TAGS: Native(),
    }
)
