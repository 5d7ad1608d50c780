from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class PyramidPooling(nn.Module):
    """Pyramid pooling: appends to each position the means of regions of several sizes around it.

    "Pyramid Scene Parsing Network", Zhao et al., CVPR 2017.

    Args:
        in_channels: channels of the input.
        bins: the map is averaged over bins x bins regions, once for each of these.
        branch_channels: what each branch appends; None: in_channels // len(bins).
        align_corners: of the interpolation back; False in mmseg and most later copies.

    Shape: (N, C, H, W) -> (N, C + len(bins) * branch_channels, H, W), the input first
    """

    def __init__(
        self,
        in_channels: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        branch_channels: int | None = None,
        align_corners: bool = True,
    ):
        super().__init__()
        checks.nonempty(self, bins=bins)
        for count in bins:
            checks.positive(self, bins=count)
        if branch_channels is None:
            branch_channels = in_channels // len(bins)
        checks.positive(self, in_channels=in_channels, branch_channels=branch_channels)
        self.align_corners = align_corners
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(count),
                nn.Conv2d(in_channels, branch_channels, 1, bias=False),
                nn.BatchNorm2d(branch_channels),
                nn.ReLU(),
            )
            for count in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        branches = [
            F.interpolate(branch(x), size, mode="bilinear", align_corners=self.align_corners)
            for branch in self.features
        ]
        return torch.cat([x, *branches], 1)
