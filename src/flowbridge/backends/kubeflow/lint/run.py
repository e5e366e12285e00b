"""Runs all rules over a pipeline and reports what they find, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowbridge.backends.kubeflow.lint import containers, control, data, names, platform
from flowbridge.backends.kubeflow.lint.view import View
from flowbridge.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowbridge.backends.kubeflow.lint.view import Json

RULES: dict[str, Callable[[View], Iterator[str]]] = {**names.RULES, **control.RULES, **data.RULES, **containers.RULES, **platform.RULES}


class Problem(NamedTuple):
    """One broken rule, and where."""

    rule: str
    message: str


class PipelineRuleError(BackendError):
    """A compiled pipeline breaks a rule of the Kubeflow server, which would refuse it or run it wrongly."""

    def __init__(self, found: list[Problem]) -> None:
        self.problems = tuple(found)
        lines = "\n".join(f"  - {p.message} [{p.rule}]" for p in found)
        super().__init__(f"The compiled pipeline breaks rules of the Kubeflow server, nothing has been submitted:\n{lines}")


def problems(spec: Json, platform_spec: Json) -> list[Problem]:
    """Return every broken rule of a pipeline."""
    view = View(spec, platform_spec)
    return [Problem(rule, message) for rule, look in RULES.items() for message in look(view)]


def check(spec: Json, platform_spec: Json) -> None:
    """Let a pipeline pass, or say everything that is wrong with it.

    Raises:
        PipelineRuleError: A rule is broken.
    """
    found = problems(spec, platform_spec)
    if found:
        raise PipelineRuleError(found)
