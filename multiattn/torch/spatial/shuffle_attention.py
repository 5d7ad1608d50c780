import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class ShuffleAttention(nn.Module):
    """Shuffle attention: in each group half of the channels get a channel gate, half a spatial one.

    "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", Zhang and Yang,
    ICASSP 2021.

    Args:
        channels: channels of the input, and of the output; divisible by 2 * groups.
        groups: groups of channels, which share all parameters.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, groups: int = 64):
        super().__init__()
        checks.positive(self, channels=channels, groups=groups)
        checks.divisible(self, by="2 * groups", channels=channels, **{"2 * groups": 2 * groups})
        half = channels // (2 * groups)
        self.groups = groups
        self.cweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.cbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.sweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.sbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.gn_weight = nn.Parameter(torch.ones(half))
        self.gn_bias = nn.Parameter(torch.zeros(half))

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        channel, spatial = x.reshape(n * self.groups, -1, height, width).chunk(2, 1)
        context = channel.mean((2, 3), keepdim=True)
        channel = channel * torch.sigmoid(self.cweight * context + self.cbias)
        context = F.group_norm(spatial, len(self.gn_weight), self.gn_weight, self.gn_bias)
        spatial = spatial * torch.sigmoid(self.sweight * context + self.sbias)
        x = torch.cat([channel, spatial], 1)
        return x.reshape(n, 2, c // 2, height, width).transpose(1, 2).reshape(n, c, height, width)
