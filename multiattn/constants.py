"""What modules compute from their options alone, the same in each tree; no framework is needed."""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# FcaNet's frequencies along height and width on a grid of 7 by 7, in the order of their merit
FREQUENCIES = {
    "top": ("00600114513000324635526553342261", "01052020060463526333511242113053"),
    "low": ("00110221203401301234501234561234", "01012012230043154321065432106543"),
    "bot": ("61332412445146256162243355625536", "64466314456522514350311242115333"),
}


@lru_cache
def cosine_basis(frequencies: str, size: tuple[int, int]) -> NDArray[Any]:
    """The cosine transform's functions over a map, (k, height * width)."""
    kind, count = frequencies[:3], int(frequencies[3:])
    axes = []
    for digits, length in zip(FREQUENCIES[kind], size, strict=True):
        waves = np.array([int(digit) for digit in digits[:count]])[:, None] * (length // 7)
        axis = np.cos(math.pi * waves * (np.arange(length) + 0.5) / length) / math.sqrt(length)
        axes.append(np.where(waves == 0, axis, math.sqrt(2) * axis))
    rows, columns = axes
    return (rows[:, :, None] * columns[:, None, :]).reshape(count, -1)


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """The rate of each block's stochastic depth, from 0 in the first to that of the last."""
    return [last * block / max(blocks - 1, 1) for block in range(blocks)]


def relative_positions(window_size: Sequence[int]) -> NDArray[Any]:
    """The row of the table of biases for each pair of places in a window, (L, L)."""
    height, width = window_size
    rows, columns = np.indices(window_size).reshape(2, -1)
    rows = rows[:, None] - rows + height - 1
    columns = columns[:, None] - columns + width - 1
    return rows * (2 * width - 1) + columns


def shift_mask(
    size: Sequence[int], window_size: Sequence[int], shift: Sequence[int]
) -> NDArray[Any]:
    """What keeps places apart that only a shift has brought into a window: 0, or else -100.

    Args:
        size: height and width of the map, multiples of the windows'.
        window_size: height and width of the windows.
        shift: of the map, along each axis.

    Returns:
        (windows, L, L) for windows of L places.
    """
    regions = np.zeros(size)
    cuts = [
        (0, n - w, n - s, n) if s else (0, n)
        for n, w, s in zip(size, window_size, shift, strict=True)
    ]
    boxes = itertools.product(*(itertools.pairwise(axis) for axis in cuts))
    for number, ((top, bottom), (left, right)) in enumerate(boxes):
        regions[top:bottom, left:right] = number
    height, width = window_size
    windows = regions.reshape(size[0] // height, height, size[1] // width, width)
    places = windows.swapaxes(1, 2).reshape(-1, height * width)
    return np.where(places[:, None] == places[:, :, None], 0.0, -100.0)
