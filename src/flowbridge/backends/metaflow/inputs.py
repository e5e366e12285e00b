"""Where a step's inputs come from, in words for its card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.ir import bindings as b

if TYPE_CHECKING:
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import RunRecord

_LONGEST = 80


def inputs_of(node: StepNode, record: RunRecord) -> dict[str, str]:
    """Return what each argument of a step is."""
    return {name: _told(binding, record) for name, binding in node.inputs}


def _told(binding: b.Binding, record: RunRecord) -> str:
    if isinstance(binding, b.Constant):
        return _short(binding.shown if binding.pickled is not None else repr(binding.value))
    if isinstance(binding, b.FromParameter):
        known = f" = {_short(repr(record.params[binding.name]))}" if binding.name in record.params else ""
        return f"parameter {binding.name}{_path(binding.path)}{known}"
    if isinstance(binding, b.FromStep):
        output = "" if binding.output in {"result", "*"} else f".{binding.output}"
        return f"output of {binding.step}{output}{_path((*binding.path, *binding.then))}"
    if isinstance(binding, b.FromItem):
        return f"item of {binding.map}{_path(binding.path)}"
    parts = list(dict.fromkeys(b.steps_in(binding)))
    return f"made of outputs of {', '.join(parts)}" if parts else binding.kind


def _path(path: b.Path) -> str:
    return "".join(f".{p.key}" if p.kind == "attr" else f"[{p.key!r}]" for p in path)


def _short(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
