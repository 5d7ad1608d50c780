from keras import ops

from multiattn import checks
from multiattn.keras import nn


class EfficientAttention(nn.Module):
    """Efficient attention: keys normalised over positions, queries over channels; linear in cost.

    "Efficient Attention: Attention with Linear Complexities", Shen et al., WACV 2021.

    Args:
        key_channels: of keys and queries, divisible by num_heads; None: channels.
        num_heads: number of heads.
        value_channels: of the values, divisible by num_heads; None: channels.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        key_channels: int | None = None,
        num_heads: int = 1,
        value_channels: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.key_channels = key_channels
        self.num_heads = num_heads
        self.value_channels = value_channels

    def setup(self, shape):
        channels = shape[-1]
        key_channels = channels if self.key_channels is None else self.key_channels
        value_channels = channels if self.value_channels is None else self.value_channels
        checks.positive(self, key_channels=key_channels, value_channels=value_channels)
        checks.divisible(
            self,
            by="num_heads",
            num_heads=self.num_heads,
            key_channels=key_channels,
            value_channels=value_channels,
        )
        self.keys = nn.Conv2d(key_channels, 1)
        self.queries = nn.Conv2d(key_channels, 1)
        self.values = nn.Conv2d(value_channels, 1)
        self.reprojection = nn.Conv2d(channels, 1)

    def call(self, x, training=None):
        n, height, width = ops.shape(x)[:3]
        keys, queries, values = (
            ops.reshape(maps, (n, -1, self.num_heads, maps.shape[-1] // self.num_heads))
            for maps in (self.keys(x), self.queries(x), self.values(x))
        )
        context = ops.einsum("nphk,nphv->nhkv", nn.softmax(keys, 1), values)
        out = ops.einsum("nphk,nhkv->nphv", nn.softmax(queries), context)
        out = ops.reshape(out, (n, height, width, out.shape[2] * out.shape[3]))
        return self.reprojection(out) + x
