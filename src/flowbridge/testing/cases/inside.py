"""What a step sees around it, and what it can tell."""

from __future__ import annotations

import os
from typing import Any

from flowbridge import Resources, context, each, flow, log_metric, log_param, step
from flowbridge.testing.case import Case


@step(cpu=0.5, memory="256Mi")
def look(n: int) -> list[Any]:
    c = context()
    (c.scratch / "x").write_text("y")
    return [c.flow, c.step, list(c.index), c.attempt, c.resources.cpu, c.resources.memory]


@step
def look_at(n: int) -> list[Any]:
    return [context().step, list(context().index), n]


@step
def measure(n: int) -> int:
    log_param("n", n)
    for i in range(3):
        log_metric("loss", 1 / (i + 1), step=i)
    log_metric("accuracy", 0.5)
    print("measured", n)
    return n


@step(env={"FLOWBRIDGE_TEST_COLOUR": "red {{x}}"})
def colour() -> str:
    return os.environ["FLOWBRIDGE_TEST_COLOUR"]


@step(name="renamed", tags=["slow"])
def original(n: int) -> str:
    return context().step


@step
def plain(n: int) -> float | None:
    return context().resources.cpu


@flow
def context_seen(n: int) -> list[Any]:
    return look(n)


@flow
def context_in_map() -> list[list[Any]]:
    return look_at.map(each([7, 8]))


@flow
def metrics(n: int) -> int:
    return measure(n)


@flow
def environment() -> str:
    return colour()


@flow
def named(n: int) -> str:
    return original(n)


@flow
def options_for_one_call(n: int) -> list[Any]:
    return [plain.options(cpu=0.5)(n), plain.options(resources=Resources(cpu=0.25))(n), plain(n)]


def _has_metrics(run: Any) -> None:
    assert run.metrics["accuracy"] == 0.5, run.metrics
    record = run["measure"][0].record
    assert record.metrics == {"accuracy": 0.5, "loss": 1 / 3}, record.metrics
    assert record.series["loss"] == ((0, 1.0), (1, 0.5), (2, 1 / 3)), record.series
    assert record.params == {"n": 4}, record.params
    assert "measured 4" in run.logs("measure")
    assert record.usage.wall_time is not None and record.usage.wall_time >= 0
    assert record.usage.peak_memory is not None and record.usage.peak_memory > 0


CASES = [
    Case(
        "context",
        "A step knows which task it is and what it may use.",
        context_seen,
        {"n": 1},
        result=["context_seen", "look", [], 0, 0.5, 256 * 2**20],
    ),
    Case("context in a map", "A mapped task knows its index.", context_in_map, result=[["look_at", [0], 7], ["look_at", [1], 8]]),
    Case("metrics", "Metrics, parameters, logs and usage are in the record.", metrics, {"n": 4}, result=4, check=_has_metrics),
    Case("env", "Environment variables reach the step, untouched by templates.", environment, result="red {{x}}"),
    Case("name", "A step goes by the name it was given.", named, {"n": 1}, result="renamed"),
    Case("options for one call", "options() changes one call, not the step.", options_for_one_call, {"n": 1}, result=[0.5, 0.25, None]),
]
