from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multiattn import checks


def conv_norm_relu(in_channels: int, out_channels: int, rate: int = 0) -> list[nn.Module]:
    """A 3x3 convolution of this dilation, or for 0 a 1x1 one, with batch norm and ReLU."""
    kernel_size = 3 if rate else 1
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, padding=rate, dilation=max(rate, 1), bias=False
    )
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: convolutions of several dilations side by side.

    "Rethinking Atrous Convolution for Semantic Image Segmentation", Chen et al., arXiv 2017
    (DeepLab v3); the sum is that of DeepLab v2.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; in mode "sum" the number of classes.
        atrous_rates: dilations of the 3x3 convolutions; at least one.
        mode: "concat": these, a 1x1 convolution and the global mean, each with norm and ReLU, are
            concatenated and projected; "sum": only the dilated convolutions, added.
        dropout: rate of dropout after the projection.

    Shape: (N, C, H, W) -> (N, out_channels, H, W)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        *,
        atrous_rates: Sequence[int] = (12, 24, 36),
        mode: str = "concat",
        dropout: float = 0.5,
    ):
        super().__init__()
        checks.positive(self, in_channels=in_channels, out_channels=out_channels)
        checks.nonempty(self, atrous_rates=atrous_rates)
        for rate in atrous_rates:
            checks.positive(self, atrous_rates=rate)
        checks.choice(self, ("concat", "sum"), mode=mode)
        self.mode = mode
        if mode == "sum":
            self.convs = nn.ModuleList(
                nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate)
                for rate in atrous_rates
            )
            for conv in self.convs:
                nn.init.normal_(conv.weight, std=0.01)
                nn.init.zeros_(conv.bias)
            return
        self.convs = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(in_channels, out_channels, rate))
            for rate in (0, *atrous_rates)
        )
        pooled = conv_norm_relu(in_channels, out_channels)
        self.convs.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), *pooled))
        self.project = nn.Sequential(
            *conv_norm_relu(len(self.convs) * out_channels, out_channels), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = [conv(x) for conv in self.convs]
        if self.mode == "sum":
            return sum(branches[1:], branches[0])
        branches[-1] = branches[-1].expand_as(branches[0])
        return self.project(torch.cat(branches, 1))
