from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class NonLocal(nnx.Module):
    """Non-local block: adds to each position a weighted mean over all positions.

    "Non-local Neural Networks", Wang et al., CVPR 2018.

    Args:
        channels: channels of the input, and of the output.
        inter_channels: channels of queries, keys and values; None: max(1, channels // 2).
        mode: the pairwise function: "embedded_gaussian", "gaussian", "dot_product" or
            "concatenation".
        dimension: 1 for sequences, 2 for images, 3 for videos.
        sub_sample: max-pools keys and values by two in space (time is kept).
        bn_layer: batch norm behind the last projection.

    Shape: (N, L, C), (N, H, W, C) or (N, T, H, W, C) -> the same
    """

    def __init__(
        self,
        channels: int,
        *,
        inter_channels: int | None = None,
        mode: str = "embedded_gaussian",
        dimension: int = 2,
        sub_sample: bool = True,
        bn_layer: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels)
        checks.choice(
            self, ("embedded_gaussian", "gaussian", "dot_product", "concatenation"), mode=mode
        )
        checks.choice(self, (1, 2, 3), dimension=dimension)
        hidden = max(1, channels // 2) if inter_channels is None else inter_channels
        checks.positive(self, inter_channels=hidden)
        conv = CONVOLUTIONS[dimension]
        zeros = nn.initializers.zeros
        last: dict[str, Any] = {} if bn_layer else {"weight_init": zeros, "bias_init": zeros}
        self.mode = mode
        self.dtype = dtype
        self.window = ((1, 2, 2) if dimension == 3 else 2) if sub_sample else None
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.g = conv(channels, hidden, 1, **layer)
        if mode != "gaussian":
            self.theta = conv(channels, hidden, 1, **layer)
            self.phi = conv(channels, hidden, 1, **layer)
        if mode == "concatenation":
            self.concat_project = nn.Linear(2 * hidden, 1, bias=False, **layer)
        self.W = conv(hidden, channels, 1, **last, **layer)
        self.bn = nn.BatchNorm(channels, weight_init=zeros, **layer) if bn_layer else nn.Identity()

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)

        def pool(maps: jax.Array) -> jax.Array:
            return maps if self.window is None else nn.max_pool(maps, self.window)

        def tokens(maps: jax.Array) -> jax.Array:
            return maps.reshape(len(maps), -1, maps.shape[-1])

        values = tokens(pool(self.g(x)))
        if self.mode == "gaussian":
            queries, keys = tokens(x), tokens(pool(x))
        else:
            queries, keys = tokens(self.theta(x)), tokens(pool(self.phi(x)))
        if self.mode == "dot_product":
            context = queries @ (keys.mT @ values / keys.shape[1])
        elif self.mode == "concatenation":
            kernel = nn.promote(queries.dtype, self.concat_project.kernel)
            query_weight, key_weight = jnp.split(kernel, 2)
            scores = nn.relu(queries @ query_weight + (keys @ key_weight).mT)
            context = scores @ values / keys.shape[1]
        else:
            context = nn.scaled_dot_product_attention(
                *(one[:, :, None] for one in (queries, keys, values)), scale=1.0
            )
        return x + self.bn(self.W(context.reshape(*x.shape[:-1], -1)))
