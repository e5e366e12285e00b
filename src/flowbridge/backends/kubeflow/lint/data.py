"""Rules about parameters and artifacts: declared, given, of one type, and none that the server cannot carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.lint.view import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.lint.view import Task, View

LONGEST_VALUE = 10_000
_NUMBERS = ("NUMBER_INTEGER", "NUMBER_DOUBLE")


def all_given(view: View) -> Iterator[str]:
    """The server accepts a task without one of its inputs and fails when it gets there."""
    for task in view.tasks:
        item = task.spec.get("parameterIterator", {}).get("itemInput")
        for name, declared in view.declared_inputs(task.component).items():
            if name in task.inputs or name == item or declared.get("isOptional") or "defaultValue" in declared:
                continue
            yield f"{task.where} gives nothing for the input {name!r} of {task.component}"


def all_declared(view: View) -> Iterator[str]:
    """An input that the component does not declare is dropped."""
    for task in view.tasks:
        declared = view.declared_inputs(task.component)
        for name in task.inputs:
            if name not in declared:
                yield f"{task.where} gives {name!r}, which {task.component} does not declare"


def types_agree(view: View) -> Iterator[str]:
    """A value of another type fails in the driver of the task, when the run gets there."""
    for task in view.tasks:
        declared = view.declared_inputs(task.component)
        for name, source in task.inputs.items():
            wanted = declared.get(name, {}).get("parameterType")
            got = _type_of(view, task, source)
            if wanted is not None and got is not None and not _fits(wanted, got):
                yield f"{task.where}: input {name!r} is {wanted}, what it is given is {got}"


def _type_of(view: View, task: Task, source: Any) -> str | None:
    """Return the type of what an input is given; ``nothing`` where that does not exist."""
    if "componentInputParameter" in source:
        parent = view.declared_inputs(task.dag).get(source["componentInputParameter"])
        return "nothing" if parent is None else str(parent.get("parameterType"))
    if "taskOutputParameter" in source:
        taken = source["taskOutputParameter"]
        producer = view.dags[task.dag].get(taken.get("producerTask"), {})
        outputs = view.declared_outputs(producer.get("componentRef", {}).get("name", ""))
        output = outputs.get(taken.get("outputParameterKey"))
        return "nothing" if output is None else str(output.get("parameterType"))
    if "runtimeValue" in source:
        return _json_type(source["runtimeValue"].get("constant"))
    return None


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "NUMBER_INTEGER"
    names = {float: "NUMBER_DOUBLE", str: "STRING", list: "LIST", dict: "STRUCT"}
    return names.get(type(value), "null")


def _fits(wanted: str, got: str) -> bool:
    """Say whether the driver takes it: any number for a number; nothing is made out of a text."""
    return wanted == got or (wanted == "NUMBER_DOUBLE" and got in _NUMBERS)


def loop_items(view: View) -> Iterator[str]:
    """The list comes in as an input, and its items have the type that the tasks inside take."""
    for task in view.tasks:
        iterator = task.spec.get("parameterIterator")
        if iterator is None:
            continue
        declared = view.declared_inputs(task.component)
        items = iterator.get("items", {}).get("inputParameter")
        if items is None:
            yield f"{task.where} loops over a list written into the pipeline; it must come from a task"
        elif items not in task.inputs or declared.get(items, {}).get("parameterType") != "LIST":
            yield f"{task.where} loops over {items!r}, which is not an input of it of type LIST"
        if declared.get(iterator.get("itemInput"), {}).get("parameterType") != "NUMBER_INTEGER":
            yield f"{task.where}: its item {iterator.get('itemInput')!r} is not declared NUMBER_INTEGER, so indices would not arrive"


def local_loop_names(view: View) -> Iterator[str]:
    """Kfp's local runner finds a loop's list by name, and takes any other output given to the loop for an item."""
    for task in view.tasks:
        items = task.spec.get("parameterIterator", {}).get("items", {}).get("inputParameter")
        for name, producer, output in task.outputs_taken() if items is not None else ():
            if name != items:
                yield f"{task.where}: besides its list a loop cannot take the output {name!r} under kfp's local runner"
            elif name != f"pipelinechannel--{producer}-Output" or output != "Output":
                yield f"{task.where}: kfp's local runner finds the list only as 'pipelinechannel--{producer}-Output', not {name!r}"


def no_artifact_inputs(view: View) -> Iterator[str]:
    """An artifact of a scheme that the server does not know fails whoever takes it."""
    for task in view.tasks:
        if task.spec.get("inputs", {}).get("artifacts"):
            yield f"{task.where} takes an artifact; flowbridge's URIs are unknown to the server, it would fail"
    for name, component in view.components.items():
        if component.get("inputDefinitions", {}).get("artifacts"):
            yield f"component {name!r} declares artifact inputs"


def artifact_types(view: View) -> Iterator[str]:
    """Artifacts are registered by a schema title that the server and its pages know."""
    for name, component in view.components.items():
        for output, declared in component.get("outputDefinitions", {}).get("artifacts", {}).items():
            title = declared.get("artifactType", {}).get("schemaTitle", "")
            if not title.startswith("system."):
                yield f"component {name!r}: the artifact {output!r} has no schema title that begins with 'system.'"


def outputs_written(view: View) -> Iterator[str]:
    """A declared output parameter that is not written fails the task, so the pod must be told where it goes."""
    for name in view.components:
        container = view.container(name)
        told = " ".join(container.get("args", ())) if container is not None else ""
        for output in view.declared_outputs(name):
            if container is not None and "{{$}}" not in told and f"{{{{$.outputs.parameters['{output}'].output_file}}}}" not in told:
                yield f"component {name!r} declares the output {output!r}, but its container is not told where to write it"


def root_defaults(view: View) -> Iterator[str]:
    """The server checks given values against the type, and defaults when the run gets there."""
    for name, declared in view.declared_inputs(ROOT).items():
        if "defaultValue" not in declared:
            continue
        got = _json_type(declared["defaultValue"])
        if not _fits(declared.get("parameterType", ""), got):
            yield f"parameter {name!r} is {declared.get('parameterType')}, its default is {got}"
        if len(str(declared["defaultValue"])) > LONGEST_VALUE:
            yield f"the default of parameter {name!r} is longer than {LONGEST_VALUE} characters"


RULES: dict[str, Callable[[View], Iterator[str]]] = {
    "input-missing": all_given,
    "input-unknown": all_declared,
    "input-type": types_agree,
    "loop-items": loop_items,
    "local-loop": local_loop_names,
    "artifact-input": no_artifact_inputs,
    "artifact-type": artifact_types,
    "output-unwritten": outputs_written,
    "parameter-default": root_defaults,
}
