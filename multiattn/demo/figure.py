"""The picture: where the attention looks, in each framework."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from multiattn.demo.data import CLASSES, Array

TITLE = "One file of weights, three frameworks"
SUBTITLE = (
    "Where a CoordAttention block opens its row and column gates. "
    "Trained in PyTorch; the same weights loaded in Keras and in Flax."
)
INK, GREY = "#1b1b24", "#6b6b78"
# In parts of the figure; its proportions make the tiles square and their gaps equal.
SIZE = (13, 5.4)
GRID = {"left": 0.115, "right": 0.935, "top": 0.809, "bottom": 0.028, "wspace": 0.07}


def draw(
    path: Path,
    images: Array,
    labels: NDArray[np.int64],
    gates: Mapping[str, Array],
    captions: Mapping[str, str],
) -> None:
    """Draws a digit of each class, and below it the gate in each framework.

    Args:
        path: the picture's file.
        images: (N, H, W, 1).
        labels: (N,).
        gates: framework -> (N, H, W).
        captions: framework -> what stands below its name.
    """
    chosen = [np.flatnonzero(labels == label)[0] for label in range(CLASSES)]
    digits = images[chosen, ..., 0]
    maps = np.stack([gates[framework][chosen] for framework in captions])
    figure = Figure(figsize=SIZE, dpi=160, facecolor="white")
    axes = figure.subplots(1 + len(maps), CLASSES, gridspec_kw={**GRID, "hspace": GRID["wspace"]})
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, digit in zip(axes[0], digits, strict=True):
        axis.imshow(digit, cmap="gray")
    for row, opened in zip(axes[1:], maps, strict=True):
        for axis, digit, gate in zip(row, digits, opened, strict=True):
            tile = axis.imshow(gate, cmap="magma", vmin=maps.min(), vmax=maps.max())
            axis.contour(digit, levels=[0.4], colors="white", linewidths=0.9, alpha=0.75)

    left, right, bottom = GRID["left"], GRID["right"], GRID["bottom"]
    figure.text(left, 0.92, TITLE, size=20, weight="bold", color=INK)
    figure.text(left, 0.852, SUBTITLE, size=11.5, color=GREY)
    captions = {"Digits": "scikit-learn's,\nunseen in training", **captions}
    for axis, (name, caption) in zip(axes[:, 0], captions.items(), strict=True):
        beside = {"x": -0.1, "ha": "right", "transform": axis.transAxes}
        axis.text(y=0.58, s=name, size=14, weight="bold", color=INK, **beside)
        axis.text(y=0.5, s=caption, size=9, color=GREY, va="top", linespacing=1.4, **beside)

    height = axes[1, 0].get_position().y1 - bottom
    bar = figure.colorbar(tile, cax=figure.add_axes((right + 0.01, bottom, 0.009, height)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=9, labelcolor=GREY)
    bar.ax.set_title("gate", size=10, color=GREY, loc="left")
    figure.savefig(path)
