import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class SelfTransform(nn.Module):
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

    Shape: (N, C, H, W) -> (N, C, H, W), with concat (N, 2C, H, W)
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
    ):
        super().__init__()
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
        self.dropout = dropout
        self.scale = key_channels**-0.5
        self.conv_qs = nn.Conv2d(channels, num_heads * key_channels, 1)
        self.conv_vs = nn.Conv2d(channels, num_heads * value_channels, 1)
        nn.init.normal_(self.conv_qs.weight, std=(2 / (channels + key_channels)) ** 0.5)
        nn.init.normal_(self.conv_vs.weight, std=(2 / (channels + value_channels)) ** 0.5)
        if num_mixtures > 1:
            self.attention = nn.Linear(key_channels, num_mixtures, bias=False)
            bound = num_mixtures**-0.5
            nn.init.uniform_(self.attention.weight, -bound, bound)
        self.conv = nn.Conv2d(num_heads * value_channels, channels, 1, bias=False)
        self.norm_layer = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        heads, mixtures = self.num_heads, self.num_mixtures
        pooled = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if self.pool else x
        queries = self.conv_qs(x)
        keys = self.conv_qs(pooled) if self.pool else queries
        values = self.conv_vs(pooled).flatten(2).unflatten(1, (heads, -1)).mT
        # each mixture is a head of its own, over its part of the channels
        context = F.scaled_dot_product_attention(
            queries.flatten(2).unflatten(1, (heads * mixtures, -1)).mT,
            keys.flatten(2).unflatten(1, (heads * mixtures, -1)).mT,
            values.repeat_interleave(mixtures, 1),
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.scale,
        ).mT
        if mixtures > 1:
            means = queries.mean((2, 3)).unflatten(1, (heads, -1))
            mixing = torch.softmax(self.attention(means), -1)
            context = context.unflatten(1, (heads, mixtures))
            context = (context * mixing[..., None, None]).sum(2)
        y = self.norm_layer(self.conv(context.flatten(1, 2).unflatten(2, x.shape[2:])))
        return torch.cat([y, x], 1) if self.concat else y + x
