import torch
from torch import Tensor, nn

from multiattn import checks


def bottleneck(channels: int, hidden: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, hidden, 1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 1),
        nn.BatchNorm2d(channels),
    ]


def local_attention(channels: int, hidden: int) -> nn.Sequential:
    """The bottleneck at each position."""
    return nn.Sequential(*bottleneck(channels, hidden))


def global_attention(channels: int, hidden: int) -> nn.Sequential:
    """The bottleneck on the mean over all positions."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), *bottleneck(channels, hidden))


class MultiScaleChannelAttention(nn.Module):
    """MS-CAM: gates channels by one bottleneck at each position and one on the global mean.

    "Attentional Feature Fusion", Dai et al., WACV 2021.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottlenecks have channels // reduction channels, at least one.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, reduction: int = 4):
        super().__init__()
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.local_att = local_attention(channels, hidden)
        self.global_att = global_attention(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.local_att(x) + self.global_att(x))
