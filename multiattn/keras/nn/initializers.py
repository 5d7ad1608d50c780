"""Initial values of weights: PyTorch's distributions.

Shapes are in PyTorch's layout (out, in, *kernel); the ground floor's layers see to their kernels,
which are in Keras's. Under `with skipped():` all give zeros at no cost, for a model whose weights
are loaded next.
"""

import contextlib
import math
import random
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import keras
import ml_dtypes  # noqa: F401 (so that NumPy knows bfloat16)
import numpy as np
from keras import ops
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from .common import check_choice

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "selu": 3 / 4,
}
_skipping = ContextVar("skipping", default=False)


@contextlib.contextmanager
def skipped() -> Iterator[None]:
    """Every initializer gives zeros inside this context."""
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


@keras.saving.register_keras_serializable("multiattn")
class Initializer(keras.initializers.Initializer):
    """Draws with NumPy: JAX would compile a generator for each new shape.

    Every call has a seed of its own, from the generator that `keras.utils.set_random_seed` sets.

    Args:
        distribution: constant, uniform, normal or trunc_normal.
        value: the constant, the bound or the standard deviation.
        fan: fan_in, fan_out or fan_avg: the value is then divided by its square root.
        channels_last: whether shapes are in Keras's layout (*kernel, in, out).
    """

    def __init__(
        self,
        distribution: str,
        value: float | Sequence[float],
        fan: str | None = None,
        channels_last: bool = False,
    ):
        self.distribution = distribution
        self.value = value
        self.fan = fan
        self.channels_last = channels_last

    def __call__(self, shape, dtype=None):
        dtype = dtype or keras.config.floatx()
        if in_symbolic_scope():
            return ops.zeros(shape, dtype)
        if _skipping.get():
            return ops.convert_to_tensor(np.zeros(shape, dtype))
        value = self.value
        if self.fan is not None:
            *kernel, fan_in, fan_out = shape if self.channels_last else (*shape[2:], *shape[1::-1])
            fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
            value /= math.sqrt(fans[self.fan] * math.prod(kernel))
        rng = np.random.default_rng(random.randint(1, 10**9))
        return ops.convert_to_tensor(_DRAWS[self.distribution](rng, value, shape).astype(dtype))

    def get_config(self):
        return {
            "distribution": self.distribution,
            "value": self.value,
            "fan": self.fan,
            "channels_last": self.channels_last,
        }


def _trunc_normal(rng: np.random.Generator, std: float, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.normal(0, std, shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.normal(0, std, outside.sum())
    return values


_DRAWS = {
    "constant": lambda rng, value, shape: np.full(shape, value),
    "uniform": lambda rng, bound, shape: rng.uniform(-bound, bound, shape),
    "normal": lambda rng, std, shape: rng.normal(0, std, shape),
    "trunc_normal": _trunc_normal,
}


def constant(value: float | Sequence[float]) -> Initializer:
    """One value everywhere, or given values."""
    return Initializer("constant", value)


zeros = constant(0.0)
ones = constant(1.0)


def uniform(bound: float) -> Initializer:
    """Uniform on [-bound, bound)."""
    return Initializer("uniform", bound)


def normal(std: float = 1.0) -> Initializer:
    """Normal around 0."""
    return Initializer("normal", std)


def trunc_normal(std: float = 0.02) -> Initializer:
    """Normal around 0, cut at -2 and 2 (the values, whatever `std` is)."""
    return Initializer("trunc_normal", std)


def kaiming_uniform(a: float = 0.0) -> Initializer:
    """Uniform with bound gain · sqrt(3 / fan_in) for a leaky ReLU of slope `a`."""
    return Initializer("uniform", math.sqrt(6 / (1 + a**2)), "fan_in")


def kaiming_normal(mode: str = "fan_in", nonlinearity: str = "relu") -> Initializer:
    """Normal with deviation gain / sqrt(fan).

    Args:
        mode: fan_in or fan_out.
        nonlinearity: what follows: linear, sigmoid, tanh, relu, leaky_relu or selu.
    """
    check_choice("kaiming_normal", "mode", mode, ("fan_in", "fan_out"))
    check_choice("kaiming_normal", "nonlinearity", nonlinearity, _GAINS)
    return Initializer("normal", _GAINS[nonlinearity], mode)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform with bound gain · sqrt(6 / (fan_in + fan_out))."""
    return Initializer("uniform", gain * math.sqrt(3), "fan_avg")


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal with deviation gain · sqrt(2 / (fan_in + fan_out))."""
    return Initializer("normal", gain, "fan_avg")
