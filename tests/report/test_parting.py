"""Where two networks part, on the terminal: the lines of the table and the verdict below them agree."""

from __future__ import annotations

import pytest

from porter.report.console import stdout
from porter.report.networks import show_network
from porter.verification.network_results import Activation, ModeResult, NetworkResult


def row(layer: str, *, ok: bool = True) -> Activation:
    return Activation(layer, layer, "output", 0, ok, 0.0 if ok else 1.0, 1e-6, 1.0, ((2,), (2,)))


@pytest.mark.parametrize(
    ("whole", "last", "failed"),
    [
        (False, "NO  the network", "FAILED the networks in eval"),
        (True, "ok  the network", "FAILED layers of the netw"),
    ],
)
def test_the_network_as_it_ran_is_the_last_line(
    whole: bool, last: str, failed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    names = [f"layer{number}" for number in range(9)]
    by_layer = (*(row(name, ok=name != "layer4") for name in names), row(""))
    mode = ModeResult("eval", (*map(row, names), row("", ok=whole)), by_layer, cause="padding differs")
    show_network(stdout(), NetworkResult(("1x3",), (), (mode,), {}), verbose=False)
    out = capsys.readouterr().out
    table = out.partition("FAILED")[0].splitlines()
    assert [line.split()[1] for line in table[1:]] == [*names[1:7], "the"]
    assert table[-1].startswith(last)
    assert failed in out
