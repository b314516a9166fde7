"""What the commands print is what their schemas say: nothing else, and nothing less."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from nets import two_norms

from porter import cli
from porter.schemas import NAMES, schema

SAMPLE = Path(__file__).parent.parent / "samples" / "video_resnet"


def closed(value: Any) -> Any:
    """The schema with no property allowed that it does not name, so that it cannot fall behind the documents."""
    if isinstance(value, list):
        return [closed(part) for part in value]
    if not isinstance(value, dict):
        return value
    found = {key: closed(part) for key, part in value.items()}
    if isinstance(value.get("properties"), dict) and value.get("type") == "object":
        found["additionalProperties"] = False
    return found


def assert_valid(name: str, document: Any) -> None:
    validator = Draft202012Validator(closed(schema(name)), format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_schema_complete_in_itself(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    inside = {found["$id"], *(part.get("$id") for part in found.get("$defs", {}).values())}
    assert {target.partition("#")[0] for target in references(found)} <= {"", *inside}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and "$ref" in value:
        yield value["$ref"]
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from references(part)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What real commands print, by the name of the case."""
    folder = tmp_path_factory.mktemp("schemas")
    torch.save(two_norms().state_dict(), folder / "net.pth")
    wrong = two_norms().state_dict()
    wrong["1.weight"], wrong["1.bias"] = wrong["1.bias"], wrong["1.weight"]
    torch.save(wrong, folder / "wrong.pth")
    (folder / "config.yaml").write_text(
        "norm: {type: torch.nn.BatchNorm3d, num_features: 8, momentum: 0.1}\n", "utf-8"
    )
    networks = ("--model", f"{SAMPLE}/torch_net.py:build", "--net", f"{SAMPLE}/mindspore_net.py:build")
    commands = {
        "inspect": ("inspect", "net.pth"),
        "convert": ("convert", "net.pth", "-o", "net.ckpt"),
        "convert, planned": ("convert", "net.pth", "-o", "other.ckpt", "--dry-run"),
        "verify": ("verify", "net.pth", "net.ckpt", "--ms-mode", "both"),
        "verify, wrong": ("verify", "wrong.pth", "net.ckpt"),
        "recheck": ("verify", "net.ckpt"),
        "config": ("config", "config.yaml", "--to", "mindspore"),
        "error": ("inspect", "nowhere.pth"),
        "convert, sample": ("convert", f"{SAMPLE}/video_resnet.pth", "-o", "sample.ckpt", *networks),
        "verify, networks": (
            "verify", f"{SAMPLE}/video_resnet.pth", "sample.ckpt", *networks, "--input-shape", "2x3x8x32x32"
        ),
    }  # fmt: skip
    return {name: printed(folder, *command) for name, command in commands.items()}


def printed(folder: Path, *command: str) -> Any:
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["bnport", *command, "--json"])
        cli.run()
    return json.loads(out.getvalue())


@pytest.mark.parametrize(
    "case",
    [
        "inspect", "convert", "convert, planned", "verify", "verify, wrong", "recheck", "config", "error",
        "convert, sample", "verify, networks",
    ],
)  # fmt: skip
def test_what_a_command_prints_is_as_its_schema_says(documents: dict[str, Any], case: str) -> None:
    assert_valid(case.partition(",")[0], documents[case])


def test_the_documents_are_not_trivial(documents: dict[str, Any]) -> None:
    verified = documents["verify, networks"]
    assert verified["network"]["modes"][0]["activations"]
    assert all(sum(check["histogram"]) for check in verified["layers"][0]["checks"] if check["histogram"])
    assert documents["verify, wrong"]["tensors"]["problems"]
    assert documents["recheck"]["verified"] is True
    assert documents["config"]["files"][0]["changes"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(verified="yes"),
        lambda d: d["layers"][0]["checks"][1].update(error=-1.0),
        lambda d: d["layers"][0]["checks"][1].update(histogram=[1, 2]),
        lambda d: d["layers"][0].pop("kind"),
        lambda d: d["circumstances"]["output"][0].update(sha256="f" * 63),
        lambda d: d.pop("schema"),
    ],
)
def test_what_is_no_such_document_is_refused(documents: dict[str, Any], damage: Any) -> None:
    document = copy.deepcopy(documents["verify"])
    damage(document)
    assert not Draft202012Validator(schema("verify")).is_valid(document)
