"""How many attempts there can be, and which is the last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowbridge.ir.attempts import growths_of, is_last, last_attempt, memory_at, with_memory
from flowbridge.ir.flow import CodeRef, StepNode
from flowbridge.ir.policies import Retry
from flowbridge.ir.resources import Resources

sizes = st.integers(1, 2**45)


def node(resources: Resources, retries: int = 0) -> StepNode:
    return StepNode(id="s", name="s", code=CodeRef(module="m", qualname="f"), resources=resources, retry=Retry(retries=retries))


def test_memory_doubles_up_to_its_most() -> None:
    resources = Resources(memory=4, memory_max=20)
    assert [memory_at(resources, n) for n in range(5)] == [4, 8, 16, 20, 20]
    assert growths_of(resources) == 3
    assert with_memory(resources, 2).memory == 16
    assert with_memory(resources, 0) is resources


def test_without_memory_max_nothing_grows() -> None:
    assert growths_of(Resources(memory=4)) == growths_of(Resources(memory_max=4)) == growths_of(Resources()) == 0
    assert memory_at(Resources(memory=4), 3) == 4


@given(memory=sizes, most=sizes)
def test_memory_never_shrinks_and_never_passes_its_most(memory: int, most: int) -> None:
    resources = Resources(memory=memory, memory_max=most)
    steps = [memory_at(resources, n) or 0 for n in range(growths_of(resources) + 2)]
    assert steps == sorted(steps)
    assert steps[0] == memory
    assert steps[-1] == steps[-2] == max(memory, most)


@given(retries=st.integers(0, 4), kinds=st.lists(st.sampled_from(["error", "out_of_memory"]), min_size=20, max_size=20))
def test_every_row_of_failures_ends(retries: int, kinds: list[str]) -> None:
    """Out of memory is retried with more while there is more; whatever else happens is retried as often as `retries` says."""
    step = node(Resources(memory=1, memory_max=8), retries)
    growths = others = 0
    for attempt, kind in enumerate(kinds):
        if is_last(step, attempt, growths, kind):
            break
        if kind == "out_of_memory" and growths < 3:
            growths += 1
        else:
            others += 1
    assert others == retries
    assert attempt <= last_attempt(step)
