import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class RenderingTransform(nnx.Module):
    """FPT's rendering transformer: a fine map gates a coarse one's channels, and is added to it.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        high_channels: channels of the coarse input, and of the output.
        low_channels: channels of the fine input.
        stride: from the fine map to the coarse one.

    Shape:
        high (N, h, w, high_channels), low (N, H, W, low_channels) -> (N, h, w, high_channels),
        where h = ceil(H / stride), and w likewise.

    Raises:
        ValueError: the inputs' sizes do not fit the stride.
    """

    def __init__(
        self,
        high_channels: int,
        low_channels: int,
        *,
        stride: int = 2,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, high_channels=high_channels, low_channels=low_channels, stride=stride)
        self.stride = stride
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv1x1 = nn.Conv2d(low_channels, high_channels, 1, bias=False, **layer)
        self.bn_low = nn.BatchNorm(high_channels, **layer)
        self.conv3x3 = nn.Conv2d(high_channels, high_channels, 3, padding=1, bias=False, **layer)
        self.bn_high = nn.BatchNorm(high_channels, **layer)
        self.str_conv3x3 = nn.Conv2d(
            low_channels, high_channels, 3, stride=stride, padding=1, bias=False, **layer
        )
        self.bn_reduction = nn.BatchNorm(high_channels, **layer)

    def __call__(self, high: jax.Array, low: jax.Array) -> jax.Array:
        high, low = nn.promote(self.dtype, high, low)
        reduced = [(size - 1) // self.stride + 1 for size in low.shape[1:3]]
        checks.sizes(self, reduced, high=high.shape[1:3])
        gate = nn.relu(self.bn_low(self.conv1x1(low.mean((1, 2), keepdims=True))))
        gated = self.bn_high(self.conv3x3(high)) * gate
        return nn.relu(self.bn_reduction(self.str_conv3x3(low)) + gated)
