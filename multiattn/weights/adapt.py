"""Fits a checkpoint to another number of classes or another image size, as far as that is meant."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from multiattn import catalog
from multiattn.weights.layout import Array


class Adapter:
    """What of a checkpoint may differ from a module, by the catalog's entry of its class.

    Args:
        module: the target; it says its ``grid`` of patches if it has position embeddings, and each
            of its ``layers`` the ``windows`` if they have tables of relative positions.
        cls: its class's name.
    """

    def __init__(self, module: object, cls: str):
        entry = catalog.entries().get(cls)
        self.classifier = entry.classifier if entry else ()
        self.positions = entry.positions if entry else ()
        self.tables = entry.tables if entry else ()
        self.grid: tuple[int, int] = getattr(module, "grid", (0, 0))
        self.layers: Sequence[Any] = getattr(module, "layers", ())

    def is_classifier(self, name: str) -> bool:
        """Whether a name is bound to the number of classes."""
        return any(re.search(pattern, name) for pattern in self.classifier)

    def resized(self, name: str, array: Array, shape: tuple[int, ...]) -> Array:
        """Position embeddings and tables in the module's shape; any other array as it is."""
        if any(re.search(pattern, name) for pattern in self.positions):
            return resize_positions(array, shape[1] - math.prod(self.grid), self.grid)
        for pattern in self.tables:
            if match := re.search(pattern, name):
                return resize_table(array, self.layers[int(match[1])].windows)
        return array


def resize_positions(positions: Array, prefix: int, grid: tuple[int, int]) -> Array:
    """Position embeddings (1, prefix + L, C) of a square grid for another grid.

    Bicubic with antialiasing, in float32, as timm does it; those of the prefix tokens stay. What
    is no such square comes back as it is.
    """
    side = math.isqrt(max(positions.shape[1] - prefix, 0))
    if positions.ndim != 3 or not side or side * side != positions.shape[1] - prefix:
        return positions
    patches = positions[:, prefix:].astype(np.float32).reshape(side, side, -1)
    rows, columns = (_bicubic(side, size) for size in grid)
    resized = np.einsum("hi,wj,ijc->hwc", rows, columns, patches)
    resized = resized.reshape(1, -1, positions.shape[2]).astype(positions.dtype)
    return np.concatenate([positions[:, :prefix], resized], 1)


def resize_table(table: Array, window: tuple[int, int]) -> Array:
    """A table of relative positions (L, heads) in a square window for another window.

    Linear, in float32, between places that lie the farther apart the farther they are from the
    centre, as timm does it. What is no such table comes back as it is.
    """
    side = math.isqrt(len(table))
    if table.ndim != 2 or side * side != len(table) or side % 2 == 0:
        return table
    rows, columns = (_growing(side, 2 * size - 1) for size in window)
    places = table.astype(np.float32).reshape(side, side, -1)
    resized = np.einsum("hi,wj,ijc->hwc", rows, columns, places)
    return resized.reshape(-1, table.shape[1]).astype(table.dtype)


def _growing(size: int, new: int) -> np.ndarray:
    """The weights (new, size) with which an axis of a table is resized.

    The distances between its places are a geometric progression that reaches the new border.
    """
    steps, border = size // 2, new // 2
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (ratio**steps - 1) / (ratio - 1) > border:
            high = ratio
        else:
            low = ratio
    reach = np.cumsum(ratio ** np.arange(steps))
    old = np.concatenate([-reach[::-1], [0], reach]).astype(np.float32)
    wanted = np.arange(-border, border + 1, dtype=np.float32)
    right = np.minimum(np.searchsorted(old, wanted), size - 1)
    left = np.maximum(right - 1, 0)
    share = np.interp(wanted, old, np.arange(size)) - left
    weights = np.zeros((new, size), np.float32)
    weights[np.arange(new), left] = 1 - share
    weights[np.arange(new), right] += share
    return weights


def _bicubic(size: int, new: int) -> np.ndarray:
    """The weights (new, size) with which an axis is resized."""
    scale = size / new
    reach = max(scale, 1.0)
    centres = scale * (np.arange(new) + 0.5)
    first = np.maximum((centres - 2 * reach + 0.5).astype(int), 0)
    last = np.minimum((centres + 2 * reach + 0.5).astype(int), size)
    places = np.arange(size)
    distance = np.abs((places - centres[:, None] + 0.5) / reach)
    near = ((1.5 * distance - 2.5) * distance) * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    weights *= (places >= first[:, None]) & (places < last[:, None])
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
