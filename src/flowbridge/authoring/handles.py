"""What a step returns inside a flow: a stand-in that records access and refuses what only a value can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

from flowbridge.authoring.deferred import Broken, Comparison, Deferred, broken
from flowbridge.errors import FlowError

_ARITHMETIC = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "matmul": "@",
    "lshift": "<<",
    "rshift": ">>",
    "xor": "^",
    "divmod": "divmod",
}
_NO_ITEMS = "Use step.map(each(...)) for one task per item, or go through it inside a step; to unpack what a step returns, annotate the step with tuple[A, B]"


class Handle:
    """A value that will exist when the flow runs.

    Attribute and item access give further handles; comparisons give conditions for `when`. Everything that would need the value itself is
    an error that says what to write instead. Handles are made by calling steps inside a flow, never by hand.
    """

    __slots__ = ("_flowbridge_deferred",)
    __array_ufunc__ = None  # numpy then leaves comparisons with its own scalars to this class
    _flowbridge_deferred: Deferred

    def __init__(self, deferred: Deferred) -> None:
        object.__setattr__(self, "_flowbridge_deferred", deferred)

    def __repr__(self) -> str:
        return f"<{deferred_of(self).label}>"

    def __getattr__(self, name: str) -> Handle:
        if name.startswith("_"):
            raise AttributeError(f"{deferred_of(self).label} is not there while the flow is built, so it has no {name!r}")
        return Handle(_usable(self).attribute(name))

    def __getitem__(self, key: Any) -> Handle:
        deferred = _usable(self)
        if isinstance(key, Handle):
            _refuse(self, "an output cannot be the key of another output in a flow", "Use a step that takes both")
            return Handle(broken(deferred))
        return Handle(deferred.item(key))

    def __iter__(self) -> Iterator[Handle]:
        items = _usable(self).unpacked()
        if items is None:
            _refuse(self, "its items are not known while the flow is built", _NO_ITEMS)
            items = [broken(deferred_of(self))]
        return iter([Handle(item) for item in items])

    def __eq__(self, other: object) -> Handle:  # type: ignore[override]
        return cast("Handle", _conditions().comparison("==", self, other))

    def __ne__(self, other: object) -> Handle:  # type: ignore[override]
        return cast("Handle", _conditions().comparison("!=", self, other))

    def __lt__(self, other: object) -> Handle:
        return cast("Handle", _conditions().comparison("<", self, other))

    def __le__(self, other: object) -> Handle:
        return cast("Handle", _conditions().comparison("<=", self, other))

    def __gt__(self, other: object) -> Handle:
        return cast("Handle", _conditions().comparison(">", self, other))

    def __ge__(self, other: object) -> Handle:
        return cast("Handle", _conditions().comparison(">=", self, other))

    def __hash__(self) -> int:
        _refuse(
            self,
            "it cannot be looked up in a set or dict while the flow is built",
            "Compare it: when((x == 'a') | (x == 'b')), or use a step that looks it up",
        )
        return object.__hash__(self)

    def __and__(self, other: object) -> Handle:
        return cast("Handle", _conditions().combination("&", self, other))

    def __rand__(self, other: object) -> Handle:
        return cast("Handle", _conditions().combination("&", other, self))

    def __or__(self, other: object) -> Handle:
        return cast("Handle", _conditions().combination("|", self, other))

    def __ror__(self, other: object) -> Handle:
        return cast("Handle", _conditions().combination("|", other, self))

    def __invert__(self) -> Handle:
        return cast("Handle", _conditions().negation(self))

    def __bool__(self) -> bool:
        if isinstance(deferred_of(self), Comparison):
            _refuse(
                self,
                "it is not known while the flow is built",
                "Write `with when(condition):` for if, `&`, `|`, `~` for and, or, not, and (a < b) & (b < c)",
            )
        else:
            _refuse(
                self,
                "whether it is true is not known while the flow is built",
                "Write `with flowbridge.when(x):` in place of `if x:`, and `~` for not",
            )
        return True

    def __len__(self) -> int:
        _refuse(
            self,
            "its length is not known while the flow is built",
            "Use a step that returns the length, or step.map(each(...)) for one task per item",
        )
        return 1

    def __contains__(self, item: object) -> bool:
        _refuse(self, "what is in it is not known while the flow is built", "Use a step that returns a bool, and when(...)")
        return True

    def __int__(self) -> int:
        _refuse(self, "it cannot be turned into a number while the flow is built", "Use a step that does it")
        return 1

    __index__ = __int__

    def __float__(self) -> float:
        return float(self.__int__())

    def __complex__(self) -> complex:
        return complex(self.__int__())

    def __round__(self, digits: int | None = None) -> Handle:
        return _arithmetic(self, "round")

    def __str__(self) -> str:
        _refuse(self, "its text is not known while the flow is built", "Use a step that makes the text; repr(x) shows what x stands for")
        return repr(self)

    def __format__(self, spec: str) -> str:
        return str(self)

    def __fspath__(self) -> str:
        _refuse(self, "it cannot be used as a path while the flow is built", "Use a step that makes the path")
        return repr(self)

    def __bytes__(self) -> bytes:
        return str(self).encode()

    def __call__(self, *_: object, **__: object) -> Handle:
        """Refuse to be called: methods of outputs run in steps."""
        _refuse(self, "it cannot be called while the flow is built", "Use a step that takes the object and calls it")
        return Handle(broken(deferred_of(self)))

    def __setattr__(self, name: str, value: object) -> None:
        _refuse(self, f"its {name!r} cannot be set in a flow", "Use a step that returns a changed value")

    def __setitem__(self, key: object, value: object) -> None:
        _refuse(self, "its items cannot be set in a flow", "Use a step that returns a changed value")

    def __delitem__(self, key: object) -> None:
        _refuse(self, "its items cannot be deleted in a flow", "Use a step that returns a changed value")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            FlowError: Always.
        """
        raise FlowError(f"{deferred_of(self).label} stands for a value that is not there yet, so it cannot be copied or pickled")

    def __neg__(self) -> Handle:
        return _arithmetic(self, "-")

    def __pos__(self) -> Handle:
        return _arithmetic(self, "+")

    def __abs__(self) -> Handle:
        return _arithmetic(self, "abs")


def _arithmetic(handle: Handle, sign: str) -> Handle:
    _refuse(handle, f"it cannot be calculated with ({sign}) while the flow is built", "Use a step that calculates and returns the outcome")
    return Handle(broken(deferred_of(handle)))


def _calculation(sign: str) -> Callable[[Handle, object], Handle]:
    def calculate(self: Handle, _: object) -> Handle:
        return _arithmetic(self, sign)

    return calculate


for _name, _sign in _ARITHMETIC.items():
    for _form in (f"__{_name}__", f"__r{_name}__"):
        setattr(Handle, _form, _calculation(_sign))


def deferred_of(handle: Handle) -> Deferred:
    """Return what a handle stands for."""
    found: Deferred = object.__getattribute__(handle, "_flowbridge_deferred")
    return found


def _usable(handle: Handle) -> Deferred:
    """Return what a handle stands for.

    Raises:
        FlowError: Its flow has been built; it should not have left it.
    """
    deferred = deferred_of(handle)
    if deferred.tracer.over:
        raise FlowError(
            f"{deferred.label} was used after the flow {deferred.tracer.name!r} was built (in a step, a lambda or a global variable?). "
            f"A step gets outputs through its arguments alone: pass it as an argument.",
            deferred.tracer.name,
        )
    return deferred


def _refuse(handle: Handle, why: str, instead: str) -> None:
    deferred = _usable(handle)
    deferred.tracer.refuse(None if isinstance(deferred, Broken) else f"{deferred.label}: {why}. {instead}.")


def _conditions() -> Any:
    from flowbridge.authoring import conditions  # noqa: PLC0415  (conditions are made of handles, and handles make conditions)

    return conditions
