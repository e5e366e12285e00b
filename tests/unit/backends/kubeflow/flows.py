"""Flows written as plain IR, one for each shape the compiler has to lower, and the profiles they are compiled with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flowbridge.ir.bindings import Constant, FirstOf, FromItem, FromParameter, FromStep
from flowbridge.ir.control import MapNode, Truth
from flowbridge.ir.environment import EnvironmentWish, Secret
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.policies import Retry
from flowbridge.ir.ports import Parameter, Port
from flowbridge.ir.resources import Resources

RESULT = (Port(name="result", type="int"),)


def profile(store: str = "s3://ml/flowbridge", **kubeflow: Any) -> Any:
    """A profile with everything fixed that would otherwise follow this machine."""
    settings = {"image": "python:3.11", "install": "flowbridge==0.1.0", **kubeflow}
    return SimpleNamespace(name="cluster", backend="kubeflow", store=store, store_options={}, trust=True, kubeflow=settings)


def step(step_id: str, *needs: str, **options: Any) -> StepNode:
    """A step that takes the results of others."""
    inputs = options.pop("inputs", ()) + tuple((n.replace(".", "_"), FromStep(step=n, output="result")) for n in needs)
    name = options.pop("name", step_id)
    return StepNode(id=step_id, name=name, code=CodeRef(module="flows", qualname=name), inputs=inputs, **{"outputs": RESULT, **options})


def items(map_id: str, source: Any, **options: Any) -> MapNode:
    """A map over one list."""
    return MapNode(id=map_id, sources=(("x", source),), **options)


def item(map_id: str) -> tuple[tuple[str, FromItem], ...]:
    """The input that takes the item of a map."""
    return (("x", FromItem(map=map_id, field="x")),)


def chain(length: int) -> FlowGraph:
    """Steps in a row that all have one interface."""
    steps = tuple(step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(length))
    return FlowGraph(name="chain", steps=steps)


def crossed() -> FlowGraph:
    """A DAG that is not series-parallel, with order-only edges."""
    return FlowGraph(
        name="crossed",
        steps=(step("a"), step("b"), step("c", "a", "b"), step("d", "b"), step("e", "a", after=("d",)), step("f", "c", "e")),
    )


def training() -> FlowGraph:
    """The flow of the documentation: several outputs, a map over a parameter, a branch."""
    lrs = Parameter(
        name="lrs", type="list[float]", json_schema={"type": "array", "items": {"type": "number"}}, required=False, default=[0.1, 0.3]
    )
    path = Parameter(name="path", type="str", json_schema={"type": "string"})
    ready = Truth(value=FromStep(step="select", output="result"))
    return FlowGraph(
        name="training",
        parameters=(path, lrs),
        steps=(
            step(
                "load", inputs=(("path", FromParameter(name="path")),), outputs=(Port(name="train"), Port(name="test")), output_kind="tuple"
            ),
            step(
                "train",
                inputs=(("data", FromStep(step="load", output="train")), *item("train.map")),
                scope=("train.map",),
                resources=Resources(cpu=2, memory=4 * 2**30),
                retry=Retry(retries=2, delay=10, backoff=2),
            ),
            step("select", "train"),
            step("publish", "select", guards=(ready,), outputs=(), output_kind="none"),
        ),
        maps=(items("train.map", FromParameter(name="lrs"), parallel=8),),
        result=(("result", FromStep(step="select", output="result")),),
        result_kind="single",
    )


def nested() -> FlowGraph:
    """A map in a map, the inner list made in each outer item, and steps at every depth."""
    return FlowGraph(
        name="nested",
        steps=(
            step("plan"),
            step("inner_plan", inputs=item("outer"), scope=("outer",)),
            step("leaf", inputs=item("inner"), scope=("outer", "inner")),
            step("row", "leaf", scope=("outer",)),
            step("total", "row"),
        ),
        maps=(
            items("outer", FromStep(step="plan", output="result")),
            items("inner", FromStep(step="inner_plan", output="result"), scope=("outer",), batch=2, parallel=1),
        ),
    )


def uneven() -> FlowGraph:
    """A map of a flow of which only one step is used outside: the failure of the other must not take that user along."""
    return FlowGraph(
        name="uneven",
        steps=(
            step("used", inputs=item("part"), scope=("part",)),
            step("unused", inputs=item("part"), scope=("part",)),
            step("beside", "unused", scope=("part",)),
            step("collect", "used"),
        ),
        maps=(items("part", Constant(value=[1, 2, 3])),),
    )


def branches() -> FlowGraph:
    """Guarded steps and the first of them that ran."""
    either = FirstOf(choices=(FromStep(step="left", output="result"), FromStep(step="right", output="result")))
    guard = Truth(value=FromStep(step="ask", output="result"))
    return FlowGraph(
        name="branches",
        steps=(step("ask"), step("left", guards=(guard,)), step("right", "ask"), step("join", inputs=(("x", either),))),
    )


def options() -> FlowGraph:
    """Every option that reaches the pod."""
    wish = EnvironmentWish(
        image="ghcr.io/me/train:1",
        env=(("MODE", "fast {{workflow.name}}"),),
        secrets=(Secret(env="TOKEN", name="hub", key="token"), Secret(env="PASSWORD", name="db")),
    )
    return FlowGraph(
        name="options",
        steps=(
            step(
                "heavy",
                resources=Resources(cpu=0.5, memory=500_000_000, gpu=1, gpu_type="NVIDIA-A100", disk=10 * 2**30, shm=2**30),
                environment=wish,
                timeout=7200.0,
                platform=(("kubeflow", {"podMetadata": {"labels": {"team": "ml"}}, "imagePullPolicy": "Always"}),),
            ),
            step("light", "heavy", allow_failure=True),
        ),
    )


ALL = {f.__name__: f for f in (crossed, training, nested, uneven, branches, options)}


class RandomFlow:
    """A flow of any shape: steps and maps at any depth, each needing any that stand before it; a map's body is written in one go.

    Args:
        draw: Takes a list and returns one of its members.
    """

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.steps: list[StepNode] = []
        self.maps: list[MapNode] = []

    def flow(self, most: int = 8) -> FlowGraph:
        self.body((), most)
        return FlowGraph(name="random", steps=tuple(self.steps), maps=tuple(self.maps))

    def body(self, scope: tuple[str, ...], most: int) -> None:
        for _ in range(self.draw(list(range(1, most + 1)))):
            if most > 1 and self.draw([False, False, True]):
                self.map(scope, most // 2)
            else:
                self.step(scope)

    def step(self, scope: tuple[str, ...]) -> None:
        needs = self.some()
        after = tuple(n for n in self.some() if n not in needs)
        retry, allow = self.draw([Retry(), Retry(retries=2)]), self.draw([False, True])
        self.steps.append(step(f"step_{len(self.steps)}", *needs, scope=scope, after=after, retry=retry, allow_failure=allow))

    def map(self, scope: tuple[str, ...], most: int) -> None:
        needs, name = self.some(), f"map_{len(self.maps)}"
        source = FromStep(step=needs[0], output="result") if needs else Constant(value=[1, 2])
        self.maps.append(items(name, source, scope=scope, parallel=self.draw([None, 2])))
        self.body((*scope, name), most)

    def some(self) -> list[str]:
        """Return up to two of the steps so far."""
        names = [s.id for s in self.steps]
        return list(dict.fromkeys(self.draw(names) for _ in range(self.draw([0, 0, 1, 2])) if names))
