"""Activations with PyTorch's defaults, and PyTorch's gradients where they bend."""

import math

import keras
from keras import ops
from keras.backend import standardize_dtype
from keras.ops import elu

from .common import check_choice
from .initializers import constant
from .module import Module

_registered = keras.saving.register_keras_serializable("multiattn")  # for Sequential's config


@_registered
def leaky_relu(x, negative_slope: float = 0.01):
    """x where positive, negative_slope · x elsewhere."""
    return ops.where(x > 0, x, negative_slope * x)


@_registered
def celu(x, alpha: float = 1.0):
    """x where positive, alpha · (exp(x / alpha) - 1) elsewhere."""
    return alpha * elu(x / alpha)


@_registered
def selu(x):
    """scale · elu(x, alpha), for the two constants of self-normalising networks."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@_registered
def gelu(x, approximate: str = "none"):
    """x · Φ(x), exact ("none") or by its "tanh" approximation."""
    check_choice("gelu", "approximate", approximate, ("none", "tanh"))
    if standardize_dtype(x.dtype) != "float64":
        return ops.gelu(x, approximate=approximate == "tanh")
    # TensorFlow's own has constants in float32
    if approximate == "tanh":
        return x / 2 * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return x / 2 * (1 + ops.erf(x / math.sqrt(2)))


@_registered
def hardtanh(x, min_val: float = -1.0, max_val: float = 1.0):
    """x clipped to [min_val, max_val]."""
    return ops.where(x <= min_val, min_val, ops.where(x >= max_val, max_val, x))


@_registered
def relu6(x):
    """x clipped to [0, 6]."""
    return hardtanh(x, 0.0, 6.0)


@_registered
def hardsigmoid(x):
    """relu6(x + 3) / 6."""
    return relu6(x + 3) / 6


@_registered
def hardswish(x):
    """x · relu6(x + 3) / 6."""
    return x * hardsigmoid(x)


@_registered
def softplus(x):
    """log(1 + exp(x)), and x itself above 20."""
    return ops.where(x > 20, x, ops.softplus(x))


@_registered
def mish(x):
    """x · tanh(log(1 + exp(x)))."""
    return x * ops.tanh(ops.softplus(x))


@_registered
def normalize(x, p: float = 2, axis: int = -1, eps: float = 1e-12):
    """x over its p-norm along an axis; a norm below eps counts as eps."""
    # not by abs and norm, whose slopes at 0 differ between the backends
    total = ops.sum((x * ops.sign(x)) ** p, axis, keepdims=True)
    norm = ops.where(total > 0, ops.where(total > 0, total, 1.0) ** (1 / p), 0.0)
    return x / ops.maximum(norm, eps)


class PReLU(Module):
    """Leaky ReLU with a learned slope, or one for each channel.

    Args:
        num_parameters: 1, or the number of channels.
        init: the initial slope.
    """

    def __init__(self, num_parameters: int = 1, *, init: float = 0.25, **kwargs):
        super().__init__(**kwargs)
        self.num_parameters = num_parameters
        self.init = init

    def setup(self, shape):
        self.weight = self.add_weight(
            name="weight", shape=(self.num_parameters,), initializer=constant(self.init)
        )

    def call(self, x):
        return leaky_relu(x, self.weight)
