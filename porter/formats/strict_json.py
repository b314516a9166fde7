"""JSON from a stranger: one object, no key twice in it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from porter.errors import Malformed


def parse_object(raw: bytes, *, file: Path, what: str) -> dict[str, Any]:
    """The JSON object in `raw`; `what` names it in messages ("the header").

    Raises:
        Malformed: not UTF-8, not JSON, nested without end, no object, or an object in it has the same key twice.
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        unique = dict(pairs)
        if len(unique) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise Malformed(f"{what} has the same key twice", file=file, entry=twice)
        return unique

    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=without_duplicates)
    except UnicodeDecodeError as error:
        raise Malformed(f"{what} is not UTF-8", file=file, found=f"byte {error.start} of it") from error
    # ValueError: bad JSON, or an integer of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is not JSON", file=file, found=error) from error
    if not isinstance(parsed, dict):
        raise Malformed(f"{what} is not a JSON object", file=file, found=type(parsed).__name__)
    return parsed
