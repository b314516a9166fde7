"""Configs written like those of public networks, and one of every trap in those, against diffs that a person read.

`expected/NAME.TO.diff` holds what translating a file of `corpus` from PyTorch's terms changes, then what is said of
it; an empty one says that it stays as it is, without a remark. The public files themselves are other projects':
BNPORT_CORPUS names a folder that holds them, and `PUBLIC` what must change there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from porter import ConfigOptions, translate_config
from porter.configs.api import TranslatedConfig
from porter.configs.splices import spliced, undone
from porter.layers.kinds import Dialect

HERE = Path(__file__).parent
CORPUS = sorted(path.name for path in (HERE / "corpus").iterdir())
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


# File -> (line, before, after) of each change to MindSpore, with its source: repository, commit, path.
PUBLIC: dict[str, list[tuple[int, str, str]]] = {
    # facebookresearch/SlowFast 287ec00 configs/Kinetics/SLOWFAST_8x8_R50.yaml
    "slowfast_BN_section.yaml": [],
    # open-mmlab/OpenPCDet 8cacccec tools/cfgs/waymo_models/dsvt_voxel.yaml
    "openpcdet_BN_MOM_and_OPTIM_MOMENTUM.yaml": [(122, "0.01", "0.99")],
    # ivadomed/ivadomed 46248ae8 ivadomed/config/config.json
    "ivadomed_bn_momentum_0.1.json": [(82, "0.1", "0.9")],
    # Project-MONAI/model-zoo dfae206d models/spleen_ct_segmentation/configs/train.json
    "monai_bundle_norm_batch.json": [],
    # mindspore-ai/models eab643f5 research/cv/Unet3d/default_config.yaml
    "ms_unet3d_multidoc_help.yaml": [],
}


@pytest.mark.skipif("BNPORT_CORPUS" not in os.environ, reason="BNPORT_CORPUS names no folder of public configs")
@pytest.mark.parametrize("name", PUBLIC)
def test_exactly_what_a_person_expects_changes_in_public_files(name: str) -> None:
    path = Path(os.environ["BNPORT_CORPUS"]) / name
    one = translate_config(path, ConfigOptions("mindspore", "torch", "classic")).files[0]
    assert [(change.place.line, change.before, change.after) for change in one.translation.changes] == PUBLIC[name]
    before, after = path.read_text().split("\n"), one.after.split("\n")
    changed = {number: old.replace(was, new, 1) for number, was, new in PUBLIC[name] for old in [before[number - 1]]}
    assert after == [changed.get(number, line) for number, line in enumerate(before, 1)]
