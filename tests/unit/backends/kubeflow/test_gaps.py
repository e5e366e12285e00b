"""What a server, Argo or Kubernetes would only refuse when a run is there already is told before, with the way out."""

from __future__ import annotations

import pytest

from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.backends.kubeflow.lower import retry_policy
from flowbridge.backends.kubeflow.options import KubeflowOptions, options_of
from flowbridge.backends.kubeflow.resources import launcher_config, platform_config
from flowbridge.errors import ConfigError
from flowbridge.ir.environment import EnvironmentWish, Secret
from flowbridge.ir.flow import FlowGraph, StepNode
from flowbridge.ir.policies import Retry
from flowbridge.ir.resources import Resources
from tests.unit.backends.kubeflow.flows import profile, step


def gaps(node: StepNode, **settings: object) -> list[str]:
    return KubeflowBackend().gaps(FlowGraph(name="one", steps=(node,)), profile(**settings))


# --- retries ---


def test_long_steps_are_tried_again_too() -> None:
    """Argo counts the longest duration from the start of the first attempt, so it has to be longer than any task."""
    policy = retry_policy(Retry(retries=2, delay=1.5, backoff=3))
    assert policy == {"maxRetryCount": 2, "backoffDuration": "2s", "backoffFactor": 3.0, "backoffMaxDuration": "315360000s"}


@pytest.mark.parametrize("backoff", [1.5, 2.25])
def test_backoff_that_is_no_whole_number_is_a_gap(backoff: float) -> None:
    (gap,) = gaps(step("train", retry=Retry(retries=2, delay=10, backoff=backoff)))
    assert gap.startswith(f"step train: backoff={backoff:g} ")
    assert gap.endswith(f"or backoff={int(backoff) + 1}.")
    assert gaps(step("train", retry=Retry(retries=2, delay=10, backoff=2))) == []
    assert gaps(step("train", retry=Retry(backoff=backoff))) == [], "it is never tried again"


# --- time limits ---


def test_pod_lives_for_all_attempts_that_it_makes_with_more_memory() -> None:
    """Each of them may take as long as the step may."""
    plain, growing = Resources(memory=2**30), Resources(memory=2**30, memory_max=2**32)  # 1, 2 and 4 GiB
    once, thrice = (step("a", timeout=3600.0, resources=resources) for resources in (plain, growing))
    assert platform_config(once, KubeflowOptions())["activeDeadlineSeconds"] == "4200"
    assert platform_config(thrice, KubeflowOptions())["activeDeadlineSeconds"] == "11400"
    assert platform_config(thrice, KubeflowOptions(), items=2)["activeDeadlineSeconds"] == "22200"
    assert launcher_config(once, KubeflowOptions())["activeDeadlineSeconds"] == "4800"
    assert launcher_config(thrice, KubeflowOptions())["activeDeadlineSeconds"] == "13200"


# --- names of objects in the cluster ---


def with_secret(env: str, name: str, key: str | None = None) -> StepNode:
    return step("a", environment=EnvironmentWish(secrets=(Secret(env=env, name=name, key=key),)))


@pytest.mark.parametrize(
    ("secret", "wrong"),
    [
        (("TOKEN", "TOKEN"), "cannot be called 'TOKEN'"),
        (("TOKEN", "my_hub", "token"), "cannot be called 'my_hub'"),
        (("TOKEN", "hub-", "token"), "cannot be called 'hub-'"),
        (("TOKEN", "a..b", "token"), "cannot be called 'a..b'"),
        (("TOKEN", "x" * 254, "token"), "cannot be called 'xxx"),
        (("TOKEN", "hub", "a/b"), "'a/b' is no key"),
    ],
)
def test_secret_that_cannot_exist_is_a_gap(secret: tuple[str, ...], wrong: str) -> None:
    """Its pod would wait for it for ever."""
    (gap,) = gaps(with_secret(*secret), host="https://kfp.example.com")
    assert gap.startswith(f"step a: secret {secret[1]!r}: ")
    assert wrong in gap
    assert gap.endswith("or in the step, secrets={'TOKEN': 'secret/key'}.")
    assert gaps(with_secret(*secret), host="local") == [], "it is a variable of this machine there"


def test_profile_says_where_a_secret_is() -> None:
    """`secrets=["TOKEN"]` is at home on a laptop; the cluster keeps it under a name and a key."""
    where = {"TOKEN": "hub/token"}
    assert gaps(with_secret("TOKEN", "TOKEN"), host="https://kfp.example.com", secrets=where) == []
    every_pod = platform_config(None, KubeflowOptions(secrets=where))
    assert platform_config(with_secret("TOKEN", "TOKEN"), KubeflowOptions(secrets=where)) == every_pod
    first, second = platform_config(with_secret("HUB", "TOKEN"), KubeflowOptions(secrets=where))["secretAsEnv"]
    assert (first["secretName"], first["keyToEnv"]) == ("hub", [{"envVar": "TOKEN", "secretKey": "token"}])
    assert (second["secretName"], second["keyToEnv"]) == ("hub", [{"envVar": "HUB", "secretKey": "token"}])
    (own, _) = platform_config(with_secret("X", "db"), KubeflowOptions(secrets=where))["secretAsEnv"][::-1]
    assert (own["secretName"], own["keyToEnv"]) == ("db", [{"envVar": "X", "secretKey": "X"}])


@pytest.mark.parametrize(
    "setting",
    [
        {"secrets": {"KEY": "Store/key"}},
        {"secrets": {"KEY": "store/the key"}},
        {"image_pull_secrets": ["my_registry"]},
        {"volumes": [{"path": "/data", "claim": "Data"}]},
        {"volumes": [{"path": "/cert", "secret": "-cert"}]},
        {"volumes": [{"path": "/conf", "config_map": "conf."}]},
    ],
)
def test_settings_name_what_can_exist(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"\[profiles.cluster.kubeflow\].* can be called"):
        options_of(profile(**setting))
