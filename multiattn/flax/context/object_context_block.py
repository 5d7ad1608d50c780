from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


def conv_norm_relu(in_channels: int, out_channels: int, **layer) -> list[Any]:
    return [
        nn.Conv2d(in_channels, out_channels, 1, bias=False, **layer),
        nn.BatchNorm(out_channels, **layer),
        nn.relu,
    ]


class ObjectContextBlock(nnx.Module):
    """Object context: each position attends to a vector per class, from a coarse segmentation.

    "Object-Contextual Representations for Semantic Segmentation", Yuan et al., ECCV 2020.

    Args:
        in_channels: channels of the input.
        key_channels: channels of queries, keys and values.
        out_channels: channels of the output; None: in_channels.
        pool: max-pools the queries by this factor.
        dropout: rate of the channel dropout at the end.
        align_corners: of the interpolation back, if the queries are pooled.

    Shape:
        x (N, H, W, C), the scores of K classes before their softmax (N, H, W, K) ->
        (N, H, W, out_channels)

    Raises:
        ValueError: the scores have not the size of x.
    """

    def __init__(
        self,
        in_channels: int,
        key_channels: int,
        out_channels: int | None = None,
        *,
        pool: int = 1,
        dropout: float = 0.1,
        align_corners: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        if out_channels is None:
            out_channels = in_channels
        checks.positive(self, in_channels=in_channels, key_channels=key_channels)
        checks.positive(self, out_channels=out_channels, pool=pool)
        self.pool = pool
        self.align_corners = align_corners
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.f_pixel, self.f_object = (
            nn.Sequential(
                *conv_norm_relu(in_channels, key_channels, **layer),
                *conv_norm_relu(key_channels, key_channels, **layer),
            )
            for _ in range(2)
        )
        self.f_down = nn.Sequential(*conv_norm_relu(in_channels, key_channels, **layer))
        self.f_up = nn.Sequential(*conv_norm_relu(key_channels, in_channels, **layer))
        self.conv_bn_dropout = nn.Sequential(
            *conv_norm_relu(2 * in_channels, out_channels, **layer),
            nn.Dropout2d(dropout, rngs=rngs),
        )

    def __call__(self, x: jax.Array, logits: jax.Array) -> jax.Array:
        x, logits = nn.promote(self.dtype, x, logits)
        n, *size, channels = x.shape
        checks.sizes(self, (n, *size), logits=logits.shape[:3])
        masks = nn.softmax(logits.reshape(n, -1, logits.shape[-1]), 1)
        regions = (masks.mT @ x.reshape(n, -1, channels))[:, :, None]
        queries = self.f_pixel(x if self.pool == 1 else nn.max_pool(x, self.pool))
        context = nn.scaled_dot_product_attention(
            queries.reshape(n, -1, 1, queries.shape[-1]),
            self.f_object(regions),
            self.f_down(regions),
        )
        context = self.f_up(context.reshape(queries.shape))
        if self.pool > 1:
            context = nn.interpolate(
                context, size, mode="bilinear", align_corners=self.align_corners
            )
        return self.conv_bn_dropout(jnp.concatenate([context, x], -1))
