"""Short ways to search and translate a config given as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from porter.configs.changes import Remark, Translation
from porter.configs.doubled import ask_of_doubled
from porter.configs.formats import json, python, toml, yaml
from porter.configs.model import Found
from porter.configs.proof import demand_only
from porter.configs.sites import search
from porter.configs.splices import spliced, undone
from porter.configs.terms import Dialect, Signature
from porter.configs.told import Told
from porter.configs.translate import translate
from porter.configs.tree import Document

Format = Literal["json", "yaml", "python", "toml"]
PARSERS = {"json": json.parse, "yaml": yaml.parse, "python": python.parse, "toml": toml.parse}
Settings = tuple[tuple[str, str], ...]


def find(document: Document, settings: Settings = ()) -> Found:
    """What is found, where all that the user says means something."""
    told = Told(settings)
    found = search(document, told)
    told.demand_all_used()
    return found


def certain(text: str, format: Format = "yaml", settings: Settings = ()) -> list[str]:
    """`path=setting` of every setting of a certain site."""
    found = find(PARSERS[format](text), settings)
    return [f"{'.'.join(s.path)}={s.name}" for site in found.sites if not site.doubt for s in site.settings]


def translated(
    text: str,
    format: Format = "yaml",
    to: Dialect = "mindspore",
    from_: Dialect | None = "torch",
    settings: Settings = (),
    signature: Signature = "classic",
) -> tuple[str, Translation]:
    """The new text, checked to be undone exactly and to say nothing else, and what is said about it."""
    document = PARSERS[format](text)
    translation = translate(document, find(document, settings), to, from_, signature)
    ask_of_doubled([("", translation)])
    result = spliced(text, translation.splices)
    assert spliced(result, undone(text, translation.splices)) == text
    demand_only(document, translation.splices, PARSERS[format](result))
    return result, translation


def texts(remarks: Sequence[Remark]) -> str:
    """All that is remarked, in one text."""
    return "\n".join(remark.text for remark in remarks)
