from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import amax

POOLS = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: amax(x, (2, 3)),
    "lp": lambda x: x.square().sum((2, 3)).sqrt(),
    "lse": lambda x: x.logsumexp((2, 3)),
}


class CBAMChannelGate(nn.Module):
    """The channel gate of CBAM: one bottleneck over several poolings of the map, summed.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has channels // reduction channels, at least one.
        pool_types: the poolings: "avg", "max", "lp" (the L2 norm), "lse" (log-sum-exp).

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self, channels: int, *, reduction: int = 16, pool_types: Sequence[str] = ("avg", "max")
    ):
        super().__init__()
        checks.nonempty(self, pool_types=pool_types)
        for pool in pool_types:
            checks.choice(self, POOLS, pool_types=pool)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.pool_types = tuple(pool_types)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        context = sum(self.fc2(F.relu(self.fc1(POOLS[pool](x)))) for pool in self.pool_types)
        return x * torch.sigmoid(context)[:, :, None, None]


class CBAMSpatialGate(nn.Module):
    """The spatial gate of CBAM: a convolution over the channels' maximum and mean.

    Args:
        kernel_size: odd.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, *, kernel_size: int = 7):
        super().__init__()
        checks.odd(self, kernel_size=kernel_size)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        planes = torch.stack([amax(x, 1), x.mean(1)], 1)
        return x * torch.sigmoid(self.bn(self.conv(planes)))


class CBAM(nn.Module):
    """Convolutional block attention: a channel gate, then a spatial gate.

    "CBAM: Convolutional Block Attention Module", Woo et al., ECCV 2018.

    Args:
        channels: channels of the input, and of the output.
        reduction: the channel gate's bottleneck has channels // reduction channels, at least one.
        pool_types: the channel gate's poolings: "avg", "max", "lp" (the L2 norm), "lse".
        spatial: False leaves out the spatial gate.
        kernel_size: of the spatial gate; odd.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        pool_types: Sequence[str] = ("avg", "max"),
        spatial: bool = True,
        kernel_size: int = 7,
    ):
        super().__init__()
        self.channel_gate = CBAMChannelGate(channels, reduction=reduction, pool_types=pool_types)
        self.spatial_gate = CBAMSpatialGate(kernel_size=kernel_size) if spatial else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial_gate(self.channel_gate(x))
