from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


def bottleneck(channels: int, hidden: int, **layer) -> list[Any]:
    return [
        nn.Conv2d(channels, hidden, 1, **layer),
        nn.BatchNorm(hidden, **layer),
        nn.relu,
        nn.Conv2d(hidden, channels, 1, **layer),
        nn.BatchNorm(channels, **layer),
    ]


def local_attention(channels: int, hidden: int, **layer) -> nn.Sequential:
    """The bottleneck at each position."""
    return nn.Sequential(*bottleneck(channels, hidden, **layer))


def global_attention(channels: int, hidden: int, **layer) -> nn.Sequential:
    """The bottleneck on the mean over all positions."""
    return nn.Sequential(global_mean, *bottleneck(channels, hidden, **layer))


def global_mean(x: jax.Array) -> jax.Array:
    return x.mean((1, 2), keepdims=True)


class MultiScaleChannelAttention(nnx.Module):
    """MS-CAM: gates channels by one bottleneck at each position and one on the global mean.

    "Attentional Feature Fusion", Dai et al., WACV 2021.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottlenecks have channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 4,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.local_att = local_attention(channels, hidden, **layer)
        self.global_att = global_attention(channels, hidden, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        return x * nn.sigmoid(self.local_att(x) + self.global_att(x))
