"""Real configs, and one of every trap seen in real ones, against diffs that a person has read.

`corpus/PROVENANCE.tsv` says where each comes from. `expected/NAME.TO.diff` holds what translating it from PyTorch's
terms changes, then what is said about it; an empty one says that it stays as it is, without a remark.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from porter import ConfigOptions, translate_config
from porter.configs.api import TranslatedConfig
from porter.configs.tree import spliced, undone
from porter.layers.kinds import Dialect

HERE = Path(__file__).parent
CORPUS = sorted(path.name for path in (HERE / "corpus").iterdir() if path.suffix != ".tsv")
TARGETS: tuple[Dialect, ...] = ("mindspore", "mint")


@pytest.fixture(autouse=True)
def _in_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in diffs are those of files here."""
    monkeypatch.chdir(HERE / "corpus")


def translated(name: str, to: Dialect, from_: Dialect | None = "torch") -> TranslatedConfig:
    return translate_config(name, ConfigOptions(to, from_, "classic")).files[0]


def told(one: TranslatedConfig) -> list[str]:
    kinds = {
        "warning": one.translation.warnings, "needs a person": one.translation.needs_person,
        "note": one.translation.notes,
    }  # fmt: skip
    return [
        f"line {remark.place.line}: {kind}: {remark.text}\n" for kind, remarks in kinds.items() for remark in remarks
    ]


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("to", TARGETS)
def test_exactly_what_a_person_expects_changes(name: str, to: Dialect) -> None:
    one = translated(name, to)
    assert "".join([*one.diff(), *told(one)]) == (HERE / "expected" / f"{name}.{to}.diff").read_text()


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("to", TARGETS)
def test_undoing_the_listed_changes_gives_the_original(name: str, to: Dialect) -> None:
    one = translated(name, to)
    before, splices = one.file.document.text, one.translation.splices
    assert spliced(one.after, undone(before, splices)) == before
    # Every change that is listed stands where it says, and nothing changes that is not listed.
    for change in one.translation.changes:
        line = before.splitlines()[change.place.line - 1]
        assert change.before.rpartition(": ")[2] in line[change.place.column - 1 :]
    changed = {change.place.line for change in one.translation.changes}
    lines = zip(before.splitlines(), one.after.splitlines(), strict=True)
    assert {number for number, (old, new) in enumerate(lines, 1) if old != new} == changed


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("to", TARGETS)
def test_the_way_back_restores_the_bytes(name: str, to: Dialect, tmp_path: Path) -> None:
    there = tmp_path / name
    translate_config(name, ConfigOptions(to, "torch", "classic"), output=there)
    assert not translate_config(there, ConfigOptions(to, "torch")).changed
    translate_config(there, ConfigOptions("torch", to), in_place=True, backup=False)
    assert there.read_bytes() == Path(name).read_bytes()


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("to", TARGETS)
def test_what_is_in_the_targets_terms_stays(name: str, to: Dialect) -> None:
    assert not translated(name, to, from_=to).changed


def test_where_each_file_comes_from_is_written_down() -> None:
    rows = [row.split("\t") for row in Path("PROVENANCE.tsv").read_text().splitlines()]
    assert rows[0] == ["file", "repository", "commit", "path", "licence"]
    assert sorted(row[0] for row in rows[1:]) == CORPUS
    assert all(len(row) == 5 and row[4] for row in rows)
