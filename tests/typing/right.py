"""Calls that are right: both mypy (strict) and pyright must accept every line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from flowbridge import Environment, Flow, Resources, Run, Step, container_step, each, first, flow, grid, otherwise, step, when


class Split(NamedTuple):
    train: list[float]
    test: list[float]


@dataclass
class Model:
    accuracy: float


@step(cpu=2, memory="4Gi", packages=["scikit-learn==1.7.*"], retries=2, timeout="2h", cache="7d", env={"A": "1"})
def load(path: str) -> Split:
    return Split([1.0], [2.0])


@step(resources=Resources(cpu="500m", memory="4Gi"), environment=Environment(python="3.11", secrets=["TOKEN"]))
def train(data: list[float], lr: float, depth: int = 3) -> Model:
    return Model(lr)


@step
def select(models: list[Model]) -> Model:
    return models[0]


@step
def divide(a: int, b: int) -> tuple[int, float]:
    return a // b, a / b


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def is_big(n: int) -> bool:
    return n > 10


@step
def total(*values: int, **named: int) -> int:
    return sum(values)


@step
def publish(model: Model) -> str:
    return "x"


@step
def point_of(point: dict[str, Any]) -> float:
    return 1.0


convert = container_step(image="debian", command=["cp", "{inputs.a}", "{outputs.b}"], inputs=["a"], outputs=["b"], memory="1Gi")


@flow
def one(lr: float, data: list[float]) -> Model:
    return train(data, lr=lr)


@flow(name="training", tags=["x"], schedule="0 6 * * *", metaflow={"a": 1})
def training(path: str, lrs: list[float] = [0.1, 0.3], n: int = 3) -> Model:  # noqa: B006
    data = load(path)
    models = train.map(data.train, lr=each(lrs))
    more: list[Model] = one.map(each(lrs), data=data.test)
    train.map(data.train, each(lrs), batch=10)
    train.options(parallel=8, batch=10).map(data.train, each(lrs))
    best = select(models)
    other = select(more)
    q, r = divide(n, 2)
    numbers(q)
    total(1, 2, x=q)
    point_of.map(each(grid(lr=[0.1, 0.2], depth=[1, 2])))
    with when(best.accuracy > 0.9):
        told = publish(best)
    with otherwise():
        quiet = publish.options(after=[best], cpu=1)(other)
    with when((r > 0.5) & is_big(n) | ~is_big(q)):
        publish(best)
    said: str = first(told, quiet)
    publish.options(after=[said])(best)
    return best


run: Run[Model] = training.run("s3://x", lrs=[0.1, 0.2])
result: Model = training.options(backend="metaflow", wait=True, tags=["a"]).run("x").result()
accuracy: float = training.run("x").result().accuracy
plain: Split = load("x")
looped: list[Model] = train.map([1.0], lr=each([0.1]))
as_callable: Callable[[str], Split] = load
a_step: Step[[str], Split] = load
a_flow: Flow[..., Model] = training
picture = training.graph()
text: str = picture.mermaid() + picture.svg()
