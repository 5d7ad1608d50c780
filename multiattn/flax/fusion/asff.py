from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class ASFFBlock(nnx.Module):
    """Convolution, batch norm, activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd.
        stride: of the convolution.
        activation: "leaky_relu" (slope 0.1) or "relu6".

    Shape: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        activation: str = "leaky_relu",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.activation = activation
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
            **layer,
        )
        self.batch_norm = nn.BatchNorm(out_channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.batch_norm(self.conv(x))
        return nn.relu6(x) if self.activation == "relu6" else nn.leaky_relu(x, 0.1)


class ASFF(nnx.Module):
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
        (N, H, W, C0), (N, 2H, 2W, C1), (N, 4H, 4W, C2) -> (N, h, w, out_channels), the size being
        that of the level; with vis also (N, h, w, 3) and (N, h, w).

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
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, (0, 1, 2), level=level)
        checks.choice(self, ("leaky_relu", "relu6"), activation=activation)
        if len(in_channels) != 3:
            checks.fail(self, f"in_channels ({tuple(in_channels)}) must have three elements")
        c0, c1, c2 = in_channels
        channels = in_channels[level]
        hidden = 8 if rfb else 16
        self.level = level
        self.vis = vis
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        block: dict[str, Any] = {"activation": activation, **layer}
        down: dict[str, Any] = {"kernel_size": 3, "stride": 2, **block}
        if level == 0:
            self.stride_level_1 = ASFFBlock(c1, channels, **down)
            self.stride_level_2 = ASFFBlock(c2, channels, **down)
        else:
            self.compress_level_0 = ASFFBlock(c0, channels, **block)
        if level == 1:
            self.stride_level_2 = ASFFBlock(c2, channels, **down)
        self.compress_level_1 = (
            ASFFBlock(c1, channels, **block) if level == 2 and c1 != c2 else nn.Identity()
        )
        self.weight_level_0 = ASFFBlock(channels, hidden, **block)
        self.weight_level_1 = ASFFBlock(channels, hidden, **block)
        self.weight_level_2 = ASFFBlock(channels, hidden, **block)
        self.weight_levels = nn.Conv2d(3 * hidden, 3, 1, **layer)
        self.expand = ASFFBlock(
            channels, out_channels or (1024, 512, 256)[level], kernel_size=3, **block
        )

    def resize(
        self, x0: jax.Array, x1: jax.Array, x2: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The three levels at the size and width of one."""
        if self.level == 0:
            x2 = nn.max_pool(x2, 3, stride=2, padding=1)
            return x0, self.stride_level_1(x1), self.stride_level_2(x2)
        x0 = nn.interpolate(self.compress_level_0(x0), scale_factor=2**self.level)
        if self.level == 1:
            return x0, x1, self.stride_level_2(x2)
        return x0, nn.interpolate(self.compress_level_1(x1), scale_factor=2), x2

    def __call__(
        self, x0: jax.Array, x1: jax.Array, x2: jax.Array
    ) -> jax.Array | tuple[jax.Array, jax.Array, jax.Array]:
        x0, x1, x2 = nn.promote(self.dtype, x0, x1, x2)
        height, width = x0.shape[1:3]
        checks.sizes(self, (2 * height, 2 * width), x1=x1.shape[1:3])
        checks.sizes(self, (4 * height, 4 * width), x2=x2.shape[1:3])
        x0, x1, x2 = self.resize(x0, x1, x2)
        weights = jnp.concatenate(
            [self.weight_level_0(x0), self.weight_level_1(x1), self.weight_level_2(x2)], -1
        )
        weights = nn.softmax(self.weight_levels(weights))
        mixture = x0 * weights[..., 0:1] + x1 * weights[..., 1:2] + x2 * weights[..., 2:3]
        out = self.expand(mixture)
        return (out, weights, mixture.sum(-1)) if self.vis else out
