"""The verdict on two networks: where they part, and when agreement is no proof."""

import pytest

from porter.verification.network_results import Activation, ModeResult, unproven


def row(
    layer: str, *, ok: bool = True, allowed: float = 1e-6, magnitude: float = 1.0, what: str = "output"
) -> Activation:
    return Activation(layer, layer, what, 0, ok, 0.0, allowed, magnitude, ((2,), (2,)))


@pytest.mark.parametrize(
    ("allowed", "magnitude", "judged"),
    [(1e-6, 1.0, True), (0.0, 0.0, False), (4.0, 1.0, False), (float("nan"), float("nan"), False)],
)
def test_an_output_that_rounding_explains_proves_nothing(allowed: float, magnitude: float, judged: bool) -> None:
    output = row("", allowed=allowed, magnitude=magnitude)
    assert (unproven([output], ()) is None) is judged
    inner = row("relu", allowed=allowed, magnitude=magnitude)
    assert unproven([inner], ()) is None, "a layer inside may well be 0 throughout"
    assert (unproven([row("", what="output[0]"), output], ()) is None) is judged, "every output counts"


CHAOS = [row("conv"), row("", allowed=4.0)]


@pytest.mark.parametrize(
    ("by_layer", "proven"),
    [
        ([row("conv"), row("")], True),
        ([row("conv"), row("zero", allowed=0.0, magnitude=0.0), row("")], True),
        ([row("conv"), row("", what="running_mean", allowed=4.0), row("")], True),
        ([row("conv", allowed=4.0), row("")], False),
        ([row("conv"), row("", allowed=4.0)], False),
        ([row("conv"), row("", allowed=0.0, magnitude=0.0)], False),
        ([row("conv")], False),
        ([], False),
    ],
)
def test_what_no_run_can_show_every_layer_may(by_layer: list[Activation], proven: bool) -> None:
    assert (unproven(CHAOS, by_layer) is None) is proven


def test_layer_by_layer_shows_best_where_networks_part() -> None:
    whole, alone = (row("a"), row("b", ok=False), row("c", ok=False)), (row("a"), row("b"), row("c", ok=False))
    assert ModeResult("eval", whole, alone).first_divergence == alone[2]
    assert ModeResult("eval", whole, (row("a"),)).first_divergence == whole[1]
    graph = ModeResult("eval", (row("a"),), (row("a"),), (row("", ok=False),))
    assert (graph.where, graph.first_divergence, graph.ok) == ("graph", graph.graph[0], False)
    assert ModeResult("eval", (row("a"),), (row("a"),)).where is None


def test_what_is_shown_layer_by_layer_ends_with_the_network_as_it_ran() -> None:
    """Behind a wrong layer stand PyTorch's numbers, so that there the network's output is right whatever it does."""
    wrong = row("", ok=False)
    assert ModeResult("eval", (row("a"), wrong), (row("a", ok=False), row(""))).told == (row("a", ok=False), wrong)
    alone = (row("a"), row("", ok=False, what="output[0]"))
    assert ModeResult("eval", (row("a"), wrong), alone).told == alone, "the network goes wrong behind its last layer"
    assert ModeResult("eval", (row("a"), wrong), (row("a"), row(""))).told == (row("a"), wrong)
