"""kfp's own runner of containers, made to work with podman too, with the store mounted and containers that can be found again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from flowbridge.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL = "flowbridge.run"
HANDED_ON = ("FLOWBRIDGE_STORE_OPTIONS", "FLOWBRIDGE_TRUST")
_KILLED = 137


def why_not() -> str | None:
    """Return why containers cannot be run on this machine; None if they can."""
    try:
        import docker  # noqa: PLC0415  (with kfp's extra, when containers are wanted)

        client = docker.from_env()
        try:
            client.ping()
        finally:
            client.close()
    except Exception as error:  # noqa: BLE001  (whatever it is, it is told)
        return f"no Docker API answers ({error}); start Docker, or podman system service with DOCKER_HOST set to its socket"
    return None


def use_containers(run: str, folders: Sequence[str]) -> None:
    """Have kfp's Docker runner of this process mount folders, label its containers, and keep them until their end is known.

    kfp asks for containers that remove themselves, and podman removes them before their exit code is read.

    Args:
        run: The run; its containers are labelled with it.
        folders: Of this machine, mounted under their own paths.
    """
    from kfp.local import docker_task_handler as handler  # noqa: PLC0415  (this process is for kfp alone)

    mounts = {folder: {"bind": folder, "mode": "rw"} for folder in folders}
    passed = {name: os.environ[name] for name in HANDED_ON if name in os.environ}

    def run_container(client: Any, image: str, command: list[str], volumes: dict[str, Any], **more: Any) -> int:
        environment = {"HOME": "/tmp", **passed, **more.pop("environment", {})}  # noqa: S108  (inside the container)
        user = {} if os.getuid() == 0 else {"user": f"{os.getuid()}:{os.getgid()}"}
        container = client.containers.run(
            image=image,
            command=command,
            detach=True,
            volumes={**volumes, **mounts},
            environment=environment,
            labels={LABEL: run},
            network_mode="host",
            **user,
            **more,
        )
        try:
            for line in container.logs(stream=True):
                sys.stdout.write(line.decode(errors="replace"))
            code = int(container.wait()["StatusCode"])
        finally:
            container.remove(force=True)
        if code == _KILLED:
            sys.stdout.write("the container was killed: out of memory, or ended by somebody\n")
        return code

    handler.run_docker_container = run_container


def remove_containers(run: str) -> None:
    """Remove what still runs of a run: containers do not end with the process that started them.

    Raises:
        BackendError: Nobody answers any more.
    """
    import docker  # noqa: PLC0415  (with kfp's extra, when containers were run)

    try:
        client = docker.from_env()
        try:
            for container in client.containers.list(filters={"label": f"{LABEL}={run}"}):
                container.remove(force=True)
        finally:
            client.close()
    except docker.errors.NotFound:  # it ended just now
        return
    except docker.errors.DockerException as error:
        raise BackendError(f"Containers of run {run} may still run, because no Docker API answers: {error}") from error
