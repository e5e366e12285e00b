"""`container_step(...)`: a step that is any program in any language. Files in, files out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.authoring import annotations as a
from flowbridge.authoring import calls
from flowbridge.authoring import options as o
from flowbridge.authoring.signature import Signature
from flowbridge.authoring.tracing import current
from flowbridge.errors import ConfigError, FlowError, suggest
from flowbridge.ir.flow import ContainerSpec

if TYPE_CHECKING:
    from typing_extensions import Unpack

_PLACEHOLDER = re.compile(r"\{(inputs|outputs)\.([^}]*)\}")


class _Files(Signature):
    """The signature of a program: inputs by name, outputs by name."""

    def __init__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        super().__init__(_no_function, {})
        self.parameters = {name: Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in inputs}
        self.hints = {**inputs, "return": Path}
        self.outputs = _outputs(outputs)


def _no_function() -> None:
    """Stands where a function would be."""


def _outputs(outputs: Mapping[str, Any]) -> a.Outputs:
    if not outputs:
        return a.Outputs("none", (), type(None))
    if len(outputs) == 1:
        return a.Outputs("single", tuple(outputs.items()), next(iter(outputs.values())))
    return a.Outputs("fields", tuple(outputs.items()), a.UNKNOWN)


class ContainerStep:
    """A program in a container as a step of flows. Called inside a flow with its inputs by name, it returns its output, or its outputs by name."""

    def __init__(self, spec: ContainerSpec, signature: Signature, options: o.StepOptions) -> None:
        self._spec = spec
        self._signature = signature
        self._options = options

    @property
    def name(self) -> str:
        """The name that ids of its calls begin with."""
        return self._options.name

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """Add the step to the flow.

        Raises:
            FlowError: No flow is being built.
        """
        tracer = current()
        if tracer is None:
            raise self._outside()
        return calls.call(self._work(), tracer, args, inputs)

    def map(self, *args: Any, **inputs: Any) -> Any:
        """Add one task of the step per item to the flow.

        Raises:
            FlowError: No flow is being built.
        """
        tracer = current()
        if tracer is None:
            raise self._outside()
        work = self._work()
        if "batch" in inputs and "batch" not in work.signature.parameters:
            work = replace(work, options=work.options.change({"batch": inputs.pop("batch")}, o.CALL_SETTINGS, f"step {self.name!r}"))
        return calls.call_each(work, tracer, args, inputs)

    def options(self, **settings: Unpack[o.CallSettings]) -> ContainerStep:
        """Return the step with options changed.

        Raises:
            ConfigError: An option is unknown or malformed.
        """
        return ContainerStep(self._spec, self._signature, self._options.change(settings, o.CALL_SETTINGS, f"step {self.name!r}"))

    def _outside(self) -> FlowError:
        return FlowError(
            f"container step {self.name!r} was called outside of a flow. It is a program, not a function: call it inside a flow."
        )

    def _work(self) -> calls.Work:
        doc = " ".join(self._spec.command)
        return calls.Work(self.name, self._spec, f"a program in {self._spec.image}", self._signature, self._options, None, self._spec, doc)

    def __repr__(self) -> str:
        return f"<container step {self.name} in {self._spec.image}>"


def container_step(
    *,
    image: str,
    command: Sequence[str],
    inputs: Sequence[str] | Mapping[str, Any] = (),
    outputs: Sequence[str] | Mapping[str, Any] = (),
    **settings: Unpack[o.CommonSettings],
) -> ContainerStep:
    """Make a step of any program. It finds each input as a file and leaves each output as a file.

    Args:
        image: Container image.
        command: Program and arguments; ``{inputs.NAME}`` and ``{outputs.NAME}`` stand for the paths of files.
        inputs: Names of the inputs, or names and types.
        outputs: Names of the outputs, or names and types; without a type an output is a `Path`.
        settings: As of `step`. ``name`` is the file name of the program where it is left out.

    Raises:
        ConfigError: An option is unknown or malformed, a placeholder names nothing, or an output stands nowhere in the command.
    """
    if isinstance(command, str):
        raise ConfigError(f"container_step: command={command!r} is one text; write program and arguments as a list")
    name = settings.get("name") or re.sub(r"\W", "_", Path(command[0]).stem if command else "")
    where = f"container step {name!r}"
    taken = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(inputs, a.UNKNOWN)
    given = dict(outputs) if isinstance(outputs, Mapping) else dict.fromkeys(outputs, Path)
    for port in (*taken, *given):
        o.check_name(port, "input or output")
    _look_at_command(command, {"inputs": taken, "outputs": given}, where)
    options = o.StepOptions().change({**settings, "name": name}, o.STEP_SETTINGS, where)
    return ContainerStep(ContainerSpec(image=image, command=tuple(command)), _Files(taken, given), options)


def _look_at_command(command: Sequence[str], names: Mapping[str, Mapping[str, Any]], where: str) -> None:
    found = [match.groups() for part in command for match in _PLACEHOLDER.finditer(part)]
    for kind, name in found:
        if name not in names[kind]:
            raise ConfigError(f"{where}: {{{kind}.{name}}} in the command names nothing in {kind}=.{suggest(name, names[kind])}")
    for kind, known in names.items():
        for name in known:
            if (kind, name) not in found:
                raise ConfigError(
                    f"{where}: {name!r} in {kind}= stands nowhere in the command. Write {{{kind}.{name}}} where its path belongs."
                )
