import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class PyramidSplitWeight(nnx.Module):
    """A squeeze-and-excitation gate, not yet applied.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, 1, 1, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc1 = nn.Conv2d(channels, hidden, 1, **layer)
        self.fc2 = nn.Conv2d(hidden, channels, 1, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        context = nn.relu(self.fc1(x.mean((1, 2), keepdims=True)))
        return nn.sigmoid(self.fc2(context))


class PyramidSplitAttention(nnx.Module):
    """Four convolutions of growing kernels, whose outputs are weighed against each other.

    "EPSANet: An Efficient Pyramid Split Attention Block on Convolutional Neural Network",
    Zhang et al., ACCV 2022.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a quarter from each convolution; None: in_channels.
        kernel_sizes: of the four convolutions; odd.
        groups: of the four convolutions; each divides in_channels and out_channels // 4.
        stride: of the convolutions.
        reduction: the gate's bottleneck has out_channels // 4 // reduction channels, at least one.

    Shape: (N, H, W, in_channels) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        groups: Sequence[int] = (1, 4, 8, 16),
        stride: int = 1,
        reduction: int = 16,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, stride=stride, reduction=reduction)
        out_channels = out_channels or in_channels
        branches = len(kernel_sizes)
        if not branches == len(groups) == 4:
            checks.fail(self, f"kernel_sizes ({branches}) and groups ({len(groups)}) must be four")
        checks.divisible(self, by="branches", branches=branches, out_channels=out_channels)
        channels = out_channels // branches
        checks.quotient(self, **{"out_channels // 4": channels}, reduction=reduction)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def conv(kernel_size: int, groups: int) -> nn.Conv2d:
            checks.odd(self, kernel_sizes=kernel_size)
            widths = {"in_channels": in_channels, "out_channels // 4": channels}
            checks.divisible(self, by="groups", groups=groups, **widths)
            return nn.Conv2d(
                in_channels,
                channels,
                kernel_size,
                stride=stride,
                padding=kernel_size // 2,
                groups=groups,
                bias=False,
                weight_init=nn.initializers.normal(math.sqrt(2 / (kernel_size**2 * channels))),
                **layer,
            )

        self.conv_1, self.conv_2, self.conv_3, self.conv_4 = map(conv, kernel_sizes, groups)
        self.se = PyramidSplitWeight(channels, reduction=reduction, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        # the last comes first, as in the published weights
        convs = (self.conv_4, self.conv_3, self.conv_2, self.conv_1)
        features = [conv(x) for conv in convs]
        weights = nn.softmax(jnp.stack([self.se(feature) for feature in features], 3), 3)
        features = jnp.stack(features, 3) * weights
        return features.reshape(*features.shape[:3], -1)
