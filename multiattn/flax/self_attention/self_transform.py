import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SelfTransform(nnx.Module):
    """FPT's self-transformer: attention whose map is a mixture of softmaxes over parts of channels.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
        channels: channels of the input.
        num_heads: attention heads.
        num_mixtures: softmaxes that are mixed, each over its part of a head's key channels.
        key_channels: channels of queries and keys in a head; None: channels. Divisible by
            num_mixtures.
        value_channels: channels of values in a head; None: channels.
        pool: keys and values are from the map averaged to half its size.
        concat: the input is concatenated instead of added.
        dropout: rate of dropout of the attention weights.

    Shape: (N, H, W, C) -> (N, H, W, C), with concat (N, H, W, 2C)
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int = 1,
        num_mixtures: int = 2,
        key_channels: int | None = None,
        value_channels: int | None = None,
        pool: bool = True,
        concat: bool = False,
        dropout: float = 0.1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        key_channels = channels if key_channels is None else key_channels
        value_channels = channels if value_channels is None else value_channels
        checks.positive(self, channels=channels, num_heads=num_heads)
        checks.positive(self, key_channels=key_channels, value_channels=value_channels)
        checks.divisible(
            self, by="num_mixtures", num_mixtures=num_mixtures, key_channels=key_channels
        )
        self.num_heads = num_heads
        self.num_mixtures = num_mixtures
        self.pool = pool
        self.concat = concat
        self.scale = key_channels**-0.5
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        normal, uniform = nn.initializers.normal, nn.initializers.uniform
        self.conv_qs = nn.Conv2d(
            channels,
            num_heads * key_channels,
            1,
            weight_init=normal((2 / (channels + key_channels)) ** 0.5),
            **layer,
        )
        self.conv_vs = nn.Conv2d(
            channels,
            num_heads * value_channels,
            1,
            weight_init=normal((2 / (channels + value_channels)) ** 0.5),
            **layer,
        )
        if num_mixtures > 1:
            self.attention = nn.Linear(
                key_channels,
                num_mixtures,
                bias=False,
                weight_init=uniform(num_mixtures**-0.5),
                **layer,
            )
        self.dropout = nn.Dropout(dropout, rngs=rngs)
        self.conv = nn.Conv2d(num_heads * value_channels, channels, 1, bias=False, **layer)
        self.norm_layer = nn.BatchNorm(channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        n, height, width, _ = x.shape
        heads, mixtures = self.num_heads, self.num_mixtures
        pooled = nn.avg_pool(x, 3, stride=2, padding=1, count_include_pad=False) if self.pool else x
        queries = self.conv_qs(x)
        keys = self.conv_qs(pooled) if self.pool else queries
        values = self.conv_vs(pooled).reshape(n, -1, heads, self.conv_vs.out_features // heads)
        # each mixture is a head of its own, over its part of the channels
        context = nn.scaled_dot_product_attention(
            queries.reshape(n, height * width, heads * mixtures, -1),
            keys.reshape(n, values.shape[1], heads * mixtures, -1),
            jnp.repeat(values, mixtures, 2),
            scale=self.scale,
            dropout=self.dropout,
        )
        if mixtures > 1:
            means = queries.mean((1, 2)).reshape(n, heads, -1)
            mixing = nn.softmax(self.attention(means))
            context = context.reshape(n, height * width, heads, mixtures, -1)
            context = (context * mixing[:, None, ..., None]).sum(3)
        y = self.norm_layer(self.conv(context.reshape(n, height, width, -1)))
        return jnp.concatenate([y, x], -1) if self.concat else y + x
