"""Where Metaflow keeps its own things for a run that flowbridge starts, and what its processes are told."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.variables import CARDS, FOLDER, RUN, STORE

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun
    from flowbridge.backends.metaflow.compile import FlowFile
    from flowbridge.backends.metaflow.options import MetaflowOptions

_SYSROOT = "METAFLOW_DATASTORE_SYSROOT_LOCAL"
_USERS = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")
MOST_SPLITS = 10_000_000
"""Metaflow's local runtime refuses a foreach over more than 100 items unless told otherwise (``runtime.py``)."""


@dataclass(frozen=True)
class Home:
    """The folder of one run.

    Attributes:
        folder: Holds the FlowSpec and nothing else of the user's.
        sysroot: Of Metaflow's local datastore; None where the user's own configuration says.
    """

    folder: Path
    sysroot: Path | None

    @classmethod
    def of(cls, run: PreparedRun, options: MetaflowOptions) -> Home:
        """Return the folders of a run: beside the store where that is on this machine."""
        store = run.store.url
        here = Path(store.removeprefix("file://")) if "://" not in store.removeprefix("file://") else None
        root = here / "metaflow" if here is not None else Path(tempfile.gettempdir()) / f"flowbridge-metaflow-{getpass.getuser()}"
        sysroot: Path | None = root if here is not None and _SYSROOT not in {**os.environ, **options.env} else None
        if options.datastore_root is not None and datastore_of(options) == "local":
            sysroot = Path(options.datastore_root).expanduser().absolute()
        return cls(root.absolute() / "flows" / run.graph.name / run.record.id, sysroot)

    def write(self, file: FlowFile, run: PreparedRun, options: MetaflowOptions) -> Path:
        """Write the FlowSpec and what Metaflow is configured with here, and return the FlowSpec's path."""
        (self.folder / ".metaflow").mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{run.graph.name if run.graph.name.isidentifier() else file.name}.py"
        path.write_text(file.text, encoding="utf-8")
        settings: dict[str, Any] = dict(self.variables())
        if options.target == "local" and options.trim and datastore_of(options) == "local" and metadata_of(options) == "local":
            settings.update(trimmed(file.decorators))
        (self.folder / ".metaflow" / "config.json").write_text(json.dumps(settings, indent=1))
        if "parallel" in file.decorators:
            self.write_python(options)
        return path

    @property
    def programs(self) -> Path:
        """Folder that stands first on the path of Metaflow's processes."""
        return self.folder / "bin"

    def write_python(self, options: MetaflowOptions) -> None:
        """Make ``python`` stand for the interpreter of the run: Metaflow starts the nodes of a gang by that name (``parallel_decorator.py``)."""
        self.programs.mkdir(exist_ok=True)
        script = self.programs / "python"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(python_of(options))} "$@"\n')
        script.chmod(0o755)

    def variables(self) -> dict[str, str]:
        """Return where Metaflow's local datastore is."""
        if self.sysroot is None:
            return {}
        return {_SYSROOT: str(self.sysroot)}


def datastore_of(options: MetaflowOptions) -> str | None:
    """Return Metaflow's datastore; None where its own configuration decides."""
    return options.datastore or ("local" if options.target == "local" else None)


def metadata_of(options: MetaflowOptions) -> str | None:
    """Return Metaflow's metadata provider; None where its own configuration decides."""
    return options.metadata or ("local" if options.target == "local" else None)


def trimmed(decorators: frozenset[str]) -> dict[str, list[str]]:
    """Return the plug-ins of Metaflow that a local run needs; it loads all of them in every task's process otherwise (0.1 s).

    Its own setting for that, ``ENABLED_...`` (``extension_support/plugins.py``); what is not named here is loaded as ever.
    """
    flow_wide = {"schedule", "project", "trigger", "trigger_on_finish", "exit_hook", "pypi_base", "conda_base"}
    return {
        "METAFLOW_ENABLED_STEP_DECORATOR": sorted({"retry", "resources", "environment"} | (decorators - flow_wide)),
        "METAFLOW_ENABLED_FLOW_DECORATOR": sorted({"schedule", "project"} | (decorators & flow_wide)),
        "METAFLOW_ENABLED_METADATA_PROVIDER": ["local"],
        "METAFLOW_ENABLED_DATASTORE": ["local"],
        "METAFLOW_ENABLED_DATACLIENT": ["local"],
        "METAFLOW_ENABLED_SECRETS_PROVIDER": ["inline"],
        "METAFLOW_ENABLED_GCP_CLIENT_PROVIDER": [],
        "METAFLOW_ENABLED_AZURE_CLIENT_PROVIDER": [],
        "METAFLOW_ENABLED_AWS_CLIENT_PROVIDER": [],
        "METAFLOW_ENABLED_DEPLOYER_IMPL_PROVIDER": [],
        "METAFLOW_ENABLED_SIDECAR": [],
        "METAFLOW_ENABLED_TL_PLUGIN": [],
    }


def process_environment(run: PreparedRun, options: MetaflowOptions, home: Home) -> dict[str, str]:
    """Return the environment of Metaflow's processes."""
    env = {**os.environ, **options.env, **home.variables(), STORE: run.store.url, RUN: run.record.id, FOLDER: os.getcwd()}  # noqa: PTH109
    env["PATH"] = os.pathsep.join(filter(None, [str(home.programs), env.get("PATH")]))
    if not options.cards:
        env[CARDS] = "0"
    if not any(env.get(name, "root") not in {"", "root"} for name in _USERS):
        user = getpass.getuser()
        env["METAFLOW_USER"] = user if user != "root" else "flowbridge"  # Metaflow takes root for nobody (``util.py``)
    return env


def global_arguments(options: MetaflowOptions) -> list[str]:
    """Return the arguments of Metaflow's command line that stand before the command."""
    arguments = ["--no-pylint", "--package-suffixes", ".py,.json,.zip"]
    for name, value in (("--datastore", datastore_of(options)), ("--metadata", metadata_of(options))):
        arguments += [name, value] if value is not None else []
    if options.datastore_root is not None and datastore_of(options) != "local":
        arguments += ["--datastore-root", options.datastore_root]
    return arguments


def python_of(options: MetaflowOptions) -> str:
    """Return the interpreter that Metaflow runs with."""
    return options.python or sys.executable
