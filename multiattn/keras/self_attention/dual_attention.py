from keras import ops

from multiattn import checks
from multiattn.keras import nn


class PositionAttention(nn.Module):
    """The position branch of DANet: unscaled self-attention over all pixels, added by a factor.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Args:
        reduction: queries and keys have channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, reduction: int = 8, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def setup(self, shape):
        channels = shape[-1]
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.query_conv = nn.Conv2d(hidden, 1)
        self.key_conv = nn.Conv2d(hidden, 1)
        self.value_conv = nn.Conv2d(channels, 1)
        self.gamma = self.add_weight(name="gamma", shape=(1,), initializer=nn.initializers.zeros)

    def call(self, x, training=None):
        shape = ops.shape(x)
        queries, keys, values = (
            ops.reshape(maps, (shape[0], -1, 1, maps.shape[-1]))
            for maps in (self.query_conv(x), self.key_conv(x), self.value_conv(x))
        )
        context = nn.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return self.gamma * ops.reshape(context, shape) + x


class ChannelSelfAttention(nn.Module):
    """The channel branch of DANet: mixes each channel from those most unlike it.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def setup(self, shape):
        self.gamma = self.add_weight(name="gamma", shape=(1,), initializer=nn.initializers.zeros)

    def call(self, x):
        shape = ops.shape(x)
        channels = ops.reshape(x, (shape[0], -1, x.shape[-1]))
        attention = nn.softmax(-(ops.swapaxes(channels, 1, 2) @ channels))
        mixed = channels @ ops.swapaxes(attention, 1, 2)
        return self.gamma * ops.reshape(mixed, shape) + x


def conv_norm_relu(out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(out_channels, 3, padding=1, bias=False),
        nn.BatchNorm(),
        nn.relu,
    )


class DualAttention(nn.Module):
    """DANet's head: position and channel attention side by side, summed.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Args:
        num_classes: None for the fused features; a number for classifiers of the fused features
            and of both branches.
        reduction: of the position branch: its queries have in_channels // 4 // reduction channels.
        dropout: rate of the channel dropout before each classifier.

    Shape:
        (N, H, W, C) -> (N, H, W, C // 4), or with num_classes K three maps (N, H, W, K): fused,
        position, channel.
    """

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        reduction: int = 8,
        dropout: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.reduction = reduction
        self.dropout = dropout

    def setup(self, shape):
        hidden = shape[-1] // 4
        self.conv5a = conv_norm_relu(hidden)
        self.conv5c = conv_norm_relu(hidden)
        self.sa = PositionAttention(reduction=self.reduction)
        self.sc = ChannelSelfAttention()
        self.conv51 = conv_norm_relu(hidden)
        self.conv52 = conv_norm_relu(hidden)
        if self.num_classes is not None:
            self.conv6, self.conv7, self.conv8 = (
                nn.Sequential(nn.Dropout2d(self.dropout), nn.Conv2d(self.num_classes, 1))
                for _ in range(3)
            )

    def call(self, x, training=None):
        mode = {"training": training}
        position = self.conv51(self.sa(self.conv5a(x, **mode), **mode), **mode)
        channel = self.conv52(self.sc(self.conv5c(x, **mode)), **mode)
        fused = position + channel
        if self.num_classes is None:
            return fused
        return self.conv8(fused, **mode), self.conv6(position, **mode), self.conv7(channel, **mode)
