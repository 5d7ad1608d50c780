from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn

FUSIONS = ("channel_mul", "channel_add")


class GlobalContext(nnx.Module):
    """Global context block: one vector pooled by attention, transformed, and fused everywhere.

    "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", Cao et al.,
    ICCVW 2019.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has channels // reduction channels, at least one.
        pooling: "att" (a softmax over all positions) or "avg".
        fusions: one or both of "channel_mul" (gates the channels) and "channel_add", which comes
            last in any case.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        pooling: str = "att",
        fusions: Sequence[str] = ("channel_add",),
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, ("att", "avg"), pooling=pooling)
        checks.nonempty(self, fusions=fusions)
        for fusion in fusions:
            checks.choice(self, FUSIONS, fusions=fusion)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        zeros = nn.initializers.zeros

        def transform() -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(channels, hidden, **layer),
                nn.LayerNorm(hidden, **layer),
                nn.relu,
                nn.Linear(hidden, channels, weight_init=zeros, bias_init=zeros, **layer),
            )

        mask_init: dict[str, Any] = {
            "weight_init": nn.initializers.kaiming_normal(),
            "bias_init": zeros,
        }
        self.conv_mask = (
            nn.Conv2d(channels, 1, 1, **mask_init, **layer) if pooling == "att" else None
        )
        self.channel_mul = transform() if "channel_mul" in fusions else None
        self.channel_add = transform() if "channel_add" in fusions else None

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        if self.conv_mask is None:
            context = x.mean((1, 2))
        else:
            attention = nn.softmax(self.conv_mask(x).reshape(len(x), -1))
            context = jnp.einsum("np,npc->nc", attention, x.reshape(len(x), -1, x.shape[-1]))
        if self.channel_mul is not None:
            x = x * nn.sigmoid(self.channel_mul(context))[:, None, None, :]
        if self.channel_add is not None:
            x = x + self.channel_add(context)[:, None, None, :]
        return x
