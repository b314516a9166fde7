"""Layers that run as one get what each gets alone."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import layer_case, parameters, with_target

from porter.layers.settings import Settings
from porter.verification import batches as module
from porter.verification.batches import batches, inputs_of
from porter.verification.compare import verify_layers
from porter.verification.options import Options
from porter.verification.trajectory import make_inputs


def layers():
    settings = (Settings(), Settings(eps=1e-3), Settings(affine=False), Settings(statistics="batch"))
    return [
        layer_case(
            parameters(seed, 3 + seed), settings[seed % 4], name=f"layer{seed}", kind=f"BatchNorm{1 + seed % 3}d"
        )
        for seed in range(24)
    ]


def test_every_layer_is_in_one_batch_with_its_own_inputs() -> None:
    cases, seen = layers(), []
    for batch in batches(cases, Options(seed=3)):
        for case, place in zip(batch.cases, batch.places, strict=True):
            own, alone = inputs_of(batch, place), make_inputs(case, Options(seed=3))
            pairs = [(own.evaluation, alone.evaluation), (own.upstream, alone.upstream)]
            for mine, its in [*pairs, *zip(own.training, alone.training, strict=True)]:
                np.testing.assert_array_equal(mine, its)
            seen.append(case.name)
    assert sorted(seen) == sorted(case.name for case in cases)


@pytest.mark.parametrize("widest", [1, 20, 4096])
def test_a_fault_is_found_in_its_own_layer_however_wide_the_batches_are(monkeypatch, widest) -> None:
    monkeypatch.setattr(module, "_WIDEST", widest)
    cases = layers()
    cases[5] = with_target(cases[5], beta=cases[5].target.parameters["beta"] + np.float32(1e-3))
    results = list(verify_layers(cases, Options()))
    assert [result.name for result in results] == [case.name for case in cases]
    assert [result.name for result in results if not result.ok] == ["layer5"]
