"""Records made in a flow: their class comes with the flow, or, where its pickles are not trusted, from whoever asks."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.errors import UntrustedError
from flowbridge.ir.bindings import Constant
from flowbridge.records.files import RunFiles
from flowbridge.worker.load import Loader
from flowbridge.worker.places import Literal, Several


class Pair(NamedTuple):
    a: int
    b: int


class Other(NamedTuple):
    a: int
    b: int


PLACE = Several(
    (Literal(Constant(value=1)), Literal(Constant(value=2))),
    ("a", "b"),
    make=Constant(pickled=base64.b64encode(pickle.dumps(Pair)).decode(), shown="Pair"),
)


def load(folder: Path, hint: Any, *, trust: bool) -> Any:
    store = Store.open(str(folder), trust=trust)
    return Loader(store, RunFiles(store.content, "f", "r")).load(PLACE, hint)


@pytest.mark.parametrize("hint", [None, int, Other])
def test_the_class_is_the_one_that_the_flow_made(tmp_path: Path, hint: Any) -> None:
    made = load(tmp_path, hint, trust=True)
    assert type(made) is Pair
    assert made == Pair(1, 2)


def test_without_trust_it_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    assert type(load(tmp_path, Other, trust=False)) is Other
    for hint in (None, int):
        with pytest.raises(UntrustedError):
            load(tmp_path, hint, trust=False)
