"""What a step returned, split into its outputs and saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.worker.failure import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.artifacts.reference import Reference
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.flow import StepNode


def split(node: StepNode, value: Any) -> list[Any]:
    """Return the values of a step's outputs, in the order of its ports.

    Raises:
        OutputError: The value does not fit the step's annotation.
    """
    if node.output_kind == "none":
        return []
    if node.output_kind == "single":
        return [value]
    names = [port.name for port in node.outputs]
    if node.output_kind == "tuple":
        return _tuple(node, value, len(names))
    return _fields(node, value, names)


def _tuple(node: StepNode, value: Any, count: int) -> list[Any]:
    if not isinstance(value, (tuple, list)):
        raise OutputError(
            f"step {node.id} is annotated to return {_annotation(node)}, but it returned {_short(value)}, of type {type(value).__name__}"
        )
    if len(value) != count:
        raise OutputError(f"step {node.id} is annotated to return {_annotation(node)}, {count} values, but it returned {len(value)}")
    return list(value)


def _fields(node: StepNode, value: Any, names: list[str]) -> list[Any]:
    missing = [name for name in names if not hasattr(value, name)]
    if missing:
        raise OutputError(
            f"step {node.id} is annotated to return the fields {', '.join(names)}, but what it returned, of type {type(value).__name__}, "
            f"has no {' or '.join(missing)}: {_short(value)}"
        )
    return [getattr(value, name) for name in names]


def _annotation(node: StepNode) -> str:
    return f"tuple[{', '.join(port.type for port in node.outputs)}]"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  (any class may have a broken repr; the message must come out all the same)
        text = f"<its repr raised {type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004  (a line's width)


def save(node: StepNode, values: list[Any], store: Store, hints: Mapping[str, Any]) -> tuple[tuple[str, Reference], ...]:
    """Save each output and return the references, by name."""
    saved = []
    for port, value in zip(node.outputs, values, strict=True):
        name = f"output {port.name!r} of step {node.id}" if len(node.outputs) > 1 else f"the value returned by step {node.id}"
        saved.append((port.name, store.save(value, hint=hints.get(port.name), name=name)))
    return tuple(saved)
