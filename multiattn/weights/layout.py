"""How each framework's stock layers hold their variables, and how that becomes PyTorch's layout."""

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

CONV = "* i o -> o i *"
LINEAR = "i o -> o i"

# Class (found through the method resolution order) -> canonical name -> (attribute, axis order).
# A star stands for the spatial axes. An attribute that is not listed keeps its name and its axes.
LEAVES: Mapping[str, Mapping[str, tuple[str, str | None]]] = {
    "keras.src.layers.convolutional.base_conv.BaseConv": {"weight": ("kernel", CONV)},
    "keras.src.layers.convolutional.base_depthwise_conv.BaseDepthwiseConv": {
        "weight": ("kernel", "* c m -> (c m) 1 *")
    },
    "keras.src.layers.convolutional.base_conv_transpose.BaseConvTranspose": {
        "weight": ("kernel", "* o i -> i o *")
    },
    "keras.src.layers.core.dense.Dense": {"weight": ("kernel", LINEAR)},
    "keras.src.layers.core.embedding.Embedding": {"weight": ("embeddings", None)},
    "keras.src.layers.normalization.batch_normalization.BatchNormalization": {
        "weight": ("gamma", None),
        "bias": ("beta", None),
        "running_mean": ("moving_mean", None),
        "running_var": ("moving_variance", None),
    },
    "keras.src.layers.normalization.layer_normalization.LayerNormalization": {
        "weight": ("gamma", None),
        "bias": ("beta", None),
    },
    "keras.src.layers.normalization.group_normalization.GroupNormalization": {
        "weight": ("gamma", None),
        "bias": ("beta", None),
    },
    "flax.nnx.nn.linear.Conv": {"weight": ("kernel", CONV)},
    "flax.nnx.nn.linear.Linear": {"weight": ("kernel", LINEAR)},
    "flax.nnx.nn.linear.Embed": {"weight": ("embedding", None)},
    "flax.nnx.nn.normalization.BatchNorm": {
        "weight": ("scale", None),
        "running_mean": ("mean", None),
        "running_var": ("var", None),
    },
    "flax.nnx.nn.normalization.LayerNorm": {"weight": ("scale", None)},
    "flax.nnx.nn.normalization.GroupNorm": {"weight": ("scale", None)},
    "flax.nnx.nn.normalization.InstanceNorm": {"weight": ("scale", None)},
}


def leaf(layer: object) -> dict[str, tuple[str, str | None]]:
    """Attribute -> (canonical name, axis order) for a stock layer or a subclass of one."""
    for cls in type(layer).__mro__:
        if table := LEAVES.get(f"{cls.__module__}.{cls.__qualname__}"):
            return {attribute: (name, axes) for name, (attribute, axes) in table.items()}
    return {}


def rank(layer: object) -> int:
    """The number of spatial axes of a convolution."""
    size = getattr(layer, "kernel_size", ())
    return len(size) if isinstance(size, tuple) else 0


class AxisOrder:
    """An axis order such as ``h w i o -> o i h w``, between an array's own axes and canonical ones.

    The right side may join axes in parentheses and add axes of length one. Axes that lead those
    of the left side stay in front.

    Args:
        pattern: the axis order; a star stands for the spatial axes.
        spatial: how many axes the star stands for.
    """

    def __init__(self, pattern: str, spatial: int = 0):
        star = " ".join(f"s{i}" for i in range(spatial))
        own, canonical = pattern.replace("*", star).split("->")
        self.own = own.split()
        self.groups = [
            group.strip("()").split() for group in re.findall(r"\([^)]*\)|\S+", canonical)
        ]
        names = [name for group in self.groups for name in group if name != "1"]
        self.order = [self.own.index(name) for name in names]

    def _leading(self, ndim: int) -> int:
        return ndim - len(self.own)

    def canonical_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The canonical shape of an array that has this shape in its own axes."""
        leading = self._leading(len(shape))
        sizes = {**dict(zip(self.own, shape[leading:], strict=True)), "1": 1}
        return shape[:leading] + tuple(
            math.prod(sizes[name] for name in group) for group in self.groups
        )

    def to_canonical(self, array: Array) -> Array:
        """The array in canonical axes."""
        leading = self._leading(array.ndim)
        axes = [*range(leading), *(leading + axis for axis in self.order)]
        return array.transpose(axes).reshape(self.canonical_shape(array.shape))

    def from_canonical(self, array: Array, shape: tuple[int, ...]) -> Array:
        """The canonical array in its own axes, where it has this shape."""
        leading = self._leading(len(shape))
        axes = [*range(leading), *(leading + axis for axis in self.order)]
        return array.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
