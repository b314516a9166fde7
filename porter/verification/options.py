"""What a user may say of a verification. A conversion imports no more of it than this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from porter.verification.cases import Array


class Options(NamedTuple):
    """How layers are run and judged.

    Attributes:
        seed: of the inputs. A layer's inputs depend on it and on the layer's name alone.
        steps: training steps between the two evaluations, at least 1.
        atol, rtol: where either is given, a result passes within atol + rtol * |reference| (the one not given counts
            as 0) in place of the rounding-error bound; on edge inputs within the wider of the two.
        ms_mode: MindSpore's execution mode.
        device: the device target in MindSpore's spelling: CPU, GPU or Ascend.
        strict: fail a layer whose own values are not finite, or whose variance is negative.
    """

    seed: int = 0
    steps: int = 3
    atol: float | None = None
    rtol: float | None = None
    ms_mode: Literal["pynative", "graph", "both"] = "pynative"
    device: str = "CPU"
    strict: bool = False


class NetworkInput(NamedTuple):
    """One input of a network.

    Attributes:
        shape: batch axis included.
        name: of the argument of `forward`; None for the next positional one.
        below: None for standard normal numbers; else whole numbers from 0 to `below` - 1, for an embedding.
    """

    shape: tuple[int, ...]
    name: str | None = None
    below: int | None = None

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) + (f":{self.below}" if self.below else "")
        return f"{self.name}={shape}" if self.name else shape

    def draw(self, random: np.random.Generator) -> Array:
        """float32, or int64 where there is a `below`."""
        import numpy as np

        whole = self.below is not None
        drawn = random.integers(self.below or 0, size=self.shape) if whole else random.standard_normal(self.shape)
        array: Array = drawn.astype(np.int64 if whole else np.float32)
        return array
