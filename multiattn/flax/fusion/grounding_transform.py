import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class GroundingTransform(nnx.Module):
    """FPT's grounding transformer: each position of a fine map attends to a coarser map.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        channels: channels of both inputs, and of the output.
        inner_channels: channels of queries, keys and values; None: channels // 2.
        mode: the pairwise function: "dot", "embedded" (softmax), "gaussian" (softmax over the
            inputs themselves) or "concatenate".

    Shape: low (N, H, W, C), high (N, h, w, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        inner_channels: int | None = None,
        mode: str = "dot",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = channels // 2 if inner_channels is None else inner_channels
        checks.positive(self, channels=channels, inner_channels=hidden)
        checks.choice(self, ("dot", "embedded", "gaussian", "concatenate"), mode=mode)
        self.mode = mode
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.g = nn.Conv2d(channels, hidden, 1, **layer)
        if mode != "gaussian":
            self.theta = nn.Conv2d(channels, hidden, 1, **layer)
            self.phi = nn.Conv2d(channels, hidden, 1, **layer)
        if mode == "concatenate":
            self.W_f = nn.Linear(2 * hidden, 1, **layer)
        self.W_z = nn.Sequential(
            nn.Conv2d(hidden, channels, 1, **layer),
            nn.BatchNorm(channels, weight_init=nn.initializers.zeros, **layer),
        )

    def __call__(self, low: jax.Array, high: jax.Array) -> jax.Array:
        low, high = nn.promote(self.dtype, low, high)
        checks.sizes(self, low.shape[3:], high=high.shape[3:])

        def tokens(maps: jax.Array) -> jax.Array:
            return maps.reshape(len(maps), -1, maps.shape[-1])

        values = tokens(self.g(high))
        if self.mode == "gaussian":
            queries, keys = tokens(low), tokens(high)
        else:
            queries, keys = tokens(self.theta(low)), tokens(self.phi(high))
        if self.mode == "dot":
            context = queries @ (keys.mT @ values / keys.shape[1])
        elif self.mode == "concatenate":
            kernel, bias = nn.promote(queries.dtype, self.W_f.kernel, self.W_f.bias)
            query_weight, key_weight = jnp.split(kernel, 2)
            scores = nn.relu(queries @ query_weight + (keys @ key_weight).mT + bias)
            context = scores @ values / keys.shape[1]
        else:
            context = nn.scaled_dot_product_attention(
                *(one[:, :, None] for one in (queries, keys, values)), scale=1.0
            )
        return self.W_z(context.reshape(*low.shape[:3], -1))
