from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class GlobalFilter(nnx.Module):
    """Global filter: multiplies the Fourier transform of the tokens' map by a learned one.

    "Global Filter Networks for Image Classification", Rao et al., NeurIPS 2021.

    Args:
        channels: channels of the input, and of the output.
        size: of the map (height, width) whose positions the tokens are, row by row.

    Shape: (N, H * W, C) -> (N, H * W, C)

    Raises:
        ValueError: the tokens are not as many as the size says.
    """

    def __init__(
        self,
        channels: int,
        size: int | Sequence[int] = (14, 14),
        *,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        checks.length(self, 2, size=self.size)
        checks.positive(self, channels=channels, size=min(self.size))
        height, width = self.size
        self.dtype = dtype
        shape = (height, width // 2 + 1, channels, 2)
        self.complex_weight = nnx.Param(
            nn.initializers.normal(0.02)(rngs.params(), shape, param_dtype)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight = nn.promote(self.dtype, x, self.complex_weight)
        height, width = self.size
        checks.sizes(self, (height * width,), x=x.shape[1:2])
        real, imaginary = nn.rfft2(x.reshape(len(x), height, width, -1))
        weight_real, weight_imaginary = weight[..., 0], weight[..., 1]
        maps = nn.irfft2(
            real * weight_real - imaginary * weight_imaginary,
            real * weight_imaginary + imaginary * weight_real,
            (height, width),
        )
        return maps.reshape(x.shape).astype(x.dtype)
