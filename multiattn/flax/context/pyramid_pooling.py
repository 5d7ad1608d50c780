from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class PyramidPooling(nnx.Module):
    """Pyramid pooling: appends to each position the means of regions of several sizes around it.

    "Pyramid Scene Parsing Network", Zhao et al., CVPR 2017.

    Args:
        in_channels: channels of the input.
        bins: the map is averaged over bins x bins regions, once for each of these.
        branch_channels: what each branch appends; None: in_channels // len(bins).
        align_corners: of the interpolation back; False in mmseg and most later copies.

    Shape: (N, H, W, C) -> (N, H, W, C + len(bins) * branch_channels), the input first
    """

    def __init__(
        self,
        in_channels: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        branch_channels: int | None = None,
        align_corners: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.nonempty(self, bins=bins)
        for count in bins:
            checks.positive(self, bins=count)
        if branch_channels is None:
            branch_channels = in_channels // len(bins)
        checks.positive(self, in_channels=in_channels, branch_channels=branch_channels)
        self.align_corners = align_corners
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.features = nn.ModuleList(
            nn.Sequential(
                partial(nn.adaptive_avg_pool, output_size=count),
                nn.Conv2d(in_channels, branch_channels, 1, bias=False, **layer),
                nn.BatchNorm(branch_channels, **layer),
                nn.relu,
            )
            for count in bins
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        size = x.shape[1:3]
        branches = [
            nn.interpolate(branch(x), size, mode="bilinear", align_corners=self.align_corners)
            for branch in self.features
        ]
        return jnp.concatenate([x, *branches], -1)
