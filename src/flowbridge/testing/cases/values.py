"""Values of every kind come out of the store as they went in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from flowbridge import context, each, first, flow, otherwise, step, when
from flowbridge.testing.case import Case


class Settings(BaseModel):
    """A pydantic model as a value."""

    name: str
    depth: int = 3


@dataclass(frozen=True)
class Point:
    """A dataclass as one value (inside a list)."""

    x: float
    y: float


class Pair(NamedTuple):
    """A NamedTuple that a flow makes of outputs."""

    first: int
    rest: list[Any]


@dataclass
class Report:
    """A dataclass that a flow makes of outputs, with a further one inside it."""

    title: str
    pair: Pair
    loud: bool = False


class Plain:
    """A class that only pickle knows."""

    def __init__(self, n: int) -> None:
        self.n = n


@step
def scalars() -> dict[str, Any]:
    return {
        "none": None,
        "true": True,
        "int": 2**70,
        "float": 0.1 + 0.2,
        "text": "größer\n\"'{{workflow.name}}",
        "list": [1, [2, None]],
        "empty": {},
    }


@step
def odd_values() -> list[Any]:
    return [math.inf, (1, 2), {1: "int key"}, {1, 2}, b"\x00\xff", 1 + 2j]


@step
def make_settings() -> Settings:
    return Settings(name="s")


@step
def deeper(settings: Settings) -> int:
    return settings.depth


@step
def plain(n: int) -> Plain:
    return Plain(n)


@step
def plain_n(value: Plain) -> int:
    return value.n


@step
def points(n: int) -> list[Point]:
    return [Point(i, i / 2) for i in range(n)]


@step
def x_of(point: Point) -> float:
    return point.x


@step
def write_file(text: str) -> Path:
    path = context().scratch / "note.txt"
    path.write_text(text)
    return path


@step
def write_folder(text: str) -> Path:
    folder = context().scratch / "things"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text(text)
    (folder / "deep" / "b.bin").write_bytes(b"\x00" * 10)
    return folder


@step
def read_both(file: Path, folder: Path) -> list[Any]:
    return [file.read_text(), sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()), (folder / "a.txt").read_text()]


@step
def big_text(n: int) -> str:
    return "x" * n


@step
def length(text: str) -> int:
    return len(text)


@step
def echo(value: Any) -> Any:
    return value


@step
def array(n: int) -> Any:
    import numpy as np  # noqa: PLC0415

    return np.arange(n, dtype="float32").reshape(2, -1)


@step
def frame(data: Any) -> Any:
    import pandas as pd  # noqa: PLC0415

    return pd.DataFrame(data, columns=[f"c{i}" for i in range(data.shape[1])])


@step
def frame_sum(df: Any) -> list[Any]:
    return [float(df.to_numpy().sum()), list(df.columns), str(df.dtypes.iloc[0])]


@step
def number(n: int) -> int:
    return n


@step
def described(report: Report) -> list[Any]:
    return [type(report).__name__, type(report.pair).__name__, report.title, report.pair.first, report.pair.rest, report.loud]


@step
def first_of(pair: Pair) -> int:
    return pair.first


@step
def firsts(pairs: list[Pair]) -> list[Any]:
    return [[type(p).__name__, p.first, p.rest] for p in pairs]


def _numbers() -> Iterator[int]:
    yield from (1, 2, 3)


@flow
def json_values() -> dict[str, Any]:
    return scalars()


@flow
def other_values() -> list[Any]:
    return odd_values()


@flow
def models() -> Any:
    return echo([deeper(make_settings()), plain_n(plain(4))])


@flow
def dataclasses_in_lists(n: int) -> list[float]:
    return x_of.map(each(points(n)))


@flow
def files(text: str) -> list[Any]:
    return read_both(write_file(text), write_folder(text))


@flow
def large_text(n: int) -> int:
    return length(big_text(n))


@flow
def arrays(n: int) -> list[Any]:
    return frame_sum(frame(array(n)))


@flow
def both(n: int) -> Pair:
    return Pair(number(n), [n])


@flow
def records(n: int) -> tuple[list[Any], int, list[Any], Any]:
    """Records are made of outputs in the flow, and given to steps whole, inside others, from flows inside, and from maps of flows."""
    inner = both(n)
    told = described(Report("t", Pair(number(5), [inner.first, 7])))
    taken = first_of(inner)
    listed = firsts(both.map(each([1, 2])))
    return told, taken, listed, first_of.map(Pair(each([3, 4]), [inner.first]))


@flow
def skipped_records(n: int) -> int:
    with when(number(n) > 10):
        high = number(n)
    with otherwise():
        low = number(7)
    return first(first_of(Pair(high, [])), first_of(Pair(low, [n])))


@flow
def returned_records(n: int) -> list[Pair]:
    return [Pair(number(n), []), Pair(1, [number(2)])]


@flow
def constants() -> Any:
    """Constants that JSON cannot hold are carried by value."""
    return echo([echo((1, 2)), echo({1: 2}), echo(b"\xff"), echo("{{workflow.uid}}")])


CASES = [
    Case(
        "JSON values",
        "Exactly what went in comes out, template-like text included.",
        json_values,
        result={
            "none": None,
            "true": True,
            "int": 2**70,
            "float": 0.1 + 0.2,
            "text": "größer\n\"'{{workflow.name}}",
            "list": [1, [2, None]],
            "empty": {},
        },
    ),
    Case(
        "values beyond JSON",
        "Tuples stay tuples, sets sets, int keys ints.",
        other_values,
        result=[math.inf, (1, 2), {1: "int key"}, {1, 2}, b"\x00\xff", 1 + 2j],
    ),
    Case("models and objects", "pydantic models and plain objects.", models, result=[3, 4]),
    Case("dataclasses in a list", "A list of objects is mapped item by item.", dataclasses_in_lists, {"n": 3}, result=[0.0, 1.0, 2.0]),
    Case(
        "files and folders", "A Path is the file or folder it names.", files, {"text": "hi"}, result=["hi", ["a.txt", "deep/b.bin"], "hi"]
    ),
    Case("large text", "A value far above any argument limit.", large_text, {"n": 3_000_000}, result=3_000_000),
    Case("arrays and frames", "numpy and pandas, dtypes kept.", arrays, {"n": 6}, result=[15.0, ["c0", "c1", "c2"], "float32"]),
    Case(
        "records made of outputs",
        "A NamedTuple or dataclass that the flow makes of outputs arrives as what it is.",
        records,
        {"n": 3},
        result=(
            ["Report", "Pair", "t", 5, [3, 7], False],
            3,
            [["Pair", 1, [1]], ["Pair", 2, [2]]],
            [3, 4],
        ),
    ),
    Case(
        "records with something skipped",
        "A record that lacks a field is skipped, as a list would be.",
        skipped_records,
        {"n": 3},
        result=7,
        states={"first_of": "skipped", "first_of_2": "done"},
    ),
    Case("records returned in a list", "The result is made of them anew.", returned_records, {"n": 3}, result=[Pair(3, []), Pair(1, [2])]),
    Case("constants", "Constants in the flow that JSON cannot hold.", constants, result=[(1, 2), {1: 2}, b"\xff", "{{workflow.uid}}"]),
]
