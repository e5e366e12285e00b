"""What `flowbridge compile` writes: the FlowSpec, the flow and its code beside it, and for a deployed target its artefact."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.base import Compiled, Deployed
from flowbridge.backends.metaflow.compile import compile_flow
from flowbridge.backends.metaflow.home import global_arguments, python_of
from flowbridge.backends.metaflow.notes import find_notes
from flowbridge.backends.metaflow.options import DEPLOYED, options_of
from flowbridge.backends.metaflow.reach import check_datastore
from flowbridge.backends.metaflow.standalone import CODE_SUFFIX, FLOW_SUFFIX
from flowbridge.backends.metaflow.status import own_error
from flowbridge.errors import BackendError, ConfigError, FlowError, MissingExtraError
from flowbridge.ir.fingerprint import dump
from flowbridge.packaging.bundle import build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowbridge.backends.metaflow.options import MetaflowOptions
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile

_ARTEFACTS = {"argo-workflows": "argo.json", "step-functions": "states.json", "airflow": "airflow.py"}
_NEEDS = {"argo-workflows": "kubernetes", "step-functions": "boto3"}
_PATIENCE = 600


def compile_for(graph: FlowGraph, profile: Profile, code: bytes | None = None) -> Compiled:
    """Return the files of a flow: its FlowSpec first.

    Args:
        graph: The flow.
        profile: Settings.
        code: The code bundle; None: made of the modules that this process has.

    Raises:
        BackendError: Metaflow cannot make the artefact of the target; its own words are in the message.
        MissingExtraError: A package that it needs for that is not installed.
    """
    options = options_of(profile)
    file = compile_flow(graph, profile)
    notes = find_notes(graph, profile)
    problem = ""
    if code is None:
        graph, code, problem = _with_code(graph)
    files = {f"{graph.name}.py": file.text.encode(), f"{graph.name}{FLOW_SUFFIX}": dump(graph)}
    if code is not None:
        files[f"{graph.name}{CODE_SUFFIX}"] = code
    else:
        notes.append(f"the code of the steps is not beside the FlowSpec, so it only runs through flowbridge: {problem}")
    if options.deployed:
        name = f"{graph.name}.{_ARTEFACTS[options.target]}"
        files[name] = make_artefact(files, file.name, options)
        notes.append(f"{name} is what Metaflow made for {options.target}")
    return Compiled(files, notes)


def deploy(graph: FlowGraph, profile: Profile, code: bytes, *, name: str | None = None, given: Mapping[str, Any] | None = None) -> Deployed:
    """Have Metaflow deploy a flow to its target.

    Args:
        graph: The flow.
        profile: The settings in force.
        code: Its bundle.
        name: By which it goes there; None: its own.
        given: Parameters of the runs that start by themselves: they become the defaults.

    Raises:
        ConfigError: The target is none that a flow is deployed to.
        BackendError: Metaflow refused; its own words are in the message.
    """
    options = options_of(profile)
    if not options.deployed:
        raise ConfigError(
            f"Metaflow's target {options.target!r} starts runs when asked to, and keeps nothing. To deploy, set target in the profile's "
            f"metaflow settings to one of: {', '.join(DEPLOYED)}"
        )
    graph = _with_defaults(graph, given or {})
    own = ["--name", name] if name else []
    compiled = compile_for(graph, profile.model_copy(update={"metaflow": {**profile.metaflow, "target": "local"}}), code)
    file = compile_flow(graph, profile)
    files = {**compiled.files, f"{graph.name}.py": file.text.encode()}
    if options.target == "airflow":
        if options.dags is None:
            raise ConfigError("Airflow finds flows in its folder of DAGs: name it as `dags` in the profile's metaflow settings")
        place = Path(options.dags).expanduser() / f"{name or graph.name}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(make_artefact(files, file.name, options, own))
        return Deployed(name=name or file.name, id=str(place))
    check_datastore(options)
    with tempfile.TemporaryDirectory(prefix="flowbridge-") as folder:
        for part, content in files.items():
            (Path(folder) / part).write_bytes(content)
        command = [options.target, *own, "create"]
        said = _metaflow(Path(folder), f"{graph.name}.py", options, command, quiet=False).decode(errors="replace")
    found = re.search(r"Deploying \*?([\w.-]+)\*? to ", said)
    identity = found.group(1) if found else file.name.lower()
    return Deployed(name=identity, id=identity, schedule=identity if graph.schedule else None)


def _with_code(graph: FlowGraph) -> tuple[FlowGraph, bytes | None, str]:
    """Return a flow with its code bundle, made of the modules that this process has; else why there is none."""
    functions: dict[str, Callable[..., Any]] = {}
    for node in graph.steps:
        if node.code is None:
            continue
        try:
            found: Any = sys.modules.get(node.code.module) or importlib.import_module(node.code.module)
            for part in node.code.qualname.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            return graph, None, f"{node.code.module}.{node.code.qualname} cannot be imported here ({error})"
        functions[node.id] = getattr(found, "__wrapped__", found)
    try:
        bundle = build(functions)
    except FlowError as error:
        return graph, None, "; ".join(error.problems)
    steps = tuple(s.model_copy(update={"code": bundle.code.get(s.id, s.code)}) for s in graph.steps)
    return graph.model_copy(update={"steps": steps}), bundle.data, ""


def _with_defaults(graph: FlowGraph, given: Mapping[str, Any]) -> FlowGraph:
    """Return a flow whose parameters have the values given as their defaults.

    Raises:
        ConfigError: A value is none that a default can be written as.
    """
    parameters = []
    for parameter in graph.parameters:
        value = given.get(parameter.name)
        if parameter.name in given and (parameter.required or value != parameter.default):
            try:
                value = json.loads(json.dumps(value, allow_nan=False))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"Metaflow cannot be given {parameter.name}={value!r} as the default of a deployment: {error}") from error
            parameters.append(parameter.model_copy(update={"default": value, "required": False}))
        else:
            parameters.append(parameter)
    return graph.model_copy(update={"parameters": tuple(parameters)})


def make_artefact(files: dict[str, bytes], flow: str, options: MetaflowOptions, own: Sequence[str] = ()) -> bytes:
    """Have Metaflow make what a target is deployed with, without deploying it."""
    needed = _NEEDS.get(options.target)
    if needed is not None and importlib.util.find_spec(needed) is None:
        raise MissingExtraError.needed(f"Metaflow's {options.target}", needed, "metaflow")
    check_datastore(options)
    with tempfile.TemporaryDirectory(prefix="flowbridge-") as name:
        folder = Path(name)
        for part, content in files.items():
            (folder / part).write_bytes(content)
        main = next(iter(files))
        if options.target == "airflow":
            _metaflow(folder, main, options, ["airflow", *own, "create", "dag.py"])
            return (folder / "dag.py").read_bytes()
        output = _metaflow(folder, main, options, [options.target, *own, "create", "--only-json"])
    start = output.find(b"{")
    if start < 0:
        raise BackendError(f"Metaflow made nothing for {options.target} of {flow}: {output.decode(errors='replace')[-2000:]}")
    return output[start:]


def _metaflow(folder: Path, main: str, options: MetaflowOptions, command: Sequence[str], *, quiet: bool = True) -> bytes:
    arguments = [python_of(options), main, *(["--quiet"] if quiet else []), *global_arguments(options), *command]
    env = {**os.environ, **options.env}
    done = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        said = own_error((done.stdout + done.stderr).decode(errors="replace").splitlines()[-40:])
        raise BackendError(f"Metaflow refused {' '.join(command)}: {said}")
    return done.stdout
