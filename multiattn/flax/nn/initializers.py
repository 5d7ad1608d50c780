"""Initial values of parameters: PyTorch's distributions, over shapes in PyTorch's layout.

An initializer is called as `initializer(key, shape, dtype)`. `zeros` and `ones` are initializers,
the other functions make one. Under `with skipped():` all of them give zeros at no cost, for a
model whose weights are loaded next.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .common import check_choice

Initializer = Callable[..., jax.Array]
Shape = tuple[int, ...]

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "selu": 3 / 4,
}
_skipping = ContextVar("skipping", default=False)


@contextmanager
def skipped() -> Iterator[None]:
    """Inside, every initializer gives zeros."""
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def on_host(x: jax.Array) -> np.ndarray | jax.Array:
    """The array for NumPy, which compiles nothing, unless it is traced."""
    return x if isinstance(x, jax.core.Tracer) else np.asarray(x)


def _initializer(values: Callable[[jax.Array, Shape], np.ndarray | jax.Array]) -> Initializer:
    def initialize(key: jax.Array, shape: Shape, dtype=jnp.float32) -> jax.Array:
        made = _full(key, shape, 0.0) if _skipping.get() else values(key, shape)
        return jnp.asarray(made.astype(dtype), dtype)  # asarray alone compiles the cast

    return initialize


def _full(key: jax.Array, shape: Shape, value: float | Sequence[float]) -> np.ndarray | jax.Array:
    return (jnp if isinstance(key, jax.core.Tracer) else np).full(shape, np.asarray(value))


@partial(jax.jit, static_argnames=("distribution", "count"))
def _draw(key: jax.Array, distribution: str, count: int, limit: float) -> jax.Array:
    if distribution == "uniform":
        return jax.random.uniform(key, (count,), jnp.float32, -1.0, 1.0)
    if distribution == "normal":
        return jax.random.normal(key, (count,), jnp.float32)
    return jax.random.truncated_normal(key, -limit, limit, (count,), jnp.float32)


def _random(distribution: str, scale: Callable[[Shape], float], limit: float = 0.0) -> Initializer:
    """`scale(shape)` times a standard draw.

    JAX compiles a draw, or a cut, for every new size, which takes a tenth of a second. So a power
    of two is drawn, and NumPy cuts it to the shape where nothing is traced.
    """

    def values(key: jax.Array, shape: Shape) -> np.ndarray | jax.Array:
        size = math.prod(shape)
        flat = _draw(key, distribution, max(1 << 14, 1 << (size - 1).bit_length()), limit)
        return on_host(flat)[:size].reshape(shape) * scale(shape)

    return _initializer(values)


def _fans(shape: Shape) -> dict[str, int]:
    receptive = math.prod(shape[2:])
    return {"fan_in": shape[1] * receptive, "fan_out": shape[0] * receptive}


def constant(value: float | Sequence[float]) -> Initializer:
    """One value everywhere, or given values."""
    return _initializer(lambda key, shape: _full(key, shape, value))


zeros = constant(0.0)
ones = constant(1.0)


def uniform(bound: float) -> Initializer:
    """Uniform between -bound and bound."""
    return _random("uniform", lambda shape: bound)


def normal(std: float = 1.0) -> Initializer:
    """Normal around 0."""
    return _random("normal", lambda shape: std)


def trunc_normal(std: float = 0.02) -> Initializer:
    """Normal around 0, cut at the values -2 and 2."""
    return _random("truncated", lambda shape: std, limit=2 / std)


def kaiming_uniform(a: float = 0.0) -> Initializer:
    """Uniform, keeping the variance through a leaky ReLU of slope `a`."""
    gain = math.sqrt(2 / (1 + a**2))
    return _random("uniform", lambda shape: gain * math.sqrt(3 / _fans(shape)["fan_in"]))


def kaiming_normal(mode: str = "fan_in", nonlinearity: str = "relu") -> Initializer:
    """Normal, keeping the variance forward (mode fan_in) or backward (fan_out).

    Args:
        mode: fan_in or fan_out.
        nonlinearity: what follows: linear, sigmoid, tanh, relu, leaky_relu or selu.
    """
    check_choice("kaiming_normal", "mode", mode, ("fan_in", "fan_out"))
    check_choice("kaiming_normal", "nonlinearity", nonlinearity, _GAINS)
    return _random("normal", lambda shape: _GAINS[nonlinearity] / math.sqrt(_fans(shape)[mode]))


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform, keeping the variance forward and backward on average."""
    return _random("uniform", lambda shape: gain * math.sqrt(6 / sum(_fans(shape).values())))


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal, keeping the variance forward and backward on average."""
    return _random("normal", lambda shape: gain * math.sqrt(2 / sum(_fans(shape).values())))
