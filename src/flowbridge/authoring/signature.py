"""What a function takes and returns, and how the arguments of a call fall on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flowbridge.authoring import annotations as a
from flowbridge.errors import suggest

Kind = inspect.Parameter


@dataclass(frozen=True)
class Argument:
    """One argument of a call.

    Attributes:
        name: Of the parameter; ``*0``, ``*1`` ... for those that fall on ``*args``.
        value: What was given.
        annotation: What the parameter wants.
    """

    name: str
    value: Any
    annotation: Any

    @property
    def shown(self) -> str:
        """Its name for messages."""
        return f"*args[{self.name[1:]}]" if self.name.startswith("*") else self.name


class Signature:
    """The signature of a function with its annotations resolved; looked at on first use, when all names are there."""

    def __init__(self, function: Callable[..., Any], names: Mapping[str, Any]) -> None:
        self._function = function
        self._names = names

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters, by name."""
        return dict(inspect.signature(self._function).parameters)

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The annotations, by name of the parameter."""
        return a.resolve(self._function, self._names)

    @cached_property
    def outputs(self) -> a.Outputs:
        """What the function returns."""
        return a.outputs_of(self.returns)

    @property
    def returns(self) -> Any:
        """The return annotation; `UNKNOWN` without one."""
        return self.hints.get("return", a.UNKNOWN)

    def wants(self, name: str) -> Any:
        """Return the annotation of a parameter; None fits where it is the default."""
        hint = self.hints.get(name, a.UNKNOWN)
        parameter = self.parameters.get(name)
        return a.union_of([hint, type(None)]) if parameter is not None and parameter.default is None else hint

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Argument], list[str]]:
        """Let the arguments of a call fall on the parameters.

        Returns:
            The arguments in the order of the parameters, and a problem for each that does not fit.
        """
        return _Binder(self).bind(args, kwargs)


class _Binder:
    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.found: dict[str, Argument] = {}
        self.problems: list[str] = []
        parameters = signature.parameters.values()
        self.positional = [p.name for p in parameters if p.kind in (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)]
        self.named = [p.name for p in parameters if p.kind in (Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)]
        self.rest = next((p.name for p in parameters if p.kind is Kind.VAR_POSITIONAL), None)
        self.others = next((p.name for p in parameters if p.kind is Kind.VAR_KEYWORD), None)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Argument], list[str]]:
        for name, value in zip(self.positional, args, strict=False):
            self.put(name, value, name)
        extra = args[len(self.positional) :]
        if extra and self.rest is None:
            takes = f"{len(self.positional)} argument{'' if len(self.positional) == 1 else 's'} by position"
            self.problems.append(f"it takes {takes}, and {len(args)} were given. Leave out {len(extra)}, or give them by name.")
        elif self.rest is not None:
            for i, value in enumerate(extra):
                self.put(f"*{i}", value, self.rest)
        for name, value in kwargs.items():
            self.by_name(name, value)
        self.look_for_missing(starred=bool(extra) and self.rest is not None)
        order = {name: i for i, name in enumerate(self.signature.parameters)}
        last = len(order)
        rank = {n: order.get(n, order.get(self.rest or "", last) if n.startswith("*") else last) for n in self.found}
        return sorted(self.found.values(), key=lambda argument: rank[argument.name]), self.problems

    def put(self, name: str, value: Any, parameter: str) -> None:
        self.found[name] = Argument(name, value, self.signature.wants(parameter))

    def by_name(self, name: str, value: Any) -> None:
        if name in self.found:
            self.problems.append(f"argument {name!r} is given twice, by position and by name. Leave out one.")
        elif name in self.named:
            self.put(name, value, name)
        elif self.others is not None:
            self.put(name, value, self.others)
        elif name in self.positional:
            self.problems.append(f"argument {name!r} can only be given by position.")
        else:
            takes = ", ".join(self.named) if self.named else "none by name"
            self.problems.append(f"there is no argument {name!r}.{suggest(name, self.named)} It takes: {takes}.")

    def look_for_missing(self, *, starred: bool) -> None:
        for parameter in self.signature.parameters.values():
            optional = parameter.default is not Kind.empty or parameter.kind in (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD)
            if parameter.name not in self.found and not optional:
                wanted = a.show(self.signature.wants(parameter.name))
                self.problems.append(f"argument {parameter.name!r} ({wanted}) is missing. Give it: {parameter.name}=...")
        if starred:
            self.fill_defaults()

    def fill_defaults(self) -> None:
        """Write out the defaults before ``*args``, which stand in the way of what is given by position."""
        for name in self.positional:
            default = self.signature.parameters[name].default
            if name not in self.found and default is not Kind.empty:
                self.found[name] = Argument(name, default, a.UNKNOWN)
