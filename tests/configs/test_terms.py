"""The table of arguments against the frameworks' own classes, and momentum as text."""

from __future__ import annotations

import inspect
import re
from decimal import Decimal
from typing import Any

import mindspore
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.configs.terms import CLASSES, INITIAL, TERMS, Dialect, class_of, inverted
from porter.layers.settings import invert_momentum

PACKAGES: dict[Dialect, Any] = {"torch": torch.nn, "mindspore": mindspore.nn, "mint": mindspore.mint.nn}
POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("dialect", PACKAGES)
def test_arguments_are_the_frameworks_own(dialect: Dialect, class_name: str) -> None:
    parameters = inspect.signature(getattr(PACKAGES[dialect], class_name)).parameters
    terms = TERMS[dialect]
    assert terms.positional[class_name] == tuple(p.name for p in parameters.values() if p.kind is POSITIONAL)
    assert terms.keywords == tuple(p.name for p in parameters.values() if p.kind is not POSITIONAL)
    assert parameters["momentum"].default == (0.9 if terms.inverted else 0.1)
    assert all(parameters[name].default == value for name, value in INITIAL.items() if name in parameters)


@pytest.mark.parametrize("class_name", CLASSES[:3])
def test_the_announced_signature_is_the_one_announced(class_name: str) -> None:
    announced = re.search(rf"``{class_name}\(([^`]*)\)``", getattr(mindspore.nn, class_name).__doc__)
    assert announced
    arguments = dict(part.split("=") if "=" in part else (part, "") for part in announced[1].split(", "))
    assert TERMS["announced"].positional[class_name] == tuple(arguments)
    assert (arguments["momentum"], TERMS["announced"].inverted) == ("0.1", False)


@pytest.mark.parametrize("package", ["torch.nn", "torch.nn.modules.batchnorm", "mindspore.nn", "mindspore.mint.nn"])
@pytest.mark.parametrize("class_name", CLASSES)
def test_a_dotted_name_is_the_class_that_it_imports(package: str, class_name: str) -> None:
    found = class_of(f"{package}.{class_name}")
    assert found
    dialect, name = found
    module: Any = torch if package.startswith("torch") else mindspore
    for part in package.split(".")[1:]:
        module = getattr(module, part)
    assert getattr(module, class_name) is getattr(PACKAGES[dialect], name)


def test_the_module_a_class_is_defined_in_names_it_too() -> None:
    for dialect, package in PACKAGES.items():
        for class_name in CLASSES[:3]:
            cls = getattr(package, class_name)
            assert class_of(f"{cls.__module__}.{class_name}") == (dialect, class_name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("0.1", "0.9"), ("0.10", "0.90"), (".1", ".9"), ("1", "0"), ("0", "1"), ("1.0", "0.0"), ("1.", "0.")],
        *[("0.997", "0.003"), ("1e-2", "0.99"), ("1E-1", "0.9"), ("1e0", "0.0"), ("0.5", "0.5"), ("+0.1", "0.9")],
        # Residues of float64 and float32 arithmetic.
        *[("0.010000000000000009", "0.99"), ("0.09999999999999998", "0.9"), ("0.8999999761581421", "0.1")],
        ("0.1000000000000000055511151231257827", "0.9"),
    ],
)
def test_momentum_is_inverted_as_text(text: str, expected: str) -> None:
    assert inverted(text) == expected


@settings(deadline=None)
@given(st.integers(0, 9), st.data())
def test_what_has_no_exponent_comes_back(digits: int, data: st.DataObject) -> None:
    text = f"{Decimal(data.draw(st.integers(0, 10**digits))).scaleb(-digits):f}"
    assert inverted(inverted(text)) == text
    assert Decimal(inverted(text)) == 1 - Decimal(text)


@settings(deadline=None)
@given(st.floats(0, 1))
def test_text_and_float_are_inverted_alike(value: float) -> None:
    assert float(inverted(repr(value))) == pytest.approx(invert_momentum(value), abs=2**-52)


@pytest.mark.parametrize("text", ["", "BN", "nan", "inf", "0x1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        inverted(text)
