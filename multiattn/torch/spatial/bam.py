import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class BAMChannelGate(nn.Module):
    """The channel branch of BAM: the map's mean through an MLP with batch norms.

    Args:
        channels: channels of the input, and of the output.
        reduction: the MLP has channels // reduction hidden channels, at least one.
        num_layers: hidden layers.

    Shape: (N, C, H, W) -> (N, C, 1, 1)
    """

    def __init__(self, channels: int, *, reduction: int = 16, num_layers: int = 1):
        super().__init__()
        checks.positive(self, num_layers=num_layers)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.num_layers = num_layers
        for i in range(num_layers):
            setattr(self, f"fc_{i}", nn.Linear(hidden if i else channels, hidden))
            setattr(self, f"bn_{i + 1}", nn.BatchNorm1d(hidden))
        self.fc_final = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        context = x.mean((2, 3))
        for i in range(self.num_layers):
            fc, bn = getattr(self, f"fc_{i}"), getattr(self, f"bn_{i + 1}")
            context = F.relu(bn(fc(context)))
        return self.fc_final(context)[:, :, None, None]


class BAMSpatialGate(nn.Module):
    """The spatial branch of BAM: a bottleneck of dilated convolutions down to one plane.

    Args:
        channels: channels of the input.
        reduction: the bottleneck has channels // reduction channels, at least one.
        dilation: of the 3x3 convolutions.
        num_convs: how many 3x3 convolutions.

    Shape: (N, C, H, W) -> (N, 1, H, W)
    """

    def __init__(
        self, channels: int, *, reduction: int = 16, dilation: int = 4, num_convs: int = 2
    ):
        super().__init__()
        checks.positive(self, dilation=dilation, num_convs=num_convs)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.conv_reduce = nn.Conv2d(channels, hidden, 1)
        self.bn_reduce = nn.BatchNorm2d(hidden)
        self.convs = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
            for _ in range(num_convs)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(hidden) for _ in range(num_convs))
        self.conv_final = nn.Conv2d(hidden, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn_reduce(self.conv_reduce(x)))
        for conv, bn in zip(self.convs, self.bns, strict=True):
            x = F.relu(bn(conv(x)))
        return self.conv_final(x)


class BAM(nn.Module):
    """Bottleneck attention: a channel and a spatial branch side by side, combined to one gate.

    "BAM: Bottleneck Attention Module", Park et al., BMVC 2018.

    Args:
        channels: channels of the input, and of the output.
        reduction: both branches have channels // reduction hidden channels, at least one.
        dilation: of the spatial branch's 3x3 convolutions.
        num_layers: hidden layers of the channel branch.
        num_convs: 3x3 convolutions of the spatial branch.
        combine: "mul" multiplies the branches, as the authors' code does; "add" is the paper's
            formula.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        dilation: int = 4,
        num_layers: int = 1,
        num_convs: int = 2,
        combine: str = "mul",
    ):
        super().__init__()
        checks.choice(self, ("mul", "add"), combine=combine)
        self.combine = combine
        self.channel_gate = BAMChannelGate(channels, reduction=reduction, num_layers=num_layers)
        self.spatial_gate = BAMSpatialGate(
            channels, reduction=reduction, dilation=dilation, num_convs=num_convs
        )

    def forward(self, x: Tensor) -> Tensor:
        channel, spatial = self.channel_gate(x), self.spatial_gate(x)
        gate = channel * spatial if self.combine == "mul" else channel + spatial
        return x * (1 + torch.sigmoid(gate))
