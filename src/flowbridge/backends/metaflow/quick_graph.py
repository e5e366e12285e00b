"""Metaflow's graph code in linear time.

Metaflow finds out how splits and joins nest by walking every *path* through the graph (``FlowGraph._traverse_graph``, three of the checks in
``lint.py``), recursively: twenty diamonds in a row are a million paths and never finish, a chain of a thousand steps overflows the stack. It
also takes each step's source apart by itself (``inspect.getsourcelines``: most of the time for large flows), and all of that again in
every task's process. `install` replaces exactly those functions by ones that visit each step once and read the file once, and that give the
same graph and the same complaints. It does so only for versions of Metaflow that were compared (see docs/decisions/0004-metaflow-graph.md).
"""

# ruff: noqa: SLF001  (what is replaced is private to Metaflow; the versions it was compared with are named)
from __future__ import annotations

import ast
import inspect
import linecache
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.kept_graph import kept
from flowbridge.backends.metaflow.own import metaflow_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST_KNOWN = (2, 18)
LAST_KNOWN = (2, 19)
"""The first and the last minor version whose graph code was compared with this one."""
_CONTEXTS = 16
"""Of a graph whose splits are not joined, a step can be reached in many contexts; so many are looked at before lint says what is wrong."""

Context = tuple[tuple[str, ...], tuple[str, ...]]

originals: dict[str, Any] = {}
"""What `install` replaced."""


def is_known(version: str) -> bool:
    """Say whether a version of Metaflow was compared."""
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    return FIRST_KNOWN <= (major, minor) <= LAST_KNOWN


def install() -> bool:
    """Make Metaflow's graph code linear; say whether it is now. Leaves a version of Metaflow that is not known as it is."""
    if not is_known(metaflow_module().__version__):
        return False
    graphs, linter = metaflow_module("graph").FlowGraph, metaflow_module("lint").linter
    if graphs._traverse_graph is not traverse_graph:
        originals.update(create_nodes=graphs._create_nodes, traverse_graph=graphs._traverse_graph, checks=list(linter._checks))
        graphs._create_nodes = create_nodes
        graphs._traverse_graph = traverse_graph
        graphs.__init__ = kept(graphs.__init__)
        quick = {"check_for_acyclicity": check_acyclicity, "check_for_orphans": check_orphans, "check_split_join_balance": check_balance}
        linter._checks[:] = [_taking_the_place_of(check, quick.get(check.__name__)) for check in linter._checks]
    return True


def _taking_the_place_of(check: Any, quick: Callable[..., None] | None) -> Any:
    if quick is None:
        return check
    quick.attrs = check.attrs  # type: ignore[attr-defined]
    return quick


# --- reading the steps -----------------------------------------------------------------------------------------------------------


def create_nodes(graph: Any, flow: Any) -> dict[str, Any]:
    """Stand in for `FlowGraph._create_nodes`: the file is parsed once, not once per step."""
    node_class = metaflow_module("graph").DAGNode
    named = "name" in inspect.signature(node_class.__init__).parameters
    nodes = {}
    for element in dir(flow):
        function = getattr(flow, element)
        if not (callable(function) and hasattr(function, "is_step")):
            continue
        code = getattr(function, "__code__", None)
        found = _function_at(code.co_filename, code.co_firstlineno) if code is not None else None
        if found is None or code is None:
            return originals["create_nodes"](graph, flow)  # type: ignore[no-any-return]
        more = _further_arguments(function, element) if named else {}
        nodes[element] = node_class(
            found, function.decorators, function.wrappers, function.config_decorators, function.__doc__, code.co_filename, 1, **more
        )
    return nodes


def _further_arguments(function: Any, element: str) -> dict[str, Any]:
    return {
        "is_start_step": getattr(function, "is_start_step", False),
        "is_end_step": getattr(function, "is_end_step", False),
        "node_info": getattr(function, "node_info", None),
        "name": element,
    }


def _function_at(filename: str, line: int) -> ast.FunctionDef | None:
    """Return the function whose first line (of its first decorator) is that line of the file."""
    return _functions_of(filename).get(line)


@lru_cache(maxsize=4)
def _functions_of(filename: str) -> dict[int, ast.FunctionDef]:
    """Return the methods of a file by their first lines; Metaflow builds its graph twice in every process, and the file is parsed once."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError:
        return {}
    return {min([found.lineno, *(d.lineno for d in found.decorator_list)]): found for found in _methods(tree)}


def _methods(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for top in tree.body:
        if isinstance(top, ast.ClassDef):
            yield from (f for f in top.body if isinstance(f, ast.FunctionDef))


# --- how splits and joins nest ---------------------------------------------------------------------------------------------------


def traverse_graph(graph: Any) -> None:
    """Stand in for `FlowGraph._traverse_graph`: each step once for each context of splits it is in, which is one in a balanced graph."""
    start = getattr(graph, "start_step", "start")
    if start not in graph:
        return
    seen: dict[str, set[Context]] = {}
    stack: list[tuple[str, Context]] = [(start, ((), ()))]
    while stack:
        name, context = stack.pop()
        known = seen.setdefault(name, set())
        if context in known or len(known) >= _CONTEXTS:
            continue
        known.add(context)
        for child, inner in reversed(_enter(graph, graph[name], context)):
            graph[child].in_funcs.add(name)
            stack.append((child, inner))
    graph.sorted_nodes = _ordered(graph, start)
    for node in graph.nodes.values():
        node.in_funcs = sorted(node.in_funcs)


def _enter(graph: Any, node: Any, context: Context) -> list[tuple[str, Context]]:
    """Note the context of a step, and return the contexts of those it leads to."""
    parents, branches = context
    node_branches = branches
    if node.type == "join" and parents:
        graph[parents[-1]].matching_join = node.name
        node_branches = branches[:-1]
    if node.type != "join" or parents:
        node.split_parents, node.split_branches = list(parents), list(node_branches)
    if node.type == "join":
        parents, branches = parents[:-1], branches[:-1]
    splits = node.type in ("split", "foreach")
    if splits:
        parents = (*parents, node.name)
    known = [o for o in node.out_funcs if o in graph and o != node.name]
    return [(o, (parents, (*branches, o) if splits else branches)) for o in known]


def _ordered(graph: Any, start: str) -> list[str]:
    """Return the steps, each after those that lead to it, branches in the order in which they are named."""
    done: list[str] = []
    seen = {start}
    stack = [(start, _children(graph, start))]
    while stack:
        name, children = stack[-1]
        child = next(children, None)
        if child is None:
            done.append(name)
            stack.pop()
        elif child not in seen:
            seen.add(child)
            stack.append((child, _children(graph, child)))
    return done[::-1]


def _children(graph: Any, name: str) -> Iterator[str]:
    return iter([o for o in reversed(graph[name].out_funcs) if o in graph])


def _warning(message: str, line: int, file: str) -> Exception:
    warning: Exception = metaflow_module("lint").LintWarn(message, line, file)
    return warning


# --- the checks ------------------------------------------------------------------------------------------------------------------


def check_acyclicity(graph: Any) -> None:
    """Stand in for ``lint.check_for_acyclicity``."""
    finished: set[str] = set()
    for first in graph:
        path = [first.name]
        on_path = {first.name: None}
        stack = [iter(first.out_funcs)]
        while stack and first.name not in finished:
            child = next(stack[-1], None)
            node = graph[path[-1]]
            if child is None:
                stack.pop()
                finished.add(path[-1])
                on_path.pop(path.pop())
            elif child in on_path and not (node.type == "split-switch" and child == node.name):
                loop = "->".join([*path, child])
                message = f"There is a loop in your flow: *{loop}*. Break the loop by fixing self.next() transitions."
                raise _warning(message, node.tail_next_lineno, node.source_file)
            elif child not in on_path and child not in finished:
                path.append(child)
                on_path[child] = None
                stack.append(iter(graph[child].out_funcs))


def check_orphans(graph: Any) -> None:
    """Stand in for ``lint.check_for_orphans``."""
    start = getattr(graph, "start_step", "start")
    if start is None:
        return
    seen, stack = {start}, [start]
    while stack:
        new = [n for n in graph[stack.pop()].out_funcs if n not in seen]
        seen.update(new)
        stack.extend(new)
    for node in graph:
        if node.name not in seen:
            message = (
                f"Step *{node.name}* is unreachable from the entry step *{start}*. Add self.next({node.name}) in another step or remove "
                f"*{node.name}*."
            )
            raise _warning(message, node.func_lineno, node.source_file)


def check_balance(graph: Any) -> None:
    """Stand in for ``lint.check_split_join_balance``."""
    start, end = getattr(graph, "start_step", "start"), getattr(graph, "end_step", "end")
    if start is None or end is None:
        return
    seen: dict[str, set[tuple[str, ...]]] = {}
    stack: list[tuple[str, tuple[str, ...]]] = [(start, ())]
    while stack:
        name, splits = stack.pop()
        known = seen.setdefault(name, set())
        if splits in known or len(known) >= _CONTEXTS:
            continue
        known.add(splits)
        node = graph[name]
        inner = splits
        if node.type in ("split", "foreach"):
            inner = (*splits, name)
        elif node.type == "end":
            _end_is_reached_joined(graph, node, splits)
        elif node.type == "join":
            _join_fits(graph, node, splits)
            inner = splits[:-1]
        stack.extend((n, inner) for n in reversed(node.out_funcs) if n != name)


def _end_is_reached_joined(graph: Any, node: Any, splits: tuple[str, ...]) -> None:
    if splits:
        roots = ", ".join(graph[splits[-1]].out_funcs)
        message = (
            f"The terminal step *{node.name}* was reached before a split started at step(s) *{roots}* were joined. "
            f"Add a join step before *{node.name}*."
        )
        raise _warning(message, node.func_lineno, node.source_file)


def _join_fits(graph: Any, node: Any, splits: tuple[str, ...]) -> None:
    if not splits:
        message = (
            f"Step *{node.name}* seems like a join step (it takes an extra input argument) but it is not preceded by a split. "
            f"Ensure that there is a matching split for every join."
        )
        raise _warning(message, node.func_lineno, node.source_file)
    roots = graph[splits[-1]].out_funcs
    reached = {graph[n].split_branches[-1] for n in node.in_funcs if graph[n].split_branches}
    if len(reached) != len(roots) or reached ^ set(roots):
        message = (
            f"Step *{node.name}* seems like a join step (it takes an extra input argument) but an incorrect number of steps "
            f"(*{', '.join(sorted(reached))}*) lead to it. This join was expecting {len(roots)} incoming paths, starting from split step(s) "
            f"*{', '.join(roots)}*."
        )
        raise _warning(message, node.func_lineno, node.source_file)
    if len({_lineage(graph[n]) for n in node.in_funcs}) > 1:
        message = f"Step *{node.name}* joins steps from unrelated splits. Ensure that there is a matching join for every split."
        raise _warning(message, node.func_lineno, node.source_file)


def _lineage(node: Any) -> tuple[str, ...]:
    parents = node.split_parents
    return tuple(parents[:-1] if node.type == "join" else parents)
