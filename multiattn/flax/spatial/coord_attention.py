import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class CoordAttention(nnx.Module):
    """Coordinate attention: gates each position by its row's and its column's context.

    "Coordinate Attention for Efficient Mobile Network Design", Hou et al., CVPR 2021.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has max(8, channels // reduction) channels.
        conv1_bias: bias of the bottleneck's convolution; the TensorFlow original has none.
        bn_scale: scale of the bottleneck's norm; the TensorFlow original has none.
        bn_eps: epsilon of the norm; 1e-3 in the TensorFlow original.
        bn_momentum: weight of a new batch in the running statistics; 1e-3 in the TensorFlow one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 32,
        conv1_bias: bool = True,
        bn_scale: bool = True,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, reduction=reduction)
        hidden = max(8, channels // reduction)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=conv1_bias, **layer)
        self.bn1 = nn.BatchNorm(hidden, eps=bn_eps, momentum=bn_momentum, scale=bn_scale, **layer)
        self.conv_h = nn.Conv2d(hidden, channels, 1, **layer)
        self.conv_w = nn.Conv2d(hidden, channels, 1, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        height = x.shape[1]
        rows, columns = x.mean(2, keepdims=True), x.mean(1, keepdims=True).swapaxes(1, 2)
        context = nn.hardswish(self.bn1(self.conv1(jnp.concatenate([rows, columns], 1))))
        rows, columns = jnp.split(context, [height], 1)
        return x * nn.sigmoid(self.conv_h(rows)) * nn.sigmoid(self.conv_w(columns.swapaxes(1, 2)))
