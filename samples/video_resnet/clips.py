"""Synthetic video clips: a coloured square that moves left, right, up or down over a noisy background."""

from __future__ import annotations

import numpy as np

DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
FRAMES, SIDE, SQUARE = 6, 20, 5


def make_clips(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` clips, float32 of shape (count, 3, FRAMES, SIDE, SIDE), and their int32 directions, (count,).

    Brightness and colour differ from clip to clip, so that the statistics of the batches differ as well.
    """
    rng = np.random.default_rng(seed)
    clips = rng.normal(0.4, 0.1, (count, 3, FRAMES, SIDE, SIDE)).astype(np.float32)
    directions = rng.integers(0, len(DIRECTIONS), count, dtype=np.int32)
    for clip, direction in zip(clips, directions, strict=True):
        step = np.array(list(DIRECTIONS.values())[direction]) * rng.integers(1, 3)
        travel = np.abs(step) * (FRAMES - 1)
        start = rng.integers(0, SIDE - SQUARE - travel, endpoint=True) + np.where(step < 0, travel, 0)
        colour = rng.uniform(0.6, 1.5, (3, 1, 1)).astype(np.float32)
        for frame in range(FRAMES):
            row, column = start + frame * step
            clip[:, frame, row : row + SQUARE, column : column + SQUARE] += colour
    return clips, directions
