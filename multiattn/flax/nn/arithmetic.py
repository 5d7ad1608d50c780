"""Arithmetic with PyTorch's gradients where it bends."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .common import to_tuple


def absolute(x: jax.Array) -> jax.Array:
    """The absolute value, whose gradient at 0 is 0."""
    return x * jnp.sign(x)


def std(x: jax.Array, axis: int | Sequence[int], *, keepdims: bool = False) -> jax.Array:
    """The unbiased standard deviation; where it is 0, so is its gradient."""
    axes = to_tuple(axis, 1)
    distance = jnp.square(x - x.mean(axes, keepdims=True))
    count = math.prod(x.shape[one] for one in axes)
    variance = distance.sum(axes, keepdims=keepdims) / jnp.asarray(count - 1, x.dtype)
    positive = variance > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1)), variance)
