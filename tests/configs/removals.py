"""Taking entries out of a config given as text."""

from __future__ import annotations

from collections.abc import Callable

from porter.configs.splices import spliced, undone
from porter.configs.tree import Document, Entry, ListNode, Mapping


def without(parse: Callable[[str], Document], text: str, path: str, *names: str) -> tuple[str, Document, list[Entry]]:
    """`text` without some entries of the mapping at a dotted path, checked to be undone exactly; what it said, and
    what is gone of it."""
    document = parse(text)
    node = document.roots[0].node
    for step in filter(None, path.split(".")):
        if isinstance(node, Mapping):
            entry = node.entry(step)
            assert entry is not None
            node = entry.value
        else:
            assert isinstance(node, ListNode)
            node = node.items[int(step)]
    assert isinstance(node, Mapping)
    gone = [entry for entry in node.entries if entry.name in names]
    splices = document.removed(node, gone)
    result = spliced(text, splices)
    assert spliced(result, undone(text, splices)) == text
    return result, document, gone
