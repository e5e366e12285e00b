"""The series-parallel form keeps every wait of the DAG, adds few, and never costs more than barriers between all levels."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowbridge.ir.series_parallel import Form, Parallel, Series, levels, nodes_of, series_parallel, waits_of

Needs = dict[str, list[str]]


@st.composite
def dags(draw: st.DrawFn, most: int = 14) -> Needs:
    """DAGs of any shape, nodes in an order of their own."""
    names = [f"n{i}" for i in range(draw(st.integers(1, most)))]
    needs = {name: draw(st.lists(st.sampled_from(names[:i]), unique=True, max_size=4)) if i else [] for i, name in enumerate(names)}
    order = draw(st.permutations(names))
    return {name: needs[name] for name in order}


@st.composite
def series_parallel_dags(draw: st.DrawFn) -> Needs:
    """DAGs made of series and branches alone: the first node of a part needs the last ones of the part before it."""
    needs: Needs = {}

    def make(depth: int, before: list[str]) -> list[str]:
        kind = draw(st.sampled_from(["node", "series", "parallel"])) if depth else "node"
        if kind == "node":
            name = f"n{len(needs)}"
            needs[name] = before
            return [name]
        if kind == "series":
            for _ in range(draw(st.integers(2, 3))):
                before = make(depth - 1, before)
            return before
        return [end for _ in range(draw(st.integers(2, 3))) for end in make(depth - 1, before)]

    make(3, [])
    return needs


def closure(needs: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    """Everything that each node waits for."""
    found: dict[str, frozenset[str]] = {}

    def look(name: str) -> frozenset[str]:
        if name not in found:
            found[name] = frozenset(needs[name]).union(*(look(n) for n in needs[name]))
        return found[name]

    for name in needs:
        look(name)
    return found


def span(form: Form, duration: Mapping[str, float]) -> float:
    """How long a form takes."""
    if isinstance(form, str):
        return duration[form]
    if isinstance(form, Series):
        return sum(span(part, duration) for part in form.parts)
    return max(span(branch, duration) for branch in form.branches)


def critical_path(needs: Needs, duration: Mapping[str, float]) -> float:
    """How long the DAG itself takes."""
    waits = closure(needs)
    ends: dict[str, float] = {}
    for name in sorted(needs, key=lambda n: len(waits[n])):
        ends[name] = duration[name] + max((ends[n] for n in needs[name]), default=0)
    return max(ends.values())


def made(needs: Needs) -> Form:
    form = series_parallel(needs)
    assert form is not None
    return form


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(dags())
def test_every_node_once_and_every_wait_kept(needs: Needs) -> None:
    form = made(needs)
    assert sorted(nodes_of(form)) == sorted(needs)
    kept = waits_of(form)
    for name, waits in closure(needs).items():
        assert waits <= kept[name]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(dags())
def test_only_waits_from_a_lower_level_are_added(needs: Needs) -> None:
    """Hence a form is never slower than barriers between all levels, whatever the steps take."""
    level = {name: number for number, names in enumerate(levels(needs)) for name in names}
    for name, waits in waits_of(made(needs)).items():
        assert all(level[other] < level[name] for other in waits)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(dags(), st.randoms(use_true_random=False))
def test_never_slower_than_levels_and_as_fast_as_the_dag_where_all_steps_take_the_same(needs: Needs, chance: random.Random) -> None:
    form = made(needs)
    same = dict.fromkeys(needs, 1.0)
    assert span(form, same) == critical_path(needs, same)
    durations = {name: chance.expovariate(1) for name in needs}
    by_level = sum(max(durations[n] for n in names) for names in levels(needs))
    assert span(form, durations) <= by_level + 1e-9
    assert span(form, durations) >= critical_path(needs, durations) - 1e-9


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(series_parallel_dags())
def test_a_series_parallel_dag_stays_as_it_is(needs: Needs) -> None:
    form = made(needs)
    assert waits_of(form) == closure(needs)
    assert cuts(form) == []


def cuts(form: Form) -> list[tuple[str, str]]:
    if isinstance(form, str):
        return []
    own = [(c.early, c.late) for c in form.cuts] if isinstance(form, Series) else []
    return own + [cut for part in (form.parts if isinstance(form, Series) else form.branches) for cut in cuts(part)]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(dags())
def test_every_cut_names_a_wait_that_was_added(needs: Needs) -> None:
    form = made(needs)
    before, after = closure(needs), waits_of(form)
    for early, late in cuts(form):
        assert early in after[late]
        assert early not in before[late]
    assert bool(cuts(form)) == (after != before)


def test_an_n_is_cut_once() -> None:
    form = made({"a": [], "b": [], "c": ["a", "b"], "d": ["b"]})
    assert isinstance(form, Series)
    assert form.parts == (Parallel(("a", "b")), Parallel(("c", "d")))
    assert [(c.at, c.early, c.late) for c in form.cuts] == [(1, "a", "d")]


def test_only_what_makes_the_n_is_cut() -> None:
    """A long chain beside an N is left alone."""
    needs = {"a": [], "b": [], "c": ["a", "b"], "d": ["b"], **{f"x{i}": [f"x{i - 1}"] if i else [] for i in range(20)}}
    assert waits_of(made(needs))["x19"] == closure(needs)["x19"]


def test_nothing_has_no_form() -> None:
    assert series_parallel({}) is None


def test_a_single_node_is_its_own_form() -> None:
    assert series_parallel({"a": []}) == "a"


@pytest.mark.parametrize("needs", [{"a": ["b"], "b": ["a"]}, {"a": ["a"]}])
def test_circles_are_refused(needs: Needs) -> None:
    with pytest.raises(ValueError, match="in a circle"):
        series_parallel(needs)


def test_a_need_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' waits for 'b', which is not there"):
        series_parallel({"a": ["b"]})


def test_a_ladder_of_three_hundred_rungs_and_a_long_chain() -> None:
    """Large flows need no recursion, and every rung is one cut."""
    ladder: Needs = {}
    for i in range(300):
        ladder[f"x{i}"] = [f"x{i - 1}"] if i else []
        ladder[f"y{i}"] = ([f"y{i - 1}"] if i else []) + [f"x{i}"]
    form = made(ladder)
    assert isinstance(form, Series)
    assert len(form.parts) == 301
    chain = {f"c{i}": [f"c{i - 1}"] if i else [] for i in range(2000)}
    assert made(chain) == Series(tuple(chain))


def test_a_comb_nests_without_recursion() -> None:
    comb: Needs = {"c0": []}
    for i in range(1, 1500):
        comb[f"c{i}"] = [f"c{i - 1}"]
        comb[f"r{i}"] = [f"c{i - 1}"]
    assert set(nodes_of(made(comb))) == set(comb)
