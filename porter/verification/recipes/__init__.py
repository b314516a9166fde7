"""The kinds of layers that are run from their parameters alone, and how (`porter.verification.recipes.recipe`)."""

from __future__ import annotations

from collections.abc import Mapping

from porter.verification.recipes import attention, convolutions, maps, norms, recurrent, transposed
from porter.verification.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe"]

# Kind -> recipe. Batch normalisations have settings and a state: `porter.verification.trajectory`. Layers of several
# layers are run as those.
RECIPES: Mapping[str, Recipe] = {
    "Linear": maps.LINEAR,
    "Bilinear": maps.BILINEAR,
    "Embedding": maps.EMBEDDING,
    "PReLU": maps.PRELU,
    **{f"Conv{dims}d": convolutions.CONVOLUTION for dims in (1, 2, 3)},
    **{f"ConvTranspose{dims}d": transposed.TRANSPOSED for dims in (1, 2, 3)},
    "LayerNorm": norms.LAYER_NORM,
    "GroupNorm": norms.GROUP_NORM,
    **{f"InstanceNorm{dims}d": norms.instance_norm(dims) for dims in (1, 2, 3)},
    "LSTM": recurrent.LSTM,
    "LSTMCell": recurrent.LSTM_CELL,
    "GRU": recurrent.GRU,
    "GRUCell": recurrent.GRU_CELL,
    "RNN": recurrent.RNN,
    "RNNCell": recurrent.RNN_CELL,
    "MultiheadAttention": attention.ATTENTION,
}
