"""Steps that the tests of this folder build flows of. None of them is ever run inside a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from flowbridge import step

if TYPE_CHECKING:
    from nowhere import Unknown


class Split(NamedTuple):
    train: list[int]
    test: list[int]

    @property
    def size(self) -> int:
        return len(self.train) + len(self.test)


@dataclass
class Stats:
    total: int
    parts: dict[str, float]


class Model:
    accuracy: float


@step
def number(n: int) -> int:
    raise AssertionError("a step ran while its flow was built")


@step
def add(a: int, b: int = 1) -> int:
    return a + b


@step
def load(path: str) -> Split:
    return Split([1], [2])


@step
def describe(numbers: list[int]) -> Stats:
    return Stats(sum(numbers), {})


@step
def divide(a: int, b: int) -> tuple[int, float]:
    return a // b, a % b


@step
def train(data: list[int], lr: float) -> Model:
    return Model()


@step
def select(models: list[Model]) -> Model:
    return models[0]


@step
def publish(model: Model) -> None:
    return None


@step
def echo(value: Any) -> Any:
    return value


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def total(*values: int, start: int = 0, **named: int) -> int:
    return start + sum(values) + sum(named.values())


@step
def is_big(n: int) -> bool:
    return n > 10


@step
def say(word: str) -> str:
    return word


@step
def mysterious(x: Unknown) -> tuple[Unknown, int]:
    return x, 1
