import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks

MODES = ("channel", "position", "average", "max", "concat")


class GlobalSecondOrderPooling(nn.Module):
    """Global second-order pooling: gates from the covariance of channels, or of positions.

    "Global Second-order Pooling Convolutional Networks", Gao et al., CVPR 2019.

    Args:
        channels: channels of the input, and of the output; with "concat" divisible by 64 and at
            most 2048.
        reduced_channels: channels that the covariances are taken of, or over.
        mode: "channel" or "position" for one gate; for both, their "average" (a sum), "max" or
            "concat" (a convolution of each, summed).
        spatial_size: side of the grid whose cells the position gate takes the covariance of.
        stride: of the channel gate's reduction.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduced_channels: int = 128,
        mode: str = "channel",
        spatial_size: int = 8,
        stride: int = 1,
    ):
        super().__init__()
        checks.positive(self, channels=channels, reduced_channels=reduced_channels)
        checks.positive(self, spatial_size=spatial_size, stride=stride)
        checks.choice(self, MODES, mode=mode)
        self.mode = mode
        self.spatial_size = spatial_size
        if mode != "position":
            self.conv_for_DR = nn.Conv2d(channels, reduced_channels, 1, stride=stride)
            self.bn_for_DR = nn.BatchNorm2d(reduced_channels)
            self.row_bn = nn.BatchNorm2d(reduced_channels)
            self.row_conv_group = nn.Conv2d(
                reduced_channels,
                4 * reduced_channels,
                (reduced_channels, 1),
                groups=reduced_channels,
            )
            self.fc_adapt_channels = nn.Conv2d(4 * reduced_channels, channels, 1)
        if mode != "channel":
            cells = spatial_size**2
            self.conv_for_DR_spatial = nn.Conv2d(channels, reduced_channels, 1)
            self.bn_for_DR_spatial = nn.BatchNorm2d(reduced_channels)
            self.row_bn_for_spatial = nn.BatchNorm2d(cells)
            self.row_conv_group_for_spatial = nn.Conv2d(cells, 4 * cells, (cells, 1), groups=cells)
            self.fc_adapt_channels_for_spatial = nn.Conv2d(4 * cells, cells, 1)
        if mode == "concat":
            if channels % 64 or channels > 2048:
                checks.fail(self, f"channels ({channels}) must be a multiple of 64, at most 2048")
            groups = channels // 64
            reach = int(math.log2(32 / groups)) + 2
            mixing = {"padding": (reach, 0), "groups": groups}
            self.dilate_conv_for_concat1 = nn.Conv2d(
                channels, channels, (2 * reach + 1, 1), **mixing
            )
            self.dilate_conv_for_concat2 = nn.Conv2d(
                channels, channels, (2 * reach + 1, 1), **mixing
            )
            self.bn_for_concat = nn.BatchNorm2d(channels)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def channel_gate(self, x: Tensor) -> Tensor:
        """A gate for each channel, (N, C, 1, 1)."""
        features = F.relu(self.bn_for_DR(self.conv_for_DR(F.relu(x)))).flatten(2)
        features = features - features.mean(2, keepdim=True)
        covariance = features @ features.mT / features.shape[2]
        rows = self.row_conv_group(self.row_bn(covariance[..., None]))
        return torch.sigmoid(self.fc_adapt_channels(rows))

    def position_gate(self, x: Tensor) -> Tensor:
        """A gate for each position, (N, 1, H, W)."""
        size = self.spatial_size
        features = self.bn_for_DR_spatial(self.conv_for_DR_spatial(F.relu(x)))
        features = F.adaptive_avg_pool2d(features, size).flatten(2)
        # the authors' constants: a covariance in truth only of as many channels as cells
        total = features.sum(1) / size**2
        covariance = features.mT @ features / size**2 - total[:, :, None] * total[:, None]
        rows = self.row_conv_group_for_spatial(self.row_bn_for_spatial(covariance[..., None]))
        gate = torch.sigmoid(self.fc_adapt_channels_for_spatial(F.relu(rows)))
        return F.adaptive_avg_pool2d(gate.reshape(-1, 1, size, size), x.shape[2:])

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "channel":
            return x * self.channel_gate(x)
        by_position = F.relu(x * self.position_gate(x))
        if self.mode == "position":
            return by_position
        by_channel = x * self.channel_gate(x)
        if self.mode == "average":
            return by_channel + by_position
        if self.mode == "max":
            return torch.maximum(by_channel, by_position)
        by_channel = self.dilate_conv_for_concat1(by_channel)
        return self.bn_for_concat(by_channel + self.dilate_conv_for_concat2(by_position))
