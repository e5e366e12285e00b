"""Any DAG as a series-parallel form: what systems need that know only splits and joins.

A form is a name (one node), a `Series` (each part waits for the whole part before it) or a `Parallel` (branches that do not wait for
each other). A DAG has a form that says exactly what it says if and only if no four nodes make an N (a -> c, b -> c, b -> d and nothing
else between them). Where there is an N, something must wait for more than it needs. The least harm is done by a *cut*: everything up to a
level of the DAG ends before anything above it starts. Only as many cuts are made, and only among as few nodes, as the Ns need.

Every wait that is added goes from a lower level to a higher one (the level of a node is the length of the longest chain up to it). Hence, for
any durations, a form is never slower than barriers between all levels; and with equal durations it is as fast as the DAG itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True)
class Cut:
    """A place in a `Series` where a wait was added that the DAG does not ask for.

    Attributes:
        at: Number of the part that waits; it waits for all parts before it.
        early: A node before the cut.
        late: A node after the cut that waits for `early` without needing it.
    """

    at: int
    early: str
    late: str


@dataclass(frozen=True)
class Series:
    """Parts that run one after the other. `cuts` names the waits between them that were added."""

    parts: tuple[Form, ...]
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True)
class Parallel:
    """Branches that run beside each other."""

    branches: tuple[Form, ...]


Form = str | Series | Parallel


def series_parallel(needs: Mapping[str, Collection[str]]) -> Form | None:
    """Return the series-parallel form of a DAG; None for one without nodes.

    Args:
        needs: For each node, in the order in which equal ones are to stand, the nodes that must end before it starts.

    Raises:
        ValueError: The nodes wait for each other in a circle, or for a node that is not there.
    """
    if not needs:
        return None
    order = _Order(needs)
    root = _Part(order.everything)
    waiting = [root]
    while waiting:
        part = waiting.pop()
        part.split(order)
        waiting.extend(part.children)
    return root.form(order)


def nodes_of(form: Form) -> Iterator[str]:
    """Yield the nodes of a form, from its start to its end."""
    stack = [form]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            yield top
        else:
            stack.extend(reversed(top.parts if isinstance(top, Series) else top.branches))


def waits_of(form: Form) -> dict[str, frozenset[str]]:
    """Return for each node every node that the form makes it wait for, directly or not."""
    waits: dict[str, frozenset[str]] = {}
    stack: list[tuple[Form, frozenset[str]]] = [(form, frozenset())]
    while stack:
        top, before = stack.pop()
        if isinstance(top, str):
            waits[top] = before
        elif isinstance(top, Parallel):
            stack.extend((b, before) for b in top.branches)
        else:
            for part in top.parts:
                stack.append((part, before))
                before = before.union(nodes_of(part))
    return waits


def levels(needs: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return the nodes by the length of the longest chain up to them."""
    order = _Order(needs)
    found: list[list[str]] = [[] for _ in range(max(order.level, default=0))]
    for i, name in enumerate(order.names):
        found[order.level[i] - 1].append(name)
    return found


class _Order:
    """A DAG as sets of bits: bit i stands for the i-th node of a topological order."""

    def __init__(self, needs: Mapping[str, Collection[str]]) -> None:
        self.names = _sorted(needs)
        position = {name: i for i, name in enumerate(self.names)}
        count = len(self.names)
        self.everything = (1 << count) - 1
        self.below = [0] * count
        self.level = [1] * count
        direct: list[list[int]] = [[] for _ in range(count)]
        for i, name in enumerate(self.names):
            for needed in needs[name]:
                j = position[needed]
                direct[j].append(i)
                self.below[i] |= self.below[j] | 1 << j
                self.level[i] = max(self.level[i], self.level[j] + 1)
        self.above = [0] * count
        for i in reversed(range(count)):
            for j in direct[i]:
                self.above[i] |= self.above[j] | 1 << j


def _sorted(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Return the nodes, each after what it needs, otherwise as early in the given order as can be."""
    users: dict[str, list[str]] = {name: [] for name in needs}
    missing = {name: len(set(needed)) for name, needed in needs.items()}
    for name, needed in needs.items():
        for other in set(needed):
            if other not in users:
                raise ValueError(f"{name!r} waits for {other!r}, which is not there")
            users[other].append(name)
    import heapq  # noqa: PLC0415  (only here)

    rank = {name: i for i, name in enumerate(needs)}
    given = list(needs)
    ready = [rank[name] for name, count in missing.items() if not count]
    found: list[str] = []
    while ready:
        name = given[heapq.heappop(ready)]
        found.append(name)
        for user in users[name]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, rank[user])
    if len(found) < len(needs):
        raise ValueError(f"nodes wait for each other in a circle: {', '.join(sorted(set(needs) - set(found)))}")
    return found


def _bits(mask: int) -> Iterator[int]:
    """Yield the positions of the set bits, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass
class _Part:
    """A set of nodes on its way to become a form."""

    mask: int
    children: list[_Part] = field(default_factory=list)
    series: bool = False
    added: bool = False

    def split(self, order: _Order) -> None:
        """Find the parts of this set: branches, or what comes one after the other, or two sides of a cut."""
        if not self.mask & (self.mask - 1):
            return
        found = _components(order, self.mask)
        if len(found) == 1:
            self.series = True
            found = _chain(order, self.mask)
        if len(found) == 1:
            self.added = True
            found = _cut(order, self.mask)
        self.children = [_Part(mask) for mask in found]

    def form(self, order: _Order) -> Form:
        """Return the form of this set; children first, without recursion (a form may be thousands deep)."""
        parts = [self]
        for part in parts:
            parts.extend(part.children)
        done: dict[int, Form] = {}
        for part in reversed(parts):
            done[id(part)] = part.assemble(order, [done.pop(id(c)) for c in part.children])
        return done[id(self)]

    def assemble(self, order: _Order, forms: Sequence[Form]) -> Form:
        """Return the form of this set, given those of its children."""
        if not forms:
            return order.names[self.mask.bit_length() - 1]
        if not self.series:
            return Parallel(tuple(forms))
        parts: list[Form] = []
        cuts: list[Cut] = []
        for child, form in zip(self.children, forms, strict=True):
            if self.added and parts:
                cuts.append(_witness(order, self.children[0].mask, child.mask, len(parts)))
            if isinstance(form, Series):
                cuts.extend(Cut(c.at + len(parts), c.early, c.late) for c in form.cuts)
                parts.extend(form.parts)
            else:
                parts.append(form)
        return Series(tuple(parts), tuple(cuts))


def _components(order: _Order, mask: int) -> list[int]:
    """Return the sets of nodes that have nothing to do with each other, in order of their first nodes."""
    found = []
    while mask:
        component, reached = 0, mask & -mask
        while new := reached & ~component:
            low = new & -new
            i = low.bit_length() - 1
            component |= low
            reached |= (order.below[i] | order.above[i]) & mask
            if reached == mask:
                component = mask
        found.append(component)
        mask &= ~component
    return found


def _crossing(order: _Order, mask: int, ranked: Sequence[int]) -> Iterator[int]:
    """Yield, for each beginning of a ranked list of nodes, how many pairs across its end are in order already."""
    crossing = 0
    for i in ranked:
        crossing += (order.above[i] & mask).bit_count() - (order.below[i] & mask).bit_count()
        yield crossing


def _chain(order: _Order, mask: int) -> list[int]:
    """Return the longest list of sets of which each comes wholly before the next."""
    ranked = sorted(_bits(mask), key=lambda i: (order.below[i] & mask).bit_count())
    found, part = [], 0
    for size, (i, crossing) in enumerate(zip(ranked, _crossing(order, mask, ranked), strict=True), start=1):
        part |= 1 << i
        if crossing == size * (len(ranked) - size):
            found.append(part)
            part = 0
    return found


def _cut(order: _Order, mask: int) -> list[int]:
    """Return the nodes up to a level and those above it: the level where the least share of the waits across has to be added."""
    ranked = sorted(_bits(mask), key=lambda i: order.level[i])
    best: tuple[Fraction, int] | None = None
    for size, crossing in enumerate(_crossing(order, mask, ranked), start=1):
        if size == len(ranked) or order.level[ranked[size]] == order.level[ranked[size - 1]]:
            continue
        asked = Fraction(crossing, size * (len(ranked) - size))
        if best is None or asked > best[0]:
            best = (asked, size)
    if best is None:
        raise AssertionError("nodes of one level have nothing to do with each other, so they are branches")
    lower = sum(1 << i for i in ranked[: best[1]])
    return [lower, mask & ~lower]


def _witness(order: _Order, early: int, late: int, at: int) -> Cut:
    """Name a node after the cut and one before it that it does not need."""
    for i in _bits(late):
        spare = early & ~order.below[i]
        if spare:
            return Cut(at, order.names[spare.bit_length() - 1], order.names[i])
    raise AssertionError("a cut between nodes that are all in order is no cut")
