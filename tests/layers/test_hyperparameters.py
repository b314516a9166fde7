"""Settings that a user gives are checked in one place, by whichever way they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import two_norms

import porter
from porter import SourceOptions
from porter.errors import UsageError
from porter.layers.hyperparameters import check_hyperparameters

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"eps": 0},
        {"eps": 1e300, "momentum": 1},
        {"momentum": 0.0},
        {"momentum": "cumulative", "affine": False, "statistics": "frozen"},
    ],
)
def test_what_may_be_said(values: dict[str, Any]) -> None:
    check_hyperparameters("here", values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("eps", value) for value in (NAN, INF, -INF, -1e-9, True, "1e-3", None)),
        *(("momentum", value) for value in (NAN, INF, -0.1, 1.1, 5, False, "none")),
        *(("affine", value) for value in (1, "yes")),
        *(("statistics", value) for value in ("never", None, 1)),
    ],
)
def test_what_may_not(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"here: .*{name}.*{value}"):
        check_hyperparameters("here", {name: value})


@pytest.mark.parametrize(("values", "wrong"), [(1e-3, "a table"), ({"epsilon": 1e-3}, "eps, .* found 'epsilon'")])
def test_what_is_no_setting(values: object, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        check_hyperparameters("here", values)


@pytest.mark.parametrize(
    "options",
    [
        SourceOptions(eps=NAN),
        SourceOptions(eps=-1e-5),
        SourceOptions(momentum=INF),
        SourceOptions(hyperparameters=[("**", {"eps": INF})]),
        SourceOptions(hyperparameters=[("**", {"momentum": 2})]),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda net, options: porter.inspect(net, options),
        lambda net, options: porter.convert(net, net.with_name("n.ckpt"), source_options=options, verify=False),
        lambda net, options: porter.verify(net, net, source_options=options),
    ],
)
def test_from_python_too(call: Callable[[Path, SourceOptions], Any], options: SourceOptions, tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match="says what cannot be"):
        call(tmp_path / "net.pth", options)
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth"}


@pytest.mark.parametrize("said", [{"target_eps": -1.0}, {"target_eps": NAN}, {"target_momentum": 1.5}])
def test_of_the_target_too(said: dict[str, float], tmp_path: Path) -> None:
    torch.save(two_norms().state_dict(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match="--target-"):
        porter.verify(tmp_path / "net.pth", tmp_path / "net.pth", **said)  # type: ignore[arg-type]
