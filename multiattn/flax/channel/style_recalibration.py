import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class StyleRecalibration(nnx.Module):
    """Style-based recalibration: gates each channel by its own mean and standard deviation.

    "SRM: A Style-based Recalibration Module for Convolutional Neural Networks", Lee et al.,
    ICCV 2019.

    Args:
        channels: channels of the input, and of the output.
        eps: added to the variance over the map; the batch norm has its own.

    Shape: (N, H, W, C) -> (N, H, W, C), H * W > 1

    Raises:
        ValueError: the map has a single position.
    """

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels)
        self.eps = eps
        self.dtype = dtype
        self.cfc = nnx.Param(nn.initializers.zeros(rngs.params(), (channels, 2), param_dtype))
        self.bn = nn.BatchNorm(channels, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, cfc = nn.promote(self.dtype, x, self.cfc)
        checks.several(self, x=x.shape[1:3])
        mean = x.mean((1, 2))
        deviation = jnp.sqrt(x.var((1, 2), ddof=1) + self.eps)
        style = self.bn(cfc[:, 0] * mean + cfc[:, 1] * deviation)
        return x * nn.sigmoid(style)[:, None, None, :]
