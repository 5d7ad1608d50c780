"""Dropout of elements, channels and samples."""

import jax
import jax.numpy as jnp
from flax import nnx


class Dropout(nnx.Dropout):
    """Zeroes elements at random in training mode and scales the others by 1 / (1 - rate).

    Args:
        rate: the part that is dropped, in [0, 1].
    """

    broadcast_axes: tuple[int, ...] = ()

    def __init__(self, rate: float, *, rngs: nnx.Rngs | None = None):
        if not 0 <= rate <= 1:
            raise ValueError(f"{type(self).__name__}: rate ({rate}) must be in [0, 1]")
        # rngs become part of the state: only where they are needed
        super().__init__(rate, broadcast_dims=self.broadcast_axes, rngs=rngs if rate else None)


class Dropout2d(Dropout):
    """Dropout of whole channels of images (N, H, W, C)."""

    broadcast_axes = (1, 2)


class DropPath(Dropout):
    """Dropout of whole samples: stochastic depth, on the branch of a residual block."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * super().__call__(jnp.ones((len(x),) + (1,) * (x.ndim - 1), x.dtype))
