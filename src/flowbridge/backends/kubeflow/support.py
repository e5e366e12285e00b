"""What Kubeflow can do, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.backends.support import Emulated, Native, Support, Unsupported, complete
from flowbridge.ir.features import Feature

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN_THE_POD = Emulated("uv makes the locked environment in the pod, which then runs the step with its interpreter")

TABLE: Mapping[Feature, Support] = complete(
    {
        Feature.STEPS: Native(),
        Feature.ANY_DAG: Native(),
        Feature.ORDER: Native(),
        Feature.MULTIPLE_OUTPUTS: Emulated("outputs go through the store; Kubeflow shows each as an artifact"),
        Feature.MAP: Native(),
        Feature.MAP_DYNAMIC: Native(),
        Feature.MAP_NESTED: Native(),
        Feature.MAP_FLOW: Native(),
        Feature.MAP_PARALLEL: Native(),
        Feature.MAP_BATCH: Emulated("one pod takes the items of a batch, one after the other"),
        Feature.CONDITIONS: Emulated(
            "the guarded task starts, looks at the condition and records that it is skipped: Kubeflow's own skips spread to all that waits"
        ),
        Feature.FIRST: Emulated("chosen by the task that takes it, from the records"),
        Feature.RETRY: Native(),
        Feature.RETRY_DELAY: Native(),
        Feature.TIMEOUT: Emulated("the pod ends the step's processes; Kubernetes' own limit stands ten minutes behind"),
        Feature.ALLOW_FAILURE: Emulated("the task ends well for Kubeflow and failed in flowbridge's records"),
        Feature.CACHE: Unsupported("results of earlier runs are not looked up yet", "ours", "Drop cache= for now."),
        Feature.CPU: Native(),
        Feature.MEMORY: Native(),
        Feature.MEMORY_MAX: Emulated("the pod may use that much and holds the step to memory=, with more at each try after it ran out"),
        Feature.GPU: Native(),
        Feature.GPU_SHARE: Unsupported(
            "Kubernetes lends whole GPUs",
            "never",
            "Ask for gpu=1, or for a slice by its resource, such as gpu=1, gpu_type='nvidia.com/mig-1g.10gb'.",
        ),
        Feature.GPU_TYPE: Native(),
        Feature.DISK: Emulated("an emptyDir of that size at most, or a volume of the storage class in kubeflow.disk_class"),
        Feature.SHM: Native(),
        Feature.CUSTOM_RESOURCES: Unsupported(
            "Kubeflow's containers ask for cpu, memory and one accelerator only",
            "upstream",
            "Use node labels: kubeflow={'nodeSelector': {'labels': {...}}}.",
        ),
        Feature.GANG: Emulated(
            "the task's pod starts a TrainJob of Kubeflow Trainer and looks after it; processes of this machine under kfp's local runner"
        ),
        Feature.PACKAGES: _IN_THE_POD,
        Feature.REQUIREMENTS: _IN_THE_POD,
        Feature.PYTHON: _IN_THE_POD,
        Feature.IMAGE: Native(),
        Feature.ENV: Emulated("set by the pod from the flow in the store, so that no text of the user's stands in the pipeline"),
        Feature.SECRETS: Native(),
        Feature.CONTAINER: Emulated("the worker is started in the program's image, which must have Python 3.10 with pip, or flowbridge"),
        Feature.PLACEMENT: Unsupported(
            "all steps of a pipeline run in one cluster", "ours", "Drop target=, or run the flow with a backend that splits it."
        ),
        Feature.SCHEDULE: Native(),
        Feature.TAGS: Emulated("kept in flowbridge's records"),
    }
)
