"""Options of steps and flows: every one reaches the graph, every mistake is told."""

from __future__ import annotations

from typing import Any

import pytest

from flowbridge import Environment, Resources, flow, step
from flowbridge.authoring.options import CALL_SETTINGS, STEP_SETTINGS, StepOptions
from flowbridge.errors import ConfigError
from flowbridge.ir.environment import Secret
from flowbridge.ir.flow import Schedule
from flowbridge.ir.policies import CachePolicy, Retry


def node(**settings):
    @step(**settings)
    def f(n: int) -> int:
        return n

    @flow
    def built(n: int) -> int:
        return f(n)

    return built.trace().graph.steps[0]


def test_resources():
    made = node(cpu="500m", memory="4Gi", memory_max="8Gi", gpu=1, gpu_type="a100", disk="10G", shm="64Mi", custom={"licence": 1})
    assert made.resources == Resources(
        cpu=0.5, memory=4 * 2**30, memory_max=8 * 2**30, gpu=1, gpu_type="a100", disk=10**10, shm=64 * 2**20, custom={"licence": 1}
    )
    assert node(resources=Resources(cpu=4, memory="1Gi"), memory="2Gi").resources == Resources(cpu=4, memory="2Gi")


def test_policies():
    made = node(retries=2, retry_delay="30s", backoff=2, timeout="2h", allow_failure=True, cache="7d", nodes=4, target="laptop", tags=["a"])
    assert made.retry == Retry(retries=2, delay=30, backoff=2)
    assert (made.timeout, made.allow_failure, made.nodes, made.target, made.tags) == (7200, True, 4, "laptop", ("a",))
    assert made.cache == CachePolicy(lifetime=7 * 86400)
    assert node(cache=True).cache == CachePolicy()
    assert node(cache=False).cache is None
    assert node(retries=1, retry_delay=0).retry.delay == 0


def test_environment(tmp_path):
    (tmp_path / "base.txt").write_text("numpy  # arrays\n")
    (tmp_path / "requirements.txt").write_text("# all\n-r base.txt\n\npandas==2.*\n--index-url https://index.example\n")
    wish = node(
        packages=["scikit-learn==1.7.*"],
        requirements=tmp_path / "requirements.txt",
        python="3.11",
        image="python:3.11",
        env={"B": "2", "A": "1"},
        secrets=["TOKEN"],
    ).environment
    assert wish.packages == ("scikit-learn==1.7.*",)
    assert wish.requirements == ("numpy", "pandas==2.*", "--index-url https://index.example")
    assert (wish.python, wish.image) == ("3.11", "python:3.11")
    assert wish.env == (("A", "1"), ("B", "2"))
    assert wish.secrets == (Secret(env="TOKEN", name="TOKEN"),)
    named = node(environment=Environment(python="3.12", secrets={"KEY": "cloud/key"}), image="x").environment
    assert (named.python, named.image, named.secrets) == ("3.12", "x", (Secret(env="KEY", name="cloud", key="key"),))


def test_requirements_are_found_beside_the_step(monkeypatch, tmp_path):
    (tmp_path / "mine.txt").write_text("httpx\n")
    module = tmp_path / "some_steps.py"
    module.write_text(
        "from flowbridge import step, flow\n\n@step(requirements='mine.txt')\ndef f() -> int:\n    return 1\n\n@flow\ndef g() -> int:\n    return f()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import some_steps

    assert some_steps.g.trace().graph.steps[0].environment.requirements == ("httpx",)


def test_platform_settings_go_through():
    made = node(metaflow={"kubernetes": {"queue": "x"}}, kubeflow={"labels": ["a"]})
    assert dict(made.platform) == {"metaflow": {"kubernetes": {"queue": "x"}}, "kubeflow": {"labels": ["a"]}}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"memory": "4GB"}, "memory: '4GB' is not an amount of memory"),
        ({"cpu": "many"}, "cpu: 'many' is not a number of cores"),
        ({"gpu": 1.5}, "gpu: 1.5 is not a number of GPUs"),
        ({"memori": "4Gi"}, r"Unknown setting 'memori' in step 'f'\. Did you mean 'memory'"),
        ({"after": []}, "Unknown setting 'after'"),
        ({"retries": -1}, "retries=-1: expected a whole number, 0 or more"),
        ({"retries": True}, "retries=True"),
        ({"retry_delay": "soon"}, "'soon' is not a length of time"),
        ({"backoff": 0.5}, "expected a factor of at least 1"),
        ({"timeout": "1 fortnight"}, "is not a length of time"),
        ({"allow_failure": "yes"}, "expected True or False"),
        ({"cache": "forever"}, "is not a length of time"),
        ({"packages": "numpy"}, r"write a list: packages=\['numpy'\]"),
        ({"packages": [3]}, "3 is not a text"),
        ({"python": 3.1}, "write it as a text like '3.11'"),
        ({"requirements": "nowhere.txt"}, "there is no such file"),
        ({"env": {"A": 1}}, "both name and value are texts"),
        ({"secrets": "TOKEN"}, r"secrets=\['TOKEN'\]"),
        ({"secrets": {"A": ""}}, "is not a secret"),
        ({"nodes": 0}, "at least 1"),
        ({"target": ""}, "expected a text"),
        ({"name": "my step"}, "cannot be the name of a step"),
        ({"name": "n" * 101}, "it has 101 letters, and 100 are the most"),
        ({"resources": {"cpu": 1}}, r"expected Resources\(...\), got a dict"),
        ({"environment": "x"}, r"expected Environment\(...\), got a str"),
        ({"metaflow": {"a": object()}}, "settings for 'metaflow'"),
    ],
)
def test_mistakes(settings, told):
    with pytest.raises(ConfigError, match=told):
        node(**settings)


def test_mistakes_in_calls():
    @step
    def f(n: int) -> int:
        return n

    with pytest.raises(ConfigError, match=r"step 'f': Unknown setting 'aftr'|Unknown setting 'aftr' in step 'f'"):
        f.options(aftr=[])
    with pytest.raises(ConfigError, match="expected a list of outputs"):
        f.options(after="x")
    with pytest.raises(ConfigError, match="at least 1"):
        f.options(parallel=0)


def test_requirements_that_go_in_circles(tmp_path):
    (tmp_path / "a.txt").write_text("-r a.txt\n")
    with pytest.raises(ConfigError, match="includes itself"):
        Environment(requirements=tmp_path / "a.txt").wish()


def test_every_setting_has_a_check():
    """A setting that is declared and not handled would be dropped without a word."""
    valid: dict[str, Any] = {
        "resources": Resources(),
        "environment": Environment(),
        "platform": {},
        "custom": {},
        "env": {},
        "cache": True,
        "allow_failure": True,
        "name": "x",
        "cpu": 1,
        "gpu": 1,
        "backoff": 1,
        "retries": 1,
        "nodes": 1,
        "parallel": 1,
        "batch": 1,
    }
    for name in CALL_SETTINGS:
        value = valid.get(
            name, [] if name in {"packages", "secrets", "tags", "after"} else {} if name in {"metaflow", "kubeflow"} else None
        )
        if name == "retry_delay":
            value = "1s"
        assert isinstance(StepOptions().change({name: value}, CALL_SETTINGS, "here"), StepOptions)
    assert "after" not in STEP_SETTINGS


def test_flow_options():
    @flow(name="named", tags=["x"], schedule="0 6 * * 1-5", timezone="Europe/Berlin", metaflow={"a": 1})
    def f(n: int) -> int:
        """Say what it does.

        And more.
        """
        return node_step(n)

    graph = f.trace().graph
    assert (graph.name, graph.doc, graph.tags) == ("named", "Say what it does.", ("x",))
    assert graph.schedule == Schedule(cron="0 6 * * 1-5", timezone="Europe/Berlin")
    assert dict(graph.platform) == {"metaflow": {"a": 1}}
    assert f.options(backend="local", wait=False).options(backend="inline").run_options == {"backend": "inline", "wait": False}


@step
def node_step(n: int) -> int:
    return n


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"schedule": "daily"}, "is not five fields"),
        ({"timezone": "UTC"}, "without a schedule"),
        ({"shedule": "x"}, "Did you mean 'schedule'"),
        ({"tags": "x"}, r"tags=\['x'\]"),
        ({"name": "a b"}, "cannot be the name of a flow"),
    ],
)
def test_flow_mistakes(settings, told):
    with pytest.raises(ConfigError, match=told):

        @flow(**settings)
        def f(n: int) -> int:
            return n


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backnd": "local"}, "Did you mean 'backend'"),
        ({"on_failure": "explode"}, "'finish' or 'stop'"),
        ({"wait": 1}, "True or False"),
        ({"max_parallel": 0}, "at least 1"),
    ],
)
def test_run_option_mistakes(settings, told):
    @flow
    def f(n: int) -> int:
        return node_step(n)

    with pytest.raises(ConfigError, match=told):
        f.options(**settings)
