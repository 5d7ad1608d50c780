import math
from collections.abc import Sequence

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class PyramidSplitWeight(nn.Module):
    """A squeeze-and-excitation gate, not yet applied.

    Args:
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, 1, 1, C)
    """

    def __init__(self, *, reduction: int, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.fc1 = nn.Conv2d(hidden, 1)
        self.fc2 = nn.Conv2d(channels, 1)

    def call(self, x, training=None):
        context = nn.relu(self.fc1(ops.mean(x, (1, 2), keepdims=True)))
        return nn.sigmoid(self.fc2(context))


class PyramidSplitAttention(nn.Module):
    """Four convolutions of growing kernels, whose outputs are weighed against each other.

    "EPSANet: An Efficient Pyramid Split Attention Block on Convolutional Neural Network",
    Zhang et al., ACCV 2022.

    Args:
        out_channels: channels of the output, a quarter from each convolution; None: in_channels.
        kernel_sizes: of the four convolutions; odd.
        groups: of the four convolutions; each divides in_channels and out_channels // 4.
        stride: of the convolutions.
        reduction: the gate's bottleneck has out_channels // 4 // reduction channels, at least one.

    Shape: (N, H, W, in_channels) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        out_channels: int | None = None,
        *,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        groups: Sequence[int] = (1, 4, 8, 16),
        stride: int = 1,
        reduction: int = 16,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, stride=stride, reduction=reduction)
        branches = len(kernel_sizes)
        if not branches == len(groups) == 4:
            checks.fail(self, f"kernel_sizes ({branches}) and groups ({len(groups)}) must be four")
        self.out_channels = out_channels
        self.kernel_sizes = tuple(kernel_sizes)
        self.groups = tuple(groups)
        self.stride = stride
        self.reduction = reduction

    def setup(self, shape):
        in_channels = shape[-1]
        out_channels = self.out_channels or in_channels
        branches = len(self.kernel_sizes)
        checks.divisible(self, by="branches", branches=branches, out_channels=out_channels)
        channels = out_channels // branches
        checks.quotient(self, **{"out_channels // 4": channels}, reduction=self.reduction)

        def conv(kernel_size: int, groups: int) -> nn.Conv2d:
            checks.odd(self, kernel_sizes=kernel_size)
            widths = {"in_channels": in_channels, "out_channels // 4": channels}
            checks.divisible(self, by="groups", groups=groups, **widths)
            deviation = math.sqrt(2 / (kernel_size**2 * channels))
            return nn.Conv2d(
                channels,
                kernel_size,
                stride=self.stride,
                padding=kernel_size // 2,
                groups=groups,
                bias=False,
                kernel_initializer=nn.initializers.normal(deviation),
            )

        convs = map(conv, self.kernel_sizes, self.groups)
        self.conv_1, self.conv_2, self.conv_3, self.conv_4 = convs
        self.se = PyramidSplitWeight(reduction=self.reduction)

    def call(self, x, training=None):
        # the last comes first, as in the published weights
        convs = (self.conv_4, self.conv_3, self.conv_2, self.conv_1)
        features = [conv(x) for conv in convs]
        weights = nn.softmax(ops.stack([self.se(f, training=training) for f in features], 3), 3)
        features = ops.stack(features, 3) * weights
        n, height, width, branches, channels = ops.shape(features)
        return ops.reshape(features, (n, height, width, branches * channels))
