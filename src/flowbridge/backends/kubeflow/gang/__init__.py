"""Gangs (``nodes=``): a task whose pod starts a TrainJob of Kubeflow Trainer, or under kfp's local runner processes, and looks after it."""
