"""Container steps: files in, files out, with whatever runs containers here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.ir.bindings import Constant
from flowbridge.ir.environment import EnvironmentWish
from flowbridge.ir.flow import ContainerSpec
from flowbridge.records.models import TaskRecord
from flowbridge.worker import containers
from flowbridge.worker.containers import INSIDE, engine_command, substituted

from .driver import drive, flow, step

ENGINE = """#!/bin/sh
# Stands for podman: forgets the options, and runs the program where the image would.
echo "$@" > {log}
while [ "$1" != "busybox" ]; do shift; done
shift
exec "$@"
"""


def run(store: Store, *command: str, env: tuple[tuple[str, str], ...] = ()) -> TaskRecord:
    node = step(
        "c",
        container=ContainerSpec(image="busybox", command=command),
        outputs="text other",
        kind="tuple",
        inputs={"number": Constant(value=[1, 2]), "words": Constant(value="hi")},
        environment=EnvironmentWish(env=env),
    )
    return drive(flow(node), {}, store).records["c", ()]


def message(record: TaskRecord) -> str:
    assert record.reason is not None
    return record.reason.message


COPY = ("sh", "-c", "cat {inputs.number} {inputs.words} > {outputs.text}; mkdir {outputs.other}; echo $FB_X > {outputs.other}/x")


def test_a_pod_that_is_the_image_runs_the_program_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSIDE, "1")
    record = run(store, *COPY, env=(("FB_X", "y"),))
    assert record.state == "done"
    text, other = (store.load(reference, hint=Path) for _, reference in record.outputs)
    assert Path(text).read_text() == "[1, 2]hi"
    assert (Path(other) / "x").read_text() == "y\n"


def test_elsewhere_the_engine_that_is_here_runs_the_image(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine, log = tmp_path / "bin" / "docker", tmp_path / "log"
    engine.parent.mkdir()
    engine.write_text(ENGINE.format(log=log))
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:/usr/bin:/bin")
    monkeypatch.setattr(containers, "ENGINES", ("docker",))  # the machine may have a podman, which would be asked before
    record = run(store, *COPY, env=(("FB_X", "y"),))
    assert record.state == "done", record
    options = log.read_text().split()
    assert options[0] == "run"
    assert "--env=FB_X=y" in options
    assert f"--user={os.getuid()}:{os.getgid()}" in options
    volume = next(o for o in options if o.startswith("--volume=")).removeprefix("--volume=").split(":")
    assert volume[0] == volume[1]
    assert not Path(volume[0]).exists()


def test_with_no_engine_it_says_what_to_do(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "step c runs in the image 'busybox', which takes podman or docker, and neither is installed" in message(run(store, "true"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sh", "-c", "exit 3"), "ended with exit code 3"),
        (("sh", "-c", "echo > {outputs.text}"), "did not write the output other"),
        (("no-such-program",), "there is no 'no-such-program' here"),
    ],
)
def test_what_can_go_wrong_is_told(store: Store, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], words: str) -> None:
    monkeypatch.setenv(INSIDE, "1")
    assert words in message(run(store, *command))


def test_placeholders_are_put_in_wherever_they_stand() -> None:
    command = ["x={inputs.a}:{outputs.b}", "{inputs.c}", "{other}"]
    assert substituted(command, {"a": Path("/i/a")}, {"b": Path("/o/b")}) == ["x=/i/a:/o/b", "{inputs.c}", "{other}"]


def test_podman_is_asked_before_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("podman", "docker"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine_command("i", tmp_path, ["p"], {}, "s")[0] == str(tmp_path / "podman")
