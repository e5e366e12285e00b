"""The small parts: names, parameters, decorators, schedules, indices, literals."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowbridge.backends.metaflow.index import EMPTY, is_empty, lane_of, lanes
from flowbridge.backends.metaflow.inputs import inputs_of
from flowbridge.backends.metaflow.names import RESERVED, Names, class_name, parameter_name
from flowbridge.backends.metaflow.options import MetaflowOptions
from flowbridge.backends.metaflow.parameters import argument, flow_parameter
from flowbridge.backends.metaflow.render import docstring, literal
from flowbridge.backends.metaflow.resources import decorators, megabytes, metaflow_retries
from flowbridge.backends.metaflow.schedule import cron_for
from flowbridge.backends.metaflow.status import own_error
from flowbridge.ir import bindings as b
from flowbridge.ir.policies import Retry
from flowbridge.ir.ports import Parameter
from flowbridge.ir.resources import Resources
from tests.unit.backends.metaflow.make import step


@given(st.lists(st.text(min_size=1, max_size=12), max_size=20))
def test_every_name_is_legal_and_given_out_once(wanted: list[str]) -> None:
    import re

    names = Names()
    found = [names.step(w) for w in wanted]
    assert len(set(found)) == len(found)
    for name in found:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert name not in RESERVED


@pytest.mark.parametrize(
    ("wanted", "given_out"), [("train", "train"), ("prep.load_2", "prep_load_2"), ("start", "start_"), ("2nd", "step_2nd")]
)
def test_names_stay_near_to_what_was_written(wanted: str, given_out: str) -> None:
    assert Names().step(wanted) == given_out


@pytest.mark.parametrize(
    ("flow", "name"), [("training", "training"), ("my flow", "my_flow"), ("class", "class_"), ("_x", "x"), ("step", "step_")]
)
def test_the_class_goes_by_the_name_of_the_flow(flow: str, name: str) -> None:
    assert class_name(flow) == name


def test_parameters_that_metaflow_keeps_for_itself_get_an_underscore() -> None:
    assert parameter_name("tag") == "tag_"
    assert parameter_name("max_workers") == "max_workers_"
    assert parameter_name("run") == "run"


@pytest.mark.parametrize(
    ("schema", "default", "kind"),
    [
        ({"type": "integer"}, None, "int"),
        ({"type": "number"}, 1, "float"),
        ({"type": "boolean"}, True, "bool"),
        ({"type": "string", "enum": ["a"]}, "a", "JSONType"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, "str"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, None, "JSONType"),
        ({"type": "array"}, [1], "JSONType"),
        ({"type": "integer"}, "no", "JSONType"),
        (None, None, "JSONType"),
    ],
)
def test_parameters_have_a_plain_type_where_metaflow_has_one(schema: Any, default: Any, kind: str) -> None:
    assert flow_parameter(Parameter(name="p", json_schema=schema, default=default, required=False), "p").kind == kind


def test_values_for_the_command_line() -> None:
    assert argument("x", "str") == "x"
    assert argument("x", "JSONType") == '"x"'
    assert argument(True, "bool") == "True"
    assert argument([1, {"a": None}], "JSONType") == '[1, {"a": null}]'
    assert argument(object(), "JSONType") is None
    assert argument(float("nan"), "float") is None
    assert argument("x" * 100_000, "str") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=10
    )
)
def test_literals_read_back_as_what_they_are(value: Any) -> None:
    assert ast.literal_eval(literal(value)) == value


@given(st.text())
def test_any_text_makes_a_docstring_of_one_line(text: str) -> None:
    lines = docstring(text, 1)
    assert len(lines) <= 1
    for line in lines:
        ast.literal_eval(line.strip())


def names_of(**about: Any) -> dict[str, dict[str, Any]]:
    compute = about.pop("compute", "local")
    lane = about.pop("lane", False)
    made = decorators(step("a", **about), compute, MetaflowOptions(), lane=lane)
    return {d.name: dict(d.arguments) for d in made}


def test_retries_beyond_four_are_made_by_the_last_attempt() -> None:
    assert names_of(retry=Retry(retries=9))["retry"]["times"] == 4
    assert metaflow_retries(step("a", retry=Retry(retries=2))) == 2
    assert metaflow_retries(step("a", retry=Retry(retries=2), platform=(("metaflow", {"retry": {"times": 0}}),))) == 0


def test_more_memory_means_more_attempts() -> None:
    assert names_of(resources=Resources(memory=2**28, memory_max=2**30))["retry"]["times"] == 2
    assert names_of(resources=Resources(memory=2**28, memory_max=2**30), compute="kubernetes")["resources"]["memory"] == megabytes(2**30)


def test_whole_minutes_of_a_delay_are_metaflows_where_it_waits() -> None:
    assert names_of(retry=Retry(retries=1, delay=150.0))["retry"]["minutes_between_retries"] == 0
    assert names_of(retry=Retry(retries=1, delay=150.0), compute="kubernetes")["retry"]["minutes_between_retries"] == 2


def test_a_timeout_of_metaflows_stands_behind_ours() -> None:
    assert names_of(timeout=2.5)["timeout"] == {"seconds": 63}
    assert names_of(timeout=10.0, retry=Retry(retries=6))["timeout"] == {"seconds": 90}


def test_a_lane_keeps_retries_and_timeouts_to_itself() -> None:
    assert set(names_of(timeout=2.5, retry=Retry(retries=3), lane=True)) == set()


def test_amounts_are_never_less_than_asked_for() -> None:
    assert megabytes(2**30) * 10**6 >= 2**30
    assert names_of(resources=Resources(cpu=0.5), compute="batch")["resources"]["cpu"] == 1
    assert names_of(resources=Resources(cpu=0.5), compute="kubernetes")["resources"]["cpu"] == 0.5


@pytest.mark.parametrize(
    ("cron", "target", "wanted"),
    [
        ("0 6 * * 1", "argo-workflows", "0 6 * * 1"),
        ("0 6 * * 1", "step-functions", "0 6 ? * MON *"),
        ("0 6 * * 0,7", "step-functions", "0 6 ? * SUN,SUN *"),
        ("0 6 * * 1-5", "step-functions", "0 6 ? * MON-FRI *"),
        ("*/5 6 1 * *", "step-functions", "*/5 6 1 * ? *"),
        ("0 6 * * MON#2", "step-functions", "0 6 ? * MON#2 *"),
    ],
)
def test_cron_in_the_words_of_a_target(cron: str, target: Any, wanted: str) -> None:
    assert cron_for(cron, target) == wanted


def test_lanes_share_the_items_out() -> None:
    assert lanes(10, 3) == ["0/3", "1/3", "2/3"]
    assert lanes(2, 8) == ["0/2", "1/2"]
    assert lanes(0, 8) == []
    assert lane_of("2/8") == (2, 8)
    assert is_empty((3, EMPTY))
    assert not is_empty((3, "0/2"))


def test_inputs_are_told_in_words() -> None:
    node = step("a").model_copy(
        update={
            "inputs": (
                ("c", b.Constant(value="x" * 200)),
                ("p", b.FromParameter(name="lr")),
                ("s", b.FromStep(step="load", output="train", path=(b.PathItem(kind="item", key="k"),))),
                ("i", b.FromItem(map="m", field="x")),
                ("f", b.FirstOf(choices=(b.FromStep(step="u", output="result"), b.FromStep(step="v", output="result")))),
            )
        }
    )

    class Record:
        params = {"lr": 0.1}

    found = inputs_of(node, Record())  # type: ignore[arg-type]
    assert found["c"].endswith("...")
    assert found["p"] == "parameter lr = 0.1"
    assert found["s"] == "output of load.train['k']"
    assert found["i"] == "item of m"
    assert found["f"] == "made of outputs of u, v"


def test_metaflows_error_without_its_greetings() -> None:
    lines = [
        "\x1b[35mMetaflow 2.19.39 executing x for user:y\x1b[0m",
        "Validating your flow...",
        "2026-01-02 14:25:56.847 [1795616755512799/double/3 (pid 9330)] [KILLED BY ORCHESTRATOR]",
        "    Flow failed:",
        "    no datastore",
        "",
    ]
    assert own_error(lines) == "Flow failed: no datastore"
    assert own_error([]) == "it ended without a word"
