"""One flow has one digest, on every machine and Python. A change of these digests is a change of what flows mean: say so in the changelog."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flowbridge import each, first, flow, grid, otherwise, step, when
from flowbridge.ir.fingerprint import digest_of

ROOT = Path(__file__).parents[3]


@dataclass
class Config:
    depth: int = 3


@step(cpu=2, memory="4Gi", retries=1, packages=["numpy"], env={"B": "1", "A": "2"}, metaflow={"b": 1, "a": 2})
def train(data: list[float], lr: float, config: Config | None = None) -> tuple[float, dict[str, Any]]:
    return lr, {}


@step(cache="7d")
def pick(values: Any) -> float:
    return 1.0


@flow(tags=["x"])
def training(data: list[float], lrs: list[float] = [0.1], mode: Literal["a", "b"] = "a", extra: Any = None) -> float:  # noqa: B006
    models = train.map(data, each(lrs), config=Config(5))
    points = train.map(data, each(grid(lr=lrs, n=[1, 2]))["lr"])
    with when(mode == "a"):
        a = pick([models, (1, 2.5), extra])
    with otherwise():
        b = pick({"points": points, "bytes": b"x"})
    return first(a, b)


DIGEST = "69abd9a010d89d301e66b9f99bbc091c8e4b0d57298af95f3c8f02cddda31390"


def test_the_digest_is_always_the_same():
    assert digest_of(training.trace().graph) == DIGEST


def test_the_digest_does_not_hang_on_the_process():
    code = "from tests.unit.authoring.test_digest import *; print(digest_of(training.trace().graph))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "src"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == DIGEST


OF_MAIN = """
from typing import NamedTuple
from flowbridge import flow, step
from flowbridge.ir.fingerprint import digest_of, dump

class Split(NamedTuple):
    a: int
    {field}: int

@step
def one() -> int:
    return 1

@step
def use(split: Split) -> int:
    return split.a

@flow
def using() -> int:
    return use(Split(one(), one()))

if __name__ == "__main__":
    graph = using.trace().graph
    print(digest_of(graph), type(graph).model_validate_json(dump(graph)) == graph)
"""


def of_main(field: str, folder: Path) -> str:
    script = folder / "using.py"
    script.write_text(OF_MAIN.replace("{field}", field))
    command = [sys.executable, "-W", "error::UserWarning", str(script)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_a_record_of_a_class_of_a_script_does_not_make_the_digest_another_in_each_process(tmp_path: Path):
    digest, read_back = of_main("b", tmp_path).split()
    assert read_back == "True"
    assert of_main("b", tmp_path).split()[0] == digest
    assert of_main("c", tmp_path).split()[0] != digest
