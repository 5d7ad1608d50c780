import math
from functools import partial

from keras import ops

from multiattn import checks
from multiattn.keras import nn

MODES = ("channel", "position", "average", "max", "concat")


class GlobalSecondOrderPooling(nn.Module):
    """Global second-order pooling: gates from the covariance of channels, or of positions.

    "Global Second-order Pooling Convolutional Networks", Gao et al., CVPR 2019.

    Args:
        reduced_channels: channels that the covariances are taken of, or over.
        mode: "channel" or "position" for one gate; for both, their "average" (a sum), "max" or
            "concat" (a convolution of each, summed; of channels divisible by 64, at most 2048).
        spatial_size: side of the grid whose cells the position gate takes the covariance of.
        stride: of the channel gate's reduction.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        reduced_channels: int = 128,
        mode: str = "channel",
        spatial_size: int = 8,
        stride: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, reduced_channels=reduced_channels)
        checks.positive(self, spatial_size=spatial_size, stride=stride)
        checks.choice(self, MODES, mode=mode)
        self.reduced_channels = reduced_channels
        self.mode = mode
        self.spatial_size = spatial_size
        self.stride = stride

    def setup(self, shape):
        channels, hidden = shape[-1], self.reduced_channels
        conv = partial(nn.Conv2d, kernel_initializer=nn.initializers.kaiming_normal("fan_out"))
        if self.mode != "position":
            self.conv_for_DR = conv(hidden, 1, stride=self.stride)
            self.bn_for_DR = nn.BatchNorm()
            self.row_bn = nn.BatchNorm()
            self.row_conv_group = conv(4 * hidden, (hidden, 1), groups=hidden)
            self.fc_adapt_channels = conv(channels, 1)
        if self.mode != "channel":
            cells = self.spatial_size**2
            self.conv_for_DR_spatial = conv(hidden, 1)
            self.bn_for_DR_spatial = nn.BatchNorm()
            self.row_bn_for_spatial = nn.BatchNorm()
            self.row_conv_group_for_spatial = conv(4 * cells, (cells, 1), groups=cells)
            self.fc_adapt_channels_for_spatial = conv(cells, 1)
        if self.mode == "concat":
            if channels % 64 or channels > 2048:
                checks.fail(self, f"channels ({channels}) must be a multiple of 64, at most 2048")
            groups = channels // 64
            reach = int(math.log2(32 / groups)) + 2
            mixing = partial(conv, channels, (2 * reach + 1, 1), padding=(reach, 0), groups=groups)
            self.dilate_conv_for_concat1 = mixing()
            self.dilate_conv_for_concat2 = mixing()
            self.bn_for_concat = nn.BatchNorm()

    def channel_gate(self, x, **mode):
        """A gate for each channel, (N, 1, 1, C)."""
        features = nn.relu(self.bn_for_DR(self.conv_for_DR(nn.relu(x)), **mode))
        n, height, width, c = ops.shape(features)
        features = ops.reshape(features, (n, height * width, c))
        features = features - ops.mean(features, 1, keepdims=True)
        covariance = ops.swapaxes(features, 1, 2) @ features
        covariance = covariance / ops.cast(height * width, x.dtype)
        rows = self.row_conv_group(self.row_bn(covariance[:, :, None], **mode))
        return nn.sigmoid(self.fc_adapt_channels(rows))

    def position_gate(self, x, **mode):
        """A gate for each position, (N, H, W, 1)."""
        size = self.spatial_size
        features = self.bn_for_DR_spatial(self.conv_for_DR_spatial(nn.relu(x)), **mode)
        features = nn.adaptive_avg_pool(features, size)
        features = ops.reshape(features, (-1, size**2, self.reduced_channels))
        # the authors' constants: a covariance in truth only of as many channels as cells
        total = ops.sum(features, 2) / size**2
        covariance = features @ ops.swapaxes(features, 1, 2) / size**2
        covariance = covariance - total[:, :, None] * total[:, None]
        rows = self.row_bn_for_spatial(covariance[:, :, None], **mode)
        rows = nn.relu(self.row_conv_group_for_spatial(rows))
        gate = nn.sigmoid(self.fc_adapt_channels_for_spatial(rows))
        return nn.adaptive_avg_pool(ops.reshape(gate, (-1, size, size, 1)), ops.shape(x)[1:3])

    def call(self, x, training=None):
        mode = {"training": training}
        if self.mode == "channel":
            return x * self.channel_gate(x, **mode)
        by_position = nn.relu(x * self.position_gate(x, **mode))
        if self.mode == "position":
            return by_position
        by_channel = x * self.channel_gate(x, **mode)
        if self.mode == "average":
            return by_channel + by_position
        if self.mode == "max":
            return nn.maximum(by_channel, by_position)
        by_channel = self.dilate_conv_for_concat1(by_channel)
        by_position = self.dilate_conv_for_concat2(by_position)
        return self.bn_for_concat(by_channel + by_position, **mode)
