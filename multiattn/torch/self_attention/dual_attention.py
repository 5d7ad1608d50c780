import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import scaled_dot_product_attention


class PositionAttention(nn.Module):
    """The position branch of DANet: unscaled self-attention over all pixels, added by a factor.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Args:
        channels: channels of the input, and of the output.
        reduction: queries and keys have channels // reduction channels, at least one.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, channels: int, *, reduction: int = 8):
        super().__init__()
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.query_conv = nn.Conv2d(channels, hidden, 1)
        self.key_conv = nn.Conv2d(channels, hidden, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (
            conv(x).flatten(2).mT for conv in (self.query_conv, self.key_conv, self.value_conv)
        )
        context = scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return self.gamma * context.mT.reshape(x.shape) + x


class ChannelSelfAttention(nn.Module):
    """The channel branch of DANet: mixes each channel from those most unlike it.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.flatten(2)
        attention = torch.softmax(-(channels @ channels.mT), -1)
        return self.gamma * (attention @ channels).reshape(x.shape) + x


def conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class DualAttention(nn.Module):
    """DANet's head: position and channel attention side by side, summed.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Args:
        in_channels: channels of the input; the branches have in_channels // 4.
        num_classes: None for the fused features; a number for classifiers of the fused features
            and of both branches.
        reduction: of the position branch: its queries have in_channels // 4 // reduction channels.
        dropout: rate of the channel dropout before each classifier.

    Shape:
        (N, C, H, W) -> (N, C // 4, H, W), or with num_classes K three maps (N, K, H, W): fused,
        position, channel.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int | None = None,
        reduction: int = 8,
        dropout: float = 0.1,
    ):
        super().__init__()
        hidden = in_channels // 4
        self.num_classes = num_classes
        self.conv5a = conv_norm_relu(in_channels, hidden)
        self.conv5c = conv_norm_relu(in_channels, hidden)
        self.sa = PositionAttention(hidden, reduction=reduction)
        self.sc = ChannelSelfAttention()
        self.conv51 = conv_norm_relu(hidden, hidden)
        self.conv52 = conv_norm_relu(hidden, hidden)
        if num_classes is not None:
            self.conv6, self.conv7, self.conv8 = (
                nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(hidden, num_classes, 1))
                for _ in range(3)
            )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        position = self.conv51(self.sa(self.conv5a(x)))
        channel = self.conv52(self.sc(self.conv5c(x)))
        fused = position + channel
        if self.num_classes is None:
            return fused
        return self.conv8(fused), self.conv6(position), self.conv7(channel)
