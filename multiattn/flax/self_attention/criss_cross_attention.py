import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class CrissCrossAttention(nnx.Module):
    """Criss-cross attention: each position attends to its column and its row, added by a factor.

    "CCNet: Criss-Cross Attention for Semantic Segmentation", Huang et al., ICCV 2019.

    Args:
        channels: channels of the input, and of the output.
        reduction: queries and keys have channels // reduction channels, at least one.
        recurrence: how often the whole is applied, with the same weights; after two times every
            position has seen every other.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 8,
        recurrence: int = 1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        checks.positive(self, recurrence=recurrence)
        self.recurrence = recurrence
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.query_conv = nn.Conv2d(channels, hidden, 1, **layer)
        self.key_conv = nn.Conv2d(channels, hidden, 1, **layer)
        self.value_conv = nn.Conv2d(channels, channels, 1, **layer)
        self.gamma = nnx.Param(nn.initializers.zeros(rngs.params(), (1,), param_dtype))

    def attend(self, x: jax.Array) -> jax.Array:
        """What each position gathers from its column and its row, (N, H, W, C)."""
        queries, keys, values = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        rows = jnp.arange(x.shape[1])
        # the position itself is in its row already
        column_scores = jnp.where(
            rows[:, None, None] == rows,
            -jnp.inf,
            jnp.einsum("nyxc,njxc->nyxj", queries, keys),
        )
        row_scores = jnp.einsum("nyxc,nyic->nyxi", queries, keys)
        attention = nn.softmax(jnp.concatenate([column_scores, row_scores], -1))
        column, row = jnp.split(attention, [len(rows)], -1)
        return jnp.einsum("nyxj,njxc->nyxc", column, values) + jnp.einsum(
            "nyxi,nyic->nyxc", row, values
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x, gamma = nn.promote(self.dtype, x, self.gamma)
        for _ in range(self.recurrence):
            x = gamma * self.attend(x) + x
        return x
