from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class ASFFBlock(nn.Module):
    """Convolution, batch norm, activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd.
        stride: of the convolution.
        activation: "leaky_relu" (slope 0.1) or "relu6".

    Shape: (N, C, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        activation: str = "leaky_relu",
    ):
        super().__init__()
        self.activation = activation
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
        )
        self.batch_norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.batch_norm(self.conv(x))
        return F.relu6(x) if self.activation == "relu6" else F.leaky_relu(x, 0.1)


class ASFF(nn.Module):
    """Adaptively spatial feature fusion: mixes three pyramid levels pixel by pixel.

    "Learning Spatial Fusion for Single-Shot Object Detection", Liu et al., arXiv 2019.

    Args:
        in_channels: channels of the three levels, the coarsest first.
        level: the level to fuse at: 0 (the coarsest), 1 or 2.
        out_channels: channels of the output; None: (1024, 512, 256)[level].
        rfb: narrow weight branches, 8 channels instead of 16.
        vis: also return the mixing weights and the mixture's sum over channels.
        activation: "leaky_relu" (slope 0.1), or "relu6" as in the mobile networks.

    Shape:
        (N, C0, H, W), (N, C1, 2H, 2W), (N, C2, 4H, 4W) -> (N, out_channels, h, w), the size being
        that of the level; with vis also (N, 3, h, w) and (N, h, w).

    Raises:
        ValueError: the inputs' sizes are not in the ratio 1 : 2 : 4.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (512, 256, 256),
        *,
        level: int,
        out_channels: int | None = None,
        rfb: bool = False,
        vis: bool = False,
        activation: str = "leaky_relu",
    ):
        super().__init__()
        checks.choice(self, (0, 1, 2), level=level)
        checks.choice(self, ("leaky_relu", "relu6"), activation=activation)
        if len(in_channels) != 3:
            checks.fail(self, f"in_channels ({tuple(in_channels)}) must have three elements")
        c0, c1, c2 = in_channels
        channels = in_channels[level]
        hidden = 8 if rfb else 16
        down: dict[str, Any] = {"kernel_size": 3, "stride": 2, "activation": activation}
        self.level = level
        self.vis = vis
        if level == 0:
            self.stride_level_1 = ASFFBlock(c1, channels, **down)
            self.stride_level_2 = ASFFBlock(c2, channels, **down)
        else:
            self.compress_level_0 = ASFFBlock(c0, channels, activation=activation)
        if level == 1:
            self.stride_level_2 = ASFFBlock(c2, channels, **down)
        self.compress_level_1 = (
            ASFFBlock(c1, channels, activation=activation)
            if level == 2 and c1 != c2
            else nn.Identity()
        )
        self.weight_level_0 = ASFFBlock(channels, hidden, activation=activation)
        self.weight_level_1 = ASFFBlock(channels, hidden, activation=activation)
        self.weight_level_2 = ASFFBlock(channels, hidden, activation=activation)
        self.weight_levels = nn.Conv2d(3 * hidden, 3, 1)
        self.expand = ASFFBlock(
            channels, out_channels or (1024, 512, 256)[level], kernel_size=3, activation=activation
        )

    def resize(self, x0: Tensor, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three levels at the size and width of one."""
        if self.level == 0:
            return x0, self.stride_level_1(x1), self.stride_level_2(F.max_pool2d(x2, 3, 2, 1))
        x0 = F.interpolate(self.compress_level_0(x0), scale_factor=2**self.level)
        if self.level == 1:
            return x0, x1, self.stride_level_2(x2)
        return x0, F.interpolate(self.compress_level_1(x1), scale_factor=2), x2

    def forward(self, x0: Tensor, x1: Tensor, x2: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        height, width = x0.shape[2:]
        checks.sizes(self, (2 * height, 2 * width), x1=x1.shape[2:])
        checks.sizes(self, (4 * height, 4 * width), x2=x2.shape[2:])
        x0, x1, x2 = self.resize(x0, x1, x2)
        weights = torch.cat(
            [self.weight_level_0(x0), self.weight_level_1(x1), self.weight_level_2(x2)], 1
        )
        weights = torch.softmax(self.weight_levels(weights), 1)
        mixture = x0 * weights[:, 0:1] + x1 * weights[:, 1:2] + x2 * weights[:, 2:3]
        out = self.expand(mixture)
        return (out, weights, mixture.sum(1)) if self.vis else out
