import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SplitAttention(nnx.Module):
    """A convolution in several versions, that are mixed channel by channel from their pooled sum.

    "ResNeSt: Split-Attention Networks", Zhang et al., CVPR Workshops 2022.

    Args:
        in_channels: channels of the input; divisible by groups * radix.
        out_channels: channels of the output; divisible by groups; None: in_channels.
        kernel_size: of the convolution.
        stride: of the convolution.
        padding: of the convolution; None: kernel_size // 2 * dilation.
        dilation: of the convolution.
        groups: the cardinality: groups of channels that are mixed apart; divides the bottleneck.
        bias: bias of the convolution.
        radix: how many versions; one is gated by a sigmoid.
        reduction: the bottleneck has max(in_channels * radix // reduction, 32) channels.
        norm: batch norms after the convolution and in the bottleneck.

    Shape: (N, H, W, in_channels) -> (N, H', W', out_channels), sizes as for a convolution
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        radix: int = 2,
        reduction: int = 4,
        norm: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels, radix=radix, reduction=reduction)
        checks.positive(self, kernel_size=kernel_size, stride=stride, dilation=dilation)
        out_channels = out_channels or in_channels
        hidden = max(in_channels * radix // reduction, 32)
        splits = {"groups * radix": groups * radix}
        checks.divisible(self, by="groups * radix", **splits, in_channels=in_channels)
        checks.divisible(
            self, by="groups", groups=groups, out_channels=out_channels, bottleneck=hidden
        )
        self.groups = groups
        self.radix = radix
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv = nn.Conv2d(
            in_channels,
            radix * out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2 * dilation if padding is None else padding,
            dilation=dilation,
            groups=groups * radix,
            bias=bias,
            **layer,
        )
        self.bn0 = nn.BatchNorm(radix * out_channels, **layer) if norm else nn.Identity()
        self.fc1 = nn.Conv2d(out_channels, hidden, 1, groups=groups, **layer)
        self.bn1 = nn.BatchNorm(hidden, **layer) if norm else nn.Identity()
        self.fc2 = nn.Conv2d(hidden, radix * out_channels, 1, groups=groups, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        versions = nn.relu(self.bn0(self.conv(x)))
        versions = versions.reshape(*versions.shape[:3], self.radix, -1)
        context = versions.sum(3).mean((1, 2), keepdims=True)
        logits = self.fc2(nn.relu(self.bn1(self.fc1(context))))
        # by group, then version; the convolution's channels are by version, then group
        logits = logits.reshape(len(x), self.groups, self.radix, -1).swapaxes(1, 2)
        weights = nn.sigmoid(logits) if self.radix == 1 else nn.softmax(logits, 1)
        return (versions * weights.reshape(len(x), 1, 1, self.radix, -1)).sum(3)
