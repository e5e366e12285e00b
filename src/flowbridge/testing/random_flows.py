"""Flows made by chance, and a plain reading of what each must give: whatever shape they take, every backend must agree.

A program is a list of statements over two kinds of variables, whole numbers and lists of them. `as_flow` writes it with flowbridge's
own words; `read` goes through it statement by statement in plain Python, where a skipped value is the object `SKIPPED`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from flowbridge import Flow, each, first, flow, otherwise, step, when

SKIPPED = object()
KEPT = 6
"""How many variables of each kind a program returns."""


@step
def number(n: int) -> int:
    return n


@step
def add(a: int, b: int) -> int:
    return (a + b) % 1000


@step
def split(n: int) -> tuple[int, int]:
    return n // 2, n % 3


@step
def numbers(n: int) -> list[int]:
    return list(range(n % 4))


@step
def scale(x: int, by: int) -> int:
    return (x * by + 1) % 1000


@step
def total(xs: list[int]) -> int:
    return sum(xs) % 1000


@step(allow_failure=True)
def no_sevens(n: int) -> int:
    if n % 7 == 0:
        raise ValueError(f"{n} is a multiple of seven")
    return n


@flow
def sub(x: int, y: int) -> int:
    """What a map of a flow runs for each item: a branch, and a map inside."""
    with when(x > y):
        big = add(x, y)
    with otherwise():
        small = total(scale.map(each(numbers(x)), by=y))
    return first(big, small)


@flow
def uneven(x: int, y: int) -> int:
    """Some items of its map are skipped."""
    with when(x != y):
        value = add(x, y)
    return value


@dataclass
class Statement:
    """One line of a program: `target = verb(*arguments)`, or a block under a condition."""

    verb: str
    target: str = ""
    arguments: tuple[Any, ...] = ()
    body: list[Statement] = field(default_factory=list)
    other: list[Statement] = field(default_factory=list)


@dataclass
class Program:
    """Statements, and the variables that the flow returns."""

    seed: int
    statements: list[Statement]
    returned: list[str]


def make(seed: int, size: int = 12) -> Program:
    """Return the program of a seed, of about `size` statements."""
    writer = _Writer(random.Random(seed))
    statements = writer.block(size, depth=0)
    numbers_, lists = writer.numbers[-KEPT:], writer.lists[-KEPT:]
    return Program(seed, statements, numbers_ + lists)


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.numbers: list[str] = ["n"]
        self.lists: list[str] = []
        self.counter = 0

    def new(self, kind: list[str]) -> str:
        self.counter += 1
        name = f"v{self.counter}"
        kind.append(name)
        return name

    def a_number(self) -> Any:
        if self.numbers and self.chance.random() < 0.85:
            return self.chance.choice(self.numbers)
        return self.chance.randrange(10)

    def a_list(self) -> Any:
        if self.lists and self.chance.random() < 0.8:
            return self.chance.choice(self.lists)
        return tuple(self.chance.randrange(10) for _ in range(self.chance.randrange(4)))

    def block(self, size: int, depth: int) -> list[Statement]:
        return [self.statement(depth) for _ in range(size)]

    def statement(self, depth: int) -> Statement:
        verbs = ["number", "add", "add", "split", "numbers", "scale.map", "scale.map", "total", "no_sevens", "first"]
        verbs += ["sub.map", "uneven.map"] + (["when", "when"] if depth < 2 else [])
        verb = self.chance.choice(verbs)
        if verb == "when":
            return self.branch(depth)
        if verb in {"scale.map", "sub.map", "uneven.map"}:
            arguments: tuple[Any, ...] = (self.a_list(), self.a_number())
            return Statement(verb, self.new(self.lists), arguments)
        if verb == "numbers":
            return Statement(verb, self.new(self.lists), (self.a_number(),))
        if verb == "total":
            return Statement(verb, self.new(self.numbers), (self.a_list(),))
        count = {"add": 2, "first": 2}.get(verb, 1)
        arguments = tuple(self.a_number() for _ in range(count))
        if verb == "first" and not any(isinstance(a, str) for a in arguments):
            verb = "add"
        if verb == "split":
            return Statement(verb, f"{self.new(self.numbers)} {self.new(self.numbers)}", arguments)
        return Statement(verb, self.new(self.numbers), arguments)

    def branch(self, depth: int) -> Statement:
        if not self.numbers:
            return Statement("number", self.new(self.numbers), (3,))
        op = self.chance.choice(["==", "!=", "<", "<=", ">", ">="])
        condition = (self.chance.choice(self.numbers), op, self.a_number())
        body = self.block(self.chance.randrange(1, 4), depth + 1)
        other = self.block(self.chance.randrange(3), depth + 1)
        return Statement("when", "", condition, body, other)


STEPS = {"number": number, "add": add, "split": split, "numbers": numbers, "total": total, "no_sevens": no_sevens}
OPS: dict[str, Any] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def as_flow(program: Program) -> Flow[Any, Any]:
    """Return the program as a flow; it returns a list with, for each returned variable, the value or -1 where it was skipped."""

    def body(n: int) -> list[Any]:
        names: dict[str, Any] = {"n": n}
        _write(program.statements, names)
        return [first(names[v], number.options(name="missing")(-1)) for v in program.returned]

    return flow(name=f"random_{program.seed}")(body)


def _value(names: dict[str, Any], argument: Any) -> Any:
    if isinstance(argument, str):
        return names[argument]
    return list(argument) if isinstance(argument, tuple) else argument


def _write(statements: list[Statement], names: dict[str, Any]) -> None:
    for line in statements:
        if line.verb == "when":
            left, op, right = line.arguments
            with when(OPS[op](names[left], _value(names, right))):
                _write(line.body, names)
            if line.other:
                with otherwise():
                    _write(line.other, names)
            continue
        values = [_value(names, a) for a in line.arguments]
        if line.verb == "first":
            out: Any = first(*(v for v in values if not isinstance(v, int)), *(number(v) for v in values if isinstance(v, int)))
        elif line.verb == "scale.map":
            out = scale.map(each(values[0]), by=values[1])
        elif line.verb == "sub.map":
            out = sub.map(each(values[0]), y=values[1])
        elif line.verb == "uneven.map":
            out = uneven.map(each(values[0]), y=values[1])
        else:
            out = STEPS[line.verb](*values)  # type: ignore[operator]
        targets = line.target.split()
        names.update(zip(targets, out, strict=True) if len(targets) > 1 else [(targets[0], out)])


def read(program: Program, n: int) -> list[Any]:
    """Return what the flow of a program must return, found without flowbridge."""
    names: dict[str, Any] = {"n": n}
    _read(program.statements, names, runs=True)
    return [-1 if names[v] is SKIPPED else names[v] for v in program.returned]


def _read(statements: list[Statement], names: dict[str, Any], *, runs: bool) -> None:
    for line in statements:
        values = [_value(names, a) for a in line.arguments if line.verb != "when"]
        if line.verb == "when":
            left, op, right = names[line.arguments[0]], line.arguments[1], _value(names, line.arguments[2])
            known = runs and left is not SKIPPED and right is not SKIPPED
            holds = known and bool(OPS[op](left, right))
            _read(line.body, names, runs=known and holds)
            _read(line.other, names, runs=known and not holds)
            continue
        targets = line.target.split()
        if line.verb == "first":
            handles = [v for v, a in zip(values, line.arguments, strict=True) if isinstance(a, str)]
            plain = [v for v, a in zip(values, line.arguments, strict=True) if not isinstance(a, str)]
            left_over = [v for v in handles if v is not SKIPPED] + (plain if runs else [])
            names[targets[0]] = left_over[0] if left_over else SKIPPED
        elif not runs or any(v is SKIPPED for v in values):
            names.update(dict.fromkeys(targets, SKIPPED))
        else:
            out = _PLAIN[line.verb](*values)
            names.update(zip(targets, out, strict=True) if len(targets) > 1 else [(targets[0], out)])


def _plain_sub(x: int, y: int) -> int:
    return (x + y) % 1000 if x > y else sum((i * y + 1) % 1000 for i in range(x % 4)) % 1000


_PLAIN: dict[str, Any] = {
    "number": lambda n: n,
    "add": lambda a, b: (a + b) % 1000,
    "split": lambda n: (n // 2, n % 3),
    "numbers": lambda n: list(range(n % 4)),
    "total": lambda xs: sum(xs) % 1000,
    "no_sevens": lambda n: SKIPPED if n % 7 == 0 else n,
    "scale.map": lambda xs, by: [(x * by + 1) % 1000 for x in xs],
    "sub.map": lambda xs, y: [_plain_sub(x, y) for x in xs],
    "uneven.map": lambda xs, y: [(x + y) % 1000 for x in xs if x != y],
}
