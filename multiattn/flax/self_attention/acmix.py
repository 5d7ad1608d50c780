from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class ACmix(nnx.Module):
    """ACmix: local self-attention and a 3x3 convolution that share their projections, added.

    "On the Integration of Self-Attention and Convolution", Pan et al., CVPR 2022.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; divisible by num_heads.
        kernel_size: of the attention's windows; odd.
        num_heads: number of heads.
        stride: of both; divides H and W.

    Shape: (N, H, W, in_channels) -> (N, H / stride, W / stride, out_channels), H and W greater than
        kernel_size // 2

    Raises:
        ValueError: H or W is not a multiple of stride, or not greater than kernel_size // 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 7,
        num_heads: int = 4,
        stride: int = 1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels, out_channels=out_channels, stride=stride)
        checks.divisible(self, by="num_heads", num_heads=num_heads, out_channels=out_channels)
        checks.odd(self, kernel_size=kernel_size)
        head_dim = out_channels // num_heads
        self.num_heads = num_heads
        self.stride = stride
        self.windows: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": kernel_size // 2,
            "padding_mode": "reflect",
        }
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        half = nn.initializers.constant(0.5)
        self.rate1 = nnx.Param(half(rngs.params(), (1,), param_dtype))
        self.rate2 = nnx.Param(half(rngs.params(), (1,), param_dtype))
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, **layer)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 1, **layer)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 1, **layer)
        self.conv_p = nn.Conv2d(2, head_dim, 1, **layer)
        self.fc = nn.Conv2d(3 * num_heads, 9, 1, bias=False, **layer)
        # each place of the kernel shifts its own map there
        shifts: Any = np.eye(9).reshape(9, 3, 3)
        self.dep_conv = nn.Conv2d(
            9 * head_dim,
            out_channels,
            3,
            stride=stride,
            padding=1,
            groups=head_dim,
            bias=False,
            weight_init=nn.initializers.constant(shifts),
            **layer,
        )

    def attend(self, queries: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
        """The attention within windows, of heads (N, H, W, heads, head_dim)."""
        n, height, width, *heads = keys.shape
        identity = jnp.eye(2, 3, dtype=keys.dtype)[None]
        positions = self.conv_p(nn.affine_grid(identity, (height, width), align_corners=True))
        # the centre's own place would add the same to all scores of its window
        keys = keys - positions[:, :, :, None]
        keys, values = (
            nn.neighbourhoods(maps.reshape(n, height, width, -1), **self.windows)
            for maps in (keys, values)
        )
        keys, values = (maps.reshape(*maps.shape[:4], *heads) for maps in (keys, values))
        queries = queries[:, :: self.stride, :: self.stride, None] * heads[1] ** -0.5
        attention = nn.softmax((queries * keys).sum(-1, keepdims=True), 3)
        out = (attention * values).sum(3)
        return out.reshape(*out.shape[:3], -1)

    def convolve(self, heads: jax.Array) -> jax.Array:
        """The convolution of all queries', keys' and values' heads (N, H, W, 3 heads, head_dim)."""
        n, height, width, count, head_dim = heads.shape
        maps = self.fc(heads.swapaxes(3, 4).reshape(n, height, -1, count))
        return self.dep_conv(maps.reshape(n, height, width, 9 * head_dim))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, rate1, rate2 = nn.promote(self.dtype, x, self.rate1, self.rate2)
        height, width = (size // self.stride * self.stride for size in x.shape[1:3])
        checks.sizes(self, (height, width), x=x.shape[1:3])
        checks.larger(self, self.windows["padding"], x=x.shape[1:3])
        queries, keys, values = (
            conv(x).reshape(*x.shape[:3], self.num_heads, -1)
            for conv in (self.conv1, self.conv2, self.conv3)
        )
        attended = self.attend(queries, keys, values)
        return rate1 * attended + rate2 * self.convolve(jnp.concatenate([queries, keys, values], 3))
