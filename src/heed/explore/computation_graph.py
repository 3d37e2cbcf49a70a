"""The graph of a computation: of a recurrent net by its equations, and of any model by what autograd has recorded.

A node is a value or an operation, an arrow goes from what is needed to what needs it. `rows` places nodes for a figure
(column: the longest way from an input), `dot` is the text that Graphviz draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heed.errors import ConfigError
from heed.explore.arrays import count_of

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_NODES = 2000


@dataclass(frozen=True)
class GraphNode:
    """A value or an operation."""

    name: str
    label: str
    kind: str
    """input, parameter, value, loss, or operation."""
    column: int
    """The longest way from a node without arrows into it."""


@dataclass(frozen=True)
class ComputationGraph:
    """Nodes and arrows, without a circle."""

    nodes: tuple[GraphNode, ...]
    arrows: tuple[tuple[str, str], ...]
    """(from, to) by name."""
    explanation: str

    def dot(self) -> str:
        """Return the text that Graphviz draws, from left to right."""
        shapes = {"operation": "box", "parameter": "box, style=rounded"}
        lines = [f'  "{n.name}" [label="{n.label}", shape={shapes.get(n.kind, "ellipse")}];' for n in self.nodes]
        lines += [f'  "{a}" -> "{b}";' for a, b in self.arrows]
        return "\n".join(["digraph {", "  rankdir=LR;", *lines, "}"])

    def rows(self) -> dict[str, tuple[int, int]]:
        """Return (column, row) of each node by name, rows counted within a column."""
        seen: dict[int, int] = {}
        places = {}
        for node in self.nodes:
            row = seen.get(node.column, 0)
            seen[node.column] = row + 1
            places[node.name] = (node.column, row)
        return places


def recurrent_graph(steps: int = 3) -> ComputationGraph:
    """Return the graph of a linear recurrent net over some steps: x_t, h_t, o_t, y_t, J_t, and the shared matrices.

    Raises `ConfigError` for more than 100 steps.
    """
    T = count_of("steps", steps, most=100)
    kinds = {"W_hx": "parameter", "W_hh": "parameter", "W_yh": "parameter", "h_0": "input"}
    arrows = []
    for t in range(1, T + 1):
        kinds |= {f"x_{t}": "input", f"y_{t}": "input", f"h_{t}": "value", f"o_{t}": "value", f"J_{t}": "loss"}
        arrows += [(f"h_{t - 1}", f"h_{t}"), ("W_hh", f"h_{t}"), (f"x_{t}", f"h_{t}"), ("W_hx", f"h_{t}")]
        arrows += [
            (f"h_{t}", f"o_{t}"),
            ("W_yh", f"o_{t}"),
            (f"o_{t}", f"J_{t}"),
            (f"y_{t}", f"J_{t}"),
            (f"J_{t}", "J"),
        ]
    kinds["J"] = "loss"
    words = (
        f"Each matrix is used at {T} steps, so its gradient is a sum over all ways from J back to it: the loss J_t "
        "reaches W_hh by t of them."
    )
    return _placed({name: (name, kind) for name, kind in kinds.items()}, arrows, words)


def graph_of(output: Tensor, model: nn.Module | None = None) -> ComputationGraph:
    """Return what autograd has recorded of an output: operations and the parameters of `model` that they use.

    Raises `ConfigError` for a tensor without a gradient, and for more than 2,000 operations: take a smaller model.
    """
    if output.grad_fn is None:
        raise ConfigError("output: it has no gradient, so nothing was recorded: compute it without torch.no_grad")
    names = {} if model is None else {id(value): name for name, value in model.named_parameters()}
    found: dict[str, tuple[str, str]] = {}
    arrows, waiting = [], [output.grad_fn]
    known: dict[Any, str] = {output.grad_fn: "n0"}
    while waiting:
        node = waiting.pop()
        found[known[node]] = _label(node, names)
        for inner, _ in node.next_functions:
            if inner is None:
                continue
            if inner not in known:
                known[inner] = f"n{len(known)}"
                waiting.append(inner)
            if (arrow := (known[inner], known[node])) not in arrows:
                arrows.append(arrow)
        if len(known) > MOST_NODES:
            raise ConfigError(f"output: more than {MOST_NODES:,} operations, take a smaller model or a shorter text")
    parameters = sum(kind == "parameter" for _, kind in found.values())
    words = (
        f"Autograd has recorded {len(found) - parameters} operations on {parameters} parameters; it goes back along "
        "every arrow once."
    )
    return _placed(found, arrows, words)


def _label(node: Any, names: dict[int, str]) -> tuple[str, str]:
    """Return label and kind of a node of autograd."""
    if hasattr(node, "variable"):
        return names.get(id(node.variable), "parameter"), "parameter"
    return type(node).__name__.removesuffix("Backward0").removesuffix("Backward1").removesuffix("Backward"), "operation"


def _placed(found: dict[str, tuple[str, str]], arrows: list[tuple[str, str]], words: str) -> ComputationGraph:
    """Return the graph with each node in the column of its longest way from a beginning."""
    after: dict[str, list[str]] = {name: [] for name in found}
    needs = dict.fromkeys(found, 0)
    for a, b in arrows:
        after[a].append(b)
        needs[b] += 1
    columns = dict.fromkeys(found, 0)
    ready = [name for name, count in needs.items() if count == 0]
    for name in ready:  # grows while it is walked
        for other in after[name]:
            columns[other] = max(columns[other], columns[name] + 1)
            needs[other] -= 1
            if needs[other] == 0:
                ready.append(other)
    nodes = tuple(GraphNode(name, *found[name], columns[name]) for name in sorted(found, key=lambda n: columns[n]))
    return ComputationGraph(nodes, tuple(arrows), words)
