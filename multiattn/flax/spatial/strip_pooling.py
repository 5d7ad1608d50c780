import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class StripPooling(nnx.Module):
    """Strip pooling: gates each position by the context of its row's and its column's means.

    "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing", Hou et al., CVPR 2020.

    Args:
        channels: channels of the input, and of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, channels: int, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        checks.positive(self, channels=channels)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False, **layer)
        self.bn1 = nn.BatchNorm(channels, **layer)
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), bias=False, **layer)
        self.bn2 = nn.BatchNorm(channels, **layer)
        self.conv3 = nn.Conv2d(channels, channels, 1, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        rows = self.bn1(self.conv1(x.mean(2, keepdims=True)))
        columns = self.bn2(self.conv2(x.mean(1, keepdims=True)))
        return x * nn.sigmoid(self.conv3(nn.relu(rows + columns)))
