from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SplitAttention(nn.Module):
    """A convolution in several versions, that are mixed channel by channel from their pooled sum.

    "ResNeSt: Split-Attention Networks", Zhang et al., CVPR Workshops 2022.

    Args:
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, radix=radix, reduction=reduction)
        checks.positive(self, kernel_size=kernel_size, stride=stride, dilation=dilation)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.use_bias = bias
        self.radix = radix
        self.reduction = reduction
        self.use_norm = norm

    def setup(self, shape):
        in_channels, groups, radix = shape[-1], self.groups, self.radix
        out_channels = self.out_channels or in_channels
        hidden = max(in_channels * radix // self.reduction, 32)
        splits = {"groups * radix": groups * radix}
        checks.divisible(self, by="groups * radix", **splits, in_channels=in_channels)
        checks.divisible(
            self, by="groups", groups=groups, out_channels=out_channels, bottleneck=hidden
        )
        same = self.kernel_size // 2 * self.dilation
        self.conv = nn.Conv2d(
            radix * out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=same if self.padding is None else self.padding,
            dilation=self.dilation,
            groups=groups * radix,
            bias=self.use_bias,
        )
        self.bn0 = nn.BatchNorm() if self.use_norm else nn.Identity()
        self.fc1 = nn.Conv2d(hidden, 1, groups=groups)
        self.bn1 = nn.BatchNorm() if self.use_norm else nn.Identity()
        self.fc2 = nn.Conv2d(radix * out_channels, 1, groups=groups)

    def call(self, x, training=None):
        versions = nn.relu(self.bn0(self.conv(x), training=training))
        n, height, width, channels = ops.shape(versions)
        mixed = (self.radix, channels // self.radix)
        versions = ops.reshape(versions, (n, height, width, *mixed))
        context = ops.mean(ops.sum(versions, 3), (1, 2), keepdims=True)
        logits = self.fc2(nn.relu(self.bn1(self.fc1(context), training=training)))
        # by group, then version; the convolution's channels are by version, then group
        logits = ops.swapaxes(ops.reshape(logits, (n, self.groups, self.radix, -1)), 1, 2)
        weights = nn.sigmoid(logits) if self.radix == 1 else nn.softmax(logits, 1)
        return ops.sum(versions * ops.reshape(weights, (n, 1, 1, *mixed)), 3)
