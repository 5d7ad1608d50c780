from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SelfTransform(nn.Module):
    """FPT's self-transformer: attention whose map is a mixture of softmaxes over parts of channels.

    "Feature Pyramid Transformer", Zhang et al., ECCV 2020.

    Args:
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

    # what makes the convolutions: a network may have others for its own initial values
    convolution = nn.Conv2d

    def __init__(
        self,
        *,
        num_heads: int = 1,
        num_mixtures: int = 2,
        key_channels: int | None = None,
        value_channels: int | None = None,
        pool: bool = True,
        concat: bool = False,
        dropout: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, num_heads=num_heads, num_mixtures=num_mixtures)
        self.num_heads = num_heads
        self.num_mixtures = num_mixtures
        self.key_channels = key_channels
        self.value_channels = value_channels
        self.pool = pool
        self.concat = concat
        self.dropout_rate = dropout

    def setup(self, shape):
        channels = shape[-1]
        key_channels = channels if self.key_channels is None else self.key_channels
        value_channels = channels if self.value_channels is None else self.value_channels
        checks.positive(self, key_channels=key_channels, value_channels=value_channels)
        checks.divisible(
            self, by="num_mixtures", num_mixtures=self.num_mixtures, key_channels=key_channels
        )
        self.scale = key_channels**-0.5
        normal, uniform = nn.initializers.normal, nn.initializers.uniform
        self.conv_qs = self.convolution(
            self.num_heads * key_channels,
            1,
            kernel_initializer=normal((2 / (channels + key_channels)) ** 0.5),
        )
        self.conv_vs = self.convolution(
            self.num_heads * value_channels,
            1,
            kernel_initializer=normal((2 / (channels + value_channels)) ** 0.5),
        )
        if self.num_mixtures > 1:
            self.attention = nn.Linear(
                self.num_mixtures,
                bias=False,
                kernel_initializer=uniform(self.num_mixtures**-0.5),
            )
        self.dropout = nn.Dropout(self.dropout_rate)
        self.conv = self.convolution(channels, 1, bias=False)
        self.norm_layer = nn.BatchNorm()

    def call(self, x, training=None):
        n, height, width, _ = ops.shape(x)
        heads, mixtures = self.num_heads, self.num_mixtures
        pooled = nn.avg_pool(x, 3, stride=2, padding=1, count_include_pad=False) if self.pool else x
        queries = self.conv_qs(x)
        keys = self.conv_qs(pooled) if self.pool else queries
        values = self.conv_vs(pooled)
        key_width = queries.shape[-1] // (heads * mixtures)
        value_width = values.shape[-1] // heads
        values = ops.tile(
            ops.reshape(values, (n, -1, heads, 1, value_width)), (1, 1, 1, mixtures, 1)
        )
        # each mixture is a head of its own, over its part of the channels
        context = nn.scaled_dot_product_attention(
            ops.reshape(queries, (n, -1, heads * mixtures, key_width)),
            ops.reshape(keys, (n, -1, heads * mixtures, key_width)),
            ops.reshape(values, (n, -1, heads * mixtures, value_width)),
            scale=self.scale,
            dropout=self.dropout,
            training=training,
        )
        if mixtures > 1:
            means = ops.reshape(ops.mean(queries, (1, 2)), (n, heads, mixtures * key_width))
            mixing = nn.softmax(self.attention(means))
            context = ops.reshape(context, (n, -1, heads, mixtures, value_width))
            context = ops.sum(context * mixing[:, None, ..., None], 3)
        context = ops.reshape(context, (n, height, width, heads * value_width))
        y = self.norm_layer(self.conv(context), training=training)
        return ops.concatenate([y, x], -1) if self.concat else y + x
