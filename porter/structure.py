"""Which module of one network is which of another, told by structure alone: what they hold, and in which order.

A network is a tree of modules. Two subtrees are alike if they hold parameters of the same names and shapes, and
children that are alike, whatever these are called and however often each is wrapped. The largest subtrees come first:
those that occur equally often on both sides are paired, the others taken apart into their children, and so on down to
single modules. Every pair carries how it was told from the others that look the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from porter.formats.model import TensorSpec
from porter.namesakes import Told, tell_apart

Shape = tuple[int, ...]
Signature = tuple[frozenset[tuple[str, Shape]], tuple[int, ...]]


@dataclass(eq=False)
class Node:
    """A module with parameters somewhere below it; one that holds nothing but one other module is that module.

    Attributes:
        top: its path, that of the outermost wrapper.
        path: the path of what is wrapped; `top` where nothing is.
        own: parameter name below it -> shape.
        children: in order of declaration.
        size: parameters below it, its own included.
        signature: equal for modules that are alike.
        partial: stands for the own parameters of a module alone, whose children went to other places.
    """

    top: str
    path: str
    own: dict[str, Shape] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    size: int = 0
    signature: int = -1
    partial: bool = False


@dataclass(frozen=True)
class Pair:
    """Two modules that are one and the same; `inner` are the pairs of their children."""

    source: Node
    target: Node
    told: Told
    inner: tuple[Pair, ...] = ()


def tree(specs: Iterable[TensorSpec], signatures: dict[Signature, int]) -> Node:
    """The modules of a network.

    Args:
        specs: its parameters, in order of declaration.
        signatures: shared by the trees that are to be compared, empty at first.
    """
    root = Node("", "")
    nodes = {"": root}
    for spec in specs:
        levels = spec.name.split(".")
        for depth in range(1, len(levels)):
            path = ".".join(levels[:depth])
            if path not in nodes:
                nodes[path] = Node(path, path)
                nodes[".".join(levels[: depth - 1])].children.append(nodes[path])
        nodes[".".join(levels[:-1])].own[levels[-1]] = spec.shape
    # Children stand after their parents in `nodes`.
    for node in reversed(nodes.values()):
        node.children = [_unwrapped(child) for child in node.children]
        node.size = len(node.own) + sum(child.size for child in node.children)
        key = (frozenset(node.own.items()), tuple(sorted(child.signature for child in node.children)))
        node.signature = signatures.setdefault(key, len(signatures))
    return _unwrapped(root)


def _unwrapped(node: Node) -> Node:
    if node.own or len(node.children) != 1:
        return node
    inner = node.children[0]
    return Node(node.top, inner.path, inner.own, inner.children, inner.size, inner.signature)


def pair_up(
    source: Node, target: Node, signatures: dict[Signature, int]
) -> tuple[list[Pair], list[Node], list[Node]]:
    """The pairs between two trees, and the modules of either side for which there is none."""
    return _pair_forests([source], [target], signatures)


def _pair_forests(
    source: Sequence[Node],
    target: Sequence[Node],
    signatures: dict[Signature, int],
    within: tuple[str, str] = ("", ""),
) -> tuple[list[Pair], list[Node], list[Node]]:
    """Pairs between the nodes of two forests, which lie below the paths `within`."""
    forests: tuple[list[Node], list[Node]] = (list(source), list(target))
    pairs: list[Pair] = []
    single: tuple[list[Node], list[Node]] = ([], [])
    while forests[0] or forests[1]:
        largest = max((node for forest in forests for node in forest), key=lambda node: node.size)
        left, right = ([node for node in forest if node.signature == largest.signature] for forest in forests)
        if len(left) == len(right):
            pairs += _pair_likes(left, right, signatures, within)
            for forest in forests:
                forest[:] = [node for node in forest if node.signature != largest.signature]
            continue
        for forest, rest, likes in zip(forests, single, (left, right), strict=True):
            if not largest.children:
                rest += likes
            forest[:] = [part for node in forest for part in (_parts(node, signatures) if node in likes else [node])]
    return pairs, *single


def _parts(node: Node, signatures: dict[Signature, int]) -> list[Node]:
    """The children of a module, after its own parameters as a module of their own; none of one without children."""
    if not node.children or not node.own:
        return node.children
    key = (frozenset(node.own.items()), ())
    signature = signatures.setdefault(key, len(signatures))
    return [Node(node.path, node.path, node.own, [], len(node.own), signature, partial=True), *node.children]


def _pair_likes(
    left: list[Node], right: list[Node], signatures: dict[Signature, int], within: tuple[str, str]
) -> list[Pair]:
    """Pairs among as many nodes that are all alike, in the order of declaration, below the paths `within`."""
    found = []
    names = ([_below(node.path, base) for node in side] for side, base in zip((left, right), within, strict=True))
    for i, j, told in tell_apart(*names):
        a, b = left[i], right[j]
        inner, *_ = _pair_forests(a.children, b.children, signatures, (a.path, b.path))
        found.append(Pair(a, b, told, tuple(inner)))
    return found


def _below(path: str, base: str) -> str:
    return path.removeprefix(base).removeprefix(".")
