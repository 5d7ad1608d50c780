from collections.abc import Sequence
from functools import partial

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class PyramidPooling(nn.Module):
    """Pyramid pooling: appends to each position the means of regions of several sizes around it.

    "Pyramid Scene Parsing Network", Zhao et al., CVPR 2017.

    Args:
        bins: the map is averaged over bins x bins regions, once for each of these.
        branch_channels: what each branch appends; None: in_channels // len(bins).
        align_corners: of the interpolation back; False in mmseg and most later copies.

    Shape: (N, H, W, C) -> (N, H, W, C + len(bins) * branch_channels), the input first
    """

    def __init__(
        self,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        branch_channels: int | None = None,
        align_corners: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.nonempty(self, bins=bins)
        for count in bins:
            checks.positive(self, bins=count)
        self.bins = tuple(bins)
        self.branch_channels = branch_channels
        self.align_corners = align_corners

    def setup(self, shape):
        branch_channels = self.branch_channels
        if branch_channels is None:
            branch_channels = shape[-1] // len(self.bins)
        checks.positive(self, branch_channels=branch_channels)
        self.features = nn.ModuleList(
            nn.Sequential(
                partial(nn.adaptive_avg_pool, output_size=count),
                nn.Conv2d(branch_channels, 1, bias=False),
                nn.BatchNorm(),
                nn.relu,
            )
            for count in self.bins
        )

    def call(self, x, training=None):
        size = ops.shape(x)[1:3]
        branches = [
            nn.interpolate(
                branch(x, training=training),
                size,
                mode="bilinear",
                align_corners=self.align_corners,
            )
            for branch in self.features
        ]
        return ops.concatenate([x, *branches], -1)
