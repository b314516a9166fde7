"""PyYAML's parser with the places that its events do not tell."""

from __future__ import annotations

from typing import Any

import yaml

from porter.configs.tree import Span


class Reader(yaml.SafeLoader):
    """PyYAML's parser, remembering the tokens whose places no event tells."""

    last: Any = None
    key_start: int | None = None

    def get_token(self) -> Any:
        token = super().get_token()  # type: ignore[no-untyped-call]
        self.last = token
        if isinstance(token, yaml.KeyToken):
            self.key_start = token.start_mark.index
        return token


def span_of(event: yaml.Event) -> Span:
    assert event.start_mark is not None
    assert event.end_mark is not None
    return Span(event.start_mark.index, event.end_mark.index)


def end_of(text: str, start: int, end: int) -> int:
    """The end of a scalar without the line breaks that PyYAML counts to a block scalar."""
    return start + len(text[start:end].rstrip()) if text[start : start + 1] in ("|", ">") else end
