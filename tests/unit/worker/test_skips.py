"""Conditions, skips, failures and what each does to whoever comes after."""

from __future__ import annotations

from typing import Any

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.ir.bindings import Constant
from flowbridge.ir.control import And, Compare, Condition, Not, Or, Truth

from .driver import Driven, drive, flow, out, over, step

TRUE, FALSE = Truth(value=Constant(value=True)), Truth(value=Constant(value=False))


def fails() -> None:
    raise ValueError("no good")


def message(run: Driven, name: str) -> str:
    reason = run.records[name, ()].reason
    assert reason is not None
    return f"{reason.kind}: {reason.message}"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Compare(op=op, left=out("a"), right=Constant(value=right)), expected)  # type: ignore[arg-type]
        for op, right, expected in [
            ("==", 3, True), ("==", 4, False), ("!=", 3, False), ("<", 4, True), ("<", 3, False), ("<=", 3, True), (">", 2, True), (">=", 4, False),
        ]
    ]
    + [
        (TRUE, True), (FALSE, False), (Not(operand=TRUE), False), (And(left=TRUE, right=FALSE), False), (And(left=TRUE, right=TRUE), True),
        (Or(left=FALSE, right=TRUE), True), (Or(left=FALSE, right=FALSE), False),
    ],
)  # fmt: skip
def test_conditions(store: Store, condition: Condition, holds: bool) -> None:
    run = drive(flow(step("a"), step("b", guards=(condition,))), {"a": lambda: 3, "b": lambda: 1}, store)
    assert run.state("b") == ("done" if holds else "skipped")
    assert run.end.state == "done"


def test_a_skip_says_which_condition_did_not_hold(store: Store) -> None:
    condition = And(left=Compare(op=">", left=out("a", "k"), right=Constant(value=1)), right=TRUE)
    run = drive(flow(step("a"), step("b", guards=(condition,))), {"a": lambda: {"k": 1}, "b": lambda: 1}, store)
    assert message(run, "b") == "condition: skipped, because the condition does not hold: (a['k'] > 1) & (True)"


def test_a_condition_that_cannot_be_told_fails_the_step(store: Store) -> None:
    condition = Compare(op="<", left=out("a"), right=Constant(value=1))
    run = drive(flow(step("a"), step("b", guards=(condition,))), {"a": lambda: "text", "b": lambda: 1}, store)
    assert run.state("b") == "failed"
    assert "the condition a < 1 cannot be told: comparing str and int raised TypeError" in message(run, "b")


def test_skips_spread_with_data_and_name_their_cause_but_not_with_order(store: Store) -> None:
    graph = flow(
        step("a", guards=(FALSE,)),
        step("b", inputs={"x": out("a")}),
        step("c", inputs={"x": out("b")}),
        step("d", after=("c", "a")),
        result=out("d"),
    )
    run = drive(graph, {"a": fails, "b": fails, "c": fails, "d": lambda: 4}, store)
    assert [run.state(n) for n in "abcd"] == ["skipped", "skipped", "skipped", "done"]
    assert message(run, "b") == "condition: skipped, because it needs a value of a, which was skipped"
    assert "value of b" in message(run, "c")


def test_a_condition_on_a_skipped_value_skips(store: Store) -> None:
    guard = Not(operand=Truth(value=out("a")))
    run = drive(flow(step("a", guards=(FALSE,)), step("b", guards=(guard,))), {"a": fails, "b": fails}, store)
    assert run.state("b") == "skipped"


def test_a_failure_cancels_whoever_needs_it_and_lets_others_finish(store: Store) -> None:
    graph = flow(step("a"), step("b", inputs={"x": out("a")}), step("c", inputs={"x": out("b")}), step("d", after=("a",)), step("e"))
    run = drive(graph, {"a": fails, "b": fails, "c": fails, "d": fails, "e": lambda: 1}, store)
    assert [run.state(n) for n in "abcde"] == ["failed", "cancelled", "cancelled", "cancelled", "done"]
    assert message(run, "b") == "upstream: not run, because a failed"
    assert message(run, "c") == "upstream: not run, because b was cancelled"
    assert run.end.state == "failed"
    assert run.end.counts == {"failed": 1, "cancelled": 3, "done": 1}
    assert run.end.message is not None
    assert run.end.message.startswith("a failed: ValueError: no good")


def test_a_failure_blocks_before_a_condition_skips(store: Store) -> None:
    run = drive(flow(step("a"), step("b", guards=(FALSE,), inputs={"x": out("a")})), {"a": fails, "b": fails}, store)
    assert run.state("b") == "cancelled"


def test_an_allowed_failure_counts_as_a_skip(store: Store) -> None:
    graph = flow(step("a", allow_failure=True), step("b", inputs={"x": out("a")}), step("c", after=("a",)))
    run = drive(graph, {"a": fails, "b": fails, "c": lambda: 1}, store)
    assert [run.state(n) for n in "abc"] == ["failed", "skipped", "done"]
    assert run.records["a", ()].allowed
    assert run.end.state == "done"


def test_retries_count_from_zero_and_the_last_failure_is_final(store: Store) -> None:
    seen: list[int] = []

    def sometimes() -> int:
        from flowbridge.worker.context import context

        seen.append(context().attempt)
        if context().attempt < 2:
            raise RuntimeError(f"attempt {context().attempt}")
        return 5

    run = drive(flow(step("a", retries=3), step("b", inputs={"x": out("a")}), result=out("b")), {"a": sometimes, "b": lambda x: x}, store)
    assert run.result() == 5
    assert seen == [0, 1, 2]
    first = run.files.attempt("a", (), 0)
    assert first is not None
    assert not first.final
    assert run.records["a", ()].attempt == 2
    never = drive(flow(step("a", retries=1)), {"a": fails}, store, run="r2")
    assert never.records["a", ()].attempt == 1
    assert never.records["a", ()].final


def test_after_a_map_waits_for_all_of_it(store: Store) -> None:
    def only_even(x: int) -> int:
        return 1 // (1 - x % 2)

    from .driver import item

    graph = flow(over("m", x=Constant(value=[0, 1])), step("t", scope=("m",), inputs={"x": item("m", "x")}), step("z", after=("t",)))
    run = drive(graph, {"t": only_even, "z": fails}, store)
    assert message(run, "z") == "upstream: not run, because t/1 failed"


def test_environment_variables_are_set_for_the_step_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from flowbridge.ir.environment import EnvironmentWish, Secret

    monkeypatch.setenv("FB_SECRET_SOURCE", "s3cret")
    monkeypatch.setenv("FB_KEPT", "before")
    wish = EnvironmentWish(env=(("FB_NEW", "{{x}}"), ("FB_KEPT", "changed")), secrets=(Secret(env="FB_TOKEN", name="FB_SECRET_SOURCE"),))

    def look() -> Any:
        return [os.environ["FB_NEW"], os.environ["FB_KEPT"], os.environ["FB_TOKEN"]]

    run = drive(flow(step("a", environment=wish), result=out("a")), {"a": look}, store)
    assert run.result() == ["{{x}}", "changed", "s3cret"]
    assert "FB_NEW" not in os.environ
    assert "FB_TOKEN" not in os.environ
    assert os.environ["FB_KEPT"] == "before"


def test_a_missing_secret_is_named(store: Store) -> None:
    from flowbridge.ir.environment import EnvironmentWish, Secret

    wish = EnvironmentWish(secrets=(Secret(env="FB_TOKEN", name="FB_NOT_THERE"),))
    run = drive(flow(step("a", environment=wish)), {"a": lambda: 1}, store)
    assert "secret 'FB_NOT_THERE' as $FB_TOKEN" in message(run, "a")
