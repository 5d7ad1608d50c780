from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class GAM(nn.Module):
    """Global attention mechanism: a channel MLP at every pixel, then a full-size mask.

    "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions",
    Liu et al., arXiv 2021.

    Args:
        channels: channels of the input, and of the output.
        reduction: both bottlenecks have int(channels / reduction) channels, at least one.
        groups: of the 7x7 convolutions; more than one also shuffles the mask's channels. Divides
            channels and the bottleneck's channels.
        padding_mode: of the 7x7 convolutions: "replicate" or "zeros".

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: float = 4,
        groups: int = 1,
        padding_mode: str = "replicate",
    ):
        super().__init__()
        checks.choice(self, ("replicate", "zeros"), padding_mode=padding_mode)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        checks.divisible(self, by="groups", groups=groups, channels=channels, hidden=hidden)
        options: dict[str, Any] = {"padding": 3, "groups": groups, "padding_mode": padding_mode}
        self.groups = groups
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.conv1 = nn.Conv2d(channels, hidden, 7, **options)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, channels, 7, **options)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.linear2(F.relu(self.linear1(x.movedim(1, -1)))).movedim(-1, 1)
        mask = F.relu(self.norm1(self.conv1(x)))
        mask = torch.sigmoid(self.norm2(self.conv2(mask)))
        if self.groups > 1:
            mask = F.channel_shuffle(mask, self.groups)
        return x * mask
