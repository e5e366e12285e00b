"""Rules about containers: which the server merges, and where text is replaced in them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from flowbridge.backends.kubeflow.lint.view import PLACEHOLDER, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.lint.view import View

WHOLE = frozenset(
    {
        "{{$.pipeline_job_uuid}}",
        "{{$.pipeline_job_name}}",
        "{{$.pipeline_job_resource_name}}",
        "{{$.pipeline_task_name}}",
        "{{$.pipeline_task_uuid}}",
    }
)
ATTEMPT, EXECUTOR_INPUT = "{{retries}}", "{{$}}"
LONGEST_ARGUMENT = 128 * 1024
_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_OUTPUT = re.compile(r"\{\{\$\.outputs\.(?:parameters|artifacts)\['([^']+)'\]\.(?:output_file|uri|path)\}\}")
_DUMMIES = frozenset({"argostub/createpvc", "argostub/deletepvc"})


def no_collapse(view: View) -> Iterator[str]:
    """The server keys components by their container alone: of two with equal ones, the first one's inputs and outputs count for both."""
    first: dict[str, str] = {}
    for name, component in view.components.items():
        container = view.container(name)
        if container is None:
            continue
        key = json.dumps(container, sort_keys=True)
        other = first.setdefault(key, name)
        if other != name and _interface(component) != _interface(view.components[other]):
            yield f"components {other!r} and {name!r} have equal containers and different inputs or outputs: the server takes them for one"


def _interface(component: object) -> object:
    return {k: v for k, v in component.items() if k != "executorLabel"} if isinstance(component, dict) else component


def constants_whole(view: View) -> Iterator[str]:
    """The server replaces a placeholder only where it is the whole constant; Argo replaces others, also inside text."""
    for task in view.tasks:
        for name, source in task.inputs.items():
            constant = source.get("runtimeValue", {}).get("constant")
            for _, text in texts(constant):
                if "{{" in text and text not in WHOLE:
                    yield f"{task.where}: the constant of {name!r} holds {_shown(text)}, which is replaced or left as it stands"


def argument_placeholders(view: View) -> Iterator[str]:
    """Only inputs, outputs and the executor input are filled in, in arguments; the attempt where there is a retry policy."""
    for name in view.components:
        container = view.container(name)
        for argument in container.get("args", ()) if container is not None else ():
            for found in PLACEHOLDER.findall(argument):
                problem = _argument_problem(view, name, found)
                if problem:
                    yield f"component {name!r}: {found} in its arguments {problem}"
            if argument.startswith(('{"Concat":', '{"IfPresent":')):
                yield f"component {name!r}: the server passes {argument[:12]}...}} on as text"


def _argument_problem(view: View, component: str, found: str) -> str:
    if found == EXECUTOR_INPUT:
        return ""
    if found == ATTEMPT:
        bare = [t.where for t in view.users.get(component, ()) if "retryPolicy" not in t.spec]
        return f"stays as it is without a retry policy: {bare[0]}" if bare else ""
    taken = _INPUT.fullmatch(found)
    if taken:
        return "" if taken[1] in view.declared_inputs(component) else "names no input of it"
    written = _OUTPUT.fullmatch(found)
    if written:
        outputs = view.components[component].get("outputDefinitions", {})
        return "" if written[1] in {**outputs.get("parameters", {}), **outputs.get("artifacts", {})} else "names no output of it"
    return "is not filled in there"


def no_other_placeholders(view: View) -> Iterator[str]:
    """In commands, images and variables nothing is filled in, but Argo replaces what it knows."""
    for name in view.components:
        container = view.container(name) or {}
        for part in ("command", "image", "env"):
            for _, text in texts(container.get(part)):
                if "{{" in text:
                    yield f"component {name!r}: {_shown(text)} in its {part} is replaced by Argo or stays as it is"


def no_stray_templates(view: View) -> Iterator[str]:
    """Argo's templating runs over everything: names for people and defaults too."""
    stray = [(f"{t.where}: its title", t.spec.get("taskInfo")) for t in view.tasks]
    stray += [("the inputs of the pipeline", view.spec.get("root", {}).get("inputDefinitions"))]
    stray += [("the platform settings", view.platform)]
    for where, value in stray:
        for _, text in texts(value):
            if "{{" in text:
                yield f"{where}: {_shown(text)} would be replaced by Argo's templating"


def arguments_short(view: View) -> Iterator[str]:
    """Linux refuses a longer one."""
    for label, executor in view.executors.items():
        container = executor.get("container", {})
        for argument in (*container.get("command", ()), *container.get("args", ())):
            if len(argument.encode()) >= LONGEST_ARGUMENT:
                yield f"executor {label!r} has an argument of {len(argument)} characters; Linux takes {LONGEST_ARGUMENT}"


def images(view: View) -> Iterator[str]:
    """A container has an image and a command, and not one of the images that stand for volumes."""
    for label, executor in view.executors.items():
        container = executor.get("container", {})
        if not container.get("image") or container.get("image") in _DUMMIES:
            yield f"executor {label!r}: {container.get('image')!r} is not an image to run"
        if not container.get("command"):
            yield f"executor {label!r} has no command"


def _shown(text: str) -> str:
    found = PLACEHOLDER.search(text)
    return repr(found[0] if found else text[:40])


RULES: dict[str, Callable[[View], Iterator[str]]] = {
    "component-collapse": no_collapse,
    "placeholder-in-constant": constants_whole,
    "placeholder-in-argument": argument_placeholders,
    "placeholder-elsewhere": no_other_placeholders,
    "template-in-text": no_stray_templates,
    "argument-length": arguments_short,
    "image": images,
}
