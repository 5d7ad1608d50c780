import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class DoubleAttention(nnx.Module):
    """Double attention: gathers a few global descriptors, then hands each position a mixture.

    "A2-Nets: Double Attention Networks", Chen et al., NeurIPS 2018.

    Args:
        channels: channels of the input.
        c_m: width of the descriptors.
        c_n: number of descriptors.
        reconstruct: a last convolution back to channels.
        residual: adds the input at the end; needs reconstruct.

    Shape: (N, H, W, C) -> (N, H, W, C), or (N, H, W, c_m) without reconstruct
    """

    def __init__(
        self,
        channels: int,
        c_m: int,
        c_n: int,
        *,
        reconstruct: bool = True,
        residual: bool = False,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, c_m=c_m, c_n=c_n)
        if residual and not reconstruct:
            checks.fail(self, f"residual ({residual}) needs reconstruct ({reconstruct})")
        self.residual = residual
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.convA = nn.Conv2d(channels, c_m, 1, **layer)
        self.convB = nn.Conv2d(channels, c_n, 1, **layer)
        self.convV = nn.Conv2d(channels, c_n, 1, **layer)
        self.conv_reconstruct = (
            nn.Conv2d(c_m, channels, 1, **layer) if reconstruct else nn.Identity()
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        features, gathering, distribution = (
            maps.reshape(len(x), -1, maps.shape[-1])
            for maps in (self.convA(x), self.convB(x), self.convV(x))
        )
        descriptors = nn.softmax(gathering, 1).mT @ features
        mixtures = nn.softmax(distribution) @ descriptors
        out = self.conv_reconstruct(mixtures.reshape(*x.shape[:3], -1))
        return out + x if self.residual else out
