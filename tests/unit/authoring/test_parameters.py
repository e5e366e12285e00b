"""Parameters are checked and coerced by their annotations, from Python and from text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from flowbridge import ParameterError, flow
from tests.unit.authoring import steps_here as s


class Config(BaseModel):
    depth: int = 3


class Opaque:
    pass


@flow
def training(
    path: str,
    lrs: list[float] = [0.1, 3],  # noqa: B006
    n: int = 1,
    config: Config = Config(),  # noqa: B008
    mode: Literal["a", "b"] = "a",
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    anything: Any = None,
    flag: bool = False,
    place: Path | None = None,
) -> Any:
    return s.echo([path, lrs, n])


TRACED = training.trace()


def test_values_are_coerced_and_defaults_filled_in():
    values = TRACED.coerce(("x",), {"n": "7", "lrs": ("1", 2), "config": {"depth": "9"}, "flag": "true"})
    assert values["n"] == 7
    assert values["lrs"] == [1.0, 2.0]
    assert values["config"] == Config(depth=9)
    assert values["flag"] is True
    assert (values["mode"], values["anything"], values["place"]) == ("a", None, None)
    assert list(values) == list(TRACED.parameters)
    assert all(type(x) is float for x in TRACED.coerce(("x",), {})["lrs"])
    assert TRACED.coerce(("x",), {})["lrs"] is not TRACED.defaults["lrs"]


def test_texts():
    values = TRACED.coerce_text(
        {"path": "7", "lrs": "[0.5, 1]", "n": "3", "config": '{"depth": 4}', "anything": "[1]", "flag": "yes", "place": "/a"}
    )
    assert values["path"] == "7"
    assert values["lrs"] == [0.5, 1.0]
    assert (values["n"], values["config"], values["anything"], values["flag"], values["place"]) == (
        3,
        Config(depth=4),
        [1],
        True,
        Path("/a"),
    )
    assert TRACED.coerce_text({"path": "x", "anything": "word"})["anything"] == "word"
    assert TRACED.coerce_text({"path": "x", "place": "null"})["place"] is None


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {}, "parameter 'path' (str) is missing"),
        (("x",), {"lrrs": [1]}, "no parameter 'lrrs'. Did you mean 'lrs'?"),
        (("x",), {"n": "abc"}, "parameter n: input should be a valid integer"),
        (("x",), {"n": "abc"}, "it wants int, and 'abc' was given"),
        (("x",), {"lrs": [1, "b"]}, "parameter lrs[1]: input should be a valid number"),
        (("x",), {"config": {"depth": "deep"}}, "parameter config.depth"),
        (("x",), {"mode": "c"}, "it wants Literal['a', 'b']"),
        (("x",), {"share": 2}, "less than 1"),
        (("x",), {"path": "y"}, "given twice"),
    ],
)
def test_mistakes(args, kwargs, told):
    with pytest.raises(ParameterError) as caught:
        TRACED.coerce(args, kwargs)
    assert told in str(caught.value)
    assert "training" in str(caught.value)


def test_a_mistake_within_json_is_told_where_it_is():
    with pytest.raises(ParameterError, match=r"config\.depth: input should be a valid integer"):
        TRACED.coerce_text({"path": "x", "config": '{"depth": "deep"}'})
    with pytest.raises(ParameterError, match="config: input should be a valid dictionary"):
        TRACED.coerce_text({"path": "x", "config": "{depth"})


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ParameterError) as caught:
        TRACED.coerce((), {"n": "abc", "share": 5, "x": 1})
    assert "with 4 mistakes" in str(caught.value)
    assert str(caught.value).count("\n  - parameter") == 4


def test_parameters_as_data():
    by_name = {p.name: p for p in TRACED.graph.parameters}
    assert by_name["path"].required
    assert by_name["path"].type == "str"
    assert by_name["lrs"].default == [0.1, 3]
    assert by_name["lrs"].json_schema == {"items": {"type": "number"}, "type": "array"}
    assert not by_name["config"].required
    assert by_name["config"].default is None
    assert by_name["anything"].json_schema is None
    assert by_name["place"].type == "Path | None"


def test_classes_that_pydantic_does_not_know():
    numpy = pytest.importorskip("numpy")

    @dataclass
    class Point:
        x: int

    @flow
    def f(thing: Opaque, point: Point, array: numpy.ndarray) -> Any:
        return s.echo([thing, point, array])

    traced = f.trace()
    thing, array = Opaque(), numpy.zeros(2)
    values = traced.coerce((thing, Point(1), array), {})
    assert values["thing"] is thing
    assert values["point"] == Point(1)
    assert values["array"] is array
    with pytest.raises(ParameterError, match="instance of Opaque"):
        traced.coerce((1, Point(1), array), {})


def test_a_default_that_does_not_fit_its_annotation_is_kept():
    @flow
    def f(n: int = None) -> Any:  # noqa: RUF013
        return s.echo(n)

    assert f.trace().coerce((), {}) == {"n": None}
    assert f.trace().coerce((None,), {}) == {"n": None}


def test_positional_only_parameters():
    @flow
    def f(a: int, /, b: int) -> Any:
        return s.add(a, b)

    assert f.trace().coerce((1,), {"b": 2}) == {"a": 1, "b": 2}


def test_what_is_missing_on_a_command_line_is_told_as_an_option() -> None:
    @flow
    def needing(learning_rate: float, path: str) -> None:
        pass

    with pytest.raises(ParameterError) as told:
        needing.trace().coerce_text({})
    assert "Give it: --learning-rate VALUE" in str(told.value)
    assert "Give it: --path VALUE" in str(told.value)
    with pytest.raises(ParameterError, match=r"Give it: path=\.\.\."):
        needing.trace().coerce((0.1,), {})
