import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks


class SplitAttention(nn.Module):
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

    Shape: (N, in_channels, H, W) -> (N, out_channels, H', W'), sizes as for a convolution
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
    ):
        super().__init__()
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
        self.conv = nn.Conv2d(
            in_channels,
            radix * out_channels,
            kernel_size,
            stride,
            kernel_size // 2 * dilation if padding is None else padding,
            dilation,
            groups * radix,
            bias,
        )
        self.bn0 = nn.BatchNorm2d(radix * out_channels) if norm else nn.Identity()
        self.fc1 = nn.Conv2d(out_channels, hidden, 1, groups=groups)
        self.bn1 = nn.BatchNorm2d(hidden) if norm else nn.Identity()
        self.fc2 = nn.Conv2d(hidden, radix * out_channels, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        versions = F.relu(self.bn0(self.conv(x))).unflatten(1, (self.radix, -1))
        context = versions.sum(1).mean((2, 3), keepdim=True)
        logits = self.fc2(F.relu(self.bn1(self.fc1(context))))
        # by group, then version; the convolution's channels are by version, then group
        logits = logits.unflatten(1, (self.groups, self.radix, -1)).transpose(1, 2)
        weights = torch.sigmoid(logits) if self.radix == 1 else logits.softmax(1)
        return (versions * weights.flatten(2, 3)).sum(1)
