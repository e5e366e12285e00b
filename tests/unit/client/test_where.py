"""Conditions and orders over runs: their meaning, what they refuse, and that nothing is executed."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbridge.client.where import FIELDS, Where, WhereError, ordered

ROW = {
    "id": "a",
    "flow": "f",
    "status": "done",
    "duration": 3.5,
    "profile": None,
    "tags": ["nightly", "big"],
    "params": {"lr": 0.1, "name": "x", "learning-rate": 2, "nested": {"depth": 3}},
    "metrics": {"auc": 0.9, "val.loss": 0.5, "odd": float("nan")},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params.lr < 0.2", True),
        ("params.lr < 0.1", False),
        ("params['learning-rate'] == 2", True),
        ("params.nested.depth >= 3", True),
        ("metrics.val.loss == 0.5", True),
        ("metrics['val.loss'] == 0.5", True),
        ("0 < params.lr < 0.2", True),
        ("0.1 < params.lr < 0.2", False),
        ("status == 'done' and metrics.auc > 0.8", True),
        ("status == 'failed' or metrics.auc > 0.8", True),
        ("not status == 'done'", False),
        ("'nightly' in tags", True),
        ("'weekly' not in tags", True),
        ("status in ('done', 'failed')", True),
        ("status in ['failed']", False),
        ("profile == None", True),
        ("profile is None", True),
        ("metrics.auc > -1", True),
        ("metrics.auc", True),
        ("metrics.none", False),
        ("metrics.none < 1", False),
        ("metrics.none > 1", False),
        ("params.name < 1", False),
        ("not metrics.none", True),
        ("metrics.odd > 0", False),
        ("params.lr.deeper == 1", False),
    ],
)
def test_meaning(text, holds):
    assert Where.parse(text).holds(ROW) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("param.lr < 1", r"no field 'param'.*'params'"),
        ("lr < 1", r"no field 'lr'"),
        ("params.lr <", "is not a condition"),
        ("", "is not a condition"),
        ("status.x == 1", "has nothing inside"),
        ("params.lr + 1 < 2", "is not understood"),
        ("len(tags) > 1", "is not understood"),
        ("__import__('os').system('true')", "is not understood"),
        ("params.lr.__class__()", "is not understood"),
        ("[x for x in tags]", "is not understood"),
        ("lambda: 1", "is not understood"),
        ("params[status] == 1", "is not a field"),
        ("f'{status}' == 'done'", "is not understood"),
    ],
)
def test_refused(text, message):
    with pytest.raises(WhereError, match=message):
        Where.parse(text)


def test_dunders_find_nothing():
    assert Where.parse("params.__class__ == 1").holds(ROW) is False


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(WhereError):
        Where.parse("(" * 5000 + "status" + ")" * 5000)


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text):
    with contextlib.suppress(WhereError):  # the one error it may raise
        Where.parse(text).holds(ROW)


NUMBERS = st.lists(st.one_of(st.none(), st.floats(allow_nan=True), st.integers(-5, 5), st.text(max_size=2)), max_size=8)


@given(NUMBERS, st.booleans())
def test_order(values, down):
    """Numbers in order, then texts in order, then whatever is neither; nothing is lost."""
    rows = [{"metrics": {"m": v}} for v in values]
    found = [r["metrics"]["m"] for r in ordered(rows, f"{'-' if down else ''}metrics.m", lambda r: r)]
    assert sorted(map(repr, found)) == sorted(map(repr, values))
    numbers = [v for v in found if isinstance(v, (int, float)) and not math.isnan(v)]
    texts = [v for v in found if isinstance(v, str)]
    assert found[: len(numbers)] == numbers == sorted(numbers, reverse=down)
    assert found[len(numbers) : len(numbers) + len(texts)] == texts == sorted(texts, reverse=down)


def test_an_order_is_a_field():
    with pytest.raises(WhereError, match="not a field to order by"):
        ordered([ROW], "metrics.a < 1", lambda r: r)
    with pytest.raises(WhereError, match="'metric'"):
        ordered([ROW], "metric.a", lambda r: r)


def test_the_fields_are_those_of_a_listing():
    from flowbridge.client import runs

    assert "row_of" in dir(runs)
    assert len(FIELDS) == 13
