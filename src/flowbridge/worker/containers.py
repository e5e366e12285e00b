"""Container steps: inputs as files, a program, outputs as files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.errors import FlowbridgeError, MissingExtraError, UsageError
from flowbridge.worker import outputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowbridge.artifacts.reference import Reference
    from flowbridge.ir.flow import ContainerSpec, StepNode
    from flowbridge.worker.context import Context
    from flowbridge.worker.load import Loader
    from flowbridge.worker.places import Place

ENGINES = ("podman", "docker")
INSIDE = "FLOWBRIDGE_IN_CONTAINER"
"""Set to 1 where the worker itself runs in the step's image (a pod): the program is then started directly."""


class ProgramFailedError(FlowbridgeError):
    """The program of a container step ended with an exit code other than 0, or left an output out."""


class NoContainerEngineError(MissingExtraError):
    """A container step was to run here, and neither podman nor docker is installed."""


def run(node: StepNode, inputs: Mapping[str, Place], loader: Loader, context: Context) -> tuple[tuple[str, Reference], ...]:
    """Run a container step and return the references of its outputs.

    Each input is a file: what is a `Path` or bytes as it is, text as text, anything else as JSON. Each output is the file or folder
    that the program wrote to the path it was given.

    Raises:
        ProgramFailedError: The program failed, or did not write an output.
        NoContainerEngineError: There is nothing here that runs containers.
    """
    container = node.container
    if container is None:
        raise UsageError(f"step {node.id} is no container step")
    folder = context.scratch / "io"
    for name in ("inputs", "outputs"):
        (folder / name).mkdir(parents=True)
    files = {name: _write(folder / "inputs" / name, loader.load(place)) for name, place in inputs.items()}
    targets = {port.name: folder / "outputs" / port.name for port in node.outputs}
    _start(node, container, folder, substituted(container.command, files, targets))
    missing = [name for name, path in targets.items() if not path.exists()]
    if missing:
        raise ProgramFailedError(f"the program of step {node.id} ended well but did not write the output {' or '.join(missing)}")
    return outputs.save(node, list(targets.values()), loader.store, {})


def substituted(command: Sequence[str], inputs: Mapping[str, Path], outputs_: Mapping[str, Path]) -> list[str]:
    """Return a command with the paths of files put in for ``{inputs.NAME}`` and ``{outputs.NAME}``."""
    paths = {**{f"{{inputs.{n}}}": str(p) for n, p in inputs.items()}, **{f"{{outputs.{n}}}": str(p) for n, p in outputs_.items()}}
    done = []
    for word in command:
        for placeholder, path in paths.items():
            word = word.replace(placeholder, path)  # noqa: PLW2901  (one word, several placeholders)
        done.append(word)
    return done


def _write(path: Path, value: Any) -> Path:
    if isinstance(value, Path):
        if value.is_dir():
            shutil.copytree(value, path)
        else:
            shutil.copyfile(value, path)
    elif isinstance(value, (bytes, bytearray)):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def _start(node: StepNode, container: ContainerSpec, folder: Path, command: list[str]) -> None:
    if os.environ.get(INSIDE) != "1":
        command = engine_command(container.image, folder, command, dict(node.environment.env), node.id)
    sys.stdout.flush()
    try:
        done = subprocess.run(command, check=False, cwd=folder, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise ProgramFailedError(f"the program of step {node.id} cannot be started: there is no {command[0]!r} here") from error
    if done.returncode:
        raise ProgramFailedError(f"the program of step {node.id} ended with exit code {done.returncode}: {' '.join(command)}")


def engine_here() -> str | None:
    """Return the path of what runs containers on this machine; None where nothing does."""
    return next(filter(None, map(shutil.which, ENGINES)), None)


def engine_command(image: str, folder: Path, command: list[str], variables: Mapping[str, str], step: str) -> list[str]:
    """Return the command that runs a program in an image with what podman or docker is here, its files at the same paths inside.

    Raises:
        NoContainerEngineError: Neither is.
    """
    engine = engine_here()
    if engine is None:
        raise NoContainerEngineError(
            f"step {step} runs in the image {image!r}, which takes podman or docker, and neither is installed here; "
            f"install one, or run the flow on a backend that runs containers"
        )
    options = ["run", "--rm", "--network=host", f"--volume={folder}:{folder}", f"--workdir={folder}"]
    options += [f"--env={name}={value}" for name, value in variables.items()]
    if Path(engine).name == "docker":
        options.append(f"--user={os.getuid()}:{os.getgid()}")
    return [engine, *options, image, *command]
