from typing import Any

from keras import ops

from multiattn import checks
from multiattn.keras import nn


def bottleneck(channels: int, hidden: int) -> list[Any]:
    return [
        nn.Conv2d(hidden, 1),
        nn.BatchNorm(),
        nn.relu,
        nn.Conv2d(channels, 1),
        nn.BatchNorm(),
    ]


def local_attention(channels: int, hidden: int) -> nn.Sequential:
    """The bottleneck at each position."""
    return nn.Sequential(*bottleneck(channels, hidden))


def global_attention(channels: int, hidden: int) -> nn.Sequential:
    """The bottleneck on the mean over all positions."""
    return nn.Sequential(global_mean, *bottleneck(channels, hidden))


def global_mean(x):
    return ops.mean(x, (1, 2), keepdims=True)


class MultiScaleChannelAttention(nn.Module):
    """MS-CAM: gates channels by one bottleneck at each position and one on the global mean.

    "Attentional Feature Fusion", Dai et al., WACV 2021.

    Args:
        reduction: the bottlenecks have channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, reduction: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.local_att = local_attention(channels, hidden)
        self.global_att = global_attention(channels, hidden)

    def call(self, x, training=None):
        mode = {"training": training}
        return x * nn.sigmoid(self.local_att(x, **mode) + self.global_att(x, **mode))
