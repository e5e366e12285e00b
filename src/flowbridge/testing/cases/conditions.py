"""when, otherwise, first: what is skipped, what that skips, and what goes on."""

from __future__ import annotations

from typing import NamedTuple

from flowbridge import each, first, flow, otherwise, step, when
from flowbridge.testing.case import Case


class Model(NamedTuple):
    """A value whose field is compared."""

    accuracy: float
    name: str


@step
def number(n: int) -> int:
    return n


@step
def is_even(n: int) -> bool:
    return n % 2 == 0


@step
def train(accuracy: float) -> Model:
    return Model(accuracy, "m")


@step
def say(word: str, n: int = 0) -> str:
    return f"{word}{n}"


@step
def count(words: list[str]) -> int:
    return len(words)


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@flow
def either(n: int) -> str:
    x = number(n)
    with when(is_even(x)):
        a = say("even", x)
    with otherwise():
        b = say("odd", x)
    return first(a, b)


@flow
def compared(n: int) -> list[str]:
    """Every comparison, and, or, not."""
    x, zero = number(n), number(0)
    words = []
    conditions = [x == 1, x != 1, x < 1, x <= 1, x > 1, x >= 1, (x > 0) & (x < 3), (x == 0) | (x == 9), ~(x == 1), zero < x]
    for i, condition in enumerate(conditions):
        with when(condition):
            words.append(say(str(i)))
    return [first(w, say("no")) for w in words]


@flow
def by_field(accuracy: float) -> str:
    model = train(accuracy)
    with when(model.accuracy > 0.9):
        published = say(model.name)
    return first(published, say("kept"))


@flow
def by_parameter(publish: bool, n: int) -> str:
    with when(publish):
        with when(n > 2):
            a = say("big")
        with otherwise():
            b = say("small")
        c = say(first(a, b), n)
    return first(c, say("off"))


@flow
def chain_of_skips(n: int) -> str:
    """What needs a skipped value is skipped; what only comes after it is not."""
    with when(number(n) > 10):
        a = say("a")
    b = say(a)
    after = say.options(after=[b])("after")
    return first(b, after)


@flow
def maybe(x: int) -> str:
    with when(is_even(x)):
        word = say("even", x)
    return word


@flow
def skips_in_map(n: int) -> int:
    """A collected list leaves skipped items out."""
    return count(maybe.map(each(numbers(n))))


@flow
def map_of_rest(n: int) -> list[str]:
    """A map over a list that some items are missing from: it is as long as what is there."""
    words = maybe.map(each(numbers(n)))
    return say.map(each(words), n=7)


@flow
def map_in_when(n: int) -> int:
    """A whole map that is skipped skips who needs its list."""
    with when(number(n) > 2):
        words = say.map("x", each(numbers(n)))
        size = count(words)
    with otherwise():
        small = number(-1)
    return first(size, small)


@flow
def collected_when(n: int) -> int:
    with when(number(n) > 2):
        words = say.map("x", each(numbers(n)))
    return first(count(words), number(-5))


CASES = [
    Case(
        "when taken",
        "The branch whose condition holds runs; the other is skipped.",
        either,
        {"n": 4},
        result="even4",
        states={"say": "done", "say_2": "skipped"},
    ),
    Case("otherwise taken", "And the other way round.", either, {"n": 3}, result="odd3", states={"say": "skipped", "say_2": "done"}),
    Case(
        "comparisons",
        "All six comparisons, and, or, not, over outputs.",
        compared,
        {"n": 1},
        result=["00", "no0", "no0", "30", "no0", "50", "60", "no0", "no0", "90"],
    ),
    Case("condition on a field", "A field of an output can be compared.", by_field, {"accuracy": 0.95}, result="m0"),
    Case(
        "condition on a field, not taken",
        "And skips when it does not hold.",
        by_field,
        {"accuracy": 0.5},
        result="kept0",
        states={"say": "skipped"},
    ),
    Case("nested when", "Conditions nest; both must hold.", by_parameter, {"publish": True, "n": 1}, result="small01"),
    Case(
        "nested when, off",
        "An outer condition that does not hold skips everything inside.",
        by_parameter,
        {"publish": False, "n": 9},
        result="off0",
        states={"say": "skipped", "say_2": "skipped", "say_3": "skipped"},
    ),
    Case(
        "skips spread with data, not with order",
        "What needs a skipped value is skipped; what only comes after it runs.",
        chain_of_skips,
        {"n": 1},
        result="after0",
        states={"say": "skipped", "say_2": "skipped", "say_3": "done"},
    ),
    Case(
        "skips in a map",
        "A collected list leaves skipped items out.",
        skips_in_map,
        {"n": 5},
        result=3,
        states={"maybe.say": {"done": 3, "skipped": 2}},
    ),
    Case(
        "map over what is left",
        "A map over a list with items left out has as many tasks as items.",
        map_of_rest,
        {"n": 4},
        result=["even07", "even27"],
    ),
    Case("map in when, taken", "A map may stand under a condition.", map_in_when, {"n": 3}, result=3),
    Case(
        "map in when, skipped",
        "A skipped map runs nothing and skips who needs its list.",
        map_in_when,
        {"n": 1},
        result=-1,
        states={"count": "skipped"},
    ),
    Case("skipped map collected outside", "The list of a skipped map is skipped, not empty.", collected_when, {"n": 1}, result=-5),
]
