"""The small parts of compiling: names, resources, parameters, soft failures, sizes, gaps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as randomly
from hypothesis import strategies as st

from flowbridge.backends.kubeflow import parameters
from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.backends.kubeflow.bootstrap import install
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.gaps import find_gaps
from flowbridge.backends.kubeflow.names import LONGEST, Names, slug
from flowbridge.backends.kubeflow.options import KubeflowOptions, options_of, pod_store_options
from flowbridge.backends.kubeflow.resources import container_resources, cores, platform_config, quantity
from flowbridge.backends.kubeflow.size import ARGO_LIMIT, pods, size_of
from flowbridge.backends.kubeflow.soft import soft_nodes
from flowbridge.backends.kubeflow.wheel import Wheel, build_wheel, place_wheel
from flowbridge.backends.support import table_gaps
from flowbridge.errors import ConfigError
from flowbridge.ir.bindings import Constant, FromStep
from flowbridge.ir.flow import FlowGraph
from flowbridge.ir.graph import regions
from flowbridge.ir.ports import Parameter
from flowbridge.ir.resources import Resources
from tests.unit.backends.kubeflow.flows import chain, crossed, item, items, nested, options, profile, step, training, uneven

# --- names ---


@randomly(st.lists(st.text(max_size=80), max_size=12))
def test_names_are_unique_and_fit_the_server(texts: list[str]) -> None:
    names = Names("finish")
    given = [names.give(text) for text in texts]
    assert len(set(given)) == len(given)
    for name in given:
        assert name[0].isascii()
        assert name[0].isalpha()
        assert len(name) <= LONGEST
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert not name.endswith("-")
        assert f"{name}-driver" not in given
        assert name != "finish"


def test_slug_keeps_what_it_can() -> None:
    assert slug("prep.Clean_Up") == "prep-clean-up"
    assert slug("2nd") == "s-2nd"
    assert slug("") == "s"


# --- resources ---


def test_quantities_are_exact() -> None:
    assert [quantity(n) for n in (4 * 2**30, 500_000_000, 2**20 + 1, 1536 * 2**20)] == ["4Gi", "500000000", "1048577", "1536Mi"]
    assert [cores(n) for n in (2, 0.5, 0.1, 1.0001, 0.3)] == ["2", "500m", "100m", "1001m", "300m"]


@pytest.mark.kubeflow
def test_resources_and_platform_settings_are_those_of_the_sdk() -> None:
    """kfp and kfp-kubernetes, asked for the same pod, write the same settings."""
    pytest.importorskip("kfp")
    from tests.unit.backends.kubeflow.sdk_pod import settings_and_resources

    settings, resources, retry = settings_and_resources()
    chosen = KubeflowOptions(
        memory_overhead=0,
        image_pull_secrets=("registry",),
        annotations={"note": "x"},
        tolerations=({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},),
        volumes=({"path": "/data", "claim": "data"}, {"path": "/cert", "secret": "cert"}, {"path": "/conf", "config_map": "conf"}),
    )
    node = options().steps[0]
    assert platform_config(node, chosen) == settings
    ours = container_resources(node.resources, chosen)
    ours["resourceMemoryLimit"] = ours["resourceMemoryRequest"] = "500M"
    assert ours == resources
    task = compile_flow(training(), profile()).spec["components"]["comp-train-map-loop"]["dag"]["tasks"]["train"]
    assert task["retryPolicy"] == retry


def test_request_is_the_limit() -> None:
    got = container_resources(Resources(cpu=2, memory=2**30), KubeflowOptions())
    assert got["resourceCpuLimit"] == got["resourceCpuRequest"] == "2"
    assert got["resourceMemoryLimit"] == got["resourceMemoryRequest"] == "1280Mi"


def test_memory_may_grow_to_the_limit_of_the_pod() -> None:
    got = container_resources(Resources(memory=2**30, memory_max=2**32), KubeflowOptions())
    assert (got["resourceMemoryRequest"], got["resourceMemoryLimit"]) == ("1280Mi", "4352Mi")


@pytest.mark.parametrize(
    ("settings", "wanted"), [({"memory_overhead": "1Gi"}, "2Gi"), ({"memory_overhead": 0}, "1Gi"), ({"flavor": "vertex"}, "1Gi")]
)
def test_what_runs_beside_the_step_has_memory_of_its_own(settings: Any, wanted: str) -> None:
    """The pod's limit is that of all its processes; on Vertex it chooses a machine, which has room beside the step anyway."""
    got = container_resources(Resources(memory=2**30), KubeflowOptions(**settings))
    assert (got["resourceMemoryRequest"], got["resourceMemoryLimit"]) == (wanted, wanted)
    assert got["memoryLimit"] == 2**30 * int(wanted[0]) / 1e9


def test_pod_whose_step_declares_no_memory_has_no_limit() -> None:
    assert container_resources(Resources(), KubeflowOptions()) == {}


def test_gpu_type_is_a_node_label_or_a_resource() -> None:
    slice_ = step("a", resources=Resources(gpu=1, gpu_type="nvidia.com/mig-1g.10gb"))
    assert container_resources(slice_.resources, KubeflowOptions())["accelerator"]["resourceType"] == "nvidia.com/mig-1g.10gb"
    assert platform_config(slice_, KubeflowOptions()) == {}
    typed = step("a", resources=Resources(gpu=1, gpu_type="A100"))
    config = platform_config(typed, KubeflowOptions(node_selector={"pool": "gpu"}, gpu_label="gpu"))
    assert config == {"nodeSelector": {"labels": {"pool": "gpu", "gpu": "A100"}}}


def test_disk_class_makes_a_volume() -> None:
    config = platform_config(step("a", resources=Resources(disk=2**30)), KubeflowOptions(disk_class="fast"))
    (volume,) = config["genericEphemeralVolume"]
    assert (volume["size"], volume["storageClassName"], volume["mountPath"]) == ("1Gi", "fast", "/flowbridge/scratch")


def test_raw_settings_join_those_of_the_profile() -> None:
    raw = {"podMetadata": {"labels": {"b": "2"}}, "tolerations": [{"key": "y"}], "imagePullPolicy": "Never"}
    node = step("a", platform=(("kubeflow", raw), ("metaflow", {"x": 1})))
    config = platform_config(node, KubeflowOptions(labels={"a": "1"}, tolerations=({"key": "x"},), image_pull_policy="Always"))
    assert config == {
        "imagePullPolicy": "Never",
        "podMetadata": {"labels": {"a": "1", "b": "2"}},
        "tolerations": [{"key": "x"}, {"key": "y"}],
    }


# --- parameters ---


def parameter(default: Any = ..., schema: Any = None) -> Parameter:
    given = {} if default is ... else {"required": False, "default": default}
    return Parameter(name="p", json_schema=schema, **given)


@pytest.mark.parametrize(
    ("schema", "default", "kind"),
    [
        ({"type": "integer"}, 3, "NUMBER_INTEGER"),
        ({"type": "number"}, 0.5, "NUMBER_DOUBLE"),
        ({"type": "number"}, 1, "NUMBER_DOUBLE"),
        ({"type": "boolean"}, True, "BOOLEAN"),
        ({"type": "array"}, [1], "LIST"),
        ({"type": "object"}, {"a": {"b": 1}}, "STRUCT"),
        ({"type": "string"}, "x", "STRING"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, "STRING"),
        ({"type": "array"}, ["{{workflow.name}}"], "STRING"),
        ({"type": "integer"}, 2**60, "STRING"),
        (None, None, "STRING"),
    ],
)
def test_parameter_has_the_type_that_carries_its_default(schema: Any, default: Any, kind: str) -> None:
    declared = parameters.declare(parameter(default, schema))
    assert declared["parameterType"] == kind
    assert "{{" not in json.dumps(declared)
    assert parameters.given(FlowGraph(name="f", parameters=(parameter(default, schema),)), {"p": declared["defaultValue"]}) == {}


@pytest.mark.parametrize(
    ("schema", "value", "read"),
    [
        ({"type": "integer"}, 3.0, 3),
        ({"type": "number"}, 3, 3.0),
        ({"type": "array", "items": {"type": "integer"}}, [1.0, 2.0], [1, 2]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1.0}, {"a": 1}),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": 1.0, "x": 0.5}, {"n": 1, "x": 0.5}),
        ({"type": "string"}, "3", "3"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "3", 3),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "plain", "plain"),
    ],
)
def test_given_value_is_read_as_the_flow_wants_it(schema: Any, value: Any, read: Any) -> None:
    got = parameters.given(FlowGraph(name="f", parameters=(parameter(..., schema),)), {"p": value})
    assert got == {"p": read}
    assert type(got["p"]) is type(read)


def test_text_that_is_no_number_is_told() -> None:
    flow = FlowGraph(name="f", parameters=(parameter(..., {"type": "integer"}),))
    with pytest.raises(ValueError, match="parameter 'p': 'abc' is not JSON of type integer"):
        parameters.given(flow, {"p": "abc"})


def test_shown_value_is_harmless() -> None:
    """Runs that flowbridge submits show their parameters, except what Argo would touch or the server not take."""
    text = parameter(..., {"type": "string"})
    assert parameters.shown(text, "s3://x") == "s3://x"
    assert parameters.shown(text, "{{pod.name}}") == ""
    assert parameters.shown(text, "x" * 2000) == ""
    assert parameters.shown(parameter([0.1], {"type": "array"}), ["{{x}}"]) == [0.1]
    assert parameters.shown(parameter(None), {"a": 1}) == '{"a": 1}'


# --- soft failures ---


def soft(flow: FlowGraph) -> set[str]:
    return set(soft_nodes(flow, regions(flow)))


def test_failures_are_native_where_the_server_leaves_out_just_what_depends_on_them() -> None:
    for flow in (chain(5), crossed(), training(), nested()):
        assert soft(flow) == set()


def test_failure_is_soft_where_a_loop_would_take_others_along() -> None:
    assert soft(uneven()) == {"unused", "beside"}


def test_failure_is_soft_where_a_step_inside_a_waiting_loop_does_not_need_it() -> None:
    flow = FlowGraph(
        name="f",
        steps=(step("a"), step("free", inputs=item("m"), scope=("m",)), step("bound", "a", inputs=item("m"), scope=("m",))),
        maps=(items("m", Constant(value=[1])),),
    )
    assert soft(flow) == {"a"}


def test_inner_expansion_is_soft_where_the_outer_loop_is_used_without_it() -> None:
    flow = FlowGraph(
        name="f",
        steps=(
            step("list", inputs=item("outer"), scope=("outer",)),
            step("leaf", inputs=item("inner"), scope=("outer", "inner")),
            step("use", "list"),
        ),
        maps=(items("outer", Constant(value=[1])), items("inner", FromStep(step="list", output="result"), scope=("outer",))),
    )
    assert soft(flow) == {"inner", "leaf"}


# --- sizes ---


def test_pods_of_a_chain() -> None:
    flow = chain(6)
    assert pods(flow, regions(flow), checked=False).fixed == 6 * 2 + 2 + 2


def test_pods_of_a_map_over_a_literal_and_over_what_is_not_known() -> None:
    flow = uneven()
    assert pods(flow, regions(flow), checked=True).fixed == 2 + 2 + 2 + 2 + (2 + 1 + 3 * (1 + 3 * 2))
    told = KubeflowBackend().notes(nested(), profile())[0]
    assert "and 8 for each item of outer, and 3 for each item of inner (of 2 items)" in told


def test_large_run_is_refused_with_the_way_out() -> None:
    """What a server cannot bring to its end is told before it is submitted, and is no obstacle under the local runner."""
    backend, flow = KubeflowBackend(), chain(900)
    (gap,) = backend.gaps(flow, profile(host="https://kfp.example.com"))
    assert "902 tasks" in gap
    assert "split the flow" in gap
    assert backend.gaps(flow, profile(host="local")) == []
    assert any("split the flow" in note for note in backend.notes(flow, profile()))
    assert backend.gaps(chain(300), profile(host="https://kfp.example.com")) == []


def test_large_map_is_told_to_use_batches() -> None:
    flow = FlowGraph(name="f", steps=(step("a", inputs=item("m"), scope=("m",)),), maps=(items("m", Constant(value=list(range(2000)))),))
    (gap,) = KubeflowBackend().gaps(flow, profile(host="kfp.example.com"))
    assert "batch=" in gap
    batched = FlowGraph(name="f", steps=flow.steps, maps=(items("m", Constant(value=list(range(2000))), batch=100),))
    assert KubeflowBackend().gaps(batched, profile(host="kfp.example.com")) == []


def test_estimate_is_near_what_servers_showed() -> None:
    """A chain of 200 tasks that share a component was 297 kB as an Argo object."""
    flow = chain(200)
    size = size_of(compile_flow(flow, profile()), pods(flow, regions(flow), checked=False))
    assert 200_000 < size.spec < 400_000
    assert size.spec < ARGO_LIMIT


# --- gaps ---


def test_all_gaps_are_told_at_once() -> None:
    """Five different gaps, five lines, each with the step and the way out."""
    flow = FlowGraph(
        name="f",
        steps=(
            step("half", resources=Resources(gpu=0.5)),
            step("elsewhere", target="laptop"),
            step("fpga", resources=Resources(custom=(("fpga", 1.0),))),
            step("gang", nodes=4, platform=(("kubeflow", {"nodeAffinity": [{}]}),)),
            step("raw", platform=(("kubeflow", {"nodeSelectors": {}}),)),
            step("ok"),
        ),
    )
    backend = KubeflowBackend()
    told = [*table_gaps(flow, backend.support), *backend.gaps(flow, profile(host="kfp.example.com"))]
    assert len(told) == 5
    for name in ("half", "elsewhere", "fpga", "gang", "raw"):
        (line,) = [text for text in told if name in text]
        assert line.endswith((".", "?"))
    assert any("nodeSelector'" in line for line in told)


def test_store_on_this_machine_is_a_gap_for_a_real_server_only() -> None:
    backend = KubeflowBackend()
    (gap,) = backend.gaps(chain(1), profile(store=".flowbridge", host="kfp.example.com"))
    assert "s3://" in gap
    assert backend.gaps(chain(1), profile(store=".flowbridge", host="local")) == []
    mounted = {"volumes": [{"path": "/data", "claim": "shared"}]}
    assert backend.gaps(chain(1), profile(store="/data/flowbridge", host="kfp.example.com", **mounted)) == []


# --- settings ---


def test_unknown_setting_is_told_with_the_near_one() -> None:
    with pytest.raises(ConfigError, match="namespace"):
        options_of(profile(namespce="ml"))


def test_wrong_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\[profiles.cluster.kubeflow\].*verify_tls"):
        options_of(profile(verify_tls="perhaps"))
    with pytest.raises(ConfigError, match="name of the Kubernetes secret/key in it"):
        options_of(profile(secrets={"KEY": "store"}))


def test_credentials_of_the_store_stay_here() -> None:
    """They never reach a compiled file; where they are needed, a Kubernetes secret gives them."""
    chosen = profile()
    chosen.store_options = {
        "key": "AKIA",
        "secret": "s3cr3t",
        "client_kwargs": {"endpoint_url": "http://minio:9000", "a_token": "t"},
    }
    assert pod_store_options(chosen, options_of(chosen)) == {"client_kwargs": {"endpoint_url": "http://minio:9000"}}
    data = compile_flow(chain(1), chosen).data.decode()
    assert "AKIA" not in data
    assert "s3cr3t" not in data
    assert "minio:9000" in data


@pytest.mark.parametrize(
    ("source", "wheel", "wanted"),
    [
        ("flowbridge==0.1.0", None, ["flowbridge[s3]==0.1.0"]),
        ("flowbridge[s3,arrow]==0.1.0", None, ["flowbridge[s3,arrow]==0.1.0"]),
        ("https://example.com/flowbridge.whl", None, ["flowbridge[s3] @ https://example.com/flowbridge.whl"]),
        (
            "dist/flowbridge-0.1.0-py3-none-any.whl",
            ("flowbridge-0.1.0-py3-none-any.whl", "b/cd"),
            ["fsspec", "s3fs", "store:b/cd#flowbridge-0.1.0-py3-none-any.whl#[s3]"],
        ),
    ],
)
def test_pods_install_what_the_profile_says(source: str, wheel: tuple[str, str] | None, wanted: list[str]) -> None:
    chosen = profile(install=source)
    assert install(chosen, options_of(chosen), Wheel(*wheel) if wheel else None) == wanted


def test_wheel_of_what_is_running_installs(tmp_path: Path) -> None:
    """A version that no index has travels through the store: pip takes the wheel, and it is the same every time."""
    name, data = build_wheel()
    build_wheel.cache_clear()
    assert build_wheel() == (name, data)
    (tmp_path / name).write_bytes(data)
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(tmp_path / name)]
    subprocess.run(command, check=True, capture_output=True)
    assert (target / "flowbridge" / "backends" / "kubeflow" / "pod.py").is_file()
    assert not list(target.rglob("*.orig"))


def test_wheel_that_does_not_exist_is_told() -> None:
    with pytest.raises(ConfigError, match="uv build --wheel"):
        place_wheel(KubeflowOptions(install="dist/none.whl"), None)  # type: ignore[arg-type]
    assert place_wheel(KubeflowOptions(install="flowbridge==1"), None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "way"), [("securityContext", "in the image"), ("podAffinity", "nodeAffinity"), ("enabledSharedMemory", "shm=")]
)
def test_setting_that_no_pod_gets_is_told_with_what_to_use(name: str, way: str) -> None:
    graph = FlowGraph(name="f", steps=(step("a", platform=(("kubeflow", {name: {}}),)),))
    (gap,) = find_gaps(graph, profile())
    assert gap.startswith(f"step a: kubeflow=: {name!r} is not possible")
    assert way in gap
