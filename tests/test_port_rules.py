"""The rules file of a port: what may stand in it, and that what `inspect` writes says all that it recognised."""

from __future__ import annotations

from pathlib import Path

import mindspore
import ports
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets import REPLACE, randomised, two_norms

import porter
from porter import SourceOptions, WriteOptions, port_rules
from porter.edits import Rename
from porter.errors import UsageError
from porter.port_rules import Rules

FULL = """
strip_prefix = "module."
dtype = "float16"
drop = ["aux_head", "re:^teacher"]
unchecked = ["a"]

[layers]
"stem.*" = "BatchNorm3d"
"**.norm" = "InstanceNorm3d"

[rename]
"b" = "a"
"a" = "z"

[hyperparameters]
"stem.*" = { eps = 1e-3, momentum = "cumulative" }
"head" = { affine = false, statistics = "batch", momentum = 1 }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "port.toml"
    path.write_text(text, "utf-8")
    return path


def test_every_key_is_read_and_order_is_kept(tmp_path: Path) -> None:
    assert port_rules.read(written(tmp_path, FULL)) == Rules(
        layers=(("stem.*", "BatchNorm3d"), ("**.norm", "InstanceNorm3d")),
        hyperparameters=(
            ("stem.*", {"eps": 1e-3, "momentum": "cumulative"}),
            ("head", {"affine": False, "statistics": "batch", "momentum": 1}),
        ),
        renames=(Rename("b", "a"), Rename("a", "z", unchecked=True)),
        drop=("aux_head", "re:^teacher"),
        strip_prefix="module.",
        dtype="float16",
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("layers = [", "no TOML"),
        ("[layer]", "layer"),
        ("dtype = 16", "dtype"),
        ("drop = 'aux'", "drop"),
        ("drop = [1]", "drop"),
        ("unchecked = ['a']\n[rename]\nb = 'c'", "unchecked"),
        ("[layers]\nstem = 3", "layers"),
        ("[layers.stem]\nx = 'BatchNorm3d'", "layers"),
        ("[rename]\na = 'b.*'", "more wildcards"),
        ("[hyperparameters]\na = 1", "hyperparameters 'a'"),
        ("[hyperparameters]\na = { epsilon = 1e-3 }", "epsilon"),
        ("[hyperparameters]\na = { eps = true }", "eps"),
        ("[hyperparameters]\na = { eps = nan }", "found nan"),
        ("[hyperparameters]\na = { eps = -1e-3 }", "eps"),
        ("[hyperparameters]\na = { momentum = inf }", "found inf"),
        ("[hyperparameters]\na = { momentum = 'none' }", "cumulative"),
        ("[hyperparameters]\na = { statistics = 'never' }", "statistics"),
    ],
)
def test_what_may_not_stand_there(text: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        port_rules.read(written(tmp_path, text))
    assert wrong in str(error.value), str(error.value)


def test_a_missing_file_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        port_rules.read(tmp_path / "none.toml")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.text()), max_size=3))
def test_any_name_survives_the_file(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    unique = {a.replace("*", ""): b.replace("*", "") for a, b in pairs if not a.startswith("re:")}
    renames = [Rename(a, b, unchecked=len(a) > 2) for a, b in unique.items() if b.isprintable()]
    path = written(tmp_path, port_rules.text_of_renames((one, "why\n# not") for one in renames))
    assert list(port_rules.read(path).renames) == renames


NETWORKS = {
    "as it is": (lambda: ports.TorchNet().state_dict(), {}),
    "its network known": (lambda: ports.TorchNet().state_dict(), {"model": f"{ports.__file__}:TorchNet"}),
    "pickled module": (lambda: two_norms(track_running_stats=False, momentum=0.3, eps=1e-2), {}),
    "undecided until said": (
        lambda: two_norms(track_running_stats=False).state_dict(),
        {"layers": [("*", "BatchNorm3d")]},
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_file_as_inspect_writes_it_leads_to_the_same_conversion(case: str, tmp_path: Path) -> None:
    make, known = NETWORKS[case]
    saved = make()
    torch.save(saved, tmp_path / "net.pth")
    options = SourceOptions(**known)
    rules = written(tmp_path, porter.inspect(tmp_path / "net.pth", options).rules)
    first = porter.convert(tmp_path / "net.pth", tmp_path / "a.ckpt", source_options=options)
    second = porter.convert(tmp_path / "net.pth", tmp_path / "b.ckpt", rules=[rules])
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()
    assert first.plan == second.plan
    assert first.verified is second.verified is True
    norms = [[layer.settings for layer in done.source.layers if layer.settings] for done in (first, second)]
    assert norms[0] == norms[1] != []


def test_the_way_back_by_rules_in_mindspores_terms(tmp_path: Path) -> None:
    mindspore.save_checkpoint(ports.Wrapped(), str(tmp_path / "net.ckpt"))
    options = SourceOptions(net=f"{ports.__file__}:Wrapped")
    text = porter.inspect(tmp_path / "net.ckpt", options).rules
    assert '"stem.bn" = { eps = 0.001, momentum = 0.95, affine = true, statistics = "tracked" }' in text
    done = porter.convert(tmp_path / "net.ckpt", tmp_path / "net.pth", rules=[written(tmp_path, text)])
    settings_of = {layer.name: layer.settings for layer in done.source.layers}
    found = settings_of["stem.bn"]
    assert found is not None
    assert (found.eps, found.momentum, found.known_from["momentum"]) == (1e-3, 0.05, "rules")


def test_a_cumulative_average_has_a_word(tmp_path: Path) -> None:
    """TOML has no null."""
    torch.save(two_norms(momentum=None), tmp_path / "net.pth")
    text = porter.inspect(tmp_path / "net.pth").rules
    assert 'momentum = "cumulative"' in text
    found = porter.inspect(tmp_path / "net.pth", rules=[written(tmp_path, text)]).source.layers[1].settings
    assert found is not None
    assert (found.momentum, found.known_from["momentum"]) == (None, "rules")


def test_what_is_undecided_stands_there_as_a_comment(tmp_path: Path) -> None:
    torch.save(two_norms(track_running_stats=False).state_dict(), tmp_path / "net.pth")
    text = porter.inspect(tmp_path / "net.pth").rules
    (line,) = [line for line in text.splitlines() if line.startswith('# "1"')]
    assert "BatchNorm3d" in line
    assert "InstanceNorm3d" in line
    assert port_rules.read(written(tmp_path, text)) == Rules()


def test_what_may_be_either_of_two_kinds_that_are_converted_alike_stands_there_too(tmp_path: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)).state_dict(), tmp_path / "net.pth")
    text = porter.inspect(tmp_path / "net.pth").rules
    (line,) = [line for line in text.splitlines() if '"1"' in line]
    assert line.startswith("# ")
    assert "LayerNorm" in line
    assert "GroupNorm" in line
    assert dict(port_rules.read(written(tmp_path, text)).layers) == {"0": "Linear"}


def test_every_layer_stands_in_the_file(tmp_path: Path) -> None:
    """As a row, or as a comment that says why not."""
    torch.save(ports.TorchNet().state_dict(), tmp_path / "net.pth")
    found = porter.inspect(tmp_path / "net.pth")
    assert all(f'"{layer.name}" = ' in found.rules for layer in found.source.layers)


def test_options_outweigh_the_file_and_a_later_file_an_earlier_one(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    first = written(tmp_path, '[hyperparameters]\n"**" = { eps = 1e-2, momentum = 0.3 }\n')
    second = tmp_path / "second.toml"
    second.write_text('dtype = "float16"\n[hyperparameters]\n"1" = { eps = 1e-3 }\n', "utf-8")
    done = porter.convert(
        tmp_path / "net.pth",
        tmp_path / "net.ckpt",
        rules=[first, second],
        write_options=WriteOptions(dtype=porter.plan.dtype_called("float64")),
        verify=False,
    )
    norms = {layer.name: layer.settings for layer in done.source.layers if layer.settings}
    assert {name: (s.eps, s.momentum) for name, s in norms.items()} == {"1": (1e-3, 0.3), "4": (1e-2, 0.3)}
    assert {spec.dtype.name for spec in done.plan.targets} == {"float64"}


def test_what_is_dropped_is_not_written_and_does_not_come_back(tmp_path: Path) -> None:
    network = torch.nn.ModuleDict({"main": two_norms(), "aux": two_norms()})
    state = randomised(network).state_dict()
    torch.save(state, tmp_path / "net.pth")
    rules = written(tmp_path, 'drop = ["aux"]')
    done = porter.convert(tmp_path / "net.pth", tmp_path / "net.ckpt", rules=[rules])
    assert done.verified is True
    assert {name.split(".")[0] for name in mindspore.load_checkpoint(str(tmp_path / "net.ckpt"))} == {"main"}
    assert porter.verify(tmp_path / "net.pth", tmp_path / "net.ckpt").verified is True
    porter.convert(tmp_path / "net.ckpt", tmp_path / "back.pth", write_options=REPLACE)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    kept = [name for name in state if name.startswith("main.")]
    assert list(back) == kept
    assert all(torch.equal(back[name], state[name]) for name in kept)
    written(tmp_path, 'drop = ["nothing"]')
    with pytest.raises(UsageError, match="nothing"):
        porter.convert(tmp_path / "net.pth", tmp_path / "x.ckpt", rules=[rules])


def test_hyperparameters_that_fit_no_layer_are_a_wrong_call(tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    rules = written(tmp_path, '[hyperparameters]\n"0" = { eps = 1e-3 }\n')
    with pytest.raises(UsageError, match="matches no batch normalisation"):
        porter.inspect(tmp_path / "net.pth", rules=[rules])
