"""Records made in a flow: their class comes with the flow, or, where its pickles are not trusted, from whoever asks."""

from __future__ import annotations

import base64
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.errors import UntrustedError
from flowbridge.ir.bindings import Constant
from flowbridge.records.files import RunFiles
from flowbridge.worker.load import Loader
from flowbridge.worker.places import Joined, Literal, Several


class Pair(NamedTuple):
    a: int
    b: int


class Other(NamedTuple):
    a: int
    b: int


@dataclass
class Base:
    a: int


@dataclass
class Sub(Base):
    b: int


def place_of(kind: type) -> Several:
    make = Constant(pickled=base64.b64encode(pickle.dumps(kind)).decode(), shown=kind.__qualname__)
    values = (Literal(Constant(value=1)), Literal(Constant(value=2)))
    return Several(values, ("a", "b"), make=make, type=f"{kind.__module__}:{kind.__qualname__}")


def load(folder: Path, hint: Any, kind: type = Pair, *, trust: bool) -> Any:
    store = Store.open(str(folder), trust=trust)
    return Loader(store, RunFiles(store.content, "f", "r")).load(place_of(kind), hint)


@pytest.mark.parametrize("hint", [None, int, Other])
def test_the_class_is_the_one_that_the_flow_made(tmp_path: Path, hint: Any) -> None:
    made = load(tmp_path, hint, trust=True)
    assert type(made) is Pair
    assert made == Pair(1, 2)


@pytest.mark.parametrize("hint", [Sub, Sub | None, Base | Sub, Annotated[Sub, "one"]])
def test_without_trust_it_is_the_same_where_the_annotation_names_it(tmp_path: Path, hint: Any) -> None:
    made = load(tmp_path, hint, Sub, trust=False)
    assert type(made) is Sub
    assert made == load(tmp_path, hint, Sub, trust=True)


@pytest.mark.parametrize(("hint", "kind"), [(None, Pair), (int, Pair), (Other, Pair), (Base, Sub)])
def test_without_trust_no_other_class_is_taken_for_it(tmp_path: Path, hint: Any, kind: type) -> None:
    with pytest.raises(UntrustedError, match=f"class {kind.__module__}:{kind.__qualname__} .* annotation"):
        load(tmp_path, hint, kind, trust=False)


def test_an_output_split_into_an_inherited_dataclass_is_one_again(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    values = (Literal(Constant(value=1)), Literal(Constant(value=2)))
    place = Joined("s", "fields", ("a", "b"), values)
    assert Loader(store, RunFiles(store.content, "f", "r")).load(place, Sub) == Sub(1, 2)
