"""Types from step to step: what certainly does not fit is told, what may fit never is."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union, runtime_checkable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbridge.authoring.annotations import show
from flowbridge.authoring.compatibility import fits, mismatch

T = TypeVar("T")
Money = NewType("Money", int)


class Base: ...


class Child(Base): ...


class Other: ...


class Box(Generic[T]): ...


class Colour(str, Enum):
    RED = "red"


class Options(TypedDict):
    a: int


class Closes(Protocol):
    def close(self) -> None: ...


@runtime_checkable
class Opens(Protocol):
    def open(self) -> None: ...


FITS = [
    (int, int),
    (bool, int),
    (int, float),
    (int, complex),
    (bool, float),
    (int, Any),
    (Any, int),
    (object, str),
    (int, Optional[int]),  # noqa: UP045  (both forms are looked at)
    (Optional[int], int),  # noqa: UP045  (both forms are looked at)
    (Union[int, str], str),  # noqa: UP007  (both forms are looked at)
    (int | None, int | str),
    (Child, Base),
    (Base, Child),
    (list[int], list[float]),
    (list[int], list),
    (list, list[str]),
    (list[Any], list[str]),
    (list[int], Sequence[int]),
    (list[int], Iterable[float]),
    (Sequence[int], list[int]),
    (tuple[int, str], tuple[int, str]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, int], Sequence[int]),
    (dict[str, int], Mapping[str, float]),
    (dict[str, Any], dict[str, int]),
    (collections.OrderedDict[str, int], dict[str, int]),
    (dict[str, int], Options),
    (Options, dict[str, Any]),
    (Base, Closes),
    (Base, Opens),
    (Colour, str),
    (str, Literal["a", "b"]),
    (Literal["a"], str),
    (Money, int),
    (int, Money),
    (Annotated[int, "x"], int),
    (T, int),
    (int, T),
    (Box[int], Box[str]),
    (Callable[[int], int], Callable[[str], str]),
    (Iterator[int], list[int]),
    (bytearray, bytes),
]
MISFITS = [
    (int, str),
    (str, int),
    (float, int),
    (str, float),
    (None, int),
    (str, Path),
    (bytes, str),
    (Base, Other),
    (int, Base),
    (list[int], int),
    (int, list[int]),
    (list[str], list[int]),
    (list[list[int]], list[int]),
    (dict[str, str], dict[str, int]),
    (dict[str, int], list[int]),
    (tuple[int, str], tuple[str, int]),
    (tuple[int, int], tuple[int, int, int]),
    (list[Base], list[Other]),
    (Optional[str], int),  # noqa: UP045  (both forms are looked at)
    (str, int | None),
    (int, Literal["a"]),
    (int, Sequence[int]),
    (Decimal, Path),
]


def name(pair):
    return " to ".join(show(x) for x in pair)


@pytest.mark.parametrize("pair", FITS, ids=name)
def test_fits(pair):
    assert mismatch(*pair) is None


@pytest.mark.parametrize("pair", MISFITS, ids=name)
def test_does_not_fit(pair):
    assert not fits(*pair)
    assert mismatch(*pair) is not None


def test_numpy():
    numpy = pytest.importorskip("numpy")
    assert fits(numpy.int64, int)
    assert fits(float, numpy.float32)
    assert fits(numpy.ndarray, numpy.ndarray)
    assert fits(numpy.ndarray, Sequence[float])
    assert not fits(numpy.ndarray, str)
    assert not fits(int, numpy.ndarray)


def test_pandas():
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    assert fits(pandas.DataFrame, pandas.DataFrame)
    assert not fits(pandas.DataFrame, pandas.Series)
    assert not fits(numpy.ndarray, pandas.DataFrame)


def test_a_class_defined_twice_is_one():
    """A cell of a notebook that is run again makes a second class of the same name."""

    def define():
        class Model: ...

        return Model

    assert fits(define(), define())


LEAVES = st.sampled_from([int, str, float, bool, bytes, Base, Other, Path, Any, type(None)])
TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda t: list[t]),
        st.tuples(inner, inner).map(lambda ts: tuple[ts]),
        st.tuples(inner, inner).map(lambda ts: dict[ts]),
        st.tuples(inner, inner).map(lambda ts: Union[ts]),  # noqa: UP007
        inner.map(lambda t: Annotated[t, "x"]),
    ),
    max_leaves=6,
)


@given(TYPES)
def test_every_type_fits_itself_and_what_is_unknown(kind):
    assert fits(kind, kind)
    assert fits(kind, Any)
    assert fits(Any, kind)
    assert fits(kind, Optional[kind])  # noqa: UP045  (both forms are looked at)
    assert fits(list[kind], Sequence[kind])
    assert show(kind)
