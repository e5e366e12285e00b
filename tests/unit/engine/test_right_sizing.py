from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flowbridge.engine.decorator_diff import diff, rewrite
from flowbridge.engine.right_sizing import Proposal, Spread, Use, by_function, measure, measure_flow, propose, round_up
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.resources import Resources
from flowbridge.records.models import Reason, TaskRecord, Usage

MIB, GIB = 2**20, 2**30


def done(peak: int | None = None, *, cpu: float | None = None, wall: float = 10.0, step: str = "train") -> TaskRecord:
    return TaskRecord(step=step, state="done", finished=1.0, usage=Usage(peak_memory=peak, cpu_time=cpu, wall_time=wall))


def starved(declared: int) -> TaskRecord:
    reason = Reason(kind="out_of_memory", message="out of memory", declared=declared, used=declared)
    return TaskRecord(step="train", state="failed", finished=1.0, reason=reason, final=False)


def proposed(records: list[TaskRecord], **declared: object) -> dict[str, str]:
    found = propose(measure("train", Resources(**declared), records))  # type: ignore[arg-type]
    return dict(found.options) if found else {}


def test_a_spread_is_of_what_was_measured() -> None:
    assert Spread.of([None, *range(1, 101)]) == Spread(100, 50, 95, 100)
    assert Spread.of([7]) == Spread(1, 7, 7, 7)
    assert Spread.of([None]) is None


def test_attempts_are_summed_up() -> None:
    failed = TaskRecord(step="train", state="failed", finished=1.0, reason=Reason(kind="error", message="x"), usage=Usage(peak_memory=MIB))
    skipped = TaskRecord(step="train", state="skipped", finished=1.0)
    use = measure("train", Resources(memory=GIB), [done(2 * MIB, cpu=15), starved(GIB), failed, skipped, done(step="other")])
    assert (use.attempts, use.failed, use.out_of_memory) == (3, 1, 1)
    assert use.memory == Spread(3, 2 * MIB, GIB, GIB)
    assert use.cores == Spread(1, 1.5, 1.5, 1.5)


def test_every_step_of_a_flow_is_there_in_order() -> None:
    steps = tuple(StepNode(id=i, name=i, code=CodeRef(module="m", qualname=i)) for i in ("b", "a"))
    assert [u.step for u in measure_flow(FlowGraph(name="f", steps=steps), [done(step="a")])] == ["b", "a"]


def test_far_too_much_memory_is_proposed_down_with_headroom() -> None:
    assert proposed([done(800 * MIB)] * 3, memory="8Gi") == {"memory": '"1Gi"'}


def test_a_declaration_that_fits_is_left_alone() -> None:
    assert proposed([done(800 * MIB)] * 3, memory="1Gi", cpu=2) == {}


def test_two_attempts_say_too_little() -> None:
    assert proposed([done(MIB)] * 2, memory="8Gi") == {}


def test_memory_that_was_not_declared_is_proposed() -> None:
    assert proposed([done(3 * GIB)] * 3) == {"memory": '"3840Mi"'}


def test_who_ran_out_is_given_more_at_once() -> None:
    assert proposed([starved(4 * GIB)], memory="4Gi") == {"memory": '"8Gi"'}


def test_who_ran_out_and_then_was_given_more_is_given_what_was_used() -> None:
    assert proposed([starved(4 * GIB), done(5 * GIB)], memory="4Gi") == {"memory": '"7Gi"'}


def test_idle_cores_are_proposed_away_and_never_more_than_declared() -> None:
    assert proposed([done(cpu=11.0)] * 3, cpu=8) == {"cpu": "2"}
    assert proposed([done(cpu=79.0)] * 3, cpu=8) == {}
    assert proposed([done(cpu=79.0)] * 3, cpu=1) == {}


def test_reasons_say_declared_and_used() -> None:
    found = propose(measure("train", Resources(memory="8Gi"), [done(800 * MIB)] * 3))
    assert found is not None
    assert found.reasons == ("declares memory=8Gi, and used 800Mi at most in 3 attempts",)


@pytest.mark.parametrize(
    ("size", "rounded"), [(1, 64 * MIB), (65 * MIB, 128 * MIB), (1.1 * GIB, 1.25 * GIB), (4.1 * GIB, 5 * GIB), (33 * GIB, 36 * GIB)]
)
def test_amounts_are_rounded_to_what_people_write(size: float, rounded: float) -> None:
    assert round_up(size) == rounded


def test_calls_of_one_function_are_given_the_larger() -> None:
    code = CodeRef(module="flows", qualname="train")
    other = CodeRef(module="__main__", qualname="cell", by_value=True)
    steps = (
        StepNode(id="train", name="train", code=code),
        StepNode(id="train_2", name="train", code=code),
        StepNode(id="c", name="c", code=other),
    )
    proposals = [
        Proposal("train", {"memory": '"900Mi"', "cpu": "2"}),
        Proposal("train_2", {"memory": '"1Gi"'}),
        Proposal("c", {"cpu": "1"}),
    ]
    assert by_function(FlowGraph(name="f", steps=steps), proposals) == {"flows": {"train": {"memory": '"1Gi"', "cpu": "2"}}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("@step\ndef train(): ...\n", '@step(memory="1Gi")\ndef train(): ...\n'),
        ("@step()\ndef train(): ...\n", '@step(memory="1Gi")\ndef train(): ...\n'),
        ("@fb.step(cpu=2)\ndef train(): ...\n", '@fb.step(cpu=2, memory="1Gi")\ndef train(): ...\n'),
        ("@step(memory='16Gi', cpu=2)\ndef train(): ...\n", '@step(memory="1Gi", cpu=2)\ndef train(): ...\n'),
        (
            '@step(\n    name="ä→b",  # why\n    memory=16 * GIB,\n)\ndef train(): ...\n',
            '@step(\n    name="ä→b",  # why\n    memory="1Gi",\n)\ndef train(): ...\n',
        ),
        (
            "@step(resources=Resources(memory='2Gi'), retries=1)\ndef train(): ...\n",
            '@step(resources=Resources(memory="1Gi"), retries=1)\ndef train(): ...\n',
        ),
        ("@other\n@step(\n)\n@third(memory=1)\ndef train(): ...\n", '@other\n@step(\nmemory="1Gi")\n@third(memory=1)\ndef train(): ...\n'),
        ("@flow\ndef train(): ...\n", "@flow\ndef train(): ...\n"),
    ],
)
def test_a_decorator_is_changed_in_place(before: str, after: str) -> None:
    assert rewrite(before, {"train": {"memory": '"1Gi"'}}) == after
    compile(after, "after", "exec")


def test_functions_are_found_by_their_qualified_name() -> None:
    source = "class A:\n    @step\n    def f(self): ...\ndef outer():\n    @step\n    def f(): ...\n@step\ndef f(): ...\n"
    assert rewrite(source, {"outer.<locals>.f": {"cpu": "1"}}) == source.replace(
        "    @step\n    def f():", "    @step(cpu=1)\n    def f():"
    )


def test_the_diff_can_be_applied(tmp_path: Path) -> None:
    source = '"""Doc."""\n\n\n@step(memory="8Gi", cpu=4)\ndef train(data):\n    return data\n'
    (tmp_path / "flow.py").write_text(source)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    patch = diff("flow.py", source, {"train": {"memory": '"1Gi"', "cpu": "2"}})
    subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=tmp_path, check=True)
    assert '@step(memory="1Gi", cpu=2)\ndef train' in (tmp_path / "flow.py").read_text()
    assert diff("flow.py", source, {"nobody": {"cpu": "1"}}) == ""


def test_nothing_known_nothing_proposed() -> None:
    assert propose(Use("train", Resources(memory="1Gi"))) is None
