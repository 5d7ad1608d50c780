import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class TripletGate(nnx.Module):
    """A mask over two axes of a map, from its maximum and mean over the third.

    Args:
        kernel_size: odd.

    Shape: (N, A, B, 2) -> (N, A, B, 1), the two planes being the maximum and the mean
    """

    def __init__(
        self,
        *,
        kernel_size: int = 7,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.odd(self, kernel_size=kernel_size)
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False, **layer)
        self.bn = nn.BatchNorm(1, momentum=0.01, **layer)

    def __call__(self, planes: jax.Array) -> jax.Array:
        return nn.sigmoid(self.bn(self.conv(planes)))


class TripletAttention(nnx.Module):
    """Triplet attention: the mean of three masks, one over each pair of axes of the map.

    "Rotate to Attend: Convolutional Triplet Attention Module", Misra et al., WACV 2021.

    Args:
        spatial: False leaves out the mask over height and width.
        kernel_size: of the masks' convolutions; odd.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        spatial: bool = True,
        kernel_size: int = 7,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.cw = TripletGate(kernel_size=kernel_size, **layer)
        self.hc = TripletGate(kernel_size=kernel_size, **layer)
        self.hw = TripletGate(kernel_size=kernel_size, **layer) if spatial else None

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)

        def planes(axis: int) -> jax.Array:
            return jnp.stack([nn.amax(x, axis), x.mean(axis)], -1)

        masks = [
            self.cw(planes(1).swapaxes(1, 2)).transpose(0, 3, 2, 1),
            self.hc(planes(2)).swapaxes(2, 3),
        ]
        if self.hw is not None:
            masks.append(self.hw(planes(3)))
        return x * (sum(masks) / len(masks))
