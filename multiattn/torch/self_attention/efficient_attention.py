import torch
from torch import Tensor, nn

from multiattn import checks


class EfficientAttention(nn.Module):
    """Efficient attention: keys normalised over positions, queries over channels; linear in cost.

    "Efficient Attention: Attention with Linear Complexities", Shen et al., WACV 2021.

    Args:
        channels: channels of the input, and of the output.
        key_channels: of keys and queries, divisible by num_heads; None: channels.
        num_heads: number of heads.
        value_channels: of the values, divisible by num_heads; None: channels.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        key_channels: int | None = None,
        num_heads: int = 1,
        value_channels: int | None = None,
    ):
        super().__init__()
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
        self.keys = nn.Conv2d(channels, key_channels, 1)
        self.queries = nn.Conv2d(channels, key_channels, 1)
        self.values = nn.Conv2d(channels, value_channels, 1)
        self.reprojection = nn.Conv2d(value_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        keys, queries, values = (
            conv(x).flatten(2).unflatten(1, (self.num_heads, -1))
            for conv in (self.keys, self.queries, self.values)
        )
        context = values @ torch.softmax(keys, 3).mT
        out = context @ torch.softmax(queries, 2)
        return self.reprojection(out.flatten(1, 2).unflatten(2, x.shape[2:])) + x
