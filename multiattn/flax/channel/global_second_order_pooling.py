import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn

MODES = ("channel", "position", "average", "max", "concat")


class GlobalSecondOrderPooling(nnx.Module):
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

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduced_channels: int = 128,
        mode: str = "channel",
        spatial_size: int = 8,
        stride: int = 1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, reduced_channels=reduced_channels)
        checks.positive(self, spatial_size=spatial_size, stride=stride)
        checks.choice(self, MODES, mode=mode)
        self.mode = mode
        self.spatial_size = spatial_size
        self.dtype = dtype
        layer: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        conv: Any = partial(
            nn.Conv2d, weight_init=nn.initializers.kaiming_normal("fan_out"), **layer
        )
        if mode != "position":
            self.conv_for_DR = conv(channels, reduced_channels, 1, stride=stride)
            self.bn_for_DR = nn.BatchNorm(reduced_channels, **layer)
            self.row_bn = nn.BatchNorm(reduced_channels, **layer)
            self.row_conv_group = conv(
                reduced_channels,
                4 * reduced_channels,
                (reduced_channels, 1),
                groups=reduced_channels,
            )
            self.fc_adapt_channels = conv(4 * reduced_channels, channels, 1)
        if mode != "channel":
            cells = spatial_size**2
            self.conv_for_DR_spatial = conv(channels, reduced_channels, 1)
            self.bn_for_DR_spatial = nn.BatchNorm(reduced_channels, **layer)
            self.row_bn_for_spatial = nn.BatchNorm(cells, **layer)
            self.row_conv_group_for_spatial = conv(cells, 4 * cells, (cells, 1), groups=cells)
            self.fc_adapt_channels_for_spatial = conv(4 * cells, cells, 1)
        if mode == "concat":
            if channels % 64 or channels > 2048:
                checks.fail(self, f"channels ({channels}) must be a multiple of 64, at most 2048")
            groups = channels // 64
            reach = int(math.log2(32 / groups)) + 2
            mixing = partial(
                conv, channels, channels, (2 * reach + 1, 1), padding=(reach, 0), groups=groups
            )
            self.dilate_conv_for_concat1 = mixing()
            self.dilate_conv_for_concat2 = mixing()
            self.bn_for_concat = nn.BatchNorm(channels, **layer)

    def channel_gate(self, x: jax.Array) -> jax.Array:
        """A gate for each channel, (N, 1, 1, C)."""
        features = nn.relu(self.bn_for_DR(self.conv_for_DR(nn.relu(x))))
        features = features.reshape(len(x), -1, features.shape[-1])
        features = features - features.mean(1, keepdims=True)
        covariance = features.mT @ features / features.shape[1]
        rows = self.row_conv_group(self.row_bn(covariance[:, :, None]))
        return nn.sigmoid(self.fc_adapt_channels(rows))

    def position_gate(self, x: jax.Array) -> jax.Array:
        """A gate for each position, (N, H, W, 1)."""
        size = self.spatial_size
        features = self.bn_for_DR_spatial(self.conv_for_DR_spatial(nn.relu(x)))
        features = nn.adaptive_avg_pool(features, size).reshape(len(x), size**2, -1)
        # the authors' constants: a covariance in truth only of as many channels as cells
        total = features.sum(2) / size**2
        covariance = features @ features.mT / size**2 - total[:, :, None] * total[:, None]
        rows = self.row_conv_group_for_spatial(self.row_bn_for_spatial(covariance[:, :, None]))
        gate = nn.sigmoid(self.fc_adapt_channels_for_spatial(nn.relu(rows)))
        return nn.adaptive_avg_pool(gate.reshape(-1, size, size, 1), x.shape[1:3])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        if self.mode == "channel":
            return x * self.channel_gate(x)
        by_position = nn.relu(x * self.position_gate(x))
        if self.mode == "position":
            return by_position
        by_channel = x * self.channel_gate(x)
        if self.mode == "average":
            return by_channel + by_position
        if self.mode == "max":
            return nn.maximum(by_channel, by_position)
        by_channel = self.dilate_conv_for_concat1(by_channel)
        return self.bn_for_concat(by_channel + self.dilate_conv_for_concat2(by_position))
