import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class EfficientAttention(nnx.Module):
    """Efficient attention: keys normalised over positions, queries over channels; linear in cost.

    "Efficient Attention: Attention with Linear Complexities", Shen et al., WACV 2021.

    Args:
        channels: channels of the input, and of the output.
        key_channels: of keys and queries, divisible by num_heads; None: channels.
        num_heads: number of heads.
        value_channels: of the values, divisible by num_heads; None: channels.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        key_channels: int | None = None,
        num_heads: int = 1,
        value_channels: int | None = None,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        key_channels = channels if key_channels is None else key_channels
        value_channels = channels if value_channels is None else value_channels
        checks.positive(self, key_channels=key_channels, value_channels=value_channels)
        checks.divisible(
            self,
            by="num_heads",
            num_heads=num_heads,
            key_channels=key_channels,
            value_channels=value_channels,
        )
        self.num_heads = num_heads
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.keys = nn.Conv2d(channels, key_channels, 1, **layer)
        self.queries = nn.Conv2d(channels, key_channels, 1, **layer)
        self.values = nn.Conv2d(channels, value_channels, 1, **layer)
        self.reprojection = nn.Conv2d(value_channels, channels, 1, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        keys, queries, values = (
            maps.reshape(len(x), -1, self.num_heads, maps.shape[-1] // self.num_heads)
            for maps in (self.keys(x), self.queries(x), self.values(x))
        )
        context = jnp.einsum("nphk,nphv->nhkv", nn.softmax(keys, 1), values)
        out = jnp.einsum("nphk,nhkv->nphv", nn.softmax(queries), context)
        return self.reprojection(out.reshape(*x.shape[:3], -1)) + x
