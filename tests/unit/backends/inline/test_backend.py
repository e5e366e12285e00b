"""What the inline backend refuses, and what it tells of what it does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from flowbridge.backends.inline.backend import InlineBackend
from flowbridge.backends.inline.resources import NOT_HELD
from flowbridge.backends.support import Emulated, table_gaps
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.resources import Resources
from flowbridge.settings import Profile


def flow(**about: Any) -> FlowGraph:
    return FlowGraph(name="f", steps=(StepNode(id="train", name="train", code=CodeRef(module="m", qualname="train"), **about),))


def test_a_timeout_is_refused_with_the_way_out() -> None:
    (gap,) = table_gaps(flow(timeout=3.0), InlineBackend.support)
    assert gap.startswith("timeout, used by train: ")
    assert "'local'" in gap


@pytest.mark.parametrize("resources", [Resources(cpu=64), Resources(memory=2**50), Resources(gpu=8), Resources(custom=(("licence", 1.0),))])
def test_what_is_not_held_is_told_and_not_refused(resources: Resources) -> None:
    graph = flow(resources=resources)
    assert table_gaps(graph, InlineBackend.support) == []
    assert InlineBackend().gaps(graph, Profile()) == []
    assert any("train" in note for note in InlineBackend().notes(graph, Profile()))


def test_the_table_says_of_each_that_it_is_not_held() -> None:
    for feature in NOT_HELD:
        support = InlineBackend.support[feature]
        assert isinstance(support, Emulated)
        assert "not" in support.how
