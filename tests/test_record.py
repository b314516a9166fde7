"""Records as strangers write them, lose them and move them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args
from unittest.mock import patch

import mindspore
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import REPLACE, assert_same, two_norms

import porter
from porter import SourceOptions, record, record_rows
from porter.errors import Malformed
from porter.formats.dtypes import DTYPES
from porter.formats.model import TensorSpec
from porter.layers.settings import Settings
from porter.plan import Fate, Plan, Step
from porter.record import Record

IN_FULL = Path(__file__).parent / "record_in_full.json"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A converted file with its record beside it."""
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", verify=False)
    return tmp_path / "net.ckpt"


def back(path: Path, options: SourceOptions | None = None) -> tuple[porter.Conversion, dict[str, torch.Tensor]]:
    output = path.parent / "back.pth"
    done = porter.convert(path, output, source_options=options, write_options=REPLACE, verify=False)
    return done, torch.load(output, weights_only=True)


def put(*keys: str | int | slice, value: Any) -> Callable[[Any], None]:
    """What sets the entry at `keys` of a document."""

    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


DAMAGE = {
    "kinds": put("kinds", value=[]),
    "a kind": put("kinds", "1", value=3),
    "versions": put("versions", value="abc"),
    "a version": put("versions", "1", value="2"),
    "from": put("from", value="foo"),
    "to": put("to", value=None),
    "statistics": put("settings", 0, 0, "statistics", value="bogus"),
    "eps": put("settings", 0, 0, "eps", value="1e-5"),
    "whose settings": put("settings", 0, 1, 0, value=1),
    "a name": put("tensors", 0, 0, value=7),
    "no name": put("tensors", 0, value=[None, None, None, None, 0, "0"]),
    "a type": put("tensors", 0, 1, value=-1),
    "no type": put("tensors", 0, 1, value=None),
    "a type elsewhere": put("tensors", 0, 3, value=99),
    "a row": put("tensors", 0, value=["0.weight", 0]),
    "a length": put("types", 0, 1, 0, value=-6),
    "a shape": put("types", 0, 1, value=6),
    "a dtype": put("types", 0, 0, value="float31"),
    "a layer": put("tensors", 0, 5, value=["0"]),
    "another name": put("tensors", 0, slice(6, 7), value=[3]),
    "a fate": put("fates", 0, 0, value="lost"),
    "a reason": put("fates", 0, 1, value=None),
    "which fate": put("tensors", 0, 4, value=[0]),
    "dropped bytes": put("dropped", "1.num_batches_tracked", value="00"),
    "no tensors": put("tensors", value=None),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_named_and_not_used(change: Callable[[Any], None], written: Path) -> None:
    path = record.path_beside(written)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(Malformed, match="Delete it"):
        record.from_json(path.read_bytes(), path)
    done, state = back(written)
    assert any("record beside it is not used" in note for note in done.warnings)
    assert any("2 counters (1.num_batches_tracked, ...) restart at 0" in note for note in done.warnings)
    assert state["1.num_batches_tracked"] == 0
    with pytest.raises(Malformed):
        back(written, SourceOptions(record=path))


@pytest.mark.parametrize(
    "content", [b"[" * 200_000, b"\xff\xfe", b"", b"[]", b"{}", b'{"schema": "bnport.record/9"}']
)
def test_what_is_no_record_is_told(content: bytes, written: Path) -> None:
    path = record.path_beside(written)
    path.write_bytes(content)
    with pytest.raises(Malformed):
        record.from_json(content, path)
    assert any("not used" in note for note in porter.inspect(written).source.notes)


def test_a_record_cannot_add_a_tensor(written: Path) -> None:
    path = record.path_beside(written)
    document = json.loads(path.read_text())
    document["types"].append(["float32", [2]])
    document["fates"].append(["dropped", ""])
    numbers = len(document["types"]) - 1, len(document["fates"]) - 1
    document["tensors"].append(["backdoor.weight", numbers[0], None, None, numbers[1], "1"])
    document["dropped"]["backdoor.weight"] = "00" * 8
    path.write_text(json.dumps(document))
    with pytest.raises(Malformed, match=r"backdoor\.weight has no place in a layer"):
        back(written)


DAMAGE_IN_FULL = {
    "eps": put("settings", "1", "eps", value="1e-5"),
    "a name": put("tensors", 0, 0, 0, value=7),
    "a length": put("tensors", 0, 0, 2, 0, value=-6),
    "a dtype": put("tensors", 0, 0, 1, value="float31"),
    "a fate": put("tensors", 0, 2, value="lost"),
    "no name": put("tensors", 0, slice(0, 2), value=[None, None]),
}


@pytest.mark.parametrize("change", DAMAGE_IN_FULL.values(), ids=DAMAGE_IN_FULL)
def test_a_damaged_record_of_the_first_form_is_named(change: Callable[[Any], None]) -> None:
    document = json.loads(IN_FULL.read_text())
    change(document)
    with pytest.raises(Malformed, match="Delete it"):
        record.from_json(json.dumps(document).encode(), IN_FULL)


def test_a_record_of_the_first_form_says_what_one_of_today_says(written: Path) -> None:
    """What bnport wrote for the same network when records named everything in full."""
    path = record.path_beside(written)
    assert record.from_json(IN_FULL.read_bytes(), IN_FULL) == record.from_json(path.read_bytes(), path)
    path.write_bytes(IN_FULL.read_bytes())
    done, state = back(written)
    assert_same(two_norms().state_dict(), state)
    assert not any("record" in note for note in done.warnings)


names = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=8))
types = st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 9), max_size=3).map(tuple))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    source, target = (name and TensorSpec(name, *draw(types)) for name in draw(st.tuples(names, names).filter(any)))
    fate = draw(st.sampled_from(get_args(Fate)))
    return Step(
        source or None, target or None, fate, draw(st.text(max_size=3)), same_as=draw(names), layer=draw(names)
    )


@settings(deadline=None)
@given(st.lists(steps(), max_size=6), st.integers(1, 7))
def test_a_record_reads_as_it_was_written(drawn: list[Step], block: int) -> None:
    plan = Plan("torch", "mindspore", tuple(drawn))
    with TemporaryDirectory() as folder, patch.object(record_rows, "_BLOCK", block):
        path = Path(folder, "net.ckpt.bnport.json")
        record.write(Record(plan, kinds={"a": "Linear"}), path)
        assert record.from_json(path.read_bytes(), path) == Record(plan, kinds={"a": "Linear"})


def test_settings_come_back_to_the_layers_that_have_them(tmp_path: Path) -> None:
    told, assumed = {"eps": "network"}, {"eps": "default"}
    own = {
        "a": Settings(1e-3, 0.01, True, "frozen", told),
        "b": Settings(known_from=assumed),
        "c": Settings(1e-3, 0.01, True, "frozen", assumed),
        "d": Settings(1e-3, 0.01, True, "frozen", told),
        "e": Settings(1e-3, None, True, "frozen", told),
    }
    record.write(Record(Plan("torch", "mindspore", ()), settings=own), tmp_path / "record.json")
    document = json.loads((tmp_path / "record.json").read_text())
    assert [names for _, names in document["settings"]] == [["a", "d"], ["b"], ["c"], ["e"]]
    found = record.from_json((tmp_path / "record.json").read_bytes(), tmp_path / "record.json").settings
    assert {name: vars(one) for name, one in found.items()} == {name: vars(one) for name, one in own.items()}


def test_a_missing_record_is_told_and_a_found_one_is_not(written: Path) -> None:
    done, state = back(written)
    assert_same(two_norms().state_dict(), state)
    assert not any("record" in note for note in done.warnings)
    record.path_beside(written).unlink()
    done, _ = back(written)
    assert any("2 counters" in note and "--record" in note for note in done.warnings)


def test_the_record_of_another_file_is_told(written: Path) -> None:
    other = written.with_name("other.ckpt")
    mindspore.save_checkpoint([{"name": "x.weight", "data": mindspore.Tensor(np.ones((2, 1, 3, 3, 3)))}], str(other))
    record.path_beside(written).rename(record.path_beside(other))
    assert any("other.ckpt.bnport.json is not used" in note for note in porter.inspect(other).source.notes)


def test_the_record_is_found_through_a_symbolic_link(written: Path) -> None:
    (written.parent / "folder").mkdir()
    link = written.parent / "folder" / "link.ckpt"
    link.symlink_to(written)
    porter.convert(link, written.parent / "back.pth", verify=False)
    assert_same(two_norms().state_dict(), torch.load(written.parent / "back.pth", weights_only=True))


def test_the_way_back_is_known_after_more_training_with_an_optimizer(written: Path) -> None:
    """As ModelCheckpoint writes the trained cell: moments and counters beside the network."""
    arrays = {name: p.asnumpy() for name, p in mindspore.load_checkpoint(str(written)).items()}
    entries = [*arrays.items(), *((f"moments.{n}", a) for n, a in arrays.items() if "moving" not in n)]
    entries += [("global_step", np.array(3, np.int32)), ("learning_rate", np.array(0.1, np.float32))]
    trained = written.with_name("trained.ckpt")
    mindspore.save_checkpoint([{"name": n, "data": mindspore.Tensor(a)} for n, a in entries], str(trained))
    _, state = back(trained, SourceOptions(record=record.path_beside(written)))
    assert_same(two_norms().state_dict(), state)


def test_no_optimizer_state_comes_back_in_part(tmp_path: Path) -> None:
    names = {"conv.weight": (2, 1, 3, 3, 3), "conv.bias": (2,), "moments.conv.weight": (2, 1, 3, 3, 3)}
    names |= {"moments.conv.bias": (2,), "global_step": ()}
    entries = [{"name": name, "data": mindspore.Tensor(np.ones(shape, np.float32))} for name, shape in names.items()]
    mindspore.save_checkpoint(entries, str(tmp_path / "net.ckpt"))
    porter.convert(tmp_path / "net.ckpt", tmp_path / "net.pth", verify=False)
    porter.convert(tmp_path / "net.pth", tmp_path / "again.ckpt", verify=False)
    assert list(mindspore.load_checkpoint(str(tmp_path / "again.ckpt"))) == ["conv.weight", "conv.bias"]


def test_mint_comes_back_as_mint(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    options = porter.WriteOptions(to="mint")
    porter.convert(tmp_path / "net.pth", tmp_path / "mint.ckpt", write_options=options, verify=False)
    porter.convert(tmp_path / "mint.ckpt", tmp_path / "there.pth", verify=False)
    back = porter.convert(tmp_path / "there.pth", tmp_path / "back.ckpt", verify=False)
    assert back.plan.to == "mint"
    assert back.plan.targets == porter.inspect(tmp_path / "mint.ckpt").source.checkpoint.specs
