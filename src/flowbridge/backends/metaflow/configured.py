"""Whether Metaflow is configured for what a flow asks of it. It finds out late itself, and says it in other words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.home import datastore_of
from flowbridge.backends.metaflow.own import metaflow_module

if TYPE_CHECKING:
    from flowbridge.backends.metaflow.options import Compute, MetaflowOptions
    from flowbridge.ir.flow import FlowGraph

_SYSROOTS = {"s3": "DATASTORE_SYSROOT_S3", "azure": "DATASTORE_SYSROOT_AZURE", "gs": "DATASTORE_SYSROOT_GS"}
_EXAMPLES = {"s3": "s3://BUCKET/metaflow", "azure": "CONTAINER/metaflow", "gs": "gs://BUCKET/metaflow"}
_PACKAGES = {"kubernetes": "kubernetes", "argo-workflows": "kubernetes", "batch": "boto3", "step-functions": "boto3"}


def configuration_gaps(graph: FlowGraph, options: MetaflowOptions, computes: set[Compute]) -> Iterator[str]:
    """Yield a sentence for each thing that Metaflow is not configured with: its variables, or ``~/.metaflowconfig``."""
    remote = computes - {"local"}
    if not remote:
        return
    yield from _packages(options, remote)
    yield from _datastore(options, remote)
    if "batch" in remote:
        if not (setting("BATCH_JOB_QUEUE", options) or options.batch.get("queue")):
            yield _missing("BATCH_JOB_QUEUE", "the job queue of AWS Batch")
        if not (setting("ECS_S3_ACCESS_IAM_ROLE", options) or options.batch.get("iam_role")):
            yield _missing("ECS_S3_ACCESS_IAM_ROLE", "the role that tasks on AWS Batch have")
    if options.target == "step-functions":
        if not setting("SFN_IAM_ROLE", options):
            yield _missing("SFN_IAM_ROLE", "the role of the state machine")
        if graph.maps and not setting("SFN_DYNAMO_DB_TABLE", options):
            yield _missing("SFN_DYNAMO_DB_TABLE", "the table that maps are counted in")
    if options.target == "kubernetes" and not _has_cluster():
        yield "no Kubernetes cluster is configured here: there is neither $KUBECONFIG nor ~/.kube/config. Set one up with kubectl."


def _packages(options: MetaflowOptions, remote: set[Compute]) -> Iterator[str]:
    needed = {_PACKAGES.get(options.target, "")} | {_PACKAGES[c] for c in remote if options.target != "airflow"}
    for package in sorted(needed - {""}):
        if find_spec(package) is None:
            yield f"Metaflow needs the package {package!r} for {options.target}, which is not installed: pip install {package}."


def _datastore(options: MetaflowOptions, remote: set[Compute]) -> Iterator[str]:
    found = datastore_of(options) or setting("DEFAULT_DATASTORE", options) or "local"
    where = " and ".join(sorted(remote))
    if found == "local":
        yield (
            f"Metaflow's own datastore is local, which tasks on {where} do not see. Set datastore = 's3' (or 'azure', 'gs') in the profile's "
            f"metaflow settings, or METAFLOW_DEFAULT_DATASTORE."
        )
    elif options.datastore_root is None and not setting(_SYSROOTS[found], options):
        yield _missing(_SYSROOTS[found], f"where Metaflow's datastore is, such as {_EXAMPLES[found]}")


def _missing(name: str, what: str) -> str:
    return f"Metaflow is not told {what}: set METAFLOW_{name}, or run `metaflow configure`."


def setting(name: str, options: MetaflowOptions) -> Any:
    """Return a setting of Metaflow's: from the profile, this process's environment or Metaflow's own files."""
    variable = f"METAFLOW_{name}"
    given = options.env.get(variable) or os.environ.get(variable)
    return given or getattr(metaflow_module("metaflow_config"), name, None)


def _has_cluster() -> bool:
    named = os.environ.get("KUBECONFIG") or os.environ.get("KUBERNETES_SERVICE_HOST")
    return bool(named) or (Path.home() / ".kube" / "config").is_file()
