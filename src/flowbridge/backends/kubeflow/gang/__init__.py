"""Gangs (``nodes=``): a task whose pod starts a TrainJob of Kubeflow Trainer, or under kfp's local runner processes, and looks after it."""

FAREWELL = 30.0
"""Seconds that the members have to end by themselves once the first one has."""
TERMINATED = 143
"""Exit code of a process that was told to end."""
