from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class GAM(nnx.Module):
    """Global attention mechanism: a channel MLP at every pixel, then a full-size mask.

    "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions",
    Liu et al., arXiv 2021.

    Args:
        channels: channels of the input, and of the output.
        reduction: both bottlenecks have int(channels / reduction) channels, at least one.
        groups: of the 7x7 convolutions; more than one also shuffles the mask's channels. Divides
            channels and the bottleneck's channels.
        padding_mode: of the 7x7 convolutions: "replicate" or "zeros".

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: float = 4,
        groups: int = 1,
        padding_mode: str = "replicate",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, ("replicate", "zeros"), padding_mode=padding_mode)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        checks.divisible(self, by="groups", groups=groups, channels=channels, hidden=hidden)
        self.groups = groups
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        options: dict[str, Any] = {
            "padding": 3,
            "groups": groups,
            "padding_mode": padding_mode,
            **layer,
        }
        self.linear1 = nn.Linear(channels, hidden, **layer)
        self.linear2 = nn.Linear(hidden, channels, **layer)
        self.conv1 = nn.Conv2d(channels, hidden, 7, **options)
        self.norm1 = nn.BatchNorm(hidden, **layer)
        self.conv2 = nn.Conv2d(hidden, channels, 7, **options)
        self.norm2 = nn.BatchNorm(channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        x = x * self.linear2(nn.relu(self.linear1(x)))
        mask = nn.relu(self.norm1(self.conv1(x)))
        mask = nn.sigmoid(self.norm2(self.conv2(mask)))
        if self.groups > 1:
            mask = nn.channel_shuffle(mask, self.groups)
        return x * mask
