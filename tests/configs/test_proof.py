"""A translated text is read again before it is written: splices that do more than was meant are caught."""

from __future__ import annotations

from pathlib import Path

import pytest
from translations import PARSERS, Format

import porter.configs.translated
from porter import ConfigOptions, translate_config
from porter.configs.changes import Change, Translation
from porter.configs.proof import demand_only
from porter.configs.splices import Splice, spliced
from porter.configs.tree import Place
from porter.errors import BnportError

TEXTS: dict[Format, str] = {
    "yaml": "a: &a {momentum: 0.1, eps:  , x: *b}\nc: [*a, 0.1]\n".replace("*b", "1"),
    "json": '{"a": {"momentum": 0.1, "eps": 1}, "c": [0.1]}',
    "toml": "a.momentum = 0.1\na.eps = 1\nc = [0.1]\n",
    "python": "a = dict(momentum=0.1, eps=1)\nc = [0.1]\n",
}


@pytest.mark.parametrize("format", TEXTS)
def test_a_value_a_key_and_an_entry_may_change(format: Format) -> None:
    text = TEXTS[format]
    at, key = text.index("0.1"), text.index("momentum")
    splices = [Splice(at, at + 3, "0.95"), Splice(key, key + 8, "decay")]
    demand_only(PARSERS[format](text), splices, PARSERS[format](spliced(text, splices)))
    assert spliced(text, splices) == text.replace("0.1", "0.95", 1).replace("momentum", "decay")


@pytest.mark.parametrize("format", TEXTS)
def test_what_else_changes_is_caught(format: Format) -> None:
    text = TEXTS[format]
    at = text.index("0.1")
    meant = [Splice(at, at + 3, "0.9")]
    for wrong in (text.replace("0.1", "0.9"), text.replace("0.1", "0.9", 1).replace("eps", "epz")):
        with pytest.raises(BnportError, match=r"was (lost|not there)"):
            demand_only(PARSERS[format](text), meant, PARSERS[format](wrong))


@pytest.mark.parametrize(
    ("after", "message"), [("0.9, x: 2", "is no single value"), ("0.9}}", "cannot be read any more")]
)
def test_nothing_is_written_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, message: str) -> None:
    def faulty(*_: object) -> Translation:
        change = Change("a", "momentum", "0.1", after, "", "", Place(1, 1), (Splice(14, 17, after),))
        return Translation([change])

    path = tmp_path / "net.yaml"
    path.write_text("a: {momentum: 0.1, b: 1}\n")
    monkeypatch.setattr(porter.configs.translated, "translate", faulty)
    with pytest.raises(BnportError, match=message) as caught:
        translate_config(path, ConfigOptions("mindspore", "torch"), in_place=True)
    assert caught.value.file == str(path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.yaml"]
