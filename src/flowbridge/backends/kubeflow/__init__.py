"""Kubeflow Pipelines: flows become pipeline IR; pods run the same worker as everywhere else."""
