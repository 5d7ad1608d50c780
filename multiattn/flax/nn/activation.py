"""Activations with PyTorch's defaults, and PyTorch's gradients where they bend."""

import jax
import jax.numpy as jnp
from flax import nnx

from .common import check_choice, promote
from .initializers import constant


def leaky_relu(x: jax.Array, negative_slope: float = 0.01) -> jax.Array:
    """x where positive, negative_slope · x elsewhere."""
    return jnp.where(x > 0, x, negative_slope * x)


def gelu(x: jax.Array, approximate: str = "none") -> jax.Array:
    """x · Φ(x), exact ("none") or by its "tanh" approximation."""
    check_choice("gelu", "approximate", approximate, ("none", "tanh"))
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def hardsigmoid(x: jax.Array) -> jax.Array:
    """relu6(x + 3) / 6."""
    return jax.nn.relu6(x + 3) / 6


def hardswish(x: jax.Array) -> jax.Array:
    """x · relu6(x + 3) / 6."""
    return x * hardsigmoid(x)


def hardtanh(x: jax.Array) -> jax.Array:
    """x clipped to [-1, 1]."""
    return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))


def softplus(x: jax.Array) -> jax.Array:
    """log(1 + exp(x)), and x itself above 20."""
    return jnp.where(x > 20, x, jax.nn.softplus(x))


def normalize(x: jax.Array, p: float = 2, axis: int = -1, eps: float = 1e-12) -> jax.Array:
    """x over its p-norm along an axis; a norm below eps counts as eps."""
    total = jnp.sum((x * jnp.sign(x)) ** p, axis, keepdims=True)  # jnp.abs has slope 1 at 0
    norm = jnp.where(total > 0, jnp.where(total > 0, total, 1) ** (1 / p), 0)
    return x / jnp.maximum(norm, eps)


class PReLU(nnx.Module):
    """Leaky ReLU with a learned slope, or one for each channel."""

    def __init__(
        self, num_parameters=1, *, init=0.25, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs
    ):
        values = constant(init)(rngs.params(), (num_parameters,), param_dtype)
        self.weight = nnx.Param(values)
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight = promote(self.dtype, x, self.weight)
        return leaky_relu(x, weight)
